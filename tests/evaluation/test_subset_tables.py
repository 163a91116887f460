"""The layout of the papers' table, and what stands beside it."""

import io
from collections.abc import Callable

import pandas as pd
import pytest

from medmiss.evaluation.published import SOURCES
from medmiss.evaluation.statistics import SUBSET_NAMES
from medmiss.evaluation.subset_tables import CIRCLES, Results, csv_table, markdown_table

REGION = {"ET": 0.1, "TC": 0.2, "WT": 0.3}


@pytest.fixture
def results(make_scores: Callable) -> Results:
    """ET 10 % and so on, B 2 points above and A 2 below; the other run is 10 points behind, 12 for T1."""
    ours = make_scores(lambda case, _, region: REGION[region] + {"A": -0.02, "B": 0.02}[case])
    other = make_scores(lambda case, subset, region: REGION[region] - (0.12 if subset == "T1" else 0.1))
    return Results(ours, {"a|b": other})


def rows_of(text: str, heading: str) -> list[list[str]]:
    """The cells of the first Markdown table below a heading, its two header lines first."""
    lines = text.split(f"{heading}\n", 1)[1].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    table = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.replace("\\|", "/").strip("|").split("|")])
    return table


def test_the_circles_say_which_modality_is_there():
    assert "".join(CIRCLES["FLAIR"]) == "●○○○" and "".join(CIRCLES["T1c+T2"]) == "○○●●"
    assert len({"".join(marks) for marks in CIRCLES.values()}) == 15


def test_the_markdown_table_has_the_papers_layout(results: Results):
    header, _, *rows = rows_of(markdown_table(results, "T", []), "## Dice in %, mean ± sd over cases")
    assert header == ["FLAIR", "T1", "T1c", "T2", "cases", "ET", "TC", "WT", "ET post", "TC post", "WT post"]
    assert [row[:4] for row in rows[:-1]] == [CIRCLES[name] for name in SUBSET_NAMES]
    # the sample's standard deviation of x - 2 and x + 2
    assert rows[0][4:] == ["2", "10.0 ± 2.8", "20.0 ± 2.8", "30.0 ± 2.8", "11.0 ± 2.8", "21.0 ± 2.8", "31.0 ± 2.8"]
    assert rows[-1][0] == "**mean**"
    assert rows[-1][5:] == ["**10.0**", "**20.0**", "**30.0**", "**11.0**", "**21.0**", "**31.0**"]


def test_what_papers_printed_is_marked_as_that(results: Results):
    text = markdown_table(results, "T", [])
    header, _, *rows = rows_of(text, "### TC, Dice in %")
    assert header[4:7] == ["this run raw", "this run post", "a/b post"]
    assert header[7:] == [f"{method} (published)" for method in SOURCES]
    t1 = dict(zip(header, rows[1], strict=True))
    assert (t1["this run raw"], t1["a/b post"], t1["mmFormer (published)"]) == ("20.0", "9.0", "56.5")
    assert dict(zip(header, rows[-1], strict=True))["MCKD (published)"] == "**79.2**"
    assert "not for comparison" in text
    assert all(f"* {method}: {source}." in text for method, source in SOURCES.items())


def test_the_test_against_another_run_is_stated(results: Results):
    text = markdown_table(results, "T", [])
    assert "over 15 subset means of 2 common cases (30 pairs)" in text
    header, _, raw, _ = rows_of(text, "## Against other runs")
    assert header == ["Dice, points", "ET", "TC", "WT"]
    assert raw[1].startswith("+10.1 (p = ") and float(raw[1].removesuffix(")").split("= ")[1]) < 1e-10


def test_the_csv_table_says_what_is_measured_and_what_is_not(results: Results):
    table = pd.read_csv(io.StringIO(csv_table(results)))
    assert table["kind"].drop_duplicates().tolist() == ["measured", "compared", "published"]
    own = table[table["kind"] == "measured"].set_index("subset")
    assert list(own.index) == [*SUBSET_NAMES, "mean"]
    marks = own[["flair", "t1", "t1c", "t2", "cases"]].to_dict("index")
    assert marks["FLAIR+T2"] == {"flair": 1, "t1": 0, "t1c": 0, "t2": 1, "cases": 2}
    assert own.loc["T1", "dice_postprocessed_wt"] == 31 and own.loc["T1", "hd95_et"] == 5
    assert own.loc["T1", "sd_dice_et"] == pytest.approx(2.8284)
    assert own.loc["mean", "dice_tc"] == 20
    shaspec = table[table["run"] == "ShaSpec"].set_index("subset")
    assert shaspec.loc["T2", "dice_wt"] == 83.99 and shaspec["dice_postprocessed_wt"].isna().all()
    assert shaspec.loc["mean", "dice_et"] == 61.58


def test_only_what_was_measured_is_in_the_tables(make_scores: Callable):
    scores = make_scores(lambda *_: 0.5, subsets=["FLAIR+T2", "T1"])
    results = Results(scores, {"x": make_scores(lambda *_: 0.4, subsets=["T1"])})
    table = results.beside("ET")
    assert list(table.index) == ["T1", "FLAIR+T2"]
    assert table["compared", "x post"].isna().tolist() == [False, True]
    _, _, *rows = rows_of(markdown_table(results, "T", []), "### ET, Dice in %")
    assert [row[6] for row in rows] == ["41.0", "\u2013", "**\u2013**"]
    published = pd.read_csv(io.StringIO(csv_table(results))).query("run == 'U-HVED'").set_index("subset")
    assert published.loc["mean", "dice_et"] == pytest.approx((8.6 + 32.31) / 2, abs=0.01)


def test_few_cases_are_said_to_be_few(make_scores: Callable):
    few = Results(make_scores(lambda *_: 0.5, subsets=["T1"]), {})
    many = Results(make_scores(lambda *_: 0.5, subsets=["T1"], cases=[f"C{n}" for n in range(30)]), {})
    assert "no measure of accuracy" in few.caution() and "no measure" not in many.caution()
    scores = make_scores(lambda *_: 0.5, subsets=["T1", "T2"])
    some = Results(scores[(scores["case"] == "A") | (scores["subset"] == "T2")], {})
    assert "different cases" in some.caution() and "different cases" not in few.caution()
