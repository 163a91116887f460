import numpy as np
import pytest

from medmiss.cases import CONVENTIONS
from medmiss.evaluation import dice, region_dice

EMPTY = np.zeros((4, 4, 4), dtype=bool)


def mask(*indices: int) -> np.ndarray:
    out = EMPTY.copy()
    out.flat[list(indices)] = True
    return out


def test_dice_is_twice_the_overlap_over_the_sum_of_sizes():
    assert dice(mask(1, 2, 3), mask(2, 3, 4, 5)) == pytest.approx(2 * 2 / 7)
    assert dice(mask(1, 2), mask(1, 2)) == 1
    assert dice(mask(1, 2), mask(3)) == 0


def test_dice_of_empty_masks():
    assert dice(EMPTY, EMPTY) == 1
    assert dice(EMPTY, mask(1)) == 0
    assert dice(mask(1), EMPTY) == 0


def test_dice_refuses_what_is_no_pair_of_masks():
    with pytest.raises(ValueError, match="shapes"):
        dice(EMPTY, EMPTY[1:])
    with pytest.raises(ValueError, match="bool"):
        dice(EMPTY.astype(int), EMPTY)


def test_region_dice_names_the_regions():
    convention = CONVENTIONS["brats2018"]
    reference, prediction = np.zeros((2, 3, 3, 3), dtype=np.uint8)
    reference.flat[:6] = [1, 1, 2, 2, 4, 4]
    prediction.flat[:6] = [1, 4, 2, 0, 4, 4]
    scores = region_dice(convention.regions(prediction), convention.regions(reference))
    assert scores == pytest.approx({"ET": 2 * 2 / 5, "TC": 1.0, "WT": 2 * 5 / 11})
    with pytest.raises(ValueError, match="first axis"):
        region_dice(EMPTY, EMPTY)
