"""Distances between the surfaces of two masks, and the definitions of HD95 that the challenges use.

"HD95" alone is no number: on one pair the three definitions below can differ by a factor of five. Each
protocol names its own.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.ndimage import binary_erosion
from scipy.spatial import KDTree

PERCENTILE = 95


def surface_distances(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Distance of every surface voxel of one mask to the nearest surface voxel of the other.

    A surface voxel is one of the mask with a face on the background or on the edge of the array. Distances are
    taken between voxel centres (Heimann et al., IEEE TMI 28, 2009, section III.C).

    Args:
        prediction: `(X, Y, Z)` bool, not empty.
        reference: the same.
        spacing: voxel size along the three axes; distances come in its unit.

    Returns:
        Those of the prediction's surface `(P,)` and those of the reference's `(R,)`.
    """
    places = [np.argwhere(_surface(mask)) * np.asarray(spacing) for mask in (prediction, reference)]
    return _nearest(places[0], places[1]), _nearest(places[1], places[0])


def _surface(mask: np.ndarray) -> np.ndarray:
    return mask & ~binary_erosion(mask)


def _nearest(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    distances, _ = KDTree(others).query(places)
    return distances


def hd95_directed_maximum(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> float:
    """The larger of the 95th percentiles of the two directions.

    Arguments as for `surface_distances`.
    """
    return float(max(np.percentile(d, PERCENTILE) for d in surface_distances(prediction, reference, spacing)))


def hd95_pooled(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> float:
    """The 95th percentile of the distances of both directions together, as in medpy and panoptica.

    Arguments as for `surface_distances`.
    """
    return float(np.percentile(np.concatenate(surface_distances(prediction, reference, spacing)), PERCENTILE))


def hd95_surfel(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> float:
    """The larger of the two directions' 95th percentiles by area, as in DeepMind's surface-distance.

    The surface is made of elements between voxels: one at each corner of the grid whose eight neighbours are
    not all alike, with the area that marching cubes gives it (Nikolov et al., arXiv:1809.04430, appendix).

    Arguments as for `surface_distances`.
    """
    elements = [_surface_elements(mask, spacing) for mask in (prediction, reference)]
    (places_p, areas_p), (places_r, areas_r) = elements
    return max(
        _percentile_by_area(_nearest(places_p, places_r), areas_p),
        _percentile_by_area(_nearest(places_r, places_p), areas_r),
    )


def _surface_elements(mask: np.ndarray, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Places `(N, 3)` and areas `(N,)` of the surface elements of a mask, in the unit of `spacing` and its square."""
    from monai.metrics.utils import get_code_to_measure_table  # not at the top: it takes seconds, few need it

    table, kernel = get_code_to_measure_table(tuple(spacing))
    codes = np.zeros([size + 1 for size in mask.shape], dtype=np.uint8)
    padded = np.pad(mask, 1)
    for offset, weight in np.ndenumerate(kernel.numpy()[0, 0].astype(np.uint8)):
        corner = tuple(slice(start, start + size) for start, size in zip(offset, codes.shape, strict=True))
        codes += padded[corner] * weight
    edge = (codes != 0) & (codes != 255)
    return np.argwhere(edge) * np.asarray(spacing), table.numpy().astype(np.float64)[codes[edge]]


def _percentile_by_area(distances: np.ndarray, areas: np.ndarray) -> float:
    order = np.argsort(distances)
    share = np.cumsum(areas[order]) / np.sum(areas)
    index = min(int(np.searchsorted(share, PERCENTILE / 100)), len(distances) - 1)
    return float(distances[order][index])


def normalized_surface_distance(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float], tolerance: float
) -> float:
    """Mean over the two directions of the share of surface voxels within `tolerance` of the other surface.

    The formula of GaNDLF and panoptica. It is not DeepMind's surface Dice, which weighs by area and pools the
    directions.

    Args:
        prediction: `(X, Y, Z)` bool, not empty.
        reference: the same.
        spacing: voxel size along the three axes.
        tolerance: in the unit of `spacing`; a distance equal to it counts as within.
    """
    return float(np.mean([np.mean(d <= tolerance) for d in surface_distances(prediction, reference, spacing)]))


HD95: dict[str, Callable[[np.ndarray, np.ndarray, Sequence[float]], float]] = {
    "directed maximum": hd95_directed_maximum,
    "pooled": hd95_pooled,
    "surfel": hd95_surfel,
}
"""The definitions of HD95 by name."""
