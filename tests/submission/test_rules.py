"""What the rules of single years come to: labels, names, counts, placement, and the cases beside the masks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmiss.cases import CONVENTIONS
from medmiss.submission import CHALLENGES, KINDS, Challenge, check_submission
from medmiss.submission.archive import pack
from medmiss.submission.findings import Finding, errors_first, summary


def kinds(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.kind, finding.where) for finding in findings]


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


GOOD = {
    "brats2018": (("Brats18_CBICA_AAM_1", "Brats18_TCIA02_8_1"), (1, 2, 4)),
    "brats2019": (("BraTS19_CBICA_AAM_1", "BraTS19_TMC_1_1"), (1, 2, 4)),
    "brats2020": (("BraTS20_Validation_001", "BraTS20_Validation_002"), (1, 2, 4)),
    "brats2021": (("BraTS2021_00001", "BraTS2021_00013"), (1, 2, 4)),
    "brats2023-gli": (("BraTS-GLI-00001-000", "BraTS-GLI-00001-001"), (1, 2, 3)),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_submission_of_each_year(kit: Any, name: str):
    cases, values = GOOD[name]
    assert check_submission(pack(kit.files(*cases, values=values), "zip"), kit.challenge(name)) == []
    for case in cases:
        assert CHALLENGES[name].is_usual(case)


def test_a_good_submission_of_2024_has_a_resection_cavity(kit: Any):
    affine = CHALLENGES["brats2024-gli"].affine
    array = kit.tumour()
    files = {"BraTS-GLI-02001-100.nii.gz": kit.packed(kit.image(array, affine))}
    challenge = kit.challenge("brats2024-gli")
    found = check_submission(pack(files, "zip"), challenge, partial=True)
    assert kinds(found) == [("no-cavity", "the archive")]
    array[0, 0, 0] = 4
    files["BraTS-GLI-02002-101.nii.gz"] = kit.packed(kit.image(array, affine))
    assert check_submission(pack(files, "zip"), challenge) == []


@pytest.mark.parametrize("name", CHALLENGES)
def test_the_table(name: str):
    challenge = CHALLENGES[name]
    stem = challenge.example.removesuffix(".nii.gz")
    assert challenge.name == name
    assert challenge.case_id(stem)
    assert challenge.is_usual(stem)
    assert challenge.convention in CONVENTIONS
    assert challenge.case_id(f"{stem}_seg") is None
    assert challenge.case_id("") is None


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("brats2018", "BraTS19_CBICA_AAM_1"),
        ("brats2020", "x_BraTS20_Validation_001"),
        ("brats2021", "BraTS2021_0001"),
        ("brats2021", "BraTS2021_\u0661\u0661\u0661\u0661\u0661"),
        ("brats2023-gli", "BraTS-GLI-00001"),
        ("brats2024-gli", "BraTS-GLI-00001-100\n"),
    ],
)
def test_names_of_other_years_have_no_id(name: str, stem: str):
    assert CHALLENGES[name].case_id(stem) is None


@pytest.mark.parametrize(
    ("name", "values", "guess"),
    [
        ("brats2021", (1, 2, 3), "brats2023 or msd"),
        ("brats2018", (1, 2, 3), "brats2023 or msd"),
        ("brats2023-gli", (1, 2, 4), "brats2018"),
        ("brats2023-gli", (3, 2, 4), "brats2013 or brats2024"),
    ],
)
def test_labels_of_another_year_are_named_with_the_command_that_mends_them(
    kit: Any, name: str, values: tuple[int, int, int], guess: str
):
    case = GOOD[name][0][0]
    archive = pack(kit.files(case, values=values), "zip")
    (finding,) = check_submission(archive, kit.challenge(name), partial=True)
    assert (finding.kind, finding.where) == ("labels", f"{case}.nii.gz")
    assert f"as in {guess}" in finding.found
    assert f"medmiss submit MASKS --challenge {name}" in finding.remedy
    assert finding.remedy.endswith(f"--labels {guess.split()[0]}")


def test_a_value_of_no_year(kit: Any):
    archive = pack(kit.files("BraTS2021_00001", values=(1, 2, 255)), "zip")
    (finding,) = check_submission(archive, kit.challenge("brats2021"), partial=True)
    assert finding.kind == "labels"
    assert "255, which no known year has" in finding.found


def test_the_record_beside_a_mask_counts_where_its_values_do_not_tell(kit: Any, tmp_path: Path):
    for name, content in kit.files(kit.a).items():
        write(tmp_path / name, content)
    record = tmp_path / ".medmiss" / f"{kit.a}.json"
    for labels, expected in (("brats2023", []), ("brats2024", []), ("msd", ["labels"])):
        write(record, json.dumps({"settings": {"labels": labels}}).encode())
        found = check_submission(tmp_path, kit.challenge("brats2023-gli"), partial=True)
        assert [finding.kind for finding in found] == expected


def test_four_without_three_in_2024_may_be_enhancing_tumour(kit: Any):
    affine = CHALLENGES["brats2024-gli"].affine
    files = {"BraTS-GLI-02001-100.nii.gz": kit.packed(kit.image(kit.tumour(0, (1, 2, 4)), affine))}
    found = check_submission(pack(files, "zip"), kit.challenge("brats2024-gli"), partial=True)
    assert kinds(found) == [("labels-unlikely", "the archive")]


def test_the_number_of_masks_without_cases(kit: Any):
    archive = pack(kit.files("BraTS2021_00001", values=(1, 2, 4)), "zip")
    challenge = kit.challenge("brats2021")
    assert kinds(check_submission(archive, challenge)) == [("count", "the archive")]
    assert check_submission(archive, challenge, partial=True) == []
    assert {name: row.cases for name, row in CHALLENGES.items()} == {
        "brats2018": 66,
        "brats2019": 125,
        "brats2020": 125,
        "brats2021": 219,
        "brats2023-gli": None,
        "brats2024-gli": None,
    }


def test_a_tar_is_for_the_years_from_2021(kit: Any, tmp_path: Path):
    path = write(tmp_path / "s.tar.gz", pack(kit.files("Brats18_A_1", values=(1, 2, 4)), "tar"))
    assert kinds(check_submission(path, kit.challenge("brats2018"), partial=True)) == [("archive", "s.tar.gz")]
    path = write(tmp_path / "s.zip", pack(kit.files("BraTS2021_00001", values=(1, 2, 4)), "tar"))
    assert kinds(check_submission(path, kit.challenge("brats2021"), partial=True)) == [("suffix", "s.zip")]


def test_names_that_differ_in_case_alone(kit: Any):
    archive = pack(kit.files("Brats18_AAM_1", "Brats18_aam_1", values=(1, 2, 4)), "zip")
    (finding,) = check_submission(archive, kit.challenge("brats2018"), partial=True)
    assert (finding.kind, finding.where) == ("duplicate", "Brats18_aam_1.nii.gz")
    assert "in other case" in finding.found


def test_placement_matters_where_there_is_no_case_to_compare(kit: Any, tmp_path: Path):
    affine = kit.affine.copy()
    affine[1, 3] = 21
    files = {"BraTS2021_00001.nii.gz": kit.packed(kit.image(kit.tumour(0, (1, 2, 4)), affine))}
    challenge = kit.challenge("brats2021")
    found = check_submission(pack(files, "zip"), challenge, partial=True)
    assert kinds(found) == [("placement", "BraTS2021_00001.nii.gz")]
    cases = kit.cases(tmp_path, "BraTS2021_00001", layout="brats2021")
    (finding,) = check_submission(pack(files, "zip"), challenge, cases)
    assert (finding.kind, finding.where) == ("grid", "BraTS2021_00001.nii.gz")
    assert "BraTS2021_00001_flair.nii.gz" in finding.expected


def test_a_mask_of_the_shape_of_the_year_on_a_case_of_another(kit: Any, tmp_path: Path):
    kit.shape = (26, 22, 20)
    cases = kit.cases(tmp_path, "BraTS2021_00001", layout="brats2021")
    kit.shape = (24, 22, 20)
    archive = pack(kit.files("BraTS2021_00001", values=(1, 2, 4)), "zip")
    assert [finding.kind for finding in check_submission(archive, kit.challenge("brats2021"), cases)] == ["grid"]


def test_an_unreadable_image_of_a_case_is_said(kit: Any, tmp_path: Path):
    cases = kit.cases(tmp_path, kit.a)
    image = tmp_path / kit.a / f"{kit.a}-t2f.nii.gz"
    image.write_bytes(image.read_bytes()[:200])
    found = check_submission(pack(kit.files(kit.a), "zip"), kit.challenge("brats2023-gli"), cases)
    assert kinds(found) == [("case-image", f"{kit.a}.nii.gz")]
    assert str(tmp_path) not in str(found[0])


def test_cases_of_another_challenge_and_two_of_one_id(kit: Any, tmp_path: Path):
    cases = kit.cases(tmp_path, kit.a, "BraTS-MET-00001-000", "unnamed")
    found = check_submission(pack(kit.files(kit.a), "zip"), kit.challenge("brats2023-gli"), cases)
    assert kinds(found) == [("case-name", "BraTS-MET-00001-000"), ("case-name", "unnamed")]


def test_cases_may_be_missing_where_that_is_meant(kit: Any, tmp_path: Path):
    cases = kit.cases(tmp_path, kit.a, kit.b)
    archive = pack(kit.files(kit.a), "zip")
    challenge: Challenge = kit.challenge("brats2023-gli")
    assert kinds(check_submission(archive, challenge, cases)) == [("missing-case", kit.b)]
    assert check_submission(archive, challenge, cases, partial=True) == []


def test_errors_come_first_and_are_counted():
    findings = [Finding(kind, "a", "b", "c", "d") for kind in ("empty", "labels", "empty", "name")]
    assert [finding.kind for finding in errors_first(findings)] == ["labels", "name", "empty", "empty"]
    assert summary(findings) == "2 errors (labels 1, name 1), 2 warnings (empty 2)"
    assert summary([]) == "no findings"
    assert set(KINDS.values()) == {"error", "warning"}


def test_masks_of_full_size_are_read(kit: Any):
    kit.shape = (240, 240, 155)
    array = np.zeros(kit.shape, dtype=np.uint8)
    array[100:120, 100:120, 70:80] = 2
    files = {"Brats18_A_1.nii.gz": kit.packed(kit.image(array))}
    assert check_submission(pack(files, "zip"), CHALLENGES["brats2018"], partial=True) == []
