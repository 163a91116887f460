"""The protocol brats2025 against the values published with the official evaluator of 2025.

`pytest -s` prints the table.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from medmiss.cases import CONVENTIONS, REGIONS, read_mask
from medmiss.evaluation.lesions import Status
from medmiss.evaluation.metrics import RegionScores, score_region
from medmiss.evaluation.protocols import PROTOCOLS

DATA = Path(__file__).parents[3] / "shared" / "data" / "brats_evaluation"
CASES = ("00132-000", "00217-000")
CONVENTION = CONVENTIONS["brats2024"]
OFFICIAL = {
    "dice": "global_bin_dsc",
    "hd95": "global_bin_hd95",
    "nsd": "global_bin_nsd",
    "lesion_dice": "sq_dsc",
    "lesion_hd95": "sq_hd95",
    "lesion_nsd": "sq_nsd",
    "tp": "tp",
    "fp": "fp",
    "fn": "fn",
    "volume_pred_voxels": "global_bin_volume_pred",
    "volume_ref_voxels": "global_bin_volume_ref",
}

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}")


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, RegionScores]]:
    """Our scores: case, region."""
    scores: dict[str, dict[str, RegionScores]] = {}
    for case in CASES:
        masks = [read_mask(next((DATA / side).glob(f"*{case}*")), case, CONVENTION) for side in ("pred", "ref")]
        assert masks[0].grid.distance_mm(masks[1].grid) == 0
        regions = [[*CONVENTION.regions(mask.array), mask.array == CONVENTION.rc] for mask in masks]
        scores[case] = {
            name: score_region(prediction, reference, masks[0].grid, PROTOCOLS["brats2025"])
            for name, prediction, reference in zip((*REGIONS, "RC"), *regions, strict=True)
        }
    return scores


@pytest.fixture(scope="module")
def official() -> dict[str, dict]:
    """The published values: case, region."""
    content = json.loads((DATA / "expected_metrics.json").read_text())
    return {"".join(re.findall(r"\d{5}-\d{3}", entry["subject_name"])): entry for entry in content["metrics"]}


def test_regions(found, official):
    """Counts, volumes, and Dice, HD95 and NSD of the whole region and as means over matched lesions."""
    for case in CASES:
        for region in (*REGIONS, "RC"):
            ours, theirs = found[case][region].metrics, official[case][region.lower()]
            print(f"\n{case} {region}")
            for metric, key in OFFICIAL.items():
                print(f"  {metric:18} ours {ours[metric]:12.6f}  official {theirs[key]:12.6f}")
                np.testing.assert_allclose(ours[metric], theirs[key], rtol=0, atol=1e-4, err_msg=f"{region} {metric}")


def test_matched_lesions(found, official):
    """Volume, Dice, HD95 and NSD of every reference lesion, 112 of them."""
    number = 0
    for case in CASES:
        for region in REGIONS:
            lesions = found[case][region].lesions
            ours = {
                True: [[x.n_reference, *x.scores.values()] for x in lesions if x.status is Status.MATCHED],
                False: [[x.n_reference] for x in lesions if x.status is Status.MISSED],
            }
            for matched, columns in ((True, ("voxel_count", "sq_dsc", "sq_hd95", "sq_nsd")), (False, ("voxel_count",))):
                theirs = [
                    [lesion[column] for column in columns]
                    for lesion in official[case][region.lower()]["reference_instances"]
                    if lesion["is_matched"] == matched
                ]
                number += len(theirs)
                np.testing.assert_allclose(sorted(ours[matched]), sorted(theirs), rtol=0, atol=1e-4)
    assert number == 8 + 8 + 7 + 34 + 34 + 21
