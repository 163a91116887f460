"""The sentence about a failed case: what is wrong, and no folder of the user's in a report."""

from pathlib import Path

import pytest

from medmiss.cases import CaseError, find_cases
from medmiss.inference.failures import one_sentence, without_folders


@pytest.mark.parametrize("name", ["flair.nii.gz", "scan.nii.gz"])
def test_a_report_names_no_folder(tmp_path: Path, name: str):
    (tmp_path / "private" / "A").mkdir(parents=True)
    (tmp_path / "private" / "B").mkdir()
    (tmp_path / "private" / "A" / name).write_bytes(b"")
    (tmp_path / "private" / "B" / "flair.nii.gz").write_bytes(b"")
    case = find_cases(tmp_path / "private")[0]
    if case.problem is None:
        error = CaseError("A", "nothing", "something", "mend it", case.images["flair"].path)
    else:
        error = case.problem
    told = one_sentence(case, error)
    assert str(tmp_path) in told
    passed_on = without_folders(told, case, tmp_path / "out")
    assert str(tmp_path) not in passed_on and "case A" in passed_on
    assert passed_on.count("/") == 0


def test_any_error_becomes_one_line(tmp_path: Path):
    (tmp_path / "flair.nii.gz").write_bytes(b"")
    (case,) = find_cases(tmp_path)
    assert one_sentence(case, KeyError("a\nb")).count("\n") == 0
    wrapped = RuntimeError("applying transform")
    wrapped.__cause__ = CaseError("x", "an odd thing", "none", "mend it")
    assert "an odd thing" in one_sentence(case, wrapped)
