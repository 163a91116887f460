"""Scores as `subsets.csv` has them."""

from collections.abc import Callable, Sequence

import pandas as pd
import pytest

from medmiss.cases import REGIONS
from medmiss.evaluation.statistics import SUBSET_NAMES

Dice = Callable[[str, str, str], float]


@pytest.fixture(scope="session")
def make_scores() -> Callable[..., pd.DataFrame]:
    """`make_scores(dice, cases, subsets)` with `dice(case, subset, region)`; post-processing adds 0.01."""

    def make(dice: Dice, cases: Sequence[str] = ("A", "B"), subsets: Sequence[str] = SUBSET_NAMES) -> pd.DataFrame:
        rows = []
        for case in cases:
            for subset in subsets:
                for region in REGIONS:
                    raw = dice(case, subset, region)
                    row = {"case": case, "subset": subset, "region": region}
                    rows.append({**row, "dice": raw, "dice_postprocessed": raw + 0.01, "hd95": 5.0})
        return pd.DataFrame(rows)

    return make
