import json
from pathlib import Path

import numpy as np
import pytest

from medmiss.cases import (
    LAYOUTS,
    Case,
    CaseError,
    Grid,
    ImageSource,
    cases_of,
    find_cases,
    read_case,
    read_label,
    read_split,
    split_cases,
    write_case,
)
from medmiss.cases.files import write_json

NAMES = [f"BraTS-GLI-{patient:05d}-{time:03d}" for patient in range(10) for time in range(2)]
GRID = Grid((6, 7, 8), np.diag([-1.0, -1.0, 1.0, 1.0]))


def test_a_split_keeps_patients_whole_and_depends_on_the_seed_alone():
    split = split_cases(NAMES, val_share=0.3, seed=1)
    assert split == split_cases(reversed(NAMES), val_share=0.3, seed=1)
    assert split != split_cases(NAMES, val_share=0.3, seed=2)
    assert sorted(split["train"] + split["val"]) == NAMES
    patients = [{name[:15] for name in split[part]} for part in ("train", "val")]
    assert [len(part) for part in patients] == [7, 3]
    assert not patients[0] & patients[1]


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_neither_part_is_empty(share):
    split = split_cases(["a", "b", "c"], val_share=share)
    assert split["train"] and split["val"]


def test_the_held_out_part_is_taken_from_the_training_part():
    without = split_cases(NAMES, val_share=0.3, seed=1)
    split = split_cases(NAMES, val_share=0.3, held_out_share=0.2, seed=1)
    assert without["held_out"] == []
    assert split["val"] == without["val"]
    assert sorted(split["train"] + split["held_out"]) == without["train"]
    patients = [{name[:15] for name in split[part]} for part in ("train", "val", "held_out")]
    assert [len(part) for part in patients] == [5, 3, 2]
    assert len(set.union(*patients)) == 10


@pytest.mark.parametrize(
    ("names", "shares"),
    [(NAMES[:2], (0.5,)), ([], (0.5,)), (["a", "b"], (1.0,)), (["a", "b"], (0.2, 0.2)), (["a", "b"], (-0.1,))],
)
def test_an_impossible_split_is_refused(names, shares):
    with pytest.raises(ValueError, match="expected at least one patient a part"):
        split_cases(names, *shares)


def test_split_files(tmp_path):
    split = split_cases(NAMES)
    write_json(tmp_path / "split.json", split)
    assert read_split(tmp_path / "split.json") == split


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("no json", "not JSON"),
        ('["a"]', "expected"),
        ('{"train": ["a"]}', "expected"),
        (json.dumps({"train": [NAMES[0]], "val": [NAMES[1]]}), "BraTS-GLI-00000 in both"),
        (json.dumps({"train": ["a"], "val": [], "held_out": ["a"]}), "a named more than once"),
        (json.dumps({"train": ["a", "b", "a"], "val": []}), "a named more than once"),
        (json.dumps({"train": [1], "val": [2]}), "expected"),
        (json.dumps({"train": "a", "val": []}), "expected"),
        (b"\xff\xfe", "not JSON"),
    ],
)
def test_bad_split_files_are_refused(tmp_path, content, found):
    (tmp_path / "split.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=found):
        read_split(tmp_path / "split.json")


def test_cases_by_name():
    cases = [Case(name, {"t1": ImageSource(Path(name))}) for name in "abc"]
    assert cases_of(cases, ["c", "a"]) == [cases[2], cases[0]]
    with pytest.raises(ValueError, match="such as d"):
        cases_of(cases, ["a", "d"])


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_written_case_is_read_back(tmp_path, layout):
    generator = np.random.default_rng(0)
    images = {m: generator.normal(size=GRID.shape).astype(np.float32) for m in ("flair", "t1", "t1c", "t2")}
    label = np.zeros(GRID.shape, dtype=np.uint8)
    label[2, 2, 2] = 3 if layout.convention == "msd" else 2
    write_case(tmp_path, layout, layout.case_name(0), images, GRID, label)
    (case,) = find_cases(tmp_path)
    assert case.layout == layout.name
    volumes = read_case(case)
    for modality, array in images.items():
        np.testing.assert_array_equal(volumes.arrays[modality], array)
    np.testing.assert_array_equal(read_label(case, volumes.grid).array, label)


def test_a_stacked_case_needs_all_modalities(tmp_path):
    images = {"flair": np.zeros(GRID.shape, dtype=np.float32)}
    with pytest.raises(ValueError, match="t1, t1c, t2 missing"):
        write_case(tmp_path, LAYOUTS["msd"], "x", images, GRID, None)
    write_case(tmp_path, LAYOUTS["brats2018"], "x", images, GRID, None)
    (case,) = find_cases(tmp_path)
    assert (case.available, case.label) == (("flair",), None)
    with pytest.raises(CaseError, match="0 in every voxel"):
        read_case(case)
