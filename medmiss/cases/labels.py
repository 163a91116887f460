"""Label values by data set year, and the three regions they make up.

A value means nothing without its year: 4 is enhancing tumour through 2022 and resection cavity from 2024.
"""

from dataclasses import dataclass

import numpy as np

REGIONS = ("ET", "TC", "WT")
"""Channel order of every region array `(3, X, Y, Z)`: enhancing tumour, tumour core, whole tumour."""


@dataclass(frozen=True)
class LabelConvention:
    """The label values of one data set year.

    Args:
        name: key in `CONVENTIONS`.
        ncr: necrotic (and non-enhancing) core.
        ed: oedema.
        et: enhancing tumour.
        rc: resection cavity, part of no region; None where the year has none.
        other_core: further values that are tumour core, read but never written.
    """

    name: str
    ncr: int
    ed: int
    et: int
    rc: int | None = None
    other_core: tuple[int, ...] = ()

    @property
    def values(self) -> tuple[int, ...]:
        """Every value a label file of this year may hold, 0 included, ascending."""
        rc = () if self.rc is None else (self.rc,)
        return tuple(sorted({0, self.ncr, self.ed, self.et, *rc, *self.other_core}))

    def regions(self, labels: np.ndarray) -> np.ndarray:
        """Turn a label map `(X, Y, Z)` into regions `(3, X, Y, Z)`, bool, in the order of `REGIONS`."""
        et = labels == self.et
        tc = et | (labels == self.ncr)
        for value in self.other_core:
            tc |= labels == value
        return np.stack([et, tc, tc | (labels == self.ed)])

    def labels(self, regions: np.ndarray) -> np.ndarray:
        """Turn regions `(3, X, Y, Z)`, bool, into a label map `(X, Y, Z)`, uint8.

        Inner regions win: oedema where WT, then necrotic core where TC, then enhancing tumour where ET,
        also where the regions are not nested.

        Raises:
            ValueError: when the first axis does not hold the three regions.
        """
        if regions.shape[0] != len(REGIONS):
            raise ValueError(f"regions of shape {regions.shape}: expected the first axis to hold {REGIONS}")
        et, tc, wt = regions.astype(bool)
        labels = np.zeros(regions.shape[1:], dtype=np.uint8)
        labels[wt] = self.ed
        labels[tc] = self.ncr
        labels[et] = self.et
        return labels


CONVENTIONS: dict[str, LabelConvention] = {
    convention.name: convention
    for convention in (
        LabelConvention("brats2013", ncr=1, ed=2, et=4, other_core=(3,)),
        LabelConvention("brats2018", ncr=1, ed=2, et=4),
        LabelConvention("brats2021", ncr=1, ed=2, et=4),
        LabelConvention("brats2023", ncr=1, ed=2, et=3),
        LabelConvention("brats2024", ncr=1, ed=2, et=3, rc=4),
        LabelConvention("msd", ncr=2, ed=1, et=3),
    )
}
"""Label conventions by name: brats2018 holds for 2018-2020, brats2021 for 2021-2022."""
