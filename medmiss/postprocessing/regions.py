"""Small components and small enhancing tumours: the rules applied to a predicted mask.

Both rules change scores and can hide a real lesion, so each says what it did in a line of text.
"""

from dataclasses import dataclass
from typing import Literal

import cc3d
import numpy as np

CONNECTIVITIES = (6, 18, 26)
ET_RULES = ("ncr", "removed", "off")
ET_RULE_FIRED = "ET rule fired"
"""How the line begins that the ET rule returns: the one rule whose firing is worth a warning."""
_ET, _TC, _WT = 0, 1, 2
_TOLERANCE = 1e-6
"""Relative; keeps 0.07 * 100 voxels or a voxel of 0.9999999 mm3 from moving an exact threshold."""


@dataclass(frozen=True)
class PostProcessing:
    """Remove small components of the whole tumour, then treat a small enhancing tumour.

    1. Components of the whole tumour (every voxel that any region claims, as the label map shows it)
       go when they are smaller than `min(min_volume, min_share * largest component)`, and with them
       all regions inside. A component of exactly that size stays, and so does the largest one, always.
    2. When some enhancing tumour is left, but less than `et_min_volume`, `et_rule` decides: `"ncr"`
       turns it into tumour core without enhancement, `"removed"` takes it out of all regions (the rule
       of the RFNet family), `"off"` leaves it. Exactly `et_min_volume` stays.

    Args:
        connectivity: neighbours of a voxel: 6 (faces), 18 (and edges) or 26 (and corners).
        min_volume: mm3; 0 keeps every component.
        min_share: share of the largest component's volume, 0 to 1; 0 keeps every component.
        et_rule: `"ncr"`, `"removed"` or `"off"`.
        et_min_volume: mm3.

    Raises:
        ValueError: when an argument is outside its range.
    """

    connectivity: Literal[6, 18, 26] = 18
    min_volume: float = 2000.0
    min_share: float = 0.1
    et_rule: Literal["ncr", "removed", "off"] = "ncr"
    et_min_volume: float = 500.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.connectivity not in CONNECTIVITIES:
            raise ValueError(f"connectivity is {self.connectivity!r}: expected one of {CONNECTIVITIES}")
        if self.et_rule not in ET_RULES:
            raise ValueError(f"et_rule is {self.et_rule!r}: expected one of {ET_RULES}")
        if not self.min_volume >= 0 or not self.et_min_volume >= 0:
            raise ValueError(
                f"min_volume is {self.min_volume} and et_min_volume {self.et_min_volume}: expected mm3, 0 or more"
            )
        if not 0 <= self.min_share <= 1:
            raise ValueError(f"min_share is {self.min_share}: expected a share from 0 to 1")

    def __call__(self, regions: np.ndarray, voxel_volume: float = 1.0) -> tuple[np.ndarray, list[str]]:
        """Apply both rules.

        Args:
            regions: (3, X, Y, Z) bool: ET, TC, WT; left as it is.
            voxel_volume: mm3.

        Returns:
            The regions after the rules, (3, X, Y, Z) bool, and one line of text for each rule that fired.

        Raises:
            ValueError: when `regions` has another shape or `voxel_volume` is not positive.
        """
        if regions.ndim != 4 or regions.shape[0] != 3:
            raise ValueError(f"regions have shape {regions.shape}: expected (3, X, Y, Z)")
        if not voxel_volume > 0:
            raise ValueError(f"voxel_volume is {voxel_volume}: expected mm3 above 0")
        regions = regions.astype(bool, copy=True)
        events = self._remove_small_components(regions, voxel_volume)
        events += self._treat_small_et(regions, voxel_volume)
        return regions, events

    def _remove_small_components(self, regions: np.ndarray, voxel_volume: float) -> list[str]:
        """Clear small components in all regions, in place."""
        if self.min_volume == 0 or self.min_share == 0:
            return []
        whole_tumour = np.logical_or.reduce(regions, axis=0)
        components = cc3d.connected_components(whole_tumour, connectivity=self.connectivity)
        volumes = np.bincount(components.ravel())[1:] * voxel_volume
        if volumes.size < 2:
            return []
        relative = self.min_share * float(volumes.max())
        threshold = min(self.min_volume, relative)
        origin = f"{self.min_share:g} x the largest" if relative < self.min_volume else "the absolute limit"
        small = _below(volumes, threshold)
        if not small.any():
            return []
        regions[:, np.concatenate(([False], small))[components]] = False
        return [
            f"removed {int(small.sum())} of {volumes.size} whole-tumour components, "
            f"{volumes[small].sum():.0f} mm3 in all, each smaller than {threshold:.0f} mm3 ({origin})"
        ]

    def _treat_small_et(self, regions: np.ndarray, voxel_volume: float) -> list[str]:
        """Apply the ET rule, in place."""
        enhancing = regions[_ET].copy()
        volume = float(enhancing.sum()) * voxel_volume
        if self.et_rule == "off" or volume == 0 or not _below(volume, self.et_min_volume):
            return []
        regions[_ET] = False
        kept = self.et_rule == "ncr"
        regions[_TC][enhancing] = kept
        regions[_WT][enhancing] = kept
        outcome = "was turned into NCR" if kept else "was removed from the mask"
        return [
            f"{ET_RULE_FIRED}: the enhancing tumour of {volume:.0f} mm3, less than {self.et_min_volume:.0f} mm3, "
            f"{outcome}; this can hide a small lesion (keep it with --postprocess keep-et, or with et_rule 'off' "
            "in the bundle's configuration)"
        ]


def _below(volume: np.ndarray | float, threshold: float) -> np.ndarray:
    """Whether `volume` is truly smaller than `threshold`, not just by rounding."""
    return np.asarray(volume) < threshold * (1 - _TOLERANCE)


PRESETS = {
    "default": PostProcessing(),
    "keep-et": PostProcessing(et_rule="off"),
    "none": PostProcessing(min_volume=0, et_rule="off"),
    "rfnet": PostProcessing(min_volume=0, et_rule="removed"),
}
"""Post-processing by name.

`keep-et` is the components rule alone; `rfnet` is the rule of the RFNet family: ET below 500 mm3 is removed,
nothing else.
"""


def postprocessing_preset(name: str) -> PostProcessing:
    """The post-processing called `name` in `PRESETS`.

    Raises:
        ValueError: when there is none of that name.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown post-processing {name!r}: expected one of {', '.join(PRESETS)}")
    return PRESETS[name]
