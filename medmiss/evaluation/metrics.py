"""Scores of a predicted mask against a reference, by named protocol."""

import math
from collections.abc import Callable

import numpy as np

from medmiss.cases import REGIONS, Grid
from medmiss.evaluation.distances import HD95
from medmiss.evaluation.protocols import DIAGONAL, PROTOCOLS, Protocol


class MaskPair:
    """A predicted and a reference mask of one region, cut to the box that holds both.

    Args:
        prediction: `(X, Y, Z)` bool.
        reference: the same shape, bool.
        grid: of both.

    Attributes:
        n_prediction: voxels of the prediction.
        n_reference: voxels of the reference.
        n_both: voxels of their overlap.

    Raises:
        ValueError: when a mask is not bool or a shape is not the grid's.
    """

    def __init__(self, prediction: np.ndarray, reference: np.ndarray, grid: Grid) -> None:
        for mask in (prediction, reference):
            if mask.dtype != bool:
                raise ValueError(f"mask of type {mask.dtype}: expected bool")
            if mask.shape != grid.shape:
                raise ValueError(f"mask of shape {mask.shape}: expected {grid.shape}, that of the grid")
        box = _bounding_box(prediction | reference)
        self.grid = grid
        self.prediction, self.reference = prediction[box], reference[box]
        self.n_prediction = int(np.count_nonzero(self.prediction))
        self.n_reference = int(np.count_nonzero(self.reference))
        self.n_both = int(np.count_nonzero(self.prediction & self.reference))


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds every voxel of a mask; an empty one where there is none."""
    box = []
    for axis in range(mask.ndim):
        (places,) = np.nonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0))
    return tuple(box)


def dice(pair: MaskPair) -> float:
    """Overlap `2 |P and R| / (|P| + |R|)` (Dice, Ecology 26, 1945)."""
    return 2 * pair.n_both / (pair.n_prediction + pair.n_reference)


def sensitivity(pair: MaskPair) -> float:
    """Share of the reference that was found, `|P and R| / |R|`."""
    return pair.n_both / pair.n_reference


def specificity(pair: MaskPair) -> float:
    """Share of the voxels outside the reference that were left alone; NaN where there are none."""
    outside = math.prod(pair.grid.shape) - pair.n_reference
    return 1 - (pair.n_prediction - pair.n_both) / outside if outside else math.nan


def hd95(pair: MaskPair, protocol: Protocol) -> float:
    """95th percentile of the surface distances, mm, by the protocol's definition."""
    return HD95[protocol.hd95](pair.prediction, pair.reference, pair.grid.spacing)


METRICS: dict[str, Callable[[MaskPair, Protocol], float]] = {
    "dice": lambda pair, protocol: dice(pair),
    "hd95": hd95,
    "sensitivity": lambda pair, protocol: sensitivity(pair),
    "specificity": lambda pair, protocol: specificity(pair),
}
"""Metrics of a whole region by name; each holds where the protocol's table of edge cases has nothing to say."""


def score(pair: MaskPair, metric: str, protocol: Protocol) -> float:
    """One metric of one region: the protocol's value where a mask is empty, otherwise by formula."""
    edge = protocol.edge_cases.get(metric)
    value = None if edge is None else edge.value(pair.n_prediction, pair.n_reference)
    if value is None:
        return METRICS[metric](pair, protocol)
    if value == DIAGONAL:
        return math.hypot(*(size * spacing for size, spacing in zip(pair.grid.shape, pair.grid.spacing, strict=True)))
    return value


def evaluate_regions(
    prediction: np.ndarray, reference: np.ndarray, grid: Grid, protocol: str = "literature"
) -> dict[str, dict[str, float]]:
    """Score a case by a protocol.

    Args:
        prediction: `(3, X, Y, Z)` bool, as `LabelConvention.regions` gives them.
        reference: the same.
        grid: of both.
        protocol: key in `PROTOCOLS`.

    Returns:
        Region to metric to value: the protocol's metrics, and `volume_pred_ml` and `volume_ref_ml`.

    Raises:
        ValueError: when the first axis does not hold the three regions, a shape is not the grid's or a mask is
            not bool.
    """
    rules = PROTOCOLS[protocol]
    scores = {}
    for region, pair in _pairs(prediction, reference, grid).items():
        ml = grid.voxel_volume_mm3 / 1000
        scores[region] = {metric: score(pair, metric, rules) for metric in rules.metrics} | {
            "volume_pred_ml": pair.n_prediction * ml,
            "volume_ref_ml": pair.n_reference * ml,
        }
    return scores


def region_dice(prediction: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Dice of each region as the literature on missing modalities reports it, nothing else computed.

    Args:
        prediction: `(3, X, Y, Z)` bool, as `LabelConvention.regions` gives them.
        reference: the same.

    Raises:
        ValueError: as `evaluate_regions` does.
    """
    literature, grid = PROTOCOLS["literature"], Grid(reference.shape[1:], np.eye(4))
    return {name: score(pair, "dice", literature) for name, pair in _pairs(prediction, reference, grid).items()}


def _pairs(prediction: np.ndarray, reference: np.ndarray, grid: Grid) -> dict[str, MaskPair]:
    for regions in (prediction, reference):
        if regions.ndim != 4 or len(regions) != len(REGIONS):
            raise ValueError(f"regions of shape {regions.shape}: expected the first axis to hold {REGIONS}")
    return {name: MaskPair(p, r, grid) for name, p, r in zip(REGIONS, prediction, reference, strict=True)}
