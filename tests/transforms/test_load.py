"""Loading: channel order, absent modalities, regions, the network's grid."""

import nibabel as nib
import numpy as np
import pytest
import torch

from medmiss.cases.case import Case, ImageSource
from medmiss.cases.errors import CaseError
from medmiss.transforms import LoadCased

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
RAS = np.eye(4)
SHAPE = (12, 14, 10)


def brain(value):
    """A block of slightly varying intensities on a zero background."""
    array = np.zeros(SHAPE, dtype=np.float32)
    array[2:9, 3:12, 2:8] = value + np.random.default_rng(0).random((7, 9, 6))
    return array


def save(path, array, affine=LPS):
    nib.Nifti1Image(array, affine).to_filename(path)
    return ImageSource(path)


def make_case(folder, modalities, affine=LPS, label_affine=LPS):
    values = {"flair": 10, "t1": 20, "t1c": 30, "t2": 40}
    images = {name: save(folder / f"{name}.nii.gz", brain(values[name]), affine) for name in modalities}
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[3:8, 4:9, 3:7] = 2
    labels[4:7, 5:8, 4:6] = 1
    labels[5, 6, 4] = 4
    return Case("one", images, save(folder / "seg.nii.gz", labels, label_affine), "plain", "brats2018")


def test_present_channels_hold_their_modality_and_absent_ones_zeros(tmp_path):
    item = LoadCased()({"case": make_case(tmp_path, ("flair", "t2"))})
    assert item["image"].shape == (4, *SHAPE) and item["image"].dtype == torch.float32
    assert item["available"].tolist() == [True, False, False, True]
    assert np.array_equal(item["image"][0], brain(10)) and np.array_equal(item["image"][3], brain(40))
    assert not item["image"][1:3].any() and not item["foreground"][1:3].any()
    assert np.array_equal(item["foreground"][0], brain(10) > 0)
    assert item["name"] == "one" and item["grid"].shape == SHAPE and item["warnings"] == [] and "label" not in item


def test_label_becomes_regions(tmp_path):
    label = LoadCased(label=True)({"case": make_case(tmp_path, ("t1",))})["label"]
    assert label.dtype == torch.float32 and label.shape == (3, *SHAPE)
    assert label.sum(dim=(1, 2, 3)).tolist() == [1, 3 * 3 * 2, 5 * 5 * 4]
    assert label[0, 5, 6, 4] == 1


def test_another_orientation_and_spacing_come_to_the_network_grid(tmp_path):
    (tmp_path / "ras").mkdir()
    turned = LoadCased(label=True)({"case": make_case(tmp_path / "ras", ("flair",), RAS, RAS)})
    assert np.array_equal(turned["image"][0], brain(10)[::-1, ::-1])
    assert turned["label"][0, -6, -7, 4] == 1
    coarse = LoadCased(label=True)({"case": make_case(tmp_path, ("flair",), LPS * [2, 2, 2, 1], LPS * [2, 2, 2, 1])})
    assert coarse["image"].shape[1:] == coarse["grid"].network_shape == (23, 27, 19)
    assert np.array_equal(coarse["image"][0, ::2, ::2, ::2], brain(10))
    assert coarse["label"].shape[1:] == coarse["foreground"].shape[1:] == (23, 27, 19)
    assert set(coarse["label"].unique().tolist()) == {0, 1}


def test_files_of_unused_modalities_are_never_opened(tmp_path):
    case = make_case(tmp_path, ("flair", "t1", "t2"))
    expected = LoadCased()({"case": case.restricted_to(("t1",))})
    (tmp_path / "flair.nii.gz").write_bytes(b"no image")
    (tmp_path / "t2.nii.gz").unlink()
    found = LoadCased()({"case": case.restricted_to(("t1",))})
    assert torch.equal(found["image"], expected["image"])
    assert found["available"].tolist() == [False, True, False, False]
    with pytest.raises(CaseError, match=r"flair\.nii\.gz"):
        LoadCased()({"case": case})


def test_warnings_name_what_looks_wrong(tmp_path):
    case = make_case(tmp_path, ("flair",))
    save(tmp_path / "flair.nii.gz", np.random.default_rng(0).normal(100, 10, SHAPE).astype(np.float32))
    (warning,) = LoadCased()({"case": case})["warnings"]
    assert "FLAIR" in warning and "skull" in warning


def test_label_errors(tmp_path):
    case = make_case(tmp_path, ("flair",), label_affine=RAS)
    with pytest.raises(CaseError, match=r"seg\.nii\.gz.*grid"):
        LoadCased(label=True)({"case": case})
    with pytest.raises(CaseError, match="no label"):
        LoadCased(label=True)({"case": Case("one", case.images)})


def test_modalities_on_two_grids_need_resample(tmp_path):
    case = make_case(tmp_path, ("flair", "t1"))
    save(tmp_path / "t1.nii.gz", brain(20)[:-2], LPS)
    with pytest.raises(CaseError, match=r"t1\.nii\.gz"):
        LoadCased()({"case": case})
    assert LoadCased(resample=True)({"case": case})["image"].shape == (4, *SHAPE)
