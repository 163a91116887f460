"""Figures that papers printed for BraTS 2018, to set beside one's own: other cases, so no comparison.

All are Dice in % of one network for all subsets ("non-dedicated training"), trained on the 285 training cases of
BraTS 2018; the papers name the organisers' online evaluation of the 66 validation cases.
"""

from importlib.resources import files

import pandas as pd

from medmiss.cases import REGIONS
from medmiss.evaluation.statistics import SUBSET_NAMES

DATA = "BraTS 2018, 66 validation cases scored online by the organisers"

_SHASPEC = "Table 1 of Wang et al., CVPR 2023 (ShaSpec)"
_LCKD = "Table 2 of Wang et al., MICCAI 2023 (LCKD)"

SOURCES = {
    "U-HeMIS": f"as printed in {_SHASPEC}",
    "U-HVED": f"as printed in {_SHASPEC}",
    "Robust-MSeg": f"as printed in {_SHASPEC}",
    "mmFormer": f"as printed in {_SHASPEC}",
    "ShaSpec": _SHASPEC,
    "ShaSpec*": f"{_SHASPEC}; with its smoothing of the prediction: small components are removed",
    "LCKD-s": f"{_LCKD}; one teacher",
    "LCKD-m": f"{_LCKD}; several teachers",
    "MCKD": "Table 1 of Wang et al., 2024 (MCKD)",
}
"""Method to where its figures were printed; the columns of `published`, in this order."""


def published() -> pd.DataFrame:
    """Dice in %: one row a subset, in the order of `medmiss.modalities.SUBSETS`; columns (method, region)."""
    with files("medmiss.evaluation").joinpath("published_brats2018.csv").open() as file:
        table = pd.read_csv(file).rename(columns=lambda name: name.removeprefix("dice_").upper())
    wide = table.pivot(index="SUBSET", columns="METHOD", values=list(REGIONS)).swaplevel(axis=1)
    return wide.reindex(index=list(SUBSET_NAMES), columns=pd.MultiIndex.from_product([SOURCES, REGIONS]))
