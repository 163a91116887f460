"""Label values of one convention in those of another, and which convention a set of values may come from."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from medmiss.cases import CONVENTIONS, LabelConvention


def same_labels(one: LabelConvention, other: LabelConvention) -> bool:
    """Whether the three labels that a method of this package writes have the same values in both."""
    return (one.ncr, one.ed, one.et) == (other.ncr, other.ed, other.et)


def convert_labels(array: np.ndarray, source: LabelConvention, target: LabelConvention) -> np.ndarray:
    """Bring a label map `(X, Y, Z)` from one convention to another, by its regions; uint8.

    A resection cavity is part of no region: it is kept where the target has a value for it, else it becomes 0.
    """
    converted = target.labels(source.regions(array))
    if source.rc is not None and target.rc is not None:
        converted[array == source.rc] = target.rc
    return converted


def wrong_values(values: Iterable[float], convention: LabelConvention) -> list[float]:
    """Those of the values that the convention does not know, ascending."""
    return sorted(set(values) - set(convention.values))


def likely_conventions(values: Iterable[float]) -> list[str]:
    """Names of the conventions that know all these values, of those the ones with the fewest; one of each kind."""
    fitting = [row for row in CONVENTIONS.values() if not wrong_values(values, row)]
    fewest = min((len(row.values) for row in fitting), default=0)
    named = {replace(row, name=""): row.name for row in reversed(fitting) if len(row.values) == fewest}
    return list(named.values())[::-1]


def values_text(values: Iterable[float]) -> str:
    """Values for a sentence; of many, the first five."""
    listed = [f"{value:g}" for value in sorted(values)]
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
