"""The report: one file that needs nothing, shows every figure and hides nothing of what went wrong."""

import base64
import re
import shutil
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
NAME = "A<script>&"
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
            NAME: {"layout": "brats2018", "modalities": list(MODALITIES)},
            "B": {"layout": "msd", "modalities": ["flair", "t1"]},
        },
    }


def fill(run: SubsetRun, scores: pd.DataFrame) -> SubsetRun:
    for (case, name), rows in scores.groupby(["case", "subset"], sort=False):
        lines = [{str(column): value for column, value in line.items()} for line in rows.to_dict("records")]
        run.add(str(case), SUBSETS[SUBSET_NAMES.index(str(name))], lines)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, make_scores: Callable) -> SubsetRun:
    """Two measured cases, one with a name that is dangerous in HTML, and a montage of it."""
    run = SubsetRun(tmp_path_factory.mktemp("private") / "run")
    run.begin(record())
    reference = np.zeros((3, *SHAPE), dtype=bool)
    reference[:, 8:12, 8:12, 3] = True
    image = np.zeros(SHAPE, dtype=np.float32)
    image[2:-2, 2:-2] = 1
    for subset in (("t1",), ("flair", "t1c")):
        run.montage.add(NAME, subset, reference, reference, Grid(SHAPE, np.eye(4)), lambda modality: image)
    of_a = make_scores(lambda *_: 0.5, cases=[NAME])
    return fill(run, pd.concat([of_a, make_scores(lambda *_: 0.6, cases="B", subsets=["FLAIR", "T1", "FLAIR+T1"])]))


@pytest.fixture(scope="module")
def text(run: SubsetRun, tmp_path_factory: pytest.TempPathFactory, make_scores: Callable) -> str:
    """The page, with another run beside it and something that failed."""
    other = SubsetRun(tmp_path_factory.mktemp("private") / "other & run")
    other.begin(record("other_bundle"))
    fill(other, make_scores(lambda case, subset, region: 0.4 + 0.001 * len(subset), cases=[NAME]))
    write_report(run, [other], ["case <b>: found & lost"], "2026-01-02")
    return (run.folder / "report.html").read_text(encoding="utf-8")


def test_the_report_loads_nothing(text: str):
    page = Page(text)
    assert page.open == []
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert name not in ("href", "srcset") and not name.startswith("on")
            if name == "src":
                assert value is not None and value.startswith("data:image/png;base64,")
    assert "url(" not in text and "@import" not in text and "http" not in text


def test_every_figure_is_in_the_report_and_beside_it(run: SubsetRun, text: str):
    images = [attributes["src"] or "" for tag, attributes in Page(text).tags if tag == "img"]
    inside = [base64.b64decode(source.split(",")[1]) for source in images]
    beside = [run.folder / "figures" / name for name in ("heat_map.png", "box_plots.png", "montage.png")]
    assert inside == [path.read_bytes() for path in beside]
    assert all(content.startswith(PNG) for content in inside)


def test_names_are_text_and_not_html(text: str):
    assert "<script" not in text and "A&lt;script&gt;&amp;" in text
    assert "case &lt;b&gt;: found &amp; lost" in text
    assert "other &amp; run (other_bundle 1.2.3, 0123456789ab)" in text


def test_the_page_says_what_it_is(run: SubsetRun, text: str):
    for said in (
        "Research use only",
        "brats_shaspec 1.2.3",
        "SHA-256 0123456789ab<",
        "2026-01-02",
        "2 cases (brats2018 layout: 1, msd layout: 1)",
        "mean with the mirror image",
        "no measure of accuracy",
        "different cases",
        "published, BraTS 2018, other cases",
        "not for comparison",
        "p, one-tailed",
        "(ShaSpec)",
    ):
        assert said in text, said
    assert str(run.folder.parent) not in text


def test_the_main_table_has_a_row_a_subset_and_says_how_many_cases(text: str):
    table = re.search(r"Results by subset</h2>.*?</table>", text, re.DOTALL)
    assert table is not None
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", table.group(), re.DOTALL)
    cells = [[re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<td.*?</td>", row)] for row in rows]
    flair, t2 = cells[2], cells[5]
    # of 0.5 and 0.6, post-processed 0.01 more; T2 is measured for one case alone
    assert flair == ["●", "○", "○", "○", "2", *["55.0 ±7.1"] * 3, *["56.0 ±7.1"] * 3, *["5.0 ±0.0"] * 3]
    assert t2 == ["○", "○", "○", "●", "1", *["50.0"] * 3, *["51.0"] * 3, *["5.0"] * 3]
    assert len(cells) == 2 + 15 + 1 and cells[-1][0] == "mean"
    assert cells[-1][1] == f"{(3 * 55 + 12 * 50) / 15:.1f}"


def test_the_same_scores_give_the_same_files(tmp_path: Path, run: SubsetRun, text: str):
    shutil.copytree(run.folder, tmp_path / "copy")
    written = []
    for folder in (run.folder, tmp_path / "copy"):
        write_report(SubsetRun(folder), [], [], "2026-01-02")
        written.append([(folder / name).read_bytes() for name in ("table.csv", "table.md", "report.html")])
    assert written[0] == written[1]
    assert all(b"Against other runs" not in content and b"Not measured" not in content for content in written[0])
    assert "Against other runs" in text and "Not measured" in text


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
    for count, subsets in ((1, ["T1"]), (25, [subset_name(subset) for subset in SUBSETS[:4]])):
        results = Results(make_scores(lambda *_: 0.5, cases=[f"C{n}" for n in range(count)], subsets=subsets), {})
        draw_heat_map(tmp_path / f"{count}.png", results)
        draw_box_plots(tmp_path / f"boxes{count}.png", results)
    assert all(path.read_bytes().startswith(PNG) for path in tmp_path.glob("*.png"))
    assert len(list(tmp_path.glob("*.png"))) == 4
