"""Scores of a predicted mask against a reference, by named protocol."""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from medmiss.cases import REGIONS, Grid
from medmiss.evaluation.lesions import Lesion, Status, find_lesions
from medmiss.evaluation.masks import MASK_METRICS, MaskPair, ruler
from medmiss.evaluation.protocols import DIAGONAL, PROTOCOLS, Protocol, Value


@dataclass(frozen=True)
class RegionScores:
    """The scores of one region of a case.

    Attributes:
        metrics: metric to value: the protocol's, `volume_pred_ml` and `volume_ref_ml`.
        lesions: one by one; empty where the protocol does not look at lesions.
    """

    metrics: dict[str, float]
    lesions: list[Lesion]


def score_region(prediction: np.ndarray, reference: np.ndarray, grid: Grid, protocol: Protocol) -> RegionScores:
    """Score one region by a protocol.

    Args:
        prediction: `(X, Y, Z)` bool.
        reference: the same.
        grid: of both.
        protocol: one of `PROTOCOLS`.

    Raises:
        ValueError: when a mask is not bool or a shape is not the grid's.
    """
    pair = MaskPair(prediction, reference, grid)
    metrics = {metric: _score(pair, metric, protocol) for metric in protocol.metrics if metric in MASK_METRICS}
    lesions = []
    if protocol.lesions is not None:
        lesions = find_lesions(pair, protocol.lesions, ruler(protocol.hd95, grid, in_voxels=False))
        metrics |= _lesion_means(lesions, protocol)
    ml = grid.voxel_volume_mm3 / 1000
    metrics |= {"volume_pred_ml": pair.n_prediction * ml, "volume_ref_ml": pair.n_reference * ml}
    if protocol.in_voxels:
        metrics |= {"volume_pred_voxels": pair.n_prediction, "volume_ref_voxels": pair.n_reference}
    return RegionScores(metrics, lesions)


def _score(pair: MaskPair, metric: str, protocol: Protocol) -> float:
    """A metric of the whole region: the protocol's value where a mask is empty, otherwise by formula."""
    edge = _edge_value(protocol, metric, pair.n_prediction, pair.n_reference, pair.n_both)
    if edge is None:
        return MASK_METRICS[metric](pair, ruler(protocol.hd95, pair.grid, protocol.in_voxels))
    if edge == DIAGONAL:
        return math.hypot(*(size * spacing for size, spacing in zip(pair.grid.shape, pair.grid.spacing, strict=True)))
    return edge


def _lesion_means(lesions: list[Lesion], protocol: Protocol) -> dict[str, float]:
    assert protocol.lesions is not None
    counts = Counter(lesion.status for lesion in lesions)
    tp, fp, fn = counts[Status.MATCHED], counts[Status.FALSE_POSITIVE], counts[Status.MISSED]
    means: dict[str, float] = {}
    for metric in protocol.lesions.metrics:
        name = f"lesion_{metric}"
        edge = _edge_value(protocol, name, tp + fp, tp + fn, tp)
        values = [lesion.scores[metric] for lesion in lesions if metric in lesion.scores]
        means[name] = float(np.mean(values)) if edge is None else float(edge)
    return means | {"tp": tp, "fp": fp, "fn": fn}


def _edge_value(protocol: Protocol, metric: str, prediction: int, reference: int, common: int) -> Value:
    edge = protocol.edge_cases.get(metric)
    return None if edge is None else edge.value(prediction, reference, common)


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
        Region to metric to value: the protocol's metrics, `volume_pred_ml` and `volume_ref_ml`.

    Raises:
        ValueError: when the first axis does not hold the three regions, a shape is not the grid's or a mask is
            not bool.
    """
    return {
        name: score_region(p, r, grid, PROTOCOLS[protocol]).metrics for name, p, r in _by_region(prediction, reference)
    }


def region_dice(prediction: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Dice of each region as the literature on missing modalities reports it, nothing else computed.

    Args:
        prediction: `(3, X, Y, Z)` bool, as `LabelConvention.regions` gives them.
        reference: the same.

    Raises:
        ValueError: as `evaluate_regions` does.
    """
    protocol, grid = PROTOCOLS["literature"], Grid(reference.shape[1:], np.eye(4))
    return {name: _score(MaskPair(p, r, grid), "dice", protocol) for name, p, r in _by_region(prediction, reference)}


def _by_region(prediction: np.ndarray, reference: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
    for regions in (prediction, reference):
        if regions.ndim != 4 or len(regions) != len(REGIONS):
            raise ValueError(f"regions of shape {regions.shape}: expected the first axis to hold {REGIONS}")
    return list(zip(REGIONS, prediction, reference, strict=True))
