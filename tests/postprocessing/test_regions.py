"""Post-processing: sizes at and around each threshold, the three ET rules, what the events say."""

import numpy as np
import pytest

from medmiss.postprocessing import ET_RULE_FIRED, PRESETS, PostProcessing, postprocessing_preset

ET, TC, WT = 0, 1, 2


def empty(shape=(40, 20, 20)):
    return np.zeros((3, *shape), dtype=bool)


def line(regions, channels, row, length):
    """A connected run of `length` voxels at (y, z) = `row`."""
    regions[channels, :length, row[0], row[1]] = True


def test_component_of_exactly_the_absolute_threshold_stays_and_one_voxel_less_goes():
    regions = empty()
    line(regions, WT, (0, 0), 40)
    line(regions, WT, (5, 5), 10)
    line(regions, WT, (10, 10), 9)
    result, events = PostProcessing(min_volume=10, min_share=0.9, et_rule="off")(regions)
    assert result[WT, :, 5, 5].sum() == 10
    assert not result[WT, :, 10, 10].any()
    assert result.sum() == 50
    assert len(events) == 1 and "removed 1 of 3" in events[0] and "9 mm3" in events[0]
    assert events[0].endswith("smaller than 10 mm3 (the absolute limit)")


@pytest.mark.parametrize("size, stays", [(7, True), (6, False)])
def test_share_of_the_largest_is_exact_despite_rounding(size, stays):
    assert 0.07 * 100 > 7  # the rounding this guards against
    regions = empty((100, 20, 20))
    line(regions, WT, (0, 0), 100)
    line(regions, WT, (5, 5), size)
    result, _ = PostProcessing(min_volume=2000, min_share=0.07, et_rule="off")(regions)
    assert result[WT, :, 5, 5].any() == stays


def test_the_smaller_of_the_two_thresholds_decides():
    regions = empty()
    line(regions, WT, (0, 0), 40)
    line(regions, WT, (5, 5), 8)
    assert PostProcessing(min_volume=5, min_share=0.5, et_rule="off")(regions)[0].sum() == 48
    assert PostProcessing(min_volume=100, min_share=0.1, et_rule="off")(regions)[0].sum() == 48
    assert PostProcessing(min_volume=9, min_share=0.5, et_rule="off")(regions)[0].sum() == 40


def test_the_largest_component_stays_however_small():
    regions = empty()
    line(regions, WT, (0, 0), 3)
    result, events = PostProcessing(et_rule="off", min_share=1.0)(regions)
    assert result.sum() == 3 and events == []


def test_thresholds_are_in_mm3():
    regions = empty()
    line(regions, WT, (0, 0), 40)
    line(regions, WT, (5, 5), 5)
    rule = PostProcessing(min_volume=10, min_share=0.9, et_rule="off")
    assert rule(regions, voxel_volume=2.0)[0].sum() == 45
    assert rule(regions, voxel_volume=0.99999999 * 2.0)[0].sum() == 45
    assert rule(regions, voxel_volume=1.9)[0].sum() == 40


def test_removal_takes_all_regions_inside_the_component():
    regions = empty()
    line(regions, WT, (0, 0), 40)
    line(regions, slice(None), (5, 5), 3)
    result, events = PostProcessing(et_rule="off")(regions)
    assert events[0].endswith("smaller than 4 mm3 (0.1 x the largest)")
    assert not result[:, :, 5, 5].any()
    assert result[WT, :, 0, 0].sum() == 40


def test_a_region_outside_wt_counts_as_tumour():
    regions = empty()
    line(regions, WT, (0, 0), 40)
    line(regions, ET, (5, 5), 3)
    result, _ = PostProcessing(et_rule="off")(regions)
    assert not result[ET].any()


@pytest.mark.parametrize("offset, joined_at", [((1, 0, 0), {6, 18, 26}), ((1, 1, 0), {18, 26}), ((1, 1, 1), {26})])
@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_connectivity(connectivity, offset, joined_at):
    regions = empty((12, 12, 12))
    regions[WT, :5, :5, :5] = True
    corner = tuple(4 + o for o in offset)
    regions[(WT, *corner)] = True
    result, _ = PostProcessing(connectivity=connectivity, et_rule="off")(regions)
    assert result[(WT, *corner)] == (connectivity in joined_at)


def tumour_with_et(size):
    regions = empty()
    regions[WT, :30, :18, :18] = True
    regions[TC, :20, :10, :10] = True
    flat = np.zeros((20, 10, 10), dtype=bool)
    flat.ravel()[:size] = True
    regions[ET, :20, :10, :10] = flat
    return regions


@pytest.mark.parametrize("rule", ["ncr", "removed"])
def test_et_of_exactly_500_stays(rule):
    regions = tumour_with_et(500)
    result, events = PostProcessing(et_rule=rule)(regions)
    assert np.array_equal(result, regions) and events == []


def test_et_of_499_becomes_ncr():
    regions = tumour_with_et(499)
    result, events = PostProcessing()(regions)
    assert not result[ET].any()
    assert np.array_equal(result[1:], regions[1:])
    assert len(events) == 1
    assert events[0].startswith(ET_RULE_FIRED) and "--postprocess keep-et" in events[0]
    assert "NCR" in events[0] and "can hide a small lesion" in events[0]


def test_et_of_499_is_removed_from_all_regions():
    regions = tumour_with_et(499)
    result, events = PostProcessing(et_rule="removed")(regions)
    assert not (result & regions[ET]).any()
    assert np.array_equal(result[WT], regions[WT] & ~regions[ET])
    assert "removed from the mask" in events[0]


def test_et_rule_off_and_no_et():
    regions = tumour_with_et(3)
    assert np.array_equal(PostProcessing(et_rule="off")(regions)[0], regions)
    without = tumour_with_et(0)
    result, events = PostProcessing()(without)
    assert np.array_equal(result, without) and events == []


def test_et_threshold_is_in_mm3():
    regions = tumour_with_et(250)
    assert PostProcessing()(regions, voxel_volume=2.0)[1] == []
    assert len(PostProcessing()(regions, voxel_volume=1.99)[1]) == 1


def test_et_is_counted_after_the_components_went():
    regions = tumour_with_et(490)
    line(regions, slice(None), (19, 19), 20)
    _, events = PostProcessing()(regions)
    assert len(events) == 2 and "490 mm3" in events[1]


def test_an_empty_mask_and_the_input_are_left_alone():
    assert PostProcessing()(empty())[1] == []
    regions = tumour_with_et(10)
    before = regions.copy()
    PostProcessing()(regions)
    assert np.array_equal(regions, before)


def test_presets():
    regions = tumour_with_et(10)
    line(regions, WT, (19, 19), 2)
    untouched, events = postprocessing_preset("none")(regions)
    assert np.array_equal(untouched, regions) and events == []
    assert postprocessing_preset("default") == PostProcessing() and PRESETS["default"].connectivity == 18
    without_et_rule = postprocessing_preset("keep-et")(regions)[0]
    assert not without_et_rule[:, :2, 19, 19].any() and np.array_equal(without_et_rule[ET], regions[ET])
    published = postprocessing_preset("rfnet")(regions)[0]
    assert published[WT, :2, 19, 19].all() and not (published & regions[ET]).any()
    with pytest.raises(ValueError, match=r"'best'.*default, keep-et, none, rfnet"):
        postprocessing_preset("best")


@pytest.mark.parametrize(
    "arguments",
    [{"connectivity": 8}, {"et_rule": "yes"}, {"min_volume": -1}, {"et_min_volume": float("nan")}, {"min_share": 1.1}],
)
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        PostProcessing(**arguments)


def test_wrong_shape_and_voxel():
    with pytest.raises(ValueError, match="shape"):
        PostProcessing()(np.zeros((4, 5, 5, 5), dtype=bool))
    with pytest.raises(ValueError, match="voxel_volume"):
        PostProcessing()(empty(), voxel_volume=0)
