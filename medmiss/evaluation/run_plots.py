"""Pictures of how runs went, from the tables they leave: losses, Dice, decisions of the method, sensitivity."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from medmiss.cases import REGIONS
from medmiss.evaluation.picture import save_png
from medmiss.evaluation.plots import DPI
from medmiss.modalities import DISPLAY_NAMES

MODALITY_COLOURS = dict(zip(DISPLAY_NAMES.values(), ("#0072b2", "#999999", "#d55e00", "#009e73"), strict=True))
"""By display name; Okabe and Ito's, which the colour-blind can tell apart."""
REGION_LINES = {"ET": "#c49a00", "TC": "#e41a1c", "WT": "#4daf4a"}
"""`medmiss.cases.colours.COLOURS`, with a yellow that is dark enough for a line on white."""
_COLOURS = {**REGION_LINES, **MODALITY_COLOURS, "loss": "black", "mean": "black", "all": "black"}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_FEW = 30
"""Points up to which each is marked."""


def draw_training(path: Path, losses: pd.DataFrame, dice: pd.DataFrame) -> None:
    """Write a PNG: the loss terms by epoch, and Dice in validation by region and by subset.

    Args:
        path: ends in `.png`.
        losses: a row an epoch, a column a weighted term; `loss` is their sum.
        dice: a row a validation, indexed by epoch; columns are regions, `mean`, and subsets. May be empty.
    """
    order = [name for name in ("loss", "task") if name in losses]
    losses = losses[[*order, *losses.columns.drop(order)]]
    regions = [name for name in (*REGIONS, "mean") if name in dice]
    panels = [("loss terms, weighted", losses)]
    if len(dice):
        panels.append(("Dice in validation, by region", dice[regions]))
        panels.append(("Dice in validation, by subset", dice.drop(columns=regions)))
    figure = Figure(figsize=(0.8 + 4.2 * len(panels), 3.8), dpi=DPI, layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (title, table) in zip(axes, panels, strict=True):
        for number, (name, values) in enumerate(table.items()):
            known = values.dropna()
            colour = _COLOURS.get(str(name), f"C{number}")
            label = "sum" if name == "loss" else str(name)
            ax.plot(known.index, known, color=colour, label=label, marker=_marker(known, number), markersize=3.5)
        _plain(ax, title, "epoch")
        ax.legend(fontsize=8, frameon=False)
    if (losses > 0).to_numpy().any():
        axes[0].set_yscale("log", nonpositive="mask")
    for ax in axes[1:]:
        ax.set_ylim(0, 1.05 * max(0.01, np.nanmax(dice.to_numpy())))
    save_png(figure, path)


def draw_modality_weights(path: Path, table: pd.DataFrame) -> None:
    """Write a PNG: MCKD's importance weights over the run (Fig. 4a of the paper).

    Args:
        path: ends in `.png`.
        table: `modality_weights.csv`: iteration, loss, and the weight of each modality.
    """
    names = [str(name) for name in table.columns[2:]]
    figure = Figure(figsize=(6.4, 4), dpi=DPI, layout="constrained")
    ax = figure.subplots()
    for number, name in enumerate(names):
        marker = _marker(table, number)
        ax.plot(table["iteration"], table[name], color=_colour(name, number), label=name, marker=marker, markersize=3.5)
    if np.allclose(table[names].sum(axis=1), 1, atol=1e-3):  # of the softmax
        ax.axhline(1 / len(names), color="black", linewidth=0.8, linestyle=":", label="all alike")
    _plain(ax, "importance of each modality", "iteration")
    ax.legend(fontsize=8, frameon=False, ncols=2)
    save_png(figure, path)


def draw_elections(path: Path, table: pd.DataFrame) -> None:
    """Write a PNG: LCKD's elections; by region what each modality scores alone, the winner ringed, and who teaches.

    Args:
        path: ends in `.png`.
        table: `teachers.csv`: iteration, modality, task, score, best, teaches.
    """
    tasks, names = list(table["task"].unique()), [str(name) for name in table["modality"].unique()]
    figure = Figure(figsize=(4 * len(tasks), 5.2), dpi=DPI, layout="constrained")
    grid = figure.add_gridspec(2, len(tasks), height_ratios=(3, 1.1))
    first = None
    for column, task in enumerate(tasks):
        ax = first = figure.add_subplot(grid[0, column], sharey=first)
        for number, name in enumerate(names):
            own = table[(table["task"] == task) & (table["modality"] == name)]
            ax.plot(own["iteration"], own["score"], color=_colour(name, number), linewidth=1.5, label=name)
            best = own[own["best"] == 1]
            ax.plot(best["iteration"], best["score"], "o", color=_colour(name, number), mec="black", markersize=5)
        _plain(ax, f"{task}: Dice of one modality alone", "iteration")
    assert first is not None
    first.set_ylim(bottom=0)
    winner = Line2D([], [], linestyle="", marker="o", color="white", markeredgecolor="black", label="best alone")
    handles = [*first.get_legend_handles_labels()[0], winner]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9)
    _draw_teachers(figure.add_subplot(grid[1, :]), table, names)
    save_png(figure, path)


def _draw_teachers(ax, table: pd.DataFrame, names: list[str]) -> None:
    teaches = table.pivot_table(index="modality", columns="iteration", values="teaches", aggfunc="max").loc[names]
    times = teaches.columns.to_numpy(float)
    # A teacher teaches from its election to the next one.
    ends = np.append(times[1:], times[-1] + (np.diff(times).mean() if len(times) > 1 else 1))
    for row, name in enumerate(names):
        spans = [
            (start, end - start)
            for start, end, is_teacher in zip(times, ends, teaches.loc[name], strict=True)
            if is_teacher
        ]
        ax.broken_barh(spans, (row - 0.36, 0.72), color=_colour(name, row))
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(times[0], ends[-1])
    _plain(ax, "who teaches, from one election to the next", "iteration")
    ax.grid(visible=False)


def draw_divergences(path: Path, table: pd.DataFrame, names: Mapping[int, str]) -> None:
    """Write a PNG: MMANet's mining; how far the predictions move without each modality (Fig. 5b of the paper).

    Args:
        path: ends in `.png`.
        table: `combinations.csv`: iteration, left_out (index of the modality), divergence.
        names: index of a modality to its name.
    """
    figure = Figure(figsize=(6.4, 4), dpi=DPI, layout="constrained")
    ax = figure.subplots()
    measured = {number: table[table["left_out"] == number] for number in names}
    means = {number: float(own["divergence"].mean()) for number, own in measured.items() if len(own)}
    for number, mean in means.items():
        own, name = measured[number], names[number]
        colour, marker = _colour(name, number), _marker(own, number)
        ax.plot(own["iteration"], own["divergence"], "--", color=colour, linewidth=0.9, marker=marker, markersize=3)
        running = own["divergence"].expanding().mean()
        ax.plot(own["iteration"], running, color=colour, linewidth=2, label=f"{name} (mean {mean:.3g})")
    _plain(ax, f"without {names[max(means, key=means.__getitem__)]} the predictions change most", "iteration")
    ax.set_ylabel("KL divergence of the predicted classes")
    ax.set_yscale("log", nonpositive="mask")
    handles = [*ax.get_legend_handles_labels()[0], Line2D([], [], color="black", label="running mean")]
    handles.append(Line2D([], [], color="black", linestyle="--", linewidth=0.9, label="one measurement"))
    ax.legend(handles=handles, title="left out", fontsize=8, title_fontsize=8, frameon=False)
    save_png(figure, path)


def draw_sensitivity(path: Path, table: pd.DataFrame, ylabel: str) -> None:
    """Write a PNG: Dice as a function of each setting that was varied, the others at their default.

    Args:
        path: ends in `.png`.
        table: a row a setting, value and region (or `mean`), with columns id, value, default (whether it is the
            default), region, dice and sd (NaN where there is one seed). Values are drawn at equal distances, in the
            order of the table.
        ylabel: what Dice is the mean of.
    """
    settings = list(table["id"].unique())
    figure = Figure(figsize=(0.8 + 4.2 * len(settings), 4), dpi=DPI, layout="constrained")
    axes = figure.subplots(1, len(settings), sharey=True, squeeze=False)[0]
    for ax, setting in zip(axes, settings, strict=True):
        own = table[table["id"] == setting]
        values = list(own["value"].unique())
        for number, region in enumerate(own["region"].unique()):
            line = own[own["region"] == region].set_index("value").loc[values]
            style = {"color": _COLOURS[region], "marker": _MARKERS[number], "markersize": 4.5, "label": region}
            style["linestyle"] = "--" if region == "mean" else "-"
            ax.errorbar(range(len(values)), line["dice"], yerr=line["sd"], capsize=3, **style)
        _plain(ax, str(setting), "")
        defaults = set(own.loc[own["default"].astype(bool), "value"])
        texts = {value: f"{value:g}" if isinstance(value, float) else str(value) for value in values}
        names = [f"{text}\n(default)" if value in defaults else text for value, text in texts.items()]
        ax.set_xticks(range(len(values)), names)
        ax.set_xlim(-0.4, len(values) - 0.6)
    axes[0].set_ylabel(ylabel)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=9, frameon=False)
    save_png(figure, path)


def _marker(values: pd.DataFrame | pd.Series, number: int) -> str | None:
    return _MARKERS[number % len(_MARKERS)] if len(values) <= _FEW else None


def _colour(name: str, number: int) -> str:
    return MODALITY_COLOURS.get(name, f"C{number}")


def _plain(ax, title: str, xlabel: str) -> None:
    ax.set_title(title, fontsize=10)
    ax.set_xlabel(xlabel)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.grid(axis="y", alpha=0.3)
    for edge in ("top", "right"):
        ax.spines[edge].set_visible(False)
