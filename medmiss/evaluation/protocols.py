"""The scoring protocols: a metric's value means nothing without the name of its protocol.

A protocol is data: which metrics, which definition of HD95, what a metric is where there is nothing to measure,
and where each rule comes from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

DIAGONAL: Final = "diagonal"
"""In place of a number: the diagonal of the volume in mm, 373.12866 for 240 x 240 x 155 at 1 mm."""

Value = float | Literal["diagonal"] | None
"""A score; `DIAGONAL`; or None where the metric's formula holds."""


@dataclass(frozen=True)
class EdgeCase:
    """What a metric is where prediction and reference have nothing in common to measure.

    Args:
        both_empty: neither mask has a voxel.
        reference_empty: only the prediction has some.
        prediction_empty: only the reference has some.
    """

    both_empty: Value
    reference_empty: Value
    prediction_empty: Value

    def value(self, prediction: int, reference: int) -> Value:
        """The value for masks of these sizes; None where the formula holds."""
        if prediction and reference:
            return None
        if reference:
            return self.prediction_empty
        return self.reference_empty if prediction else self.both_empty


@dataclass(frozen=True)
class Protocol:
    """How one challenge or one literature scores a region of a case.

    Args:
        name: key in `PROTOCOLS`.
        source: where its rules were read.
        metrics: its columns, volumes aside.
        hd95: key in `medmiss.evaluation.distances.HD95`.
        edge_cases: metric to its values where a mask is empty; the formula holds for those not named.
    """

    name: str
    source: str
    metrics: tuple[str, ...]
    hd95: str
    edge_cases: Mapping[str, EdgeCase]


_PORTAL_EDGE_CASES = {
    "dice": EdgeCase(both_empty=1.0, reference_empty=0.0, prediction_empty=0.0),
    "hd95": EdgeCase(both_empty=0.0, reference_empty=DIAGONAL, prediction_empty=DIAGONAL),
    "sensitivity": EdgeCase(both_empty=1.0, reference_empty=0.0, prediction_empty=0.0),
}

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="literature",
            source="per-case tables of RFNet, mmFormer and ShaSpec: Dice of two empty masks is 1; HD95 as brats2018",
            metrics=("dice", "hd95"),
            hd95="directed maximum",
            edge_cases=_PORTAL_EDGE_CASES,
        ),
        Protocol(
            name="brats2018",
            source="portal of 2018-2022, by the closest public code: CaPTk, GetBraTSLabelStatistics",
            metrics=("dice", "hd95", "sensitivity", "specificity"),
            hd95="directed maximum",
            edge_cases=_PORTAL_EDGE_CASES,
        ),
    )
}
"""Protocols by name."""
