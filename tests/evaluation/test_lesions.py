"""Lesion-wise scores: the matching rules against a slow evaluation, and cases whose values the rules state."""

import itertools
from math import inf, nan

import cc3d
import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter, generate_binary_structure

from medmiss.cases import Grid
from medmiss.evaluation.distances import HD95, normalized_surface_distance
from medmiss.evaluation.metrics import RegionScores, score_region
from medmiss.evaluation.protocols import PROTOCOLS

SHAPE = (32, 30, 28)
MM = (1.0, 1.0, 1.0)


def boxes(*corners: tuple[int, ...], size: int = 4, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Cubes by their first corners."""
    mask = np.zeros(shape, dtype=bool)
    for corner in corners:
        mask[tuple(slice(start, start + size) for start in corner)] = True
    return mask


EMPTY = boxes()


def scores(prediction: np.ndarray, reference: np.ndarray, protocol: str, spacing=(1, 1, 1)) -> RegionScores:
    return score_region(prediction, reference, Grid(prediction.shape, np.diag([*spacing, 1.0])), PROTOCOLS[protocol])


def pick(found: RegionScores, *names: str) -> list[float]:
    return [found.metrics[name] for name in names]


def statuses(found: RegionScores) -> list[str]:
    return [lesion.status.value for lesion in found.lesions]


LESION_WISE = ("dice", "hd95", "sensitivity", "lesion_dice", "lesion_hd95", "tp", "fp", "fn")
BIG, SMALL = boxes((4, 4, 4)), boxes((20, 20, 20), size=1)


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [  # BraTS-2023-Metrics: nothing to score 1 and 0; sum / (kept lesions + false positives), 374 for infinite
        (EMPTY, EMPTY, [1, 0, 1, 1, 0, 0, 0, 0]),
        (BIG, EMPTY, [0, 374, 0, 0, 374, 0, 1, 0]),
        (EMPTY, BIG, [0, 374, 0, 0, 374, 0, 0, 1]),
        (BIG, BIG, [1, 0, 1, 1, 0, 1, 0, 0]),
        (EMPTY, SMALL, [0, 374, 0, 1, 0, 0, 0, 0]),  # at most 50 mm3: dropped, so there is nothing to find
        (SMALL, SMALL, [1, 0, 1, 1, 0, 0, 0, 0]),  # dropped, yet its match is no false positive
        (SMALL, BIG, [0, HD95["surfel"](SMALL, BIG, MM), 0, 0, 374, 0, 1, 1]),  # no threshold for false positives
    ],
)
def test_lesion_wise_2023_at_its_edges(prediction, reference, expected):
    assert pick(scores(prediction, reference, "brats2023"), *LESION_WISE) == pytest.approx(expected)


PANOPTICA = ("dice", "hd95", "nsd", "lesion_dice", "lesion_hd95", "lesion_nsd", "tp", "fp", "fn")


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [  # panoptica's table of zero true positives: NaN without instances, otherwise 0 and infinite
        (EMPTY, EMPTY, [nan, nan, nan, nan, nan, nan, 0, 0, 0]),
        (BIG, EMPTY, [0, inf, 0, 0, inf, 0, 0, 1, 0]),
        (EMPTY, BIG, [0, inf, 0, 0, inf, 0, 0, 0, 1]),
        (SMALL, BIG, [0, HD95["pooled"](SMALL, BIG, MM), 0, 0, inf, 0, 0, 1, 1]),
        (SMALL, SMALL, [1, 0, 1, 1, 0, 1, 1, 0, 0]),
    ],
)
def test_2025_at_its_edges(prediction, reference, expected):
    found = pick(scores(prediction, reference, "brats2025"), *PANOPTICA)
    assert found == pytest.approx(expected, nan_ok=True)


def test_27_lesions():
    """25 found one voxel aside, two missed, one invented."""
    shape = (44, 44, 44)
    corners = list(itertools.product((3, 16, 29), repeat=3))
    reference = boxes(*corners, shape=shape)
    aside = [(x + 1, y, z) for x, y, z in corners[:25]]
    prediction = boxes(*aside, (39, 39, 39), shape=shape)
    found = scores(prediction, reference, "brats2023")
    assert pick(found, "tp", "fp", "fn") == [25, 1, 2]
    assert pick(found, "lesion_dice", "lesion_hd95") == pytest.approx([25 * 0.75 / 28, (25 * 1 + 3 * 374) / 28])
    found = scores(prediction, reference, "brats2025")
    assert pick(found, "tp", "fp", "fn") == [25, 1, 2]
    assert pick(found, "lesion_dice", "lesion_hd95", "lesion_nsd") == pytest.approx([0.75, 1, 1])
    assert pick(found, "volume_pred_voxels", "volume_ref_voxels") == [26 * 64, 27 * 64]
    assert statuses(found).count("missed") == 2


def test_2023_joins_reference_lesions_whose_dilations_touch_and_all_that_meets_them():
    """Dilated three times, cubes 6 voxels apart touch and 8 apart do not; a gap of 7 leaves one voxel between."""
    for gap, lesions in ((6, 1), (7, 2), (8, 2)):
        reference = boxes((4, 4, 4), (8 + gap, 4, 4))
        assert len(scores(EMPTY, reference, "brats2023").lesions) == lesions
    reference = boxes((4, 4, 4), (14, 4, 4))
    found = scores(boxes((4, 4, 4), (14, 4, 4), (9, 9, 4), size=3), reference, "brats2023")
    assert statuses(found) == ["matched"]
    assert found.metrics["lesion_dice"] == pytest.approx(2 * 54 / (128 + 81))
    assert len(scores(EMPTY, reference, "brats2023-met").lesions) == 2


def test_the_thresholds_are_volumes_and_inclusive():
    fifty, more = np.zeros((2, *SHAPE), dtype=bool)
    fifty[2:7, 2:7, 2:4] = True
    more[2:7, 2:7, 2:4] = more[7, 2, 2] = True
    assert statuses(scores(EMPTY, fifty, "brats2023")) == ["too small"]
    assert statuses(scores(EMPTY, more, "brats2023")) == ["missed"]
    assert statuses(scores(EMPTY, fifty, "brats2023", (1, 1, 2))) == ["missed"]  # 100 mm3
    assert statuses(scores(EMPTY, boxes((3, 3, 3), size=1), "brats2023-met", (1, 1, 2))) == ["too small"]
    assert statuses(scores(EMPTY, boxes((3, 3, 3), size=1), "brats2023-met", (1, 1, 3))) == ["missed"]


def test_2025_takes_the_pairs_with_the_largest_sum_of_dice():
    """Dice 1/3 and 3/7 together are more than the largest one, 1/2, which shuts out both."""
    reference, prediction = np.zeros((2, 24, 8, 8), dtype=bool)
    reference[0:8, :4, :4] = reference[10:20, :4, :4] = True
    prediction[5:15, :4, :4] = prediction[17:21, :4, :4] = True
    found = scores(prediction, reference, "brats2025")
    assert pick(found, "tp", "fp", "fn") == [2, 0, 0]
    assert [lesion.scores["dice"] for lesion in found.lesions] == pytest.approx([1 / 3, 3 / 7])


def blobs(seed: int, threshold: float) -> np.ndarray:
    return gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 1.6) > threshold


def lesion_wise_by_hand(prediction: np.ndarray, reference: np.ndarray, times: int, min_volume: float) -> dict:
    """The rule of 2023 lesion by lesion on the whole volume, each lesion dilated on its own."""
    around = generate_binary_structure(3, 2)
    groups = cc3d.connected_components(binary_dilation(reference, around, iterations=times), connectivity=26)
    components = cc3d.connected_components(prediction, connectivity=26)
    total_dice = total_hd95 = kept = tp = 0.0
    claimed = set()
    for label in range(1, groups.max() + 1):
        lesion = reference & (groups == label)
        near = set(np.unique(components[binary_dilation(lesion, around, iterations=times)])) - {0}
        claimed |= near
        if lesion.sum() <= min_volume:
            continue
        match = np.isin(components, list(near))
        kept += 1
        tp += bool(near)
        total_dice += 2 * (match & lesion).sum() / (match.sum() + lesion.sum())
        total_hd95 += HD95["surfel"](match, lesion, MM) if near else 374
    fp = components.max() - len(claimed)
    return {
        "tp": tp,
        "fp": fp,
        "fn": kept - tp,
        "lesion_dice": total_dice / (kept + fp),
        "lesion_hd95": (total_hd95 + 374 * fp) / (kept + fp),
    }


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("protocol", "times", "min_volume"), [("brats2023", 3, 50), ("brats2023-met", 1, 2)])
def test_2023_against_a_slow_evaluation(seed: int, protocol: str, times: int, min_volume: float):
    """Blobs all over the volume, its edges included."""
    reference, prediction = blobs(seed, 0.17), blobs(seed + 100, 0.2) | blobs(seed, 0.24)
    expected = lesion_wise_by_hand(prediction, reference, times, min_volume)
    assert expected["tp"] and expected["fp"]
    found = scores(prediction, reference, protocol).metrics
    assert {name: found[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_2025_against_every_assignment(seed: int):
    reference, prediction = blobs(seed, 0.22), blobs(seed, 0.24) | blobs(seed + 50, 0.22)
    r, p = (cc3d.connected_components(mask, connectivity=26) for mask in (reference, prediction))
    table = np.array(
        [
            [2 * ((r == a) & (p == b)).sum() / ((r == a).sum() + (p == b).sum()) for b in range(1, p.max() + 1)]
            for a in range(1, r.max() + 1)
        ]
    )

    def best(row: int, free: frozenset[int]) -> float:
        if row == len(table):
            return 0.0
        choices = [table[row, column] + best(row + 1, free - {column}) for column in free if table[row, column]]
        return max([best(row + 1, free), *choices])

    found = scores(prediction, reference, "brats2025").metrics
    assert found["tp"] > 3
    assert found["lesion_dice"] * found["tp"] == pytest.approx(best(0, frozenset(range(table.shape[1]))))
    assert (found["tp"] + found["fn"], found["tp"] + found["fp"]) == table.shape


def test_2025_measures_regions_in_voxels_and_lesions_in_mm():
    """Shifted by two voxels of 3 mm: NSD's tolerance is half a voxel, or the smallest voxel size."""
    reference, prediction = boxes((4, 4, 4), size=6), boxes((4, 4, 6), size=6)
    found = scores(prediction, reference, "brats2025", (1, 1, 3)).metrics
    assert (found["hd95"], found["lesion_hd95"]) == (2, 6)
    assert found["nsd"] == normalized_surface_distance(prediction, reference, (1, 1, 1), 0.5)
    assert found["lesion_nsd"] == normalized_surface_distance(prediction, reference, (1, 1, 3), 1)
    assert found["lesion_nsd"] < normalized_surface_distance(prediction, reference, (1, 1, 3), 3)
    assert scores(prediction, reference, "brats2018", (1, 1, 3)).metrics["hd95"] == 6
    wide = scores(boxes((5, 4, 4), size=6), reference, "brats2025", (3, 3, 3)).metrics
    assert wide["lesion_nsd"] == 1  # one voxel of 3 mm aside is within 3 mm
    assert wide["nsd"] < 1
    assert found["volume_ref_ml"] == pytest.approx(216 * 3 / 1000)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_lies_on_the_border_scores_as_inside(protocol: str):
    reference, prediction = boxes((0, 0, 0), (28, 26, 24)), boxes((0, 1, 0), (27, 26, 24))
    found = scores(prediction, reference, protocol).metrics
    inside = scores(np.pad(prediction, 5), np.pad(reference, 5), protocol).metrics
    names = set(found) - {"specificity"}  # it counts the background
    assert {name: found[name] for name in names} == {name: inside[name] for name in names}
