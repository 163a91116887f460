"""The report of a measurement by subset: tables, figures and one HTML file that needs nothing beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medmiss.cases import write_atomically
from medmiss.evaluation.plots import draw_box_plots, draw_heat_map
from medmiss.evaluation.report_page import RESEARCH_ONLY, Page, html_page
from medmiss.evaluation.subset_tables import FINAL, Results, csv_table, markdown_table
from medmiss.evaluation.subsets import SubsetRun


def write_report(run: SubsetRun, others: Sequence[SubsetRun], failures: Sequence[str], date: str) -> None:
    """Write `table.csv`, `table.md`, `report.html` and `figures/` into the folder of a measurement.

    Args:
        run: has at least one score.
        others: runs to set beside it.
        failures: what could not be measured, a sentence each.
        date: of the report.
    """
    assert run.record is not None
    results = Results(run.scores(), {other.name: other.scores() for other in others})
    facts = facts_of(run.record, results, date)
    notes = [f"**{RESEARCH_ONLY}**", "\n".join(f"* {name}: {text}" for name, text in facts.items())]
    if failures:
        notes.append("\n".join(["Not measured:", "", *(f"* {reason}" for reason in failures)]))
    figures = draw_figures(run, results)
    records = {other.name: other.record or {} for other in others}
    page = Page(title_of(run.record), results, run.record, facts, failures, figures, records)
    for name, text in (
        ("table.csv", csv_table(results)),
        ("table.md", markdown_table(results, title_of(run.record), notes)),
        ("report.html", html_page(page)),
    ):
        write_atomically(run.folder / name, text.encode())


def draw_figures(run: SubsetRun, results: Results) -> list[tuple[str, str, Path]]:
    """Draw what there is to draw: heading, caption and file of each."""
    folder = run.folder / "figures"
    draw_heat_map(folder / "heat_map.png", results)
    draw_box_plots(folder / "box_plots.png", results)
    figures = [
        ("Heat map", "Mean Dice over cases, %. One colour scale for all.", folder / "heat_map.png"),
        (
            "Spread",
            "Boxes from the first to the third quartile, the line is the median, whiskers reach the furthest point "
            "within 1.5 times the box. Left: a point is the mean of a subset. Right: a point is a case with a subset.",
            folder / "box_plots.png",
        ),
    ]
    picture = folder / "montage.png"
    own = results.scores[results.scores["case"] == run.montage.case]
    dice = {str(name): dict(zip(rows["region"], rows[FINAL], strict=True)) for name, rows in own.groupby("subset")}
    if run.montage.draw(picture, dice):
        caption = (
            f"{run.montage.case} on the axial slice with most tumour core: the post-processed prediction filled, the "
            "reference outlined, over a modality that the network was given. The patient's right is on the left."
        )
        figures.append(("One case over the subsets", caption, picture))
    return figures


def title_of(record: Mapping[str, Any]) -> str:
    """The heading of report and table."""
    return f"Dice by subset of the modalities: {record['bundle']['name']} {record['bundle']['version']}"


def facts_of(record: Mapping[str, Any], results: Results, date: str) -> dict[str, str]:
    """What was measured and with what; names only, no paths."""
    settings = record["settings"]
    names = set(results.scores["case"])
    layouts = pd.Series([case["layout"] for name, case in record["cases"].items() if name in names]).value_counts()
    window = " x ".join(str(size) for size in settings["roi_size"])
    return {
        "bundle": f"{record['bundle']['name']} {record['bundle']['version']}",
        "weights": f"{record['weights']['file']}, SHA-256 {record['weights']['sha256'][:12]}",
        "data": f"{len(names)} case{'s' if len(names) > 1 else ''} ("
        + ", ".join(f"{layout} layout: {number}" for layout, number in layouts.items())
        + f"), {len(results.means)} subsets of FLAIR, T1, T1c, T2",
        "post-processing": postprocessing_text(settings["postprocessing"]),
        "inference": f"window {window} voxels, overlap {settings['overlap']}, "
        f"{'mean with the mirror image' if settings['tta'] else 'no test-time augmentation'}"
        f"{', autocast' if settings['amp'] else ''}, on {record['device']}",
        "metrics": "each case on its whole volume: Dice (both masks empty: 1; one empty: 0) and HD95 (both empty: 0; "
        "one empty: the volume's diagonal), the rules of the literature on missing modalities",
        "made with": f"medmiss {record['medmiss']}, {date}",
    }


def postprocessing_text(rules: Mapping[str, Any] | None) -> str:
    """The rules of `medmiss.postprocessing.PostProcessing` in words."""
    if rules is None:
        return "none"
    said = []
    if rules["min_volume"] and rules["min_share"]:
        said.append(
            f"whole-tumour components ({rules['connectivity']}-connected) smaller than {rules['min_volume']:g} mm3 or "
            f"{rules['min_share']:g} x the largest, whichever is less, removed"
        )
    if rules["et_rule"] != "off":
        outcome = "turned into tumour core" if rules["et_rule"] == "ncr" else "removed"
        said.append(f"enhancing tumour of less than {rules['et_min_volume']:g} mm3 {outcome}")
    return "; ".join(said) or "none"
