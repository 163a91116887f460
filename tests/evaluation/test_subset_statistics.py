"""Means, spread and the paired test, against hand computations and against what a paper printed."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from medmiss.evaluation.published import SOURCES, published
from medmiss.evaluation.statistics import SUBSET_NAMES, by_subset, cases_by_subset, common_pairs, compare, paired_t_test


def test_the_mean_and_the_spread_are_over_cases(make_scores: Callable):
    values = {"A": 0.2, "B": 0.4, "C": 0.9}
    scores = make_scores(lambda case, subset, region: values[case], cases="ABC")
    scores = scores[(scores["case"] != "C") | (scores["subset"] == "T1")]
    means, deviations = by_subset(scores), by_subset(scores, "std")
    assert list(means.index) == list(SUBSET_NAMES)
    assert means["dice", "ET"]["T1"] == pytest.approx(0.5)
    assert means["dice", "ET"]["FLAIR"] == pytest.approx(0.3)
    # ((0.1)^2 + (0.1)^2) / (2 - 1)
    assert deviations["dice", "WT"]["FLAIR"] == pytest.approx(math.sqrt(0.02))
    assert cases_by_subset(scores)["T1"] == 3 and cases_by_subset(scores)["FLAIR"] == 2


def test_one_case_has_no_spread(make_scores: Callable):
    deviations = by_subset(make_scores(lambda *_: 0.5, cases="A", subsets=["T2"]), "std")
    assert list(deviations.index) == ["T2"] and deviations.isna().all(axis=None)


def test_the_paired_test_by_hand():
    ours = pd.Series({"FLAIR": 0.5, "T1": 0.3, "T2": 0.6, "T1c": 0.9})
    theirs = pd.Series({"T1": 0.2, "FLAIR": 0.3, "T2": 0.3})
    test = paired_t_test(ours, theirs)
    # differences 0.2, 0.1, 0.3: mean 0.2, sd 0.1, t = 0.2 / (0.1 / sqrt 3); for 2 degrees of freedom
    # P(T > t) = 1/2 - t / (2 sqrt(2 + t^2))
    t = 0.2 / (0.1 / math.sqrt(3))
    assert (test.subsets, test.difference) == (3, pytest.approx(0.2))
    assert test.p == pytest.approx(0.5 - t / (2 * math.sqrt(2 + t * t)))
    other_way = paired_t_test(theirs, ours)
    assert other_way.p == pytest.approx(1 - test.p) and other_way.difference == pytest.approx(-0.2)


@pytest.mark.parametrize("theirs", [{}, {"FLAIR": 0.1}, {"FLAIR": 0.3, "T1": 0.1}])
def test_what_cannot_be_tested_has_no_p(theirs: dict[str, float]):
    test = paired_t_test(pd.Series({"FLAIR": 0.4, "T1": 0.2}), pd.Series(theirs, dtype=float))
    assert math.isnan(test.p) and test.subsets == len(theirs)


@pytest.mark.parametrize(
    ("region", "printed"),
    [
        ("ET", [5.3e-6, 3.8e-7, 8.6e-7, 2.8e-5]),
        ("TC", [3.7e-5, 4.1e-7, 7.2e-6, 5.3e-7]),
        ("WT", [1.1e-4, 1.2e-3, 1.1e-5, 5.1e-7]),
    ],
)
def test_the_p_values_that_lckd_printed(region: str, printed: list[float]):
    """Table 1 of Wang et al., MICCAI 2023: LCKD against U-HeMIS, U-HVED, Robust-MSeg and mmFormer."""
    table = published()
    found = [
        paired_t_test(table["LCKD-m", region], table[other, region]).p
        for other in ("U-HeMIS", "U-HVED", "Robust-MSeg", "mmFormer")
    ]
    np.testing.assert_allclose(found, printed, rtol=0.03)  # two digits are printed


def test_runs_are_compared_on_what_both_measured(make_scores: Callable):
    ours = make_scores(lambda case, *_: {"A": 0.5, "B": 0.1}[case])
    theirs = make_scores(lambda case, subset, _: 0.4 if subset != "T2" else 0.3, cases="AC")
    one, other = common_pairs(ours, theirs)
    assert set(one["case"]) == set(other["case"]) == {"A"}
    test = compare(ours, theirs)["dice", "ET"]
    assert test.subsets == 15
    assert test.difference == pytest.approx((14 * 0.1 + 0.2) / 15)
    assert compare(ours, make_scores(lambda *_: 0.4, cases="C"))["dice", "ET"].subsets == 0


def test_published_figures_are_complete():
    table = published()
    assert table.shape == (15, 3 * len(SOURCES)) and not table.isna().any(axis=None)
    assert list(table.index) == list(SUBSET_NAMES)
    assert table["ShaSpec*", "TC"]["T1"] == 64.53
    # "Average" of Table 1 of ShaSpec and of LCKD
    means = table.mean().round(2)
    assert means["mmFormer", "ET"] == 59.85 and means["LCKD-m", "WT"] == 86.70
