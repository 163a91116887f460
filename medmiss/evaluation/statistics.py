"""From the scores of cases to what a paper's table states: means by subset, their spread, and a test between runs."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import ttest_rel

from medmiss.cases import REGIONS
from medmiss.modalities import SUBSETS, subset_name

SUBSET_NAMES = tuple(subset_name(subset) for subset in SUBSETS)
MEASURES = ("dice", "dice_postprocessed", "hd95")


def by_subset(scores: pd.DataFrame, statistic: Literal["mean", "std"] = "mean") -> pd.DataFrame:
    """A statistic over cases.

    Args:
        scores: lines of `subsets.csv`.
        statistic: `"mean"`, or `"std"`, the sample's standard deviation (n - 1), NaN for one case.

    Returns:
        One row a subset that was measured, in the order of `medmiss.modalities.SUBSETS`; columns (measure, region).
    """
    table = scores.pivot_table(index="subset", columns="region", values=list(MEASURES), aggfunc=statistic)
    measured = set(scores["subset"])
    columns = pd.MultiIndex.from_product([MEASURES, REGIONS])
    return table.reindex(index=[name for name in SUBSET_NAMES if name in measured], columns=columns)


def cases_by_subset(scores: pd.DataFrame) -> pd.Series:
    """How many cases each measured subset has."""
    counts = scores.groupby("subset")["case"].nunique()
    return counts.reindex([name for name in SUBSET_NAMES if name in counts.index])


@dataclass(frozen=True)
class PairedTest:
    """A one-tailed paired t-test over subset means.

    Args:
        difference: mean of this run less the other's.
        subsets: how many pairs.
        p: of a difference at least this large if this run were no better; NaN where there is nothing to test.
    """

    difference: float
    subsets: int
    p: float


def paired_t_test(ours: pd.Series, theirs: pd.Series) -> PairedTest:
    """Whether our means by subset are greater than theirs, as Table 1 of LCKD (MICCAI 2023) tests it.

    One pair a subset that both have. With fewer than two pairs, or differences that are all the same, there is no
    test. The pairs are 15 at most and share their cases, so that p says how steadily one run is ahead over the
    subsets, and nothing about other patients.

    Args:
        ours: mean by subset.
        theirs: the same of the other run.
    """
    pairs = pd.concat([ours, theirs], axis=1, join="inner").dropna()
    if pairs.empty:
        return PairedTest(math.nan, 0, math.nan)
    one, other = (pairs.iloc[:, column].to_numpy(float) for column in (0, 1))
    differences = one - other
    if len(pairs) < 2 or np.ptp(differences) < 1e-12:
        return PairedTest(float(differences.mean()), len(pairs), math.nan)
    p = float(ttest_rel(one, other, alternative="greater").pvalue)
    return PairedTest(float(differences.mean()), len(pairs), p)


def compare(scores: pd.DataFrame, other: pd.DataFrame) -> dict[tuple[str, str], PairedTest]:
    """Test two runs on what both measured: the means are taken over (case, subset) pairs that both have.

    Args:
        scores: lines of this run's `subsets.csv`.
        other: the same of the other run.

    Returns:
        The test for each (measure, region), Dice alone.
    """
    ours, theirs = (by_subset(common) for common in common_pairs(scores, other))
    return {
        (measure, region): paired_t_test(ours[measure, region], theirs[measure, region])
        for measure in MEASURES[:2]
        for region in REGIONS
    }


def common_pairs(scores: pd.DataFrame, other: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The lines of each of two runs whose case and subset the other has as well."""
    keys = ["case", "subset"]
    both = pd.merge(scores[keys].drop_duplicates(), other[keys].drop_duplicates())
    return pd.merge(scores, both), pd.merge(other, both)
