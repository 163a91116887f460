"""One reading for all subsets gives what a reading of its own gives each subset, bit for bit."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from medmiss.cases import Case, CaseError, find_cases
from medmiss.inference import CasePredictor, CaseReader, load_bundle
from medmiss.modalities import SUBSETS, Subset
from medmiss.transforms import load

FILES = {"flair": "A_flair.nii.gz", "t1": "A_t1.nii.gz", "t1c": "A_t1ce.nii.gz", "t2": "A_t2.nii.gz"}


@pytest.fixture
def predictor(tiny_bundle: Path) -> CasePredictor:
    return load_bundle(tiny_bundle, {"device::name": "cpu"}).get_parsed_content("predictor")


@pytest.fixture
def case(tmp_path: Path, write_case: Callable[..., Path]) -> Case:
    """Four modalities whose foregrounds, and so whose crop boxes, differ."""
    folder = write_case(tmp_path, "A")
    for index, name in enumerate(FILES.values()):
        change(folder / name, partial(without_first, 3 * index))
    (found,) = find_cases(tmp_path)
    return found


def without_first(count: int, array: np.ndarray) -> np.ndarray:
    """Black in the first slices along X."""
    return np.where(np.arange(array.shape[0])[:, None, None] < count, 0, array)


def change(path: Path, of: Callable[[np.ndarray], Any], shift: float = 0.0) -> None:
    image = nib.Nifti1Image.from_filename(path)
    affine = image.affine.copy()
    affine[0, 3] += shift
    nib.save(nib.Nifti1Image(np.asarray(of(image.get_fdata()), dtype=np.float32), affine), path)


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for key in ("image", "available", "foreground"):
        assert one[key].dtype == other[key].dtype
        assert torch.equal(one[key], other[key])
    for key in ("box", "name", "case"):
        assert one[key] == other[key]
    assert sorted(one["warnings"]) == sorted(other["warnings"])
    assert one["grid"].shape == other["grid"].shape
    np.testing.assert_array_equal(one["grid"].affine, other["grid"].affine)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Subset]:
    """What `read_case` is asked for from now on."""
    asked: list[Subset] = []
    read = load.read_case

    def counted(case: Case, resample: bool = False):
        asked.append(case.available)
        return read(case, resample=resample)

    monkeypatch.setattr(load, "read_case", counted)
    return asked


def test_every_subset_is_as_if_read_alone(case: Case, predictor: CasePredictor):
    reader = CaseReader(case, predictor.preprocessing)
    boxes = set()
    for subset in SUBSETS:
        alone = predictor.preprocessing({"case": case.restricted_to(subset)})
        assert_same(reader(subset), alone)
        boxes.add(alone["box"])
    assert len(boxes) > 1


def test_every_mask_is_the_predictor_s_own(case: Case, predictor: CasePredictor):
    reader = CaseReader(case, predictor.preprocessing)
    for subset in SUBSETS:
        one, other = predictor.predict(reader(subset), True), predictor(case.restricted_to(subset), True)
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
        np.testing.assert_array_equal(one.regions, other.regions)
        np.testing.assert_array_equal(one.raw, other.raw)


def test_raw_and_postprocessed_come_from_one_run(case: Case, predictor: CasePredictor):
    prediction = predictor(case, probabilities=True)
    assert prediction.probabilities is not None and predictor.postprocessing is not None
    np.testing.assert_array_equal(prediction.raw, prediction.probabilities > 0.5)
    expected, _ = predictor.postprocessing(prediction.raw, prediction.grid.voxel_volume_mm3)
    np.testing.assert_array_equal(prediction.regions, expected)
    assert not np.array_equal(prediction.raw, prediction.regions)


def test_a_picture_of_a_modality_is_what_the_network_sees(case: Case, predictor: CasePredictor):
    reader = CaseReader(case, predictor.preprocessing)
    for modality in ("flair", "t2"):
        item = predictor.preprocessing({"case": case.restricted_to([modality])})
        image = reader.image(modality)
        assert image.shape == item["grid"].network_shape
        box = tuple(slice(start, stop) for start, stop in zip(*item["box"], strict=True))
        np.testing.assert_array_equal(image[box], item["image"][["flair", "t1", "t1c", "t2"].index(modality)])
        assert np.count_nonzero(image) == np.count_nonzero(image[box]) > 0


def test_each_file_is_opened_once_and_only_when_used(case: Case, predictor: CasePredictor, opened: list[Subset]):
    reader = CaseReader(case, predictor.preprocessing)
    for subset in SUBSETS:
        if "t1c" not in subset:
            reader(subset)
    assert opened == [("flair",), ("t1",), ("t2",)]


@pytest.mark.parametrize("shift", [1e-4, 0.05])
def test_files_on_nearly_one_grid_share_nothing(
    case: Case, predictor: CasePredictor, opened: list[Subset], shift: float
):
    change(case.images["t2"].path, lambda array: array, shift)
    reader = CaseReader(case, predictor.preprocessing)
    for subset in SUBSETS:
        assert_same(reader(subset), predictor.preprocessing({"case": case.restricted_to(subset)}))
    assert reader(("t1", "t2"))["grid"].affine[0, 3] == reader(("t1",))["grid"].affine[0, 3]
    assert reader(("t2",))["grid"].affine[0, 3] != reader(("t1",))["grid"].affine[0, 3]
    opened.clear()
    reader(("flair", "t1", "t1c"))
    assert opened == []
    reader(("t1", "t2"))
    assert opened == [("t1", "t2")]


def test_what_a_subset_warns_of_is_its_own(case: Case, predictor: CasePredictor):
    change(case.images["t2"].path, lambda array: np.roll(np.where(array > 0, array, 0), 5, axis=1))
    reader = CaseReader(case, predictor.preprocessing)
    assert any("not co-registered" in line for line in reader(("flair", "t2"))["warnings"])
    for subset in SUBSETS:
        alone = predictor.preprocessing({"case": case.restricted_to(subset)})
        assert reader(subset)["warnings"] == alone["warnings"]


def test_a_broken_file_spoils_only_its_own_subsets(case: Case, predictor: CasePredictor, opened: list[Subset]):
    case.images["t1"].path.write_bytes(b"no image")
    reader = CaseReader(case, predictor.preprocessing)
    for subset in SUBSETS:
        if "t1" in subset:
            with pytest.raises(CaseError, match="unreadable"):
                reader(subset)
        else:
            reader(subset)
    assert opened.count(("t1",)) == 1


def test_preprocessing_that_cannot_be_shared_runs_as_it_is(case: Case, predictor: CasePredictor):
    reader = CaseReader(case, lambda item: predictor.preprocessing(item))
    for subset in SUBSETS[:5]:
        assert_same(reader(subset), predictor.preprocessing({"case": case.restricted_to(subset)}))
