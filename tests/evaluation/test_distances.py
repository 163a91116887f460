"""The definitions of HD95 and NSD against an evaluation voxel by voxel."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from monai.metrics.utils import get_mask_edges

from medmiss.evaluation.distances import HD95, normalized_surface_distance, surface_distances

SPACINGS = [(1.0, 1.0, 1.0), (1.0, 1.0, 3.0), (0.5, 2.0, 1.3)]


def ball(centre: tuple[int, int, int], radius: float) -> np.ndarray:
    axes = np.ogrid[:24, :20, :16]
    return np.sqrt(sum((axis - place) ** 2 for axis, place in zip(axes, centre, strict=True))) <= radius


def pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Prediction and reference: apart, overlapping, one voxel, on the edges, filling the volume."""
    voxel = np.zeros((24, 20, 16), dtype=bool)
    voxel[3, 4, 5] = True
    return {
        "overlap": (ball((12, 10, 7), 5) | ball((20, 15, 12), 1), ball((10, 9, 8), 6)),
        "apart": (ball((4, 4, 4), 2), ball((18, 14, 11), 3)),
        "one voxel": (voxel, ball((10, 9, 8), 6)),
        "the same voxel": (voxel, voxel),
        "edges": (ball((0, 0, 0), 6), ball((1, 19, 15), 7)),
        "everywhere": (ball((10, 9, 8), 3), np.ones_like(voxel)),
    }


PAIRS = pairs()


def surface_by_hand(mask: np.ndarray) -> np.ndarray:
    """Voxels of a mask one of whose six neighbours is background or outside the array."""
    found = []
    for place in np.argwhere(mask):
        for axis, step in itertools.product(range(3), (-1, 1)):
            neighbour = place.copy()
            neighbour[axis] += step
            if not (0 <= neighbour[axis] < mask.shape[axis]) or not mask[tuple(neighbour)]:
                found.append(place)
                break
    return np.array(found)


def distances_by_hand(prediction: np.ndarray, reference: np.ndarray, spacing) -> tuple[np.ndarray, np.ndarray]:
    p, r = (surface_by_hand(mask) * np.array(spacing) for mask in (prediction, reference))
    table = np.sqrt(((p[:, None] - r[None]) ** 2).sum(-1))
    return table.min(1), table.min(0)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", PAIRS)
def test_surface_distances_against_every_pair_of_voxels(name: str, spacing: tuple[float, float, float]):
    prediction, reference = PAIRS[name]
    to_reference, to_prediction = distances_by_hand(prediction, reference, spacing)
    found = surface_distances(prediction, reference, spacing)
    np.testing.assert_allclose(np.sort(found[0]), np.sort(to_reference))
    np.testing.assert_allclose(np.sort(found[1]), np.sort(to_prediction))
    both = np.concatenate([to_reference, to_prediction])
    assert HD95["pooled"](prediction, reference, spacing) == pytest.approx(np.percentile(both, 95))
    assert HD95["directed maximum"](prediction, reference, spacing) == pytest.approx(
        max(np.percentile(to_reference, 95), np.percentile(to_prediction, 95))
    )
    for tolerance in (0.5, 1.0, 2.0):
        share = ((to_reference <= tolerance).mean() + (to_prediction <= tolerance).mean()) / 2
        assert normalized_surface_distance(prediction, reference, spacing, tolerance) == pytest.approx(share)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", PAIRS)
def test_surfel_against_monai_s_surface_elements(name: str, spacing: tuple[float, float, float]):
    prediction, reference = PAIRS[name]
    masks = [torch.from_numpy(np.pad(mask, 1)) for mask in (prediction, reference)]
    found = get_mask_edges(*masks, crop=False, spacing=spacing)
    edges_p, edges_r, areas_p, areas_r = (array.numpy() for array in found)
    p, r = (np.argwhere(edges) * np.array(spacing) for edges in (edges_p, edges_r))
    table = np.sqrt(((p[:, None] - r[None]) ** 2).sum(-1))

    def by_area(distances: np.ndarray, areas: np.ndarray) -> float:
        """The least distance within which 95 % of the area lie."""
        values = np.unique(distances)
        shares = np.array([areas[distances <= value].sum() for value in values], dtype=float) / areas.sum()
        return values[shares > 0.95 - 1e-6][0]

    expected = max(by_area(table.min(1), areas_p[edges_p]), by_area(table.min(0), areas_r[edges_r]))
    assert HD95["surfel"](prediction, reference, spacing) == pytest.approx(expected)


def test_surfel_gives_what_deepmind_s_package_gives():
    """Computed with surface-distance 0.1, `compute_robust_hausdorff(..., 95)`."""
    for spacing, value in zip(SPACINGS, (3.0, 4.0, 2.817800560721074), strict=True):
        assert HD95["surfel"](*PAIRS["overlap"], spacing) == pytest.approx(value)


def test_hd95_is_not_one_number():
    """A thin spur on a block: 5.5 % of the prediction's surface voxels, 2.8 % of all, 14 % of the area."""
    reference = np.zeros((40, 16, 16), dtype=bool)
    reference[2:10, 3:13, 3:13] = True
    prediction = reference.copy()
    prediction[10:34, 8, 8] = True
    values = {name: definition(prediction, reference, (1, 1, 1)) for name, definition in HD95.items()}
    assert values == pytest.approx({"directed maximum": 2.1, "pooled": 0.0, "surfel": 14.0})


@pytest.mark.parametrize("measure", [*HD95.values()])
def test_the_edge_of_the_volume_is_like_background_beyond_it(measure: Callable):
    prediction, reference = PAIRS["edges"]
    spacing = (1.0, 1.0, 3.0)
    assert measure(np.pad(prediction, 4), np.pad(reference, 4), spacing) == measure(prediction, reference, spacing)
