"""From masks to an archive: labels, names, grid, header, and the same bytes each time."""

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medmiss.cases import CONVENTIONS, CaseError, find_cases, find_masks
from medmiss.submission import CHALLENGES, build_submission
from medmiss.submission.labels import convert_labels


def save(folder: Path, name: str, image: nib.Nifti1Image, labels: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(image, folder / f"{name}.nii.gz")
    if labels is not None:
        (folder / ".medmiss").mkdir(exist_ok=True)
        (folder / ".medmiss" / f"{name}.json").write_text(json.dumps({"settings": {"labels": labels}}))
    return folder


def images_in(content: bytes) -> dict[str, nib.Nifti1Image]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {
            name: nib.Nifti1Image.from_bytes(gzip.decompress(archive.read(name))) for name in sorted(archive.namelist())
        }


def test_masks_are_converted_named_and_cleaned(kit: Any, tmp_path: Path):
    image = kit.image(kit.tumour(0, (2, 1, 3)).astype(np.float32))
    image.header["descrip"] = b"Jane Doe"
    save(tmp_path / "masks", kit.a, image, labels="msd")
    save(tmp_path / "masks", "mine_00002-000_seg", kit.image(kit.tumour(1)))
    (tmp_path / "masks" / ".medmiss" / "mine_00002-000.json").write_text('{"settings": {"labels": "brats2023"}}')
    cases = kit.cases(tmp_path / "cases", kit.a, kit.b)
    made = build_submission(find_masks(tmp_path / "masks"), cases, kit.challenge("brats2023-gli"))
    assert made.findings == []
    images = images_in(made.content)
    assert list(images) == made.names == [f"{kit.a}.nii.gz", f"{kit.b}.nii.gz"]
    for shift, packed in enumerate(images.values()):
        np.testing.assert_array_equal(np.asarray(packed.dataobj), kit.tumour(shift))
        assert packed.get_data_dtype() == np.uint8
        assert packed.header["descrip"].item() == b""
        assert (packed.header.get_qform() == kit.affine).all()  # bit for bit, as the validator of 2023 asks


def test_the_same_masks_give_the_same_bytes(kit: Any, tmp_path: Path):
    masks = find_masks(save(tmp_path / "masks", kit.a, kit.image(), labels="brats2023"))
    cases = kit.cases(tmp_path / "cases", kit.a)
    challenge = kit.challenge("brats2023-gli")
    for form in ("zip", "tar"):
        one, other = (build_submission(masks, cases, challenge, form) for _ in range(2))
        assert one.content == other.content
        assert one.findings == []
    with tarfile.open(fileobj=io.BytesIO(one.content)) as tar:
        (member,) = tar.getmembers()
    assert (member.name, member.mtime, member.uid, member.uname) == (f"{kit.a}.nii.gz", 0, 0, "")


def test_a_grid_off_by_rounding_becomes_the_one_that_is_demanded(kit: Any, tmp_path: Path):
    kit.affine = CHALLENGES["brats2023-gli"].affine
    kit.affine[0, 3] = 1e-5
    cases = kit.cases(tmp_path / "cases", kit.a)
    masks = find_masks(save(tmp_path / "masks", kit.a, kit.image(), labels="brats2023"))
    made = build_submission(masks, cases, kit.challenge("brats2023-gli"))
    assert made.findings == []
    assert (images_in(made.content)[f"{kit.a}.nii.gz"].header.get_qform() == CHALLENGES["brats2023-gli"].affine).all()


def test_a_case_with_another_qform_than_the_rule_is_not_papered_over(kit: Any, tmp_path: Path):
    kit.affine = np.diag([1.0, 1, 1, 1])
    cases = kit.cases(tmp_path / "cases", kit.a)
    masks = find_masks(save(tmp_path / "masks", kit.a, kit.image(), labels="brats2023"))
    made = build_submission(masks, cases, kit.challenge("brats2023-gli"))
    assert [finding.kind for finding in made.findings] == ["qform"]


def test_a_mask_off_the_grid_of_its_case(kit: Any, tmp_path: Path):
    cases = kit.cases(tmp_path / "cases", "BraTS2021_00001", layout="brats2021")
    affine = kit.affine.copy()
    affine[2, 3] = 5
    masks = find_masks(save(tmp_path / "masks", "BraTS2021_00001", kit.image(None, affine), labels="brats2023"))
    made = build_submission(masks, cases, kit.challenge("brats2021"))
    assert [finding.kind for finding in made.findings] == ["grid"]


def test_labels_are_known_or_named(kit: Any, tmp_path: Path):
    masks = find_masks(save(tmp_path / "masks", kit.a, kit.image()))
    cases = kit.cases(tmp_path / "cases", kit.a)
    challenge = kit.challenge("brats2023-gli")
    with pytest.raises(CaseError, match="no record of the label values"):
        build_submission(masks, cases, challenge)
    assert build_submission(masks, cases, challenge, labels="brats2023").findings == []
    (finding,) = build_submission(masks, cases, challenge, labels="brats2018").findings
    assert (finding.kind, finding.where) == ("labels", f"{kit.a}.nii.gz")
    assert "--labels brats2023 or msd" in finding.remedy
    save(tmp_path / "masks", kit.a, kit.image(), labels="msd")
    with pytest.raises(CaseError, match="labels of msd, as its record says"):
        build_submission(masks, cases, challenge, labels="brats2023")


def test_masks_without_a_case_and_cases_without_a_mask(kit: Any, tmp_path: Path):
    folder = tmp_path / "masks"
    for name in (kit.a, "copy_00001-000", "BraTS-GLI-00009-000", "mean"):
        save(folder, name, kit.image(), labels="brats2023")
    cases = kit.cases(tmp_path / "cases", kit.a, kit.b)
    challenge = kit.challenge("brats2023-gli")
    made = build_submission(find_masks(folder), cases, challenge)
    assert {(finding.kind, finding.where) for finding in made.findings} == {
        ("duplicate", "copy_00001-000.nii.gz"),
        ("unknown-case", "BraTS-GLI-00009-000.nii.gz"),
        ("unknown-case", "mean.nii.gz"),
        ("missing-case", kit.b),
    }
    made = build_submission({kit.a: folder / f"{kit.a}.nii.gz"}, cases, challenge, partial=True)
    assert (made.findings, made.names) == ([], [f"{kit.a}.nii.gz"])


def test_a_broken_mask_is_said_and_the_others_are_checked(kit: Any, tmp_path: Path):
    folder = save(tmp_path / "masks", kit.a, kit.image(np.full(kit.shape, 0.5)), labels="brats2023")
    save(folder, kit.b, kit.image(np.zeros(kit.shape, np.uint8)), labels="brats2023")
    cases = kit.cases(tmp_path / "cases", kit.a, kit.b)
    made = build_submission(find_masks(folder), cases, kit.challenge("brats2023-gli"))
    assert {finding.kind: finding.where for finding in made.findings} == {
        "unreadable": f"{kit.a}.nii.gz",
        "empty": f"{kit.b}.nii.gz",
    }


def test_a_resection_cavity_is_kept_or_said_to_be_lost(kit: Any, tmp_path: Path):
    array = kit.tumour()
    array[2, 2, 2] = 4
    np.testing.assert_array_equal(convert_labels(array, CONVENTIONS["brats2024"], CONVENTIONS["brats2024"]), array)
    masks = find_masks(save(tmp_path / "masks", kit.a, kit.image(array), labels="brats2024"))
    cases = kit.cases(tmp_path / "cases", kit.a)
    made = build_submission(masks, cases, kit.challenge("brats2023-gli"))
    assert [(finding.kind, finding.severity) for finding in made.findings] == [("cavity-lost", "warning")]
    np.testing.assert_array_equal(np.asarray(images_in(made.content)[f"{kit.a}.nii.gz"].dataobj), kit.tumour())


def test_non_enhancing_core_of_2013_becomes_core(kit: Any):
    array = kit.tumour(0, (3, 2, 4))
    converted = convert_labels(array, CONVENTIONS["brats2013"], CONVENTIONS["brats2023"])
    np.testing.assert_array_equal(converted, kit.tumour())


def test_a_case_that_cannot_be_read_does_not_end_the_others(kit: Any, tmp_path: Path):
    kit.cases(tmp_path / "cases", kit.a, kit.b)
    broken = tmp_path / "cases" / kit.b / f"{kit.b}-t2f.nii.gz"
    broken.write_bytes(b"")
    folder = save(tmp_path / "masks", kit.a, kit.image(), labels="brats2023")
    save(folder, kit.b, kit.image(kit.tumour(1)), labels="brats2023")
    made = build_submission(find_masks(folder), find_cases(tmp_path / "cases"), kit.challenge("brats2023-gli"))
    assert [(finding.kind, finding.where) for finding in made.findings] == [("case-image", f"{kit.b}.nii.gz")]
    assert len(made.names) == 2
