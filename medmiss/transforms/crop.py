"""Crop to the box that holds the brain, as the available modalities show it."""

from collections.abc import Mapping
from typing import Any

import torch
from monai.transforms import Transform

Box = tuple[tuple[int, int, int], tuple[int, int, int]]
"""First voxel and last voxel + 1 along X, Y, Z."""


class CropForegroundd(Transform):
    """Crop to the union box of the available modalities' foregrounds, with a margin.

    Reads `image` (4, X, Y, Z), `available` (4,), `foreground` (4, X, Y, Z); crops `image`, `foreground` and, where
    there is one, `label` (3, X, Y, Z); adds `box`, a `Box` in voxels of the uncropped grid. A case without any
    foreground keeps the full box.

    Args:
        margin: voxels added on each side, as far as the volume goes.

    Raises:
        ValueError: when `margin` is negative.
    """

    def __init__(self, margin: int = 4) -> None:
        if margin < 0:
            raise ValueError(f"margin is {margin}: expected voxels, 0 or more")
        self.margin = margin

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Crop, and record the box."""
        item = dict(data)
        low, high = self._box(item["foreground"][item["available"]].any(dim=0))
        window = (slice(None), *(slice(start, stop) for start, stop in zip(low, high, strict=True)))
        for key in ("image", "foreground", "label"):
            if key in item:
                item[key] = item[key][window].contiguous()
        item["box"] = (low, high)
        return item

    def _box(self, mask: torch.Tensor) -> Box:
        """The box of a mask (X, Y, Z) bool, margin included."""
        bounds = []
        for axis, length in enumerate(mask.shape):
            hit = torch.nonzero(mask.any(dim=[a for a in range(3) if a != axis])).flatten()
            if hit.numel() == 0:
                return (0, 0, 0), (mask.shape[0], mask.shape[1], mask.shape[2])
            bounds.append((max(int(hit[0]) - self.margin, 0), min(int(hit[-1]) + 1 + self.margin, length)))
        (x0, x1), (y0, y1), (z0, z1) = bounds
        return (x0, y0, z0), (x1, y1, z1)
