"""The Dice score as the literature on missing modalities reports it: per case and region, on the whole volume."""

import numpy as np

from medmiss.cases import REGIONS


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Overlap `2 |P and R| / (|P| + |R|)` of two masks (Dice, Ecology 26, 1945).

    Where both are empty the score is 1, the rule of the per-case tables of RFNet, mmFormer and ShaSpec; where
    only one is empty it is 0.

    Args:
        prediction: `(X, Y, Z)` bool.
        reference: the same shape, bool.

    Raises:
        ValueError: when the shapes differ or a mask is not bool.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"shapes {prediction.shape} and {reference.shape}: expected the same")
    if prediction.dtype != bool or reference.dtype != bool:
        raise ValueError(f"masks of type {prediction.dtype} and {reference.dtype}: expected bool")
    total = np.count_nonzero(prediction) + np.count_nonzero(reference)
    return 2 * np.count_nonzero(prediction & reference) / total if total else 1.0


def region_dice(prediction: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Dice of each of `medmiss.cases.REGIONS`.

    Args:
        prediction: `(3, X, Y, Z)` bool, as `LabelConvention.regions` gives them.
        reference: the same.

    Raises:
        ValueError: when the shapes differ, the first axis does not hold the three regions or a mask is not bool.
    """
    if len(prediction) != len(REGIONS):
        raise ValueError(f"regions of shape {prediction.shape}: expected the first axis to hold {REGIONS}")
    if prediction.shape != reference.shape:
        raise ValueError(f"shapes {prediction.shape} and {reference.shape}: expected the same")
    return {name: dice(p, r) for name, p, r in zip(REGIONS, prediction, reference, strict=True)}
