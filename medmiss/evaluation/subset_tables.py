"""The table that the papers print: a row for each subset of the modalities, Dice of the regions in %."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from medmiss.cases import REGIONS
from medmiss.evaluation.published import DATA, SOURCES, published
from medmiss.evaluation.statistics import (
    SUBSET_NAMES,
    PairedTest,
    by_subset,
    cases_by_subset,
    common_pairs,
    compare,
)
from medmiss.modalities import DISPLAY_NAMES, MODALITIES, SUBSETS, Subset

FEW_CASES = 30
"""Below this number of cases the tables say that they are no measure of accuracy."""

RAW, FINAL, HD95 = "dice", "dice_postprocessed", "hd95"
THIS_RUN = "this run"
NOTHING = "\u2013"

PUBLISHED_NOTE = (
    f"Columns marked as published: figures that papers printed ({DATA}). Those are other cases and other training "
    "data: for orientation, not for comparison."
)
TEST_NOTE = (
    "One-tailed paired t-test over the subset means, as the missing-modality papers do it: p is the chance of so large "
    "a lead if this run were no better. The subsets share their cases, so p says how steady the lead is over the "
    "subsets, and nothing about other patients."
)


def circles(subset: Subset) -> list[str]:
    """A subset as the papers' tables mark it: ● for each modality that is there, ○ for each that is not."""
    return ["●" if modality in subset else "○" for modality in MODALITIES]


CIRCLES: dict[str, list[str]] = {name: circles(subset) for name, subset in zip(SUBSET_NAMES, SUBSETS, strict=True)}


@dataclass(frozen=True)
class Results:
    """All that the tables state.

    Args:
        scores: lines of `subsets.csv`; at least one.
        others: name of another run to its lines.
    """

    scores: pd.DataFrame
    others: Mapping[str, pd.DataFrame]

    @cached_property
    def means(self) -> pd.DataFrame:
        """Mean over cases: a row a subset, columns (measure, region); Dice in %, HD95 in mm."""
        return percent(by_subset(self.scores))

    @cached_property
    def deviations(self) -> pd.DataFrame:
        """Standard deviation over cases, likewise."""
        return percent(by_subset(self.scores, "std"))

    @cached_property
    def cases(self) -> pd.Series:
        """Cases of each subset."""
        return cases_by_subset(self.scores)

    @cached_property
    def published(self) -> pd.DataFrame:
        """What papers printed for the subsets that were measured, columns (method, region), Dice in %."""
        return published().reindex(index=self.means.index)

    def beside(self, region: str) -> pd.DataFrame:
        """One region of this run, the other runs and the papers, Dice in %: a row a subset, columns (kind, name)."""
        means = self.means
        columns = {("measured", f"{THIS_RUN} raw"): means[RAW, region]}
        columns["measured", f"{THIS_RUN} post"] = means[FINAL, region]
        for name, scores in self.others.items():
            columns["compared", f"{name} post"] = percent(by_subset(scores))[FINAL, region].reindex(means.index)
        for method in SOURCES:
            columns["published", method] = self.published[method, region]
        return pd.DataFrame(columns)

    def tests(self) -> dict[str, dict[tuple[str, str], PairedTest]]:
        """The paired t-tests of this run against each other run, by (measure, region)."""
        return {name: compare(self.scores, scores) for name, scores in self.others.items()}

    def common(self, name: str) -> tuple[int, int]:
        """How many cases this run and another share, and how many (case, subset) pairs."""
        ours, _ = common_pairs(self.scores, self.others[name])
        return ours["case"].nunique(), len(ours[["case", "subset"]].drop_duplicates())

    def caution(self) -> str:
        """What the number of cases allows to say."""
        count = self.scores["case"].nunique()
        said = f"Means over {count} cases."
        if count < FEW_CASES:
            said = (
                f"Only {count} case{'s' if count > 1 else ''}: these figures show what happened on "
                f"{'them' if count > 1 else 'it'}. They are no measure of accuracy, and no ground to call one network "
                "better than another."
            )
        if self.cases.nunique() > 1:
            said += " Not every case has every modality, so that the rows are means over different cases."
        return said


def percent(table: pd.DataFrame) -> pd.DataFrame:
    """Dice in % instead of a share; HD95 stays in mm."""
    return table.mul([1.0 if measure == HD95 else 100.0 for measure, _ in columns_of(table)], axis=1)


def columns_of(table: pd.DataFrame) -> list[tuple[str, str]]:
    """The columns of a table that has two levels of them."""
    return [(str(key[0]), str(key[1])) for key in table.columns]


def csv_table(results: Results) -> str:
    """All of it as CSV: a line for each run or method and subset, and its mean over these subsets.

    Dice in %, HD95 in mm; `kind` is measured, compared (another run) or published (other cases). `sd_` is the
    standard deviation over cases.
    """
    lines = _csv_lines("measured", THIS_RUN, results.scores)
    for name, scores in results.others.items():
        lines += _csv_lines("compared", name, scores)
    for method in SOURCES:
        columns = {f"dice_{region.lower()}": results.published[method, region] for region in REGIONS}
        table = pd.DataFrame(columns).round(2)
        for subset, row in [*table.iterrows(), ("mean", table.mean().round(2))]:
            figures = {str(name): value for name, value in row.items()}
            lines.append({"kind": "published", "run": method, **_subset_columns(str(subset)), **figures})
    return pd.DataFrame(lines).astype({"cases": "Int64"}).to_csv(index=False)


def _csv_lines(kind: str, run: str, scores: pd.DataFrame) -> list[dict[str, object]]:
    means, deviations = percent(by_subset(scores)), percent(by_subset(scores, "std"))
    cases = cases_by_subset(scores)
    table = pd.concat([_flat(means, ""), _flat(deviations, "sd_")], axis=1).round(4)
    lines = [
        {"kind": kind, "run": run, **_subset_columns(str(subset)), "cases": cases[str(subset)], **row.to_dict()}
        for subset, row in table.iterrows()
    ]
    mean = _flat(means, "").mean().round(4).to_dict()
    return [*lines, {"kind": kind, "run": run, **_subset_columns("mean"), "cases": pd.NA, **mean}]


def _flat(table: pd.DataFrame, prefix: str) -> pd.DataFrame:
    """One level of columns: `dice_et`, `dice_postprocessed_et`, `hd95_et` and so on."""
    return table.set_axis([f"{prefix}{measure}_{region.lower()}" for measure, region in columns_of(table)], axis=1)


def _subset_columns(name: str) -> dict[str, object]:
    marks = [int(mark == "●") for mark in CIRCLES[name]] if name in CIRCLES else [""] * len(MODALITIES)
    return {"subset": name, **dict(zip(MODALITIES, marks, strict=True))}


def markdown_table(results: Results, title: str, notes: Sequence[str]) -> str:
    """The tables as Markdown.

    Args:
        results: what was measured.
        title: of the page.
        notes: paragraphs between the title and the first table.
    """
    names = [DISPLAY_NAMES[modality] for modality in MODALITIES]
    means, deviations = results.means, results.deviations
    keys = [(measure, region) for measure in (RAW, FINAL) for region in REGIONS]
    header = [*names, "cases", *REGIONS, *(f"{region} post" for region in REGIONS)]
    rows = [
        [*CIRCLES[subset], str(results.cases[subset])]
        + [with_deviation(means[key][subset], deviations[key][subset]) for key in keys]
        for subset in map(str, means.index)
    ]
    rows.append(["**mean**", "", "", "", "", *(f"**{number(means[key].mean())}**" for key in keys)])
    parts = [f"# {title}", *notes, results.caution(), "## Dice in %, mean ± sd over cases", _markdown(header, rows)]
    if results.others:
        parts += ["## Against other runs", *_markdown_tests(results)]
    parts += ["## Beside published figures", PUBLISHED_NOTE]
    for region in REGIONS:
        table = results.beside(region)
        head = [*names, *(f"{name} ({kind})" if kind == "published" else name for kind, name in columns_of(table))]
        body = [[*CIRCLES[str(s)], *(number(value) for value in row)] for s, row in table.iterrows()]
        body.append(["**mean**", "", "", "", *(f"**{number(value)}**" for value in table.mean(skipna=False))])
        parts += [f"### {region}, Dice in %", _markdown(head, body)]
    parts.append("\n".join(f"* {method}: {source}." for method, source in SOURCES.items()))
    return "\n\n".join(parts) + "\n"


def _markdown_tests(results: Results) -> list[str]:
    parts = []
    for name, tests in results.tests().items():
        cases, pairs = results.common(name)
        rows = [
            [label, *(f"{number(100 * t.difference, sign=True)} (p = {p_value(t.p)})" for t in by_region)]
            for label, by_region in (
                ("raw", [tests[RAW, region] for region in REGIONS]),
                ("post-processed", [tests[FINAL, region] for region in REGIONS]),
            )
        ]
        subsets = max(test.subsets for test in tests.values())
        parts.append(f"{THIS_RUN} less {name}, over {subsets} subset means of {cases} common cases ({pairs} pairs):")
        parts.append(_markdown(["Dice, points", *REGIONS], rows))
    return [*parts, TEST_NOTE]


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def number(value: float, sign: bool = False) -> str:
    """A figure as the tables print it."""
    if pd.isna(value):
        return NOTHING
    return f"{value:+.1f}" if sign else f"{value:.1f}"


def with_deviation(mean: float, deviation: float) -> str:
    """Mean, and the standard deviation where there is one."""
    return number(mean) if pd.isna(deviation) else f"{number(mean)} ± {number(deviation)}"


def p_value(p: float) -> str:
    """A p-value with two digits."""
    return NOTHING if pd.isna(p) else f"{p:.2g}"
