"""Lesions: the connected components of a region, which predicted one belongs to which reference one, and scores."""

from dataclasses import dataclass
from enum import Enum

import cc3d
import numpy as np
from scipy.ndimage import binary_dilation, generate_binary_structure
from scipy.optimize import linear_sum_assignment

from medmiss.cases import Grid
from medmiss.evaluation.masks import MASK_METRICS, MaskPair, Ruler
from medmiss.evaluation.protocols import LesionRule

MIN_DICE = 1e-6
"""Lesions of a smaller Dice are no match; any common voxel is more."""


class Status(Enum):
    """What became of a lesion; a reference lesion is too small by `LesionRule.min_volume`."""

    MATCHED = "matched"
    MISSED = "missed"
    FALSE_POSITIVE = "false positive"
    TOO_SMALL = "too small"


@dataclass(frozen=True)
class Lesion:
    """One reference lesion with its match, or one false positive.

    Attributes:
        status: what became of it.
        n_prediction: voxels of the predicted components.
        n_reference: voxels of the reference lesion.
        scores: metric to value; empty where it takes no part in the means.
    """

    status: Status
    n_prediction: int
    n_reference: int
    scores: dict[str, float]


@dataclass(frozen=True)
class Components:
    """The lesions of both masks.

    Attributes:
        prediction: `(X, Y, Z)` int, 0 outside, components from 1.
        reference: the same of the reference's lesions.
        matches: reference lesion to the predicted components that are its match.
    """

    prediction: np.ndarray
    reference: np.ndarray
    matches: dict[int, list[int]]


def find_lesions(pair: MaskPair, rule: LesionRule, ruler: Ruler) -> list[Lesion]:
    """Every reference lesion with its scores, then every false positive.

    Args:
        pair: the masks of one region.
        rule: how lesions are found and matched.
        ruler: how their distances are measured.
    """
    if not pair.n_prediction and not pair.n_reference:
        return []
    found = _match_by_overlap(pair) if rule.dilation is None else _match_by_dilation(pair, rule.dilation)
    sizes_p, sizes_r = np.bincount(found.prediction.ravel()), np.bincount(found.reference.ravel())
    lesions = []
    for label in range(1, len(sizes_r)):
        if not sizes_r[label]:
            continue
        matches = found.matches.get(label, [])
        size = int(sizes_r[label])
        status = Status.MATCHED if matches else Status.MISSED
        scores = _scores(pair.grid, found, label, rule, ruler) if matches else dict(rule.unmatched)
        if rule.min_volume and size * pair.grid.voxel_volume_mm3 <= rule.min_volume:
            status, scores = Status.TOO_SMALL, {}
        lesions.append(Lesion(status, int(sizes_p[matches].sum()), size, scores))
    claimed = {match for matches in found.matches.values() for match in matches}
    for label in range(1, len(sizes_p)):
        if label not in claimed:
            lesions.append(Lesion(Status.FALSE_POSITIVE, int(sizes_p[label]), 0, dict(rule.unmatched)))
    return lesions


def _scores(grid: Grid, found: Components, label: int, rule: LesionRule, ruler: Ruler) -> dict[str, float]:
    prediction = np.isin(found.prediction, found.matches[label])
    pair = MaskPair(prediction, found.reference == label, Grid(prediction.shape, grid.affine))
    return {metric: MASK_METRICS[metric](pair, ruler) for metric in rule.metrics}


def _components(mask: np.ndarray) -> np.ndarray:
    return cc3d.connected_components(mask, connectivity=26)


def _match_by_overlap(pair: MaskPair) -> Components:
    """One to one, so that the sum of the Dice of the pairs is largest (panoptica, MaxBipartiteMatching)."""
    prediction, reference = _components(pair.prediction), _components(pair.reference)
    sizes_p, sizes_r = np.bincount(prediction.ravel()), np.bincount(reference.ravel())
    dice = np.zeros((len(sizes_r), len(sizes_p)))
    for (r, p), n_both in _common(reference, prediction).items():
        dice[r, p] = 2 * n_both / (sizes_r[r] + sizes_p[p])
    rows, columns = linear_sum_assignment(dice, maximize=True)
    matches = {int(r): [int(p)] for r, p in zip(rows, columns, strict=True) if dice[r, p] > MIN_DICE}
    return Components(prediction, reference, matches)


def _match_by_dilation(pair: MaskPair, times: int) -> Components:
    """Every predicted component that meets a dilated reference lesion (BraTS 2023, lesion-wise).

    A voxel's dilation holds the voxel and is connected, so a component of the dilated reference is the dilation
    of the reference lesion in it. Dilating beyond the edge of the volume joins nothing that is not joined
    within: where two dilations meet outside, they meet at the edge as well.
    """
    neighbourhood = generate_binary_structure(3, 2)
    dilated = binary_dilation(np.pad(pair.reference, times), neighbourhood, iterations=times)
    inside = tuple(slice(times, times + size) for size in pair.reference.shape)
    surroundings = _components(dilated)[inside]
    prediction = _components(pair.prediction)
    matches: dict[int, list[int]] = {}
    for r, p in _common(surroundings, prediction):
        matches.setdefault(r, []).append(p)
    return Components(prediction, np.where(pair.reference, surroundings, 0), matches)


def _common(first: np.ndarray, second: np.ndarray) -> dict[tuple[int, int], int]:
    """Voxels that a component of one has in common with one of the other, of those that have any."""
    both = (first > 0) & (second > 0)
    pairs, counts = np.unique(np.stack([first[both], second[both]], axis=1), axis=0, return_counts=True)
    return {(int(a), int(b)): int(count) for (a, b), count in zip(pairs, counts, strict=True)}
