"""Label maps on disk: found by case, read with the values of their year."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medmiss.cases import CONVENTIONS, CaseError, find_masks, read_mask, recorded_labels
from medmiss.cases.masks import guessed_labels


def save(path: Path, values: list[float]) -> Path:
    array = np.zeros((4, 4, 4), dtype=np.float32)
    array.flat[: len(values)] = values
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1, 1, 1])), path)
    return path


def test_a_folder_of_masks(tmp_path: Path):
    for name in ("B.nii.gz", "A_seg.nii", "BraTS-MET-00132-000-seg.nii.gz", "B_probabilities.nii.gz", ".hidden.nii.gz"):
        save(tmp_path / name, [1])
    for name in ("B.seg.nrrd", "B_regions.seg.nrrd"):  # what 3D Slicer saves beside them
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "notes.txt").write_text("")
    found = find_masks(tmp_path)
    assert {name: file.name for name, file in found.items()} == {
        "A": "A_seg.nii",
        "B": "B.nii.gz",
        "BraTS-MET-00132-000": "BraTS-MET-00132-000-seg.nii.gz",
    }
    assert list(found) == sorted(found)


def test_labelled_cases_and_one_file(tmp_path: Path):
    for name in ("A", "B"):
        save(tmp_path / name / f"{name}_flair.nii.gz", [5])
    label = save(tmp_path / "A" / "A_seg.nii.gz", [1])
    assert find_masks(tmp_path) == find_masks(tmp_path / "A") == {"A": label}
    assert find_masks(label) == {"A": label}


def test_two_masks_of_one_case_and_none(tmp_path: Path):
    save(tmp_path / "masks" / "A.nii", [1])
    save(tmp_path / "masks" / "A.nii.gz", [1])
    with pytest.raises(CaseError, match="two label maps"):
        find_masks(tmp_path / "masks")
    with pytest.raises(CaseError, match="no file or folder"):
        find_masks(tmp_path / "nowhere")
    save(tmp_path / "case" / "A_flair.nii.gz", [5])
    with pytest.raises(CaseError, match="no label map"):
        find_masks(tmp_path / "case")


def test_values_belong_to_a_year(tmp_path: Path):
    path = save(tmp_path / "A.nii.gz", [1, 2, 4])
    mask = read_mask(path, "A", CONVENTIONS["brats2018"])
    assert mask.array.dtype == np.uint8
    assert mask.array.flat[:4].tolist() == [1, 2, 4, 0]
    with pytest.raises(CaseError, match="label values 4"):
        read_mask(path, "A", CONVENTIONS["brats2023"])
    assert read_mask(save(tmp_path / "B.nii.gz", [7]), "B").array.max() == 7


@pytest.mark.parametrize("value", [0.5, -1, 300, np.nan])
def test_what_is_no_label_is_refused(tmp_path: Path, value: float):
    with pytest.raises(CaseError, match=r"A\.nii\.gz"):
        read_mask(save(tmp_path / "A.nii.gz", [value]), "A")


def test_the_convention_is_recorded_beside_a_predicted_mask(tmp_path: Path):
    path = save(tmp_path / "A.nii.gz", [1])
    assert recorded_labels(path, "A") is None
    (tmp_path / ".medmiss").mkdir()
    (tmp_path / ".medmiss" / "A.json").write_text(json.dumps({"settings": {"labels": "msd"}}))
    assert recorded_labels(path, "A") == "msd"
    (tmp_path / ".medmiss" / "A.json").write_text(json.dumps({"settings": {"labels": "brats2099"}}))
    with pytest.raises(
        CaseError, match=r"unknown convention, 'brats2099'.*expected one of brats2013.*predict the case"
    ):
        recorded_labels(path, "A")


@pytest.mark.parametrize(
    ("path", "labels"),
    [
        ("BraTS-GLI-00000-000.nii.gz", "brats2023"),
        ("BraTS-MET-00132-000.nii.gz", "brats2023"),
        ("BraTS-GLI-02063-101.nii.gz", "brats2024"),
        ("BraTS2021_00000.nii.gz", "brats2021"),
        ("Brats18_2013_2_1.nii.gz", "brats2018"),
        ("brats_2013_pat0001.nii.gz", "brats2013"),
        ("labelsTr/BRATS_001.nii.gz", "msd"),
        ("patient.nii.gz", "brats2018"),
    ],
)
def test_a_name_speaks_for_a_convention(path: str, labels: str):
    assert guessed_labels(Path(path), Path(path).name.split(".")[0]) == labels


def test_a_mask_that_is_named_by_a_modality_is_known_by_its_record(tmp_path: Path):
    for name in ("P1", "sub01_FLAIR_brain", "T2_001"):
        save(tmp_path / f"{name}.nii.gz", [1])
    with pytest.raises(CaseError, match="no label map"):
        find_masks(tmp_path)
    (tmp_path / ".medmiss").mkdir()
    for name in ("sub01_FLAIR_brain", "T2_001"):
        (tmp_path / ".medmiss" / f"{name}.json").write_text("{}")
    assert list(find_masks(tmp_path)) == ["P1", "T2_001", "sub01_FLAIR_brain"]


def test_the_name_of_the_file_speaks_where_its_folder_is_renamed():
    assert guessed_labels(Path("patient1/BraTS-GLI-00000-100-seg.nii.gz"), "patient1") == "brats2024"
