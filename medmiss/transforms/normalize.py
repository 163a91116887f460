"""Bring every modality to a common intensity scale, by its own foreground alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform


class NormalizeModalitiesd(Transform):
    """Clip each available modality to percentiles of its foreground, then make that mean 0 and standard deviation 1.

    Background becomes exactly 0. A constant foreground becomes 0 as well. Absent channels are neither read nor written.
    Reads `image` (4, X, Y, Z), `available` (4,) and `foreground` (4, X, Y, Z); replaces `image`.

    Args:
        lower: percentile of the foreground, 0 to 100, below which intensities are clipped.
        upper: percentile above which they are clipped.

    Raises:
        ValueError: when not 0 <= lower < upper <= 100.
    """

    def __init__(self, lower: float = 0.5, upper: float = 99.5) -> None:
        if not 0 <= lower < upper <= 100:
            raise ValueError(f"percentiles are {lower} and {upper}: expected 0 <= lower < upper <= 100")
        self.lower = lower
        self.upper = upper

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Normalise `image`."""
        item = dict(data)
        image = item["image"].clone()
        for channel in torch.nonzero(item["available"]).flatten().tolist():
            mask = item["foreground"][channel]
            normalized = torch.zeros_like(image[channel])
            normalized[mask] = torch.from_numpy(self._standardize(image[channel][mask].numpy()))
            image[channel] = normalized
        item["image"] = image
        return item

    def _standardize(self, values: np.ndarray) -> np.ndarray:
        """Clipped z-scores of the foreground's intensities, (N,) float32."""
        if values.size == 0:
            return values
        low, high = np.percentile(values, (self.lower, self.upper))
        clipped = np.clip(values, low, high).astype(np.float64)
        deviation = clipped.std()
        if deviation <= 1e-6 * max(1.0, abs(clipped.mean())):  # constant, but for rounding
            return np.zeros_like(values)
        return ((clipped - clipped.mean()) / deviation).astype(np.float32)
