"""Masks on disk: which belong together, how they are read, the tables of their scores."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from medmiss.cases import CONVENTIONS, CaseError, Grid, write_volume
from medmiss.evaluation import PROTOCOLS
from medmiss.evaluation.evaluate import CaseScores, Evaluation, evaluate_masks, pair_masks
from medmiss.evaluation.metrics import RegionScores
from medmiss.evaluation.score_tables import metrics_table, summary_table, write_tables

GRID = Grid((12, 12, 12), np.diag([-1.0, -1, 1, 1]))


def mask(path: Path, convention: str = "brats2018", grid: Grid = GRID, shift: int = 0, cavity: int = 0) -> Path:
    """A tumour of three nested boxes, in the values of a year."""
    regions = np.zeros((3, *GRID.shape), dtype=bool)
    for region, size in zip(regions, (2, 4, 6), strict=True):
        region[shift : shift + size, :size, :size] = True
    labels = CONVENTIONS[convention].labels(regions)
    labels[10:, 10:, : cavity or 0] = CONVENTIONS[convention].rc or 0
    write_volume(path, labels, grid)
    return path


def paths(*names: str) -> dict[str, Path]:
    return {name: Path(f"{name}.nii.gz") for name in names}


def test_pairs_of_one_name_then_of_one_id():
    pairing = pair_masks(
        paths("A", "SEG-00217-000", "00132-000", "other", "BraTS-MET-00001-000"),
        paths("A", "BraTS-MET-00217-000", "BraTS-MET-00132-000", "BraTS-MET-00001-000", "BraTS-MET-00009-000"),
    )
    assert {case: prediction.name for case, (prediction, _) in pairing.pairs.items()} == {
        "A": "A.nii.gz",
        "BraTS-MET-00001-000": "BraTS-MET-00001-000.nii.gz",
        "BraTS-MET-00132-000": "00132-000.nii.gz",
        "BraTS-MET-00217-000": "SEG-00217-000.nii.gz",
    }
    assert (list(pairing.missing), list(pairing.extra)) == (["BraTS-MET-00009-000"], ["other"])
    assert pairing.ambiguous == []


def test_an_id_that_two_claim_is_no_pair():
    pairing = pair_masks(paths("a-00132-000", "b-00132-000"), paths("BraTS-MET-00132-000"))
    assert (pairing.pairs, pairing.missing, pairing.extra) == ({}, {}, {})
    (error,) = pairing.ambiguous
    assert "predictions a-00132-000, b-00132-000 for BraTS-MET-00132-000" in str(error)


def dice(scores: CaseScores) -> dict[str, float]:
    return {region: found.metrics["dice"] for region, found in scores.items()}


def test_each_side_is_read_by_its_own_year(tmp_path: Path):
    prediction, reference = mask(tmp_path / "p" / "A.nii.gz", "msd"), mask(tmp_path / "r" / "A.nii.gz", "brats2023")
    perfect = {"ET": 1, "TC": 1, "WT": 1}
    protocol = PROTOCOLS["literature"]
    assert dice(Evaluation(protocol, "msd", "brats2023").score("A", prediction, reference)) == perfect
    # Like the reference unless told otherwise, which turns oedema and necrosis round.
    assert dice(Evaluation(protocol, None, "brats2023").score("A", prediction, reference))["TC"] < 1
    with pytest.raises(CaseError, match="label values 3"):  # the name says nothing: brats2018
        Evaluation(protocol).score("A", prediction, reference)
    record = tmp_path / "p" / ".medmiss" / "A.json"
    record.parent.mkdir()
    record.write_text(json.dumps({"settings": {"labels": "msd"}}))
    assert dice(Evaluation(protocol, None, "brats2023").score("other", prediction, reference)) == perfect
    record.write_text(json.dumps({"settings": {"labels": "brats2099"}}))
    with pytest.raises(CaseError, match="unknown convention, 'brats2099'"):
        Evaluation(protocol, None, "brats2023").score("other", prediction, reference)
    assert dice(Evaluation(protocol, "msd", "brats2023").score("other", prediction, reference)) == perfect
    record.write_text(json.dumps({"settings": {"labels": "msd"}}))
    named = mask(tmp_path / "BraTS-GLI-00001-000-seg.nii.gz", "brats2023")
    assert dice(Evaluation(protocol).score("BraTS-GLI-00001-000", prediction, named)) == perfect


def test_the_cavity_is_scored_where_both_sides_may_hold_one(tmp_path: Path):
    prediction = mask(tmp_path / "p.nii.gz", "brats2024", cavity=2)
    reference = mask(tmp_path / "r.nii.gz", "brats2024", cavity=1)
    protocol = PROTOCOLS["brats2025"]
    scores = Evaluation(protocol, "brats2024", "brats2024").score("A", prediction, reference)
    assert dice(scores) == pytest.approx({"ET": 1, "TC": 1, "WT": 1, "RC": 2 / 3})
    older = mask(tmp_path / "q.nii.gz", "brats2023")
    assert set(Evaluation(protocol, "brats2023", "brats2024").score("A", older, reference)) == {"ET", "TC", "WT"}


@pytest.mark.parametrize(
    "grid", [Grid((12, 12, 12), np.diag([1.0, 1, 1, 1])), Grid((12, 12, 12), np.diag([-1.0, -1, 1.02, 1]))]
)
def test_two_grids_are_refused(tmp_path: Path, grid: Grid):
    prediction, reference = mask(tmp_path / "p.nii.gz", grid=grid), mask(tmp_path / "r.nii.gz")
    with pytest.raises(CaseError, match=r"two grids.*write the prediction on the grid of the reference"):
        Evaluation(PROTOCOLS["literature"]).score("A", prediction, reference)


def test_an_absent_case_by_the_rule_of_2025(tmp_path: Path):
    """BraTS_evaluation, metrics_parser: 373 for HD95, 0 for all else."""
    reference = mask(tmp_path / "A.nii.gz")
    for scores in Evaluation(PROTOCOLS["brats2025"]).absent("A", reference).values():
        found = scores.metrics
        assert {name for name, value in found.items() if value == 373} == {"hd95", "lesion_hd95"}
        assert all(found[name] == 0 for name in ("dice", "nsd", "lesion_dice", "lesion_nsd", "tp", "fp", "fn"))
        assert (found["volume_pred_ml"], found["volume_ref_ml"] > 0) == (0, True)
    with pytest.raises(ValueError, match="no score"):
        Evaluation(PROTOCOLS["brats2018"]).absent("A", reference)


def test_one_bad_case_leaves_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for name in ("A", "B", "C"):
        mask(tmp_path / "r" / f"{name}.nii.gz")
        mask(tmp_path / "p" / f"{name}.nii.gz")
    (tmp_path / "p" / "B.nii.gz").write_bytes(b"no image")
    predictions = {name: tmp_path / "p" / f"{name}.nii.gz" for name in ("A", "B", "X")}
    references = {name: tmp_path / "r" / f"{name}.nii.gz" for name in ("A", "B", "C")}
    pairing = pair_masks(predictions, references)
    scores = evaluate_masks(Evaluation(PROTOCOLS["literature"]), pairing, progress=False)
    assert (list(scores.cases), sorted(scores.unscored)) == (["A"], ["B", "C"])
    assert "case C: there is no prediction; not scored" in caplog.text
    assert "prediction X: there is no reference" in caplog.text
    assert "case B, file" in caplog.text
    scores = evaluate_masks(Evaluation(PROTOCOLS["brats2025"]), pairing, progress=False)
    assert (list(scores.cases), scores.unscored) == (["A", "C"], ["B"])


def scored(*values: float) -> dict[str, CaseScores]:
    return {f"case{i}": {"WT": RegionScores({"hd95": value}, [])} for i, value in enumerate(values)}


@pytest.mark.parametrize(
    ("protocol", "values", "expected"),
    [
        ("brats2018", (1, 2, 6), (3, 0, 0, 3, 2, math.sqrt(7))),
        ("brats2018", (4,), (1, 0, 0, 4, 4, math.nan)),
        ("brats2018", (math.nan,), (0, 1, 0, math.nan, math.nan, math.nan)),
        ("brats2018", (1, 2, math.inf), (3, 0, 1, math.inf, 2, math.nan)),
        # BraTS_evaluation, metrics_parser: 373 in place of infinite; NaN left out of the mean
        ("brats2025", (1, math.nan, math.inf), (2, 1, 1, 187, 187, 372 / math.sqrt(2))),
    ],
)
def test_the_summary_counts_what_it_leaves_out(protocol, values, expected):
    (row,) = summary_table(metrics_table(scored(*values)), PROTOCOLS[protocol]).to_numpy().tolist()
    assert row[:3] == [protocol, "WT", "hd95"]
    assert row[3:] == pytest.approx(expected, nan_ok=True)


def test_tables_on_disk(tmp_path: Path):
    reference = mask(tmp_path / "r.nii.gz")
    empty = tmp_path / "p.nii.gz"
    write_volume(empty, np.zeros(GRID.shape, dtype=np.uint8), GRID)
    protocol = PROTOCOLS["brats2025"]
    cases = {
        "A": Evaluation(protocol).score("A", mask(tmp_path / "q.nii.gz", shift=1), reference),
        "B": Evaluation(protocol).score("B", empty, reference),
        "C": Evaluation(protocol).score("C", empty, empty),
    }
    write_tables(tmp_path / "out", cases, protocol)
    with (tmp_path / "out" / "metrics.csv").open() as file:
        rows = {(row["case"], row["region"]): row for row in csv.DictReader(file)}
    assert list(rows) == [(case, region) for case in "ABC" for region in ("ET", "TC", "WT")]
    assert list(rows["A", "ET"]) == [
        *("case", "region", "dice", "hd95", "nsd", "lesion_dice", "lesion_hd95", "lesion_nsd", "tp", "fp", "fn"),
        *("volume_pred_ml", "volume_ref_ml", "volume_pred_voxels", "volume_ref_voxels"),
    ]
    assert (rows["A", "ET"]["dice"], rows["A", "ET"]["tp"], rows["A", "WT"]["volume_ref_voxels"]) == ("0.5", "1", "216")
    assert [rows[case, "WT"]["hd95"] for case in "ABC"] == ["1", "inf", ""]
    with (tmp_path / "out" / "lesions.csv").open() as file:
        lesions = [row for row in csv.DictReader(file) if row["region"] == "WT"]
    assert [(row["case"], row["status"], row["dice"]) for row in lesions] == [
        ("A", "matched", "0.8333333333"),
        ("B", "missed", ""),
    ]
    write_tables(tmp_path / "out", scored(1), PROTOCOLS["literature"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["metrics.csv", "summary.csv"]
