"""Pictures of a table by subset: a heat map, and box plots over subsets and over cases."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from medmiss.cases import REGIONS
from medmiss.cases.colours import COLOURS
from medmiss.evaluation.picture import save_png
from medmiss.evaluation.subset_tables import CIRCLES, FINAL, RAW, Results, number

LABELS = {RAW: "raw", FINAL: "post-processed"}
DPI = 130
_MAX_POINTS = 20
"""Cases up to which each is a point of its own."""


def draw_heat_map(path: Path, results: Results) -> None:
    """Write a PNG: mean Dice of each subset and region in %, raw and post-processed, on one scale from 0 to 100."""
    means = results.means[[(measure, region) for measure in LABELS for region in REGIONS]]
    figure = Figure(figsize=(7.2, 1.6 + 0.32 * len(means)), dpi=DPI, layout="constrained")
    names = [f"{subset}  {''.join(CIRCLES[str(subset)])}" for subset in means.index]
    axes = figure.subplots(1, len(LABELS), sharey=True)
    for ax, (measure, label) in zip(axes, LABELS.items(), strict=True):
        values = means[measure].to_numpy()
        image = ax.imshow(values, cmap="viridis", vmin=0, vmax=100, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            colour = "black" if value > 60 else "white"
            ax.text(column, row, number(value), ha="center", va="center", color=colour, fontsize=9)
        ax.set_xticks(range(len(REGIONS)), REGIONS)
        ax.set_yticks(range(len(names)), names, fontsize=9)
        ax.tick_params(length=0)
        ax.set_title(label, fontsize=10)
        for edge in ax.spines.values():
            edge.set_visible(False)
    figure.colorbar(image, ax=axes, label="mean Dice, %", shrink=0.7)
    save_png(figure, path)


def draw_box_plots(path: Path, results: Results) -> None:
    """Write a PNG: the spread of Dice by region; left over the means of the subsets, right over all cases and subsets.

    Boxes reach from the first to the third quartile, whiskers to the furthest point within 1.5 times that, the line
    is the median. Each point is a subset, or a case with a subset where there are few cases.
    """
    figure = Figure(figsize=(9.6, 4.2), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    means = results.means
    by_mean = {(m, r): means[m, r].to_numpy() for m in LABELS for r in REGIONS}
    _boxes(left, by_mean, f"means of the {len(means)} subsets", points=True)
    scores = results.scores
    cases = scores["case"].nunique()
    every = {(m, r): 100 * _values(scores, m, r) for m in LABELS for r in REGIONS}
    _boxes(right, every, f"every case with every subset it has ({cases} cases)", points=cases <= _MAX_POINTS)
    left.set_ylabel("Dice, %")
    left.set_ylim(-3, 103)
    handles = [Patch(facecolor="#999999", alpha=_alpha(measure), label=label) for measure, label in LABELS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    save_png(figure, path)


def _values(scores: pd.DataFrame, measure: str, region: str) -> np.ndarray:
    return scores.loc[scores["region"] == region, measure].to_numpy(float)


def _alpha(measure: str) -> float:
    return 0.3 if measure == RAW else 0.85


def _boxes(ax, values: dict[tuple[str, str], np.ndarray], title: str, points: bool) -> None:
    generator = np.random.default_rng(0)
    for place, region in enumerate(REGIONS):
        for offset, measure in zip((-0.19, 0.19), LABELS, strict=True):
            heights = values[measure, region]
            ax.boxplot(
                heights,
                positions=[place + offset],
                widths=0.32,
                patch_artist=True,
                showfliers=not points,
                boxprops={"facecolor": COLOURS[region], "alpha": _alpha(measure)},
                medianprops={"color": "black"},
                flierprops={"markersize": 2},
            )
            if points:
                spread = generator.uniform(-0.09, 0.09, size=heights.size)
                ax.plot(place + offset + spread, heights, ".", color="#333333", markersize=3.5, alpha=0.7)
    ax.set_xticks(range(len(REGIONS)), REGIONS)
    ax.set_title(title, fontsize=10)
    ax.grid(axis="y", alpha=0.3)
    for edge in ("top", "right"):
        ax.spines[edge].set_visible(False)
