"""The scoring protocols: a metric's value means nothing without the name of its protocol.

A protocol is data: which metrics, which definition of HD95, how lesions are matched, what a metric is where
there is nothing to measure, and where each rule comes from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, nan
from typing import Final, Literal

DIAGONAL: Final = "diagonal"
"""In place of a number: the diagonal of the volume in mm, 373.12866 for 240 x 240 x 155 at 1 mm."""

Value = float | Literal["diagonal"] | None
"""A score; `DIAGONAL`; or None where the metric's formula holds."""


@dataclass(frozen=True)
class EdgeCase:
    """What a metric is where prediction and reference have nothing in common.

    Of a region the things counted are voxels; of the mean over lesions they are lesions.

    Args:
        both_empty: neither has any.
        reference_empty: only the prediction has some.
        prediction_empty: only the reference has some.
        no_match: both have some, none in common.
    """

    both_empty: Value
    reference_empty: Value
    prediction_empty: Value
    no_match: Value = None

    def value(self, prediction: int, reference: int, common: int) -> Value:
        """The value for these counts; None where the formula holds."""
        if common:
            return None
        if prediction and reference:
            return self.no_match
        if reference:
            return self.prediction_empty
        return self.reference_empty if prediction else self.both_empty


@dataclass(frozen=True)
class LesionRule:
    """How a protocol finds lesions and pairs predicted with reference ones.

    A lesion is a 26-connected component.

    Args:
        metrics: of one lesion; their means over the lesions are `lesion_<metric>`.
        dilation: None pairs one predicted with one reference lesion, so that the sum of their Dice is largest.
            1 or more pairs by neighbourhood: the reference is dilated so many times with the 18-neighbourhood,
            reference lesions whose dilations touch are one, and every predicted component that meets a lesion's
            dilation is its match.
        min_volume: mm3; reference lesions up to this volume are left out.
        unmatched: scores of a reference lesion that was missed and of a false positive; without them both
            are left out of the means.
    """

    metrics: tuple[str, ...]
    dilation: int | None = None
    min_volume: float = 0.0
    unmatched: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Protocol:
    """How one challenge or one literature scores a region of a case.

    Args:
        name: key in `PROTOCOLS`.
        source: where its rules were read.
        metrics: its columns, volumes aside.
        hd95: key in `medmiss.evaluation.distances.HD95`.
        edge_cases: metric to its values where there is nothing to measure; the formula holds for those not named.
        in_voxels: distances of whole regions are in voxels, and there are columns of volumes in voxels. Those of
            single lesions are in mm all the same.
        lesions: how lesions are scored; None where they are not.
        absent: the scores of a case without a prediction; empty where the protocol has no rule for it.
        infinite: what the protocol's own table puts in place of an infinite score before it takes the mean;
            None keeps it infinite.
    """

    name: str
    source: str
    metrics: tuple[str, ...]
    hd95: str
    edge_cases: Mapping[str, EdgeCase]
    in_voxels: bool = False
    lesions: LesionRule | None = None
    absent: Mapping[str, float] = field(default_factory=dict)
    infinite: float | None = None


_OVERLAP = EdgeCase(both_empty=1.0, reference_empty=0.0, prediction_empty=0.0)
_PORTAL = {
    "dice": _OVERLAP,
    "hd95": EdgeCase(both_empty=0.0, reference_empty=DIAGONAL, prediction_empty=DIAGONAL),
    "sensitivity": _OVERLAP,
}
_LESION_WISE = {
    "dice": _OVERLAP,
    "hd95": EdgeCase(both_empty=0.0, reference_empty=374.0, prediction_empty=374.0),
    "sensitivity": _OVERLAP,
    "lesion_dice": _OVERLAP,
    "lesion_hd95": EdgeCase(both_empty=0.0, reference_empty=374.0, prediction_empty=374.0),
}
_PANOPTICA_OVERLAP = EdgeCase(both_empty=nan, reference_empty=0.0, prediction_empty=0.0)
_PANOPTICA_LESIONS = EdgeCase(both_empty=nan, reference_empty=0.0, prediction_empty=0.0, no_match=0.0)
_PANOPTICA = {
    "dice": _PANOPTICA_OVERLAP,
    "hd95": EdgeCase(both_empty=nan, reference_empty=inf, prediction_empty=inf),
    "nsd": _PANOPTICA_OVERLAP,
    "lesion_dice": _PANOPTICA_LESIONS,
    "lesion_hd95": EdgeCase(both_empty=nan, reference_empty=inf, prediction_empty=inf, no_match=inf),
    "lesion_nsd": _PANOPTICA_LESIONS,
}
_2025_METRICS = ("dice", "hd95", "nsd", "lesion_dice", "lesion_hd95", "lesion_nsd", "tp", "fp", "fn")


def _lesion_wise(name: str, challenge: str, dilation: int, min_volume: float) -> Protocol:
    return Protocol(
        name=name,
        source=f"rachitsaluja/BraTS-2023-Metrics, {challenge}",
        metrics=("dice", "hd95", "sensitivity", "specificity", "lesion_dice", "lesion_hd95", "tp", "fp", "fn"),
        hd95="surfel",
        edge_cases=_LESION_WISE,
        lesions=LesionRule(("dice", "hd95"), dilation, min_volume, unmatched={"dice": 0.0, "hd95": 374.0}),
    )


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="literature",
            source="per-case tables of RFNet, mmFormer and ShaSpec: Dice of two empty masks is 1; HD95 as brats2018",
            metrics=("dice", "hd95"),
            hd95="directed maximum",
            edge_cases=_PORTAL,
        ),
        Protocol(
            name="brats2018",
            source="portal of 2018-2022, by the closest public code: CaPTk, GetBraTSLabelStatistics",
            metrics=("dice", "hd95", "sensitivity", "specificity"),
            hd95="directed maximum",
            edge_cases=_PORTAL,
        ),
        _lesion_wise("brats2023", "BraTS-GLI (also SSA, PED)", dilation=3, min_volume=50.0),
        _lesion_wise("brats2023-met", "BraTS-MET", dilation=1, min_volume=2.0),
        Protocol(
            name="brats2025",
            source="BraTS_evaluation (2025 and 2026) on panoptica 2.1.7; its metrics_parser for absent and infinite",
            metrics=_2025_METRICS,
            hd95="pooled",
            edge_cases=_PANOPTICA,
            in_voxels=True,
            lesions=LesionRule(("dice", "hd95", "nsd")),
            absent={metric: 373.0 if metric.endswith("hd95") else 0.0 for metric in _2025_METRICS},
            infinite=373.0,
        ),
    )
}
"""Protocols by name."""
