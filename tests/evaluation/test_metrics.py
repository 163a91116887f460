"""Scores of whole regions: formulas by hand, the protocols' values where there is nothing to measure."""

import numpy as np
import pytest

from medmiss.cases import CONVENTIONS, Grid
from medmiss.evaluation import PROTOCOLS, evaluate_regions, region_dice

SHAPE = (24, 20, 16)
GRID = Grid(SHAPE, np.eye(4))
DIAGONAL = (24**2 + 20**2 + 16**2) ** 0.5


def box(*slices: slice) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[slices] = True
    return mask


EMPTY = box(slice(0))
CUBE = box(slice(4, 10), slice(5, 11), slice(6, 12))
SHIFTED = box(slice(6, 12), slice(5, 11), slice(6, 12))


def scores(prediction: np.ndarray, reference: np.ndarray, protocol: str, grid: Grid = GRID) -> dict[str, float]:
    """Of one region; the other two hold the same masks and must score the same."""
    et, tc, wt = evaluate_regions(np.stack([prediction] * 3), np.stack([reference] * 3), grid, protocol).values()
    assert repr(et) == repr(tc) == repr(wt)
    return et


def test_formulas_by_hand():
    found = scores(SHIFTED, CUBE, "brats2018")
    assert found == pytest.approx(
        {
            "dice": 2 * 144 / 432,
            "hd95": 2.0,
            "sensitivity": 144 / 216,
            "specificity": 1 - 72 / (24 * 20 * 16 - 216),
            "volume_pred_ml": 0.216,
            "volume_ref_ml": 0.216,
        }
    )
    assert scores(SHIFTED, CUBE, "literature") == {
        name: found[name] for name in ("dice", "hd95", "volume_pred_ml", "volume_ref_ml")
    }
    assert scores(CUBE, CUBE, "brats2018")["hd95"] == 0


@pytest.mark.parametrize("protocol", ["brats2018", "literature"])
@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [  # CaPTk, GetBraTSLabelStatistics: both labels missing 1 and 0; one missing 0 and the diagonal of the volume
        (EMPTY, EMPTY, {"dice": 1, "hd95": 0, "sensitivity": 1, "specificity": 1}),
        (CUBE, EMPTY, {"dice": 0, "hd95": DIAGONAL, "sensitivity": 0, "specificity": 1 - 216 / 7680}),
        (EMPTY, CUBE, {"dice": 0, "hd95": DIAGONAL, "sensitivity": 0, "specificity": 1}),
    ],
)
def test_the_portal_where_a_mask_is_empty(protocol, prediction, reference, expected):
    found = scores(prediction, reference, protocol)
    assert {name: found[name] for name in PROTOCOLS[protocol].metrics} == pytest.approx(
        {name: expected[name] for name in PROTOCOLS[protocol].metrics}
    )


def test_the_diagonal_of_a_challenge_volume():
    grid = Grid((240, 240, 155), np.eye(4))
    regions = np.zeros((3, *grid.shape), dtype=bool)
    reference = regions.copy()
    reference[:, 120, 120, 80] = True
    assert evaluate_regions(regions, reference, grid, "brats2018")["WT"]["hd95"] == pytest.approx(373.12866, abs=1e-5)


def test_region_dice_names_the_regions():
    convention = CONVENTIONS["brats2018"]
    reference, prediction = np.zeros((2, 3, 3, 3), dtype=np.uint8)
    reference.flat[:6] = [1, 1, 2, 2, 4, 4]
    prediction.flat[:6] = [1, 4, 2, 0, 4, 4]
    found = region_dice(convention.regions(prediction), convention.regions(reference))
    assert found == pytest.approx({"ET": 2 * 2 / 5, "TC": 1.0, "WT": 2 * 5 / 11})
    assert region_dice(np.stack([EMPTY] * 3), np.stack([EMPTY, CUBE, EMPTY])) == {"ET": 1, "TC": 0, "WT": 1}


def test_what_is_no_pair_of_regions_is_refused():
    regions = np.stack([CUBE] * 3)
    with pytest.raises(ValueError, match="shape"):
        evaluate_regions(regions, regions[:, 1:], GRID)
    with pytest.raises(ValueError, match="bool"):
        region_dice(regions.astype(int), regions)
    with pytest.raises(ValueError, match="first axis"):
        evaluate_regions(regions[:2], regions, GRID)
