"""One picture of some cases: what the expert drew and what was predicted, on one slice each."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

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
    """

    title: str
    image: np.ndarray
    regions: np.ndarray
    outline: bool = False


def draw_rows(path: Path, rows: Sequence[Sequence[Panel]], title: str) -> None:
    """Write a PNG: one row a case, one column a panel, on the slice where the row's first mask is largest.

    Axial slices as radiologists show them: the patient's right on the left, the face up.

    Args:
        path: ends in `.png`; its folder is made.
        rows: panels whose voxel axes run to the left, the back and up (LPS); all rows of one length.
        title: above the picture.
    """
    figure = Figure(figsize=(3.2 * len(rows[0]), 3.6 * len(rows) + 1.1), facecolor="black", layout="constrained")
    figure.suptitle(title, color="white", fontsize=11)
    for row, axes in zip(rows, figure.subplots(len(rows), len(rows[0]), squeeze=False), strict=True):
        index = best_slice(row[0].regions)
        for panel, ax in zip(row, axes, strict=True):
            _draw(ax, panel, index)
    handles: list[Artist] = [Patch(color=COLOURS[region], label=PARTS[region]) for region in REGIONS]
    handles.append(Line2D([], [], color="white", label="line: reference"))
    handles.append(Patch(facecolor="grey", label="filled: prediction"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, labelcolor="white", fontsize=9
    )
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
    et, tc, wt = (region[..., index].T for region in panel.regions)
    parts = {"WT": wt & ~tc, "TC": tc & ~et, "ET": et}
    if panel.outline:
        for name, mask in zip(("WT", "TC", "ET"), (wt, tc, et), strict=True):
            if mask.any():
                ax.contour(mask, levels=[0.5], colors=COLOURS[name], linewidths=1.2)
    else:
        overlay = np.zeros((*image.shape, 4))
        for name, mask in parts.items():
            overlay[mask] = to_rgba(COLOURS[name], alpha=0.55)
        ax.imshow(overlay)
    x, y = (np.flatnonzero(brain.any(axis=axes)) for axes in ((1, 2), (0, 2)))
    if brain.any():
        ax.set(xlim=(x[0] - 3, x[-1] + 3), ylim=(y[-1] + 3, y[0] - 3))
    ax.set_title(panel.title, color="white", fontsize=9)
    ax.set_axis_off()
