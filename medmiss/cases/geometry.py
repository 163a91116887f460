"""The grid of a volume, and the way from it to the network's grid and back.

The network sees LPS-ordered voxel axes (BraTS's own order: x to the left, y to the back, z up) at 1 mm.
A volume is brought there by permuting and flipping its axes to the nearest ones, never by rotating, and by
resampling each axis on its own. Both ways are fixed by the grid alone.
"""

import math
from dataclasses import dataclass
from typing import Literal

import nibabel as nib
import numpy as np

SPACING_TOLERANCE = 0.01
"""An axis within 1 % of 1 mm is not resampled."""

Order = Literal["linear", "nearest"]

_LPS = nib.orientations.axcodes2ornt(("L", "P", "S"))


@dataclass(frozen=True, eq=False)
class Grid:
    """Shape and position of a volume.

    Args:
        shape: voxels along the three array axes.
        affine: `(4, 4)`, voxel index to mm in RAS+ world coordinates (nibabel's convention).

    Raises:
        ValueError: when the shape or the affine is not three-dimensional or the affine cannot be inverted.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64) + 0.0  # + 0.0 turns -0.0 into 0.0
        shape = tuple(int(size) for size in self.shape)
        if len(shape) != 3 or affine.shape != (4, 4):
            raise ValueError(f"shape {shape} and affine of shape {affine.shape}: expected 3 axes and (4, 4)")
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise ValueError(f"affine {affine.tolist()}: expected finite numbers and a non-zero volume per voxel")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", shape)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along the three array axes, mm."""
        x, y, z = (float(size) for size in nib.affines.voxel_sizes(self.affine))
        return x, y, z

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of a voxel, mm3."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def network_shape(self) -> tuple[int, int, int]:
        """Shape of the volume on the network's grid."""
        x, y, z = (_network_size(size, spacing) for size, spacing in self._oriented_axes)
        return x, y, z

    def distance_mm(self, other: "Grid") -> float:
        """Largest distance between the places of the same corner voxel in two grids, mm; inf if shapes differ."""
        if self.shape != other.shape:
            return math.inf
        corners = np.array([(*np.array(corner) * (np.array(self.shape) - 1), 1) for corner in np.ndindex(2, 2, 2)])
        return float(np.linalg.norm(corners @ (self.affine - other.affine).T, axis=1).max())

    def to_network(self, array: np.ndarray, order: Order) -> np.ndarray:
        """Bring `(..., X, Y, Z)` on this grid to `(..., *network_shape)`.

        The centre of the first voxel (in LPS order) stays in place and the network's grid reaches the last
        one, so that with integer spacings every voxel of this grid is one of the network's.

        Args:
            array: any leading axes; the last three are the volume's.
            order: `"linear"` (float32 out) or `"nearest"` (dtype kept).

        Raises:
            ValueError: when the last three axes are not those of this grid.
        """
        _check_shape(array, self.shape)
        array = _reorient(array, self._to_lps)
        for axis, (size, spacing) in enumerate(self._oriented_axes, start=-3):
            if _needs_resampling(spacing):
                array = _sample(array, axis, np.arange(_network_size(size, spacing)) / spacing, order)
        return np.ascontiguousarray(array)

    def from_network(self, array: np.ndarray, order: Order) -> np.ndarray:
        """Bring `(..., *network_shape)` back to `(..., X, Y, Z)` on this grid; the inverse of `to_network`.

        Args:
            array: any leading axes; the last three are the network's.
            order: `"linear"` (float32 out) or `"nearest"` (dtype kept).

        Raises:
            ValueError: when the last three axes are not `network_shape`.
        """
        _check_shape(array, self.network_shape)
        for axis, (size, spacing) in enumerate(self._oriented_axes, start=-3):
            if _needs_resampling(spacing):
                array = _sample(array, axis, np.arange(size) * spacing, order)
        return np.ascontiguousarray(_reorient(array, self._from_lps))

    @property
    def _to_lps(self) -> np.ndarray:
        return nib.orientations.ornt_transform(nib.orientations.io_orientation(self.affine), _LPS)

    @property
    def _from_lps(self) -> np.ndarray:
        return nib.orientations.ornt_transform(_LPS, nib.orientations.io_orientation(self.affine))

    @property
    def _oriented_axes(self) -> list[tuple[int, float]]:
        """(voxels, spacing in mm) of the three axes in LPS order."""
        axes = list(zip(self.shape, self.spacing, strict=True))
        return [axes[source] for source in np.argsort(self._to_lps[:, 0])]


def _needs_resampling(spacing: float) -> bool:
    return abs(spacing - 1.0) > SPACING_TOLERANCE


def _network_size(size: int, spacing: float) -> int:
    if not _needs_resampling(spacing):
        return size
    return math.ceil((size - 1) * spacing - 1e-3) + 1  # a thousandth of a voxel of rounding adds no voxel


def _check_shape(array: np.ndarray, shape: tuple[int, int, int]) -> None:
    if array.shape[-3:] != shape:
        raise ValueError(f"array of shape {array.shape}: expected its last three axes to be {shape}")


def _reorient(array: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Permute and flip the last three axes by a nibabel orientation transform."""
    lead = array.ndim - 3
    order = np.argsort(transform[:, 0])
    array = array.transpose(*range(lead), *(lead + order))
    flips = tuple(lead + axis for axis, source in enumerate(order) if transform[source, 1] < 0)
    return np.flip(array, flips)


def _sample(array: np.ndarray, axis: int, positions: np.ndarray, order: Order) -> np.ndarray:
    """Read an axis at fractional positions; beyond the ends the end voxel is repeated."""
    last = array.shape[axis] - 1
    whole = np.rint(positions)  # a header's rounding must not turn a voxel into a mixture of two
    positions = np.clip(np.where(np.abs(positions - whole) < 1e-3, whole, positions), 0, last)
    if order == "nearest":
        return np.take(array, np.floor(positions + 0.5).astype(int), axis=axis)
    low = np.floor(positions).astype(int)
    weight = (positions - low).astype(np.float32).reshape(-1, *(1,) * (-axis - 1))
    array = array.astype(np.float32, copy=False)
    below = np.take(array, low, axis=axis)
    return below + weight * (np.take(array, np.minimum(low + 1, last), axis=axis) - below)
