"""Pictures of bottleneck features: generated ones beside the true ones, and t-SNE by modality."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medmiss.evaluation.picture import save_png
from medmiss.evaluation.plots import DPI
from medmiss.evaluation.run_plots import MODALITY_COLOURS
from medmiss.evaluation.statistics import SUBSET_NAMES
from medmiss.modalities import DISPLAY_NAMES

REFERENCES = {"l1_of_zeros": "(zeros)", "l1_of_window": "(other window)"}
"""What stands beside the distances, to compare them with."""
KIND_MARKERS = {"bottleneck": "o", "shared": "o", "specific": "x"}
FEWEST = 8
"""Points below which t-SNE shows nothing."""


class SklearnMissing(ImportError):
    """scikit-learn, an extra, is not installed; `str()` says how to get it."""


def require_sklearn() -> None:
    """Refuse to begin without scikit-learn.

    Raises:
        SklearnMissing: when it is not installed.
    """
    if find_spec("sklearn") is None:
        raise SklearnMissing("t-SNE needs scikit-learn, which is not installed: pip install 'medmiss[insight]'")


def draw_generated(path: Path, table: pd.DataFrame) -> None:
    """Write a PNG: how far generated features are from the true ones, by true modality and available subset.

    Args:
        path: ends in `.png`.
        table: a row a case, modality and subset; columns kind (of the true feature), missing, available, l1, cosine,
            and to compare with the L1 distance of zeros and of another window's true feature, l1_of_zeros and
            l1_of_window. Means over cases are shown.
    """
    means = table.groupby(["missing", "available"])[["l1", "cosine", *REFERENCES]].mean()
    rows = [name for name in DISPLAY_NAMES.values() if name in means.index.get_level_values("missing")]
    columns = [name for name in SUBSET_NAMES if name in means.index.get_level_values("available")]
    figure = Figure(figsize=(3.2 + 0.62 * len(columns), 2.6 + 0.72 * len(rows)), dpi=DPI, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    distance = means["l1"].unstack().reindex(index=rows, columns=columns)
    similarity = means["cosine"].unstack().reindex(index=rows, columns=columns)
    title = f"{table['kind'].iloc[0]} features: L1 distance, mean over elements"
    # The least span keeps features that are all but alike from looking different.
    least = 0.05 * float(means["l1_of_zeros"].max())
    _heat(upper, distance, title, "viridis_r", (0, max(least, np.nanmax(distance.to_numpy()))), "#.3g")
    _heat(lower, similarity, "cosine similarity", "viridis", (min(0.95, np.nanmin(similarity.to_numpy())), 1), ".3f")
    for place, reference in enumerate(REFERENCES, start=len(columns)):
        for row, value in enumerate(means[reference].groupby("missing").mean().reindex(rows)):
            upper.text(place, row, f"{value:#.3g}", ha="center", va="center", fontsize=7.5)
    names = [*columns, *REFERENCES.values()]
    lower.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    lower.set_xlim(-0.5, len(names) - 0.5)
    lower.set_xlabel("generated from")
    save_png(figure, path)


def _heat(ax, values: pd.DataFrame, title: str, colours: str, limits: tuple[float, float], number: str) -> None:
    image = ax.imshow(values.to_numpy(), cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto")
    for (row, column), value in np.ndenumerate(values.to_numpy()):
        if np.isfinite(value):
            dark = sum(image.cmap(image.norm(value))[:3]) < 1.4
            colour = "white" if dark else "black"
            ax.text(column, row, f"{value:{number}}", ha="center", va="center", fontsize=7.5, color=colour)
    ax.set_yticks(range(values.shape[0]), values.index, fontsize=9)
    ax.set_ylabel("true modality")
    ax.tick_params(length=0, labelsize=8)
    ax.set_title(title, fontsize=10)
    for edge in ax.spines.values():
        edge.set_visible(False)


def embedded(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """t-SNE of the rows of `features` `(P, C)`, `(P, 2)` (van der Maaten and Hinton, JMLR 2008).

    Starts from the principal components, with a perplexity of 30, less for fewer than 91 points.

    Raises:
        SklearnMissing: when scikit-learn is not installed.
        ValueError: when there are fewer than `FEWEST` rows.
    """
    require_sklearn()
    if len(features) < FEWEST:
        raise ValueError(f"t-SNE of {len(features)} points shows nothing: give more cases, for {FEWEST} or more")
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(features) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(features)


def separation(features: np.ndarray, modality: np.ndarray) -> float:
    """Mean silhouette of the modalities in the rows of `features` `(P, C)`: 1 far apart, 0 mixed (Rousseeuw 1987).

    NaN where there is one modality, or one row each.

    Raises:
        SklearnMissing: when scikit-learn is not installed.
    """
    require_sklearn()
    from sklearn.metrics import silhouette_score

    if not 1 < len(set(modality)) < len(features):
        return float("nan")
    return float(silhouette_score(features, modality))


def draw_embedding(path: Path, points: pd.DataFrame, separations: Mapping[str, float]) -> None:
    """Write a PNG: t-SNE of averaged features, a colour a modality and a marker a kind (Fig. 5 of ShaSpec).

    Args:
        path: ends in `.png`.
        points: columns kind, modality (display name), x and y.
        separations: kind to its `separation`, for the title.
    """
    figure = Figure(figsize=(6.6, 5.2), dpi=DPI, layout="constrained")
    ax = figure.subplots()
    for (kind, modality), own in points.groupby(["kind", "modality"], sort=False):
        marker, colour = KIND_MARKERS[str(kind)], MODALITY_COLOURS[str(modality)]
        ax.scatter(own["x"], own["y"], s=18, marker=marker, color=colour, linewidths=1, alpha=0.75)
    present = set(points["modality"])
    handles = [
        Line2D([], [], linestyle="", marker="s", color=colour, label=name)
        for name, colour in MODALITY_COLOURS.items()
        if name in present
    ]
    kinds = list(separations)
    handles += [Line2D([], [], linestyle="", marker=KIND_MARKERS[kind], color="black", label=kind) for kind in kinds]
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=9)
    values = ", ".join(f"{kind} {value:.2f}" for kind, value in separations.items())
    title = f"t-SNE of features averaged over windows, {len(points) // len(kinds)} of a kind"
    ax.set_title(f"{title}\nsilhouette by modality, before t-SNE: {values}", fontsize=10)
    ax.set_xticks([])
    ax.set_yticks([])
    save_png(figure, path)
