"""The colour table and the table of volumes."""

import csv
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from medmiss.cases import CONVENTIONS, CaseError, Grid, LabelConvention
from medmiss.evaluation.picture import COLOURS
from medmiss.slicer.tables import COLUMNS, add_volumes, colour_table, volumes_row
from medmiss.slicer.tissues import label_tissues

LabelMap = Callable[[LabelConvention], np.ndarray]


@pytest.mark.parametrize("convention", CONVENTIONS.values(), ids=CONVENTIONS)
def test_a_colour_a_label_value(convention: LabelConvention):
    lines = [line.split(" ") for line in colour_table(convention).decode("ascii").splitlines() if line[0] != "#"]
    assert all(len(line) == 6 for line in lines)  # index name R G B A, parted by blanks
    assert [int(line[0]) for line in lines] == list(convention.values)
    assert lines[0] == ["0", "Background", "0", "0", "0", "0"]
    for line in lines[1:]:
        tissue = label_tissues(convention)[int(line[0])]
        assert line[1].replace("_", " ") == tissue.name
        assert tuple(map(int, line[2:])) == (*tissue.rgb, 255)


def test_a_label_has_the_colour_it_has_in_pictures():
    for convention in CONVENTIONS.values():
        tissues = label_tissues(convention)
        assert tissues[convention.et].colour == COLOURS["ET"]
        assert tissues[convention.ncr].colour == COLOURS["TC"]
        assert tissues[convention.ed].colour == COLOURS["WT"]
        assert len({tissue.colour for tissue in tissues.values()}) == len(tissues)


def test_volumes_are_counted_voxels(label_map: LabelMap):
    convention = CONVENTIONS["brats2024"]
    labels = label_map(convention)
    row = volumes_row("A", labels, Grid(labels.shape, np.diag([-0.5, 0.9, 3, 1])), convention)
    ml = 0.5 * 0.9 * 3 / 1000
    netc, snfh, et, rc = (np.count_nonzero(labels == value) * ml for value in (1, 2, 3, 4))
    expected = {"ET": et, "TC": et + netc, "WT": et + netc + snfh, "NCR": netc, "ED": snfh, "RC": rc}
    assert {key: float(row[f"{key}_ml"]) for key in expected} == pytest.approx(expected, abs=6e-4)
    assert "NET_ml" not in row


def test_the_table_has_one_row_a_case(tmp_path: Path, lps: Grid, label_map: LabelMap):
    path = tmp_path / "volumes.csv"
    for case, labels in (("B", "brats2018"), ("A", "brats2013"), ("B", "brats2024")):
        convention = CONVENTIONS[labels]
        add_volumes(path, volumes_row(case, label_map(convention), lps, convention))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["labels"]) for row in rows] == [("A", "brats2013"), ("B", "brats2024")]
    assert [row["NET_ml"] == "" for row in rows] == [False, True]
    assert [row["RC_ml"] == "" for row in rows] == [True, False]
    assert tuple(rows[0]) == COLUMNS
    assert COLUMNS == ("case", "labels", "ET_ml", "TC_ml", "WT_ml", "NCR_ml", "ED_ml", "NET_ml", "RC_ml")


def test_no_row_is_lost_where_several_write(tmp_path: Path, lps: Grid, label_map: LabelMap):
    convention = CONVENTIONS["brats2018"]
    row = volumes_row("", label_map(convention), lps, convention)
    cases = [f"case_{index:02}" for index in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda case: add_volumes(tmp_path / "volumes.csv", {**row, "case": case}), cases))
    with (tmp_path / "volumes.csv").open(newline="") as file:
        assert [row["case"] for row in csv.DictReader(file)] == cases


def test_another_table_is_not_touched(tmp_path: Path, lps: Grid, label_map: LabelMap):
    path = tmp_path / "volumes.csv"
    path.write_text("patient,volume\n1,2\n")
    convention = CONVENTIONS["brats2018"]
    with pytest.raises(CaseError, match="another table"):
        add_volumes(path, volumes_row("A", label_map(convention), lps, convention))
    assert path.read_text() == "patient,volume\n1,2\n"
