"""One picture of some cases: what the expert drew and what was predicted, on one slice each."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import AbstractPathEffect, withStroke

from medmiss.cases import REGIONS, write_atomically
from medmiss.cases.colours import COLOURS

PARTS = {"ET": "enhancing tumour", "TC": "necrotic core", "WT": "oedema"}


@dataclass(frozen=True)
class Panel:
    """One image with one mask.

    Args:
        title: above the image.
        image: `(X, Y, Z)`, background 0.
        regions: `(3, X, Y, Z)` bool in the order of `medmiss.cases.REGIONS`.
        outline: draw the mask's outlines instead of filling it.
        reference: a second mask of that shape, whose outlines are drawn over the filled one.
    """

    title: str
    image: np.ndarray
    regions: np.ndarray
    outline: bool = False
    reference: np.ndarray | None = None


def draw_rows(path: Path, rows: Sequence[Sequence[Panel]], title: str) -> None:
    """Write a PNG: one column a panel, each row on the slice where its first mask is largest.

    Axial slices as radiologists show them: the patient's right on the left, the face up.

    Args:
        path: ends in `.png`; its folder is made.
        rows: panels whose voxel axes run to the left, the back and up (LPS); the first row is the longest.
        title: above the picture.
    """
    figure = Figure(figsize=(3.2 * len(rows[0]), 3.6 * len(rows) + 1.1), facecolor="black", layout="constrained")
    figure.suptitle(title, color="white", fontsize=11)
    for row, axes in zip(rows, figure.subplots(len(rows), len(rows[0]), squeeze=False), strict=True):
        index = best_slice(row[0].regions)
        for panel, ax in zip_longest(row, axes):
            ax.set_axis_off()
            if panel is not None:
                _draw(ax, panel, index)
    handles: list[Artist] = [Patch(color=COLOURS[region], label=PARTS[region]) for region in REGIONS]
    handles.append(Line2D([], [], color="white", label="line: reference"))
    handles.append(Patch(facecolor="grey", label="filled: prediction"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, labelcolor="white", fontsize=9
    )
    save_png(figure, path)


def save_png(figure: Figure, path: Path) -> None:
    """Draw a figure without any window and write it at once or not at all; the folder is made."""
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    write_atomically(path, content.getvalue())


def best_slice(regions: np.ndarray) -> int:
    """The axial slice with most tumour core, or most tumour where there is no core; the middle one of no tumour."""
    for region in regions[1:]:
        if region.any():
            return int(region.sum(axis=(0, 1)).argmax())
    return regions.shape[-1] // 2


def _draw(ax, panel: Panel, index: int) -> None:
    image = panel.image[..., index].T
    brain = panel.image > 0
    ax.imshow(image, cmap="gray", vmin=0, vmax=np.percentile(panel.image[brain], 99.5) if brain.any() else None)
    if panel.outline:
        _outline(ax, panel.regions, index)
    else:
        et, tc, wt = (region[..., index].T for region in panel.regions)
        overlay = np.zeros((*image.shape, 4))
        for name, mask in {"WT": wt & ~tc, "TC": tc & ~et, "ET": et}.items():
            overlay[mask] = to_rgba(COLOURS[name], alpha=0.55)
        ax.imshow(overlay)
    if panel.reference is not None:
        _outline(ax, panel.reference, index, [withStroke(linewidth=2.6, foreground="black")])
    x, y = (np.flatnonzero(brain.any(axis=axes)) for axes in ((1, 2), (0, 2)))
    if brain.any():
        ax.set(xlim=(x[0] - 3, x[-1] + 3), ylim=(y[-1] + 3, y[0] - 3))
    ax.set_title(panel.title, color="white", fontsize=9)


def _outline(ax, regions: np.ndarray, index: int, effects: Sequence[AbstractPathEffect] = ()) -> None:
    for name, region in reversed(list(zip(REGIONS, regions, strict=True))):
        mask = region[..., index].T
        if mask.any():
            lines = ax.contour(mask, levels=[0.5], colors=COLOURS[name], linewidths=1.2)
            lines.set_path_effects(list(effects))
