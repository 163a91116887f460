"""Random smooth fields and blurring: what every part of a phantom is made of.

Everything smooth here is separable, so it is done with one small matrix an axis: on a CPU an order of
magnitude faster than torch's trilinear up-sampling and 3-D convolution of a single channel.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class Fields:
    """A seeded source of random numbers and smooth fields on one grid.

    Args:
        seed: any integers; the same ones give the same fields.
        shape: the grid, voxels.
        scale: voxels a millimetre of a full-size head takes; below 1 on a small phantom.
    """

    def __init__(self, seed: tuple[int, ...], shape: tuple[int, ...], scale: float = 1.0) -> None:
        self.rng = np.random.default_rng(seed)
        self.shape = shape
        self.scale = scale
        self._torch = torch.Generator().manual_seed(int(self.rng.integers(2**62)))

    def uniform(self, low: float, high: float) -> float:
        """A number between `low` and `high`."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return bool(self.rng.random() < probability)

    def white(self, *shape: int) -> Tensor:
        """Standard normal noise."""
        return torch.randn(*shape, generator=self._torch)

    def smooth(self, length: float, shape: tuple[int, ...] | None = None) -> Tensor:
        """A field of zero mean and unit variance at every voxel that varies over `length` mm (cubic B-spline)."""
        shape = shape or self.shape
        step = max(1.0, length * self.scale)
        matrices = [_spline_matrix(n, step, self.uniform(0, 1)) for n in shape]
        return apply_along(self.white(*(matrix.shape[1] for matrix in matrices)), matrices)


def apply_along(volume: Tensor, matrices: Sequence[Tensor | None]) -> Tensor:
    """Multiply `(X, Y, Z)` by one matrix `(new, old)` along each axis; None leaves an axis as it is."""
    along_x, along_y, along_z = matrices
    if along_x is not None:
        volume = (along_x @ volume.flatten(1)).reshape(-1, *volume.shape[1:])
    if along_y is not None:
        volume = along_y @ volume
    if along_z is not None:
        volume = volume @ along_z.T
    return volume


def blur(volume: Tensor, sigma: Sequence[float]) -> Tensor:
    """Gaussian blur of `(X, Y, Z)`, `sigma` in voxels along each axis (0: none), edges repeated."""
    return apply_along(
        volume,
        [
            None if width <= 0.05 else _band_matrix(n, lambda d, w=width: torch.exp(-0.5 * (d / w) ** 2), 3 * width)
            for n, width in zip(volume.shape, sigma, strict=True)
        ],
    )


def box_mean(mask: Tensor, radius: int) -> Tensor:
    """Mean of `(X, Y, Z)` over a cube of `2 radius + 1` voxels: a quick nearness measure of a mask."""
    return apply_along(mask.float(), [_band_matrix(n, torch.ones_like, radius) for n in mask.shape])


def _band_matrix(n: int, weight, reach: float) -> Tensor:
    """`(n, n)` filter matrix: `weight(distance)` up to `reach` voxels, rows summing to 1."""
    distance = (torch.arange(n)[:, None] - torch.arange(n)[None]).abs().float()
    matrix = torch.where(distance <= math.ceil(reach), weight(distance), torch.zeros(()))
    return matrix / matrix.sum(dim=1, keepdim=True)


def _spline_matrix(n: int, step: float, offset: float) -> Tensor:
    """`(n, knots)` cubic B-spline weights of knots `step` voxels apart, rows of unit norm."""
    knots = math.ceil(n / step) + 4
    position = torch.arange(n) / step + 1 + offset
    distance = (position[:, None] - torch.arange(knots)[None]).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance).clamp(min=0) ** 3 / 6
    matrix = torch.where(distance < 1, near, far)
    return matrix / matrix.norm(dim=1, keepdim=True)
