from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medmiss.cases import CONVENTIONS, LAYOUTS, CaseError, find_cases, foreground, read_case, read_label
from medmiss.modalities import MODALITIES
from medmiss.phantom import make_case, write_cases
from medmiss.phantom.files import WHITE_LEVELS

SHAPE = (40, 40, 32)
WRITTEN = ("brats2018", "brats2021", "brats2023", "brats2024", "msd", "plain")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("layout", WRITTEN)
def test_a_layout_is_found_again_with_its_labels(tmp_path: Path, layout: str):
    names = write_cases(tmp_path, 2, layout, seed=3, shape=SHAPE)
    cases = find_cases(tmp_path)
    assert [case.name for case in cases] == names
    for index, case in enumerate(cases):
        assert case.convention == LAYOUTS[layout].convention
        assert case.available == MODALITIES
        made = make_case(3, index, SHAPE)
        regions = CONVENTIONS[case.convention].regions(read_label(case, read_case(case).grid).array)
        assert np.array_equal(regions, CONVENTIONS["brats2018"].regions(made.labels))
        assert regions[2].any()


def test_images_are_whole_numbers_on_random_scales(tmp_path: Path):
    write_cases(tmp_path, 3, seed=3, shape=SHAPE)
    medians = []
    for index, case in enumerate(find_cases(tmp_path)):
        made = make_case(3, index, SHAPE)
        for channel, modality in enumerate(MODALITIES):
            image = nib.Nifti1Image.from_filename(case.images[modality].path)
            assert image.get_data_dtype() == np.int16
            array = np.asarray(image.dataobj)
            brain = made.images[channel] > 0
            assert array[brain].min() >= 1
            assert not array[~brain].any()
            assert np.array_equal(foreground(array.astype(np.float32)), brain)
            level = np.median(array[brain] / made.images[channel][brain])
            assert WHITE_LEVELS[0] * 0.98 < level < WHITE_LEVELS[1] * 1.02
            medians.append(level)
    assert max(medians) > 2 * min(medians)


@pytest.mark.parametrize("missing", ["none", "random"])
def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, missing: str):
    for folder in ("a", "b"):
        write_cases(tmp_path / folder, 2, missing=missing, seed=1, shape=SHAPE)
    write_cases(tmp_path / "c", 2, missing=missing, seed=2, shape=SHAPE)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


def test_missing_modalities_are_a_proper_part_and_leave_the_rest_as_it_is(tmp_path: Path):
    write_cases(tmp_path / "some", 8, missing="random", seed=1, shape=(32, 32, 32))
    write_cases(tmp_path / "all", 8, seed=1, shape=(32, 32, 32))
    kept = [case.available for case in find_cases(tmp_path / "some")]
    assert all(1 <= len(subset) <= 3 for subset in kept)
    assert len(set(kept)) > 3
    complete = contents(tmp_path / "all")
    assert all(complete[name] == data for name, data in contents(tmp_path / "some").items() if name.endswith(".gz"))


def test_finished_cases_are_skipped_and_the_rest_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_cases(tmp_path, 1, seed=1, shape=SHAPE)
    made = []

    def spy(seed: int, index: int, *rest):
        made.append(index)
        return make_case(seed, index, *rest)

    monkeypatch.setattr("medmiss.phantom.files.make_case", spy)
    write_cases(tmp_path, 2, seed=1, shape=SHAPE)
    assert made == [1]
    before = contents(tmp_path)
    (tmp_path / "Brats18_PHANTOM_001" / "Brats18_PHANTOM_001_t1.nii.gz").unlink()
    write_cases(tmp_path, 2, seed=1, shape=SHAPE)
    assert made == [1, 0]
    assert contents(tmp_path) == before


def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_cases(tmp_path / "whole", 1, seed=1, shape=SHAPE)
    from medmiss.phantom import files

    write = files.write_case

    def stopped(root: Path, layout, name: str, images: dict, grid, label) -> None:
        write(root, layout, name, {"flair": images["flair"]}, grid, None)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_case", stopped)
        with pytest.raises(KeyboardInterrupt):
            write_cases(tmp_path / "again", 1, seed=1, shape=SHAPE)
    write_cases(tmp_path / "again", 1, seed=1, shape=SHAPE)
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")


def test_nothing_else_is_replaced(tmp_path: Path):
    write_cases(tmp_path / "a", 1, seed=1, shape=SHAPE)
    before = contents(tmp_path / "a")
    with pytest.raises(CaseError, match="seed 1, now 2"):
        write_cases(tmp_path / "a", 1, seed=2, shape=SHAPE)
    assert contents(tmp_path / "a") == before
    mine = tmp_path / "b" / "Brats18_PHANTOM_001" / "Brats18_PHANTOM_001_t1.nii.gz"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(CaseError, match="no phantom of this set"):
        write_cases(tmp_path / "b", 1, seed=1, shape=SHAPE)
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize("content", ["[]", '{"status": "do'])
def test_a_case_whose_record_is_broken_is_not_taken_for_finished(tmp_path: Path, content: str):
    write_cases(tmp_path, 1, seed=1, shape=SHAPE)
    (record,) = (tmp_path / ".phantom").glob("*.json")
    record.write_text(content)
    with pytest.raises(CaseError, match="no phantom of this set"):
        write_cases(tmp_path, 1, seed=1, shape=SHAPE)


@pytest.mark.parametrize(
    "options", [{"layout": "brats1999"}, {"missing": "t1"}, {"layout": "msd", "missing": "random"}]
)
def test_arguments_that_cannot_be_are_refused(tmp_path: Path, options: dict[str, str]):
    with pytest.raises(ValueError, match="layout"):
        write_cases(tmp_path, 1, shape=SHAPE, **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
