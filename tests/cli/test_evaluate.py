"""`medmiss evaluate` as a user meets it."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medmiss.cases import CONVENTIONS, LAYOUTS, Grid, write_case, write_volume
from medmiss.cli import evaluate
from medmiss.cli.main import main
from medmiss.evaluation import PROTOCOLS

GRID = Grid((16, 16, 16), np.diag([-1.0, -1, 1, 1]))


def tumour(size: int) -> np.ndarray:
    """Regions of a round tumour."""
    distance = np.linalg.norm(np.indices(GRID.shape) - 8, axis=0)
    return np.stack([distance <= size - 4, distance <= size - 2, distance <= size])


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Predictions of 2018's values, and labelled cases of 2023's: `A` is exact, `B` too small."""
    for name, size in (("A", 7), ("B", 6)):
        write_volume(tmp_path / "masks" / f"{name}.nii.gz", CONVENTIONS["brats2018"].labels(tumour(size)), GRID)
        label = CONVENTIONS["brats2023"].labels(tumour(7))
        image = np.ones(GRID.shape, dtype=np.float32)
        write_case(tmp_path / "cases", LAYOUTS["plain"], name, {"flair": image}, GRID, label)
    return tmp_path / "masks", tmp_path / "cases"


@pytest.fixture
def medmiss(places: tuple[Path, Path], tmp_path: Path) -> Callable[..., int]:
    """`medmiss evaluate` of the two; its exit status."""

    def run(*words: str, masks: Path = places[0], cases: Path = places[1]) -> int:
        years = ("--labels", "brats2018", "--reference-labels", "brats2023")
        return main(["evaluate", str(masks), str(cases), "--out", str(tmp_path / "out"), *years, *words])

    return run


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_writes_its_tables(tmp_path: Path, medmiss: Callable, capsys, protocol: str):
    assert medmiss("--protocol", protocol) == 0
    metrics = {(row["case"], row["region"]): row for row in table(tmp_path / "out" / "metrics.csv")}
    assert list(metrics) == [(case, region) for case in "AB" for region in ("ET", "TC", "WT")]
    columns = list(metrics["A", "WT"])[2:]
    assert columns[: len(PROTOCOLS[protocol].metrics)] == list(PROTOCOLS[protocol].metrics)
    assert all(metrics["A", region]["dice"] == "1" and metrics["A", region]["hd95"] == "0" for region in ("ET", "WT"))
    small, large = tumour(6)[2].sum(), tumour(7)[2].sum()
    dice = float(metrics["B", "WT"]["dice"])
    assert dice == pytest.approx(2 * small / (small + large))
    assert float(metrics["B", "WT"]["volume_pred_ml"]) == pytest.approx(small / 1000)
    summary = {(row["region"], row["metric"]): float(row["mean"]) for row in table(tmp_path / "out" / "summary.csv")}
    assert summary["WT", "dice"] == pytest.approx((1 + dice) / 2)
    assert (tmp_path / "out" / "lesions.csv").exists() == (PROTOCOLS[protocol].lesions is not None)
    shown = capsys.readouterr().out
    assert shown.startswith(f"{protocol}, 2 cases, means:\n")
    assert f"{summary['WT', 'dice']:.4g}" in shown


def test_missing_and_extra_predictions(places, medmiss: Callable, caplog: pytest.LogCaptureFixture):
    (places[0] / "B.nii.gz").rename(places[0] / "C.nii.gz")
    assert medmiss("--protocol", "brats2018") == 1
    assert "case B: there is no prediction; not scored" in caplog.text
    assert "prediction C: there is no reference for it" in caplog.text
    assert "not scored: B" in caplog.text
    assert medmiss("--protocol", "brats2025") == 0  # it has a rule


def test_two_files_belong_together(places, tmp_path: Path, medmiss: Callable):
    files = {"masks": places[0] / "B.nii.gz", "cases": places[1] / "A" / "seg.nii.gz"}
    assert medmiss("--protocol", "literature", **files) == 0
    assert len(table(tmp_path / "out" / "metrics.csv")) == 3


def test_nothing_in_common(places, medmiss: Callable, capsys: pytest.CaptureFixture):
    for file in places[0].glob("*.nii.gz"):
        file.rename(file.with_name(f"other_{file.name}"))
    assert medmiss("--protocol", "brats2025") == 1
    assert "found predictions such as other_A, references such as A, but expected names" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["p", "r", "--out", "o"], ["p", "r", "--protocol", "brats2018"], ["--out", "o", "--protocol", "x"]]
)
def test_wrong_usage(words: list[str]):
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", *words])


def test_a_place_that_does_not_exist_is_wrong_usage(places, medmiss: Callable, tmp_path: Path, capsys):
    with pytest.raises(SystemExit, match="2"):
        medmiss("--protocol", "brats2018", cases=tmp_path / "nowhere")
    assert "REF: no such file or folder" in capsys.readouterr().err


def test_the_options_name_every_protocol():
    assert set(evaluate.PROTOCOLS) == set(PROTOCOLS)
    assert all(f"\n  {name} " in evaluate.EXAMPLES for name in PROTOCOLS)


def test_where_nothing_is_scored_earlier_tables_stay_and_it_says_so(
    medmiss: Callable[..., int], places: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    assert medmiss("--protocol", "literature") == 0
    before = (tmp_path / "out" / "metrics.csv").read_bytes()
    for mask in places[0].iterdir():
        mask.write_bytes(b"broken")
    assert medmiss("--protocol", "brats2018") == 1
    assert (tmp_path / "out" / "metrics.csv").read_bytes() == before
    assert "nothing was scored: no table is written, and those of an earlier run in" in caplog.text
