"""Two masks side by side: their sizes, their overlap, and the metrics of that one pair."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from medmiss.cases import Grid
from medmiss.evaluation.distances import HD95, normalized_surface_distance


class MaskPair:
    """A predicted and a reference mask, cut to the box that holds both.

    Args:
        prediction: `(X, Y, Z)` bool.
        reference: the same shape, bool.
        grid: of both.

    Attributes:
        prediction: cut to the box, as is `reference`.
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


class Ruler(NamedTuple):
    """How distances are measured.

    Attributes:
        hd95: key in `medmiss.evaluation.distances.HD95`.
        spacing: voxel size along the three axes, mm, or ones for distances in voxels.
        tolerance: of NSD, in the unit of `spacing`.
    """

    hd95: str
    spacing: tuple[float, float, float]
    tolerance: float


def ruler(hd95: str, grid: Grid, in_voxels: bool) -> Ruler:
    """A ruler in voxels or in mm.

    The tolerance of NSD is half a voxel, or the smallest voxel size in mm: the defaults of panoptica 2.1.7, where
    the challenge of 2025 leaves them.

    Args:
        hd95: key in `medmiss.evaluation.distances.HD95`.
        grid: of the masks.
        in_voxels: measure in voxels.
    """
    if in_voxels:
        return Ruler(hd95, (1.0, 1.0, 1.0), 0.5)
    return Ruler(hd95, grid.spacing, min(grid.spacing))


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


MASK_METRICS: dict[str, Callable[[MaskPair, Ruler], float]] = {
    "dice": lambda pair, ruler: dice(pair),
    "hd95": lambda pair, ruler: HD95[ruler.hd95](pair.prediction, pair.reference, ruler.spacing),
    "nsd": lambda pair, ruler: normalized_surface_distance(
        pair.prediction, pair.reference, ruler.spacing, ruler.tolerance
    ),
    "sensitivity": lambda pair, ruler: sensitivity(pair),
    "specificity": lambda pair, ruler: specificity(pair),
}
"""Metrics of two masks by name, by formula: the reference must not be empty, for distances neither must be."""
