"""The report: one file that needs nothing, shows every figure and hides nothing of what went wrong."""

import base64
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medmiss.cases import Grid
from medmiss.evaluation.plots import draw_box_plots, draw_heat_map
from medmiss.evaluation.report import facts_of, postprocessing_text, write_report
from medmiss.evaluation.statistics import SUBSET_NAMES
from medmiss.evaluation.subset_tables import Results
from medmiss.evaluation.subsets import SubsetRun
from medmiss.modalities import MODALITIES, SUBSETS, subset_name

SHAPE = (20, 24, 6)
PNG = b"\x89PNG\r\n\x1a\n"
RULES: dict[str, Any] = {
    "connectivity": 18,
    "min_volume": 2000.0,
    "min_share": 0.1,
    "et_rule": "ncr",
    "et_min_volume": 500.0,
}


class Page(HTMLParser):
    """Tags with their attributes, and whether every tag is closed."""

    VOID = ("meta", "img", "link", "br", "hr", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.cells = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def record(name: str = "brats_shaspec") -> dict[str, Any]:
    settings = {"roi_size": [96, 96, 96], "overlap": 0.5, "tta": True, "amp": False, "postprocessing": RULES}
    return {
        "medmiss": "0.1.0",
        "bundle": {"name": name, "version": "1.2.3"},
        "weights": {"file": "model.pt", "sha256": "0123456789abcdef" * 4},
        "device": "cpu",
        "settings": settings,
        "cases": {
            "A<script>&": {"layout": "brats2018", "modalities": list(MODALITIES)},
            "B": {"layout": "msd", "modalities": ["flair", "t1"]},
        },
    }


@pytest.fixture
def run(tmp_path: Path, make_scores: Callable) -> SubsetRun:
    """Two measured cases, one with a name that is dangerous in HTML, and a montage of it."""
    run = SubsetRun(tmp_path / "run")
    run.begin(record())
    scores = make_scores(lambda case, subset, region: 0.5 + 0.1 * (case == "B"), cases=["A<script>&"])
    scores = pd.concat([scores, make_scores(lambda *_: 0.6, cases="B", subsets=["FLAIR", "T1", "FLAIR+T1"])])
    reference = np.zeros((3, *SHAPE), dtype=bool)
    reference[:, 8:12, 8:12, 3] = True
    image = np.zeros(SHAPE, dtype=np.float32)
    image[2:-2, 2:-2] = 1
    for (case, name), rows in scores.groupby(["case", "subset"], sort=False):
        subset = SUBSETS[SUBSET_NAMES.index(str(name))]
        if case != "B":
            run.montage.add(str(case), subset, reference, reference, Grid(SHAPE, np.eye(4)), lambda modality: image)
        run.add(str(case), subset, rows.to_dict("records"))
    return run


@pytest.fixture
def other(tmp_path: Path, make_scores: Callable) -> SubsetRun:
    run = SubsetRun(tmp_path / "other & run")
    run.begin(record("other_bundle"))
    scores = make_scores(lambda case, subset, region: 0.4 + 0.001 * len(subset), cases=["A<script>&"])
    for name, rows in scores.groupby("subset"):
        run.add("A<script>&", SUBSETS[SUBSET_NAMES.index(str(name))], rows.to_dict("records"))
    return run


def report(run: SubsetRun, *others: SubsetRun, failures: tuple[str, ...] = ()) -> str:
    write_report(run, others, failures, "2026-01-02")
    return (run.folder / "report.html").read_text(encoding="utf-8")


def test_the_report_loads_nothing(run: SubsetRun, other: SubsetRun):
    text = report(run, other)
    page = Page(text)
    assert page.open == []
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert name not in ("href", "srcset") and not name.startswith("on")
            if name == "src":
                assert value is not None and value.startswith("data:image/png;base64,")
    assert "url(" not in text and "@import" not in text and "http" not in text


def test_every_figure_is_in_the_report_and_beside_it(run: SubsetRun):
    images = [attributes["src"] or "" for tag, attributes in Page(report(run)).tags if tag == "img"]
    inside = [base64.b64decode(source.split(",")[1]) for source in images]
    beside = [run.folder / "figures" / name for name in ("heat_map.png", "box_plots.png", "montage.png")]
    assert inside == [path.read_bytes() for path in beside]
    assert all(content.startswith(PNG) for content in inside)


def test_names_are_text_and_not_html(run: SubsetRun, other: SubsetRun):
    text = report(run, other, failures=("case <b>: found & lost",))
    assert "<script" not in text and "A&lt;script&gt;&amp;" in text
    assert "case &lt;b&gt;: found &amp; lost" in text
    assert "other &amp; run (other_bundle 1.2.3, 0123456789ab)" in text


def test_the_page_says_what_it_is(run: SubsetRun, other: SubsetRun):
    text = report(run, other)
    for said in (
        "Research use only",
        "brats_shaspec 1.2.3",
        "SHA-256 0123456789ab<",
        "2026-01-02",
        "2 cases (brats2018 layout: 1, msd layout: 1)",
        "mean over 8 flips",
        "no measure of accuracy",
        "different cases",
        "published, BraTS 2018, other cases",
        "not for comparison",
        "p, one-tailed",
        "(ShaSpec)",
    ):
        assert said in text, said
    assert str(run.folder.parent) not in text


def test_the_main_table_has_a_row_a_subset_and_says_how_many_cases(run: SubsetRun):
    table = re.search(r"Results by subset</h2>.*?</table>", report(run), re.DOTALL)
    assert table is not None
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", table.group(), re.DOTALL)
    cells = [[re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<td.*?</td>", row)] for row in rows]
    flair, t2 = cells[2], cells[5]
    # of 0.5 and 0.6, post-processed 0.01 more; T2 is measured for one case alone
    assert flair == ["●", "○", "○", "○", "2", *["55.0 ±7.1"] * 3, *["56.0 ±7.1"] * 3, *["5.0 ±0.0"] * 3]
    assert t2 == ["○", "○", "○", "●", "1", *["50.0"] * 3, *["51.0"] * 3, *["5.0"] * 3]
    assert len(cells) == 2 + 15 + 1 and cells[-1][0] == "mean"
    assert cells[-1][1] == f"{(3 * 55 + 12 * 50) / 15:.1f}"


def test_without_other_runs_there_is_no_test(run: SubsetRun):
    assert "Against other runs" not in report(run)
    assert "Against other runs" not in (run.folder / "table.md").read_text()


def test_the_same_scores_give_the_same_files(run: SubsetRun):
    first = report(run)
    files = {path: path.read_bytes() for path in run.folder.glob("table.*")}
    assert report(SubsetRun(run.folder)) == first
    assert {path: path.read_bytes() for path in files} == files and len(files) == 2


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (None, "none"),
        (RULES, "turned into tumour core"),
        ({**RULES, "et_rule": "removed", "min_volume": 0}, "enhancing tumour of less than 500 mm3 removed"),
        ({**RULES, "et_rule": "off", "min_share": 0}, "none"),
    ],
)
def test_the_rules_are_said_in_words(rules: dict[str, Any] | None, said: str):
    text = postprocessing_text(rules)
    assert text.endswith(said)
    assert ("components" in text) == (rules is RULES)


def test_the_facts_count_what_was_measured_alone(make_scores: Callable):
    results = Results(make_scores(lambda *_: 0.5, cases="B", subsets=["T1"]), {})
    assert facts_of(record(), results, "today")["data"].startswith("1 case (msd layout: 1), 1 subsets")


def test_the_plots_are_drawn_for_one_case_and_for_many(tmp_path: Path, make_scores: Callable):
    for count, subsets in ((1, ["T1"]), (25, [subset_name(subset) for subset in SUBSETS])):
        results = Results(make_scores(lambda *_: 0.5, cases=[f"C{n}" for n in range(count)], subsets=subsets), {})
        draw_heat_map(tmp_path / f"{count}.png", results)
        draw_box_plots(tmp_path / f"boxes{count}.png", results)
    assert all(path.read_bytes().startswith(PNG) for path in tmp_path.glob("*.png"))
    assert len(list(tmp_path.glob("*.png"))) == 4
