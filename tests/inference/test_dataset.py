"""The cases of a run, and their parts over processes and jobs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from medmiss.inference import CaseDataset

NAMES = ["A", "B", "C", "D", "E"]


@pytest.fixture
def cases(tmp_path: Path, write_case: Callable[..., Path]) -> Path:
    for name in NAMES:
        write_case(tmp_path / "cases", name, ["flair"])
    return tmp_path / "cases"


@pytest.mark.parametrize("number", [1, 2, 3, 7])
def test_the_parts_are_all_cases_each_once(cases: Path, number: int):
    parts = [[case.name for case in CaseDataset(cases, part=f"{i}/{number}")] for i in range(1, number + 1)]
    assert sorted(name for part in parts for name in part) == NAMES
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_process_of_torchrun_takes_its_own_part(cases: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert [case.name for case in CaseDataset(cases)] == ["B", "D"]
    assert [case.name for case in CaseDataset(cases, part="1/1")] == ["B", "D"]


def test_the_processes_of_a_job_share_its_part(cases: Path, monkeypatch: pytest.MonkeyPatch):
    whole = {part: [case.name for case in CaseDataset(cases, part=part)] for part in ("1/2", "2/2")}
    monkeypatch.setenv("WORLD_SIZE", "2")
    seen = []
    for part in ("1/2", "2/2"):
        for rank in ("0", "1"):
            monkeypatch.setenv("RANK", rank)
            found = CaseDataset(cases, part=part)
            seen.append((found.part, [case.name for case in found]))
    assert seen == [((1, 4), ["A", "E"]), ((3, 4), ["C"]), ((2, 4), ["B"]), ((4, 4), ["D"])]
    # So that a job that is repeated with another number of processes has the same cases.
    assert [sorted(seen[i][1] + seen[i + 1][1]) for i in (0, 2)] == [whole["1/2"], whole["2/2"]]


@pytest.mark.parametrize("part", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2"])
def test_there_is_no_such_part(cases: Path, part: str):
    with pytest.raises(ValueError, match="expected I/N"):
        CaseDataset(cases, part=part)
