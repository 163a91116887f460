"""Tissue maps: 0 outside, 1 CSF, 2 grey matter, 3 white matter, in the LPS voxel order of BraTS."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from medmiss.cases import CaseError, Grid, ImageSource, read_volume
from medmiss.phantom.fields import Fields, blur

CSF, GREY, WHITE = 1, 2, 3
FULL_SHAPE = (240, 240, 155)
"""The grid of BraTS, 1 mm."""


@lru_cache(maxsize=2)
def read_tissues(path: Path, shape: tuple[int, int, int] = FULL_SHAPE) -> Tensor:
    """Read a tissue map such as SRI24's (`tissues.nii.gz`: 1 CSF, 2 GM, 3 WM) onto a grid of `shape`.

    Raises:
        CaseError: when the file is no label map of these tissues.
    """
    volume = read_volume(ImageSource(path), "tissue map")
    labels = Grid(volume.array.shape, volume.affine).to_network(volume.array, "nearest")
    found = np.unique(labels)
    if not np.isin([CSF, GREY, WHITE], found).all() or len(found) > 4:
        raise CaseError(
            "tissue map",
            found=f"the values {found[:8].tolist()}",
            expected="a label map of 0 outside, 1 CSF, 2 grey matter, 3 white matter",
            remedy="use SRI24's tissues.nii.gz, or leave --tissues out for the procedural brain",
            file=path,
        )
    return _fit(torch.from_numpy(labels.astype(np.uint8)), shape)


def _fit(labels: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Resample to `shape` (nearest), keeping the head's place in the grid."""
    if tuple(labels.shape) == shape:
        return labels
    return functional.interpolate(labels[None, None].float(), size=shape, mode="nearest-exact")[0, 0].to(torch.uint8)


def procedural_tissues(seed: tuple[int, ...], shape: tuple[int, int, int] = FULL_SHAPE) -> Tensor:
    """A brain made of nothing: folded cortex, ventricles, deep grey matter and a cerebellum.

    Coarse beside an atlas, but free of any data's licence. `(X, Y, Z)` uint8.
    """
    scale = shape[0] / FULL_SHAPE[0]
    fields = Fields(seed, shape, scale)
    x, y, z = (
        torch.arange(n).float().reshape([-1 if axis == a else 1 for a in range(3)]) / n * full
        for axis, (n, full) in enumerate(zip(shape, FULL_SHAPE, strict=True))
    )
    x = x - 119.5
    y = y - 128.0
    cerebrum = ((x / 66) ** 2 + (y / 86) ** 2 + ((z - 82) / 62) ** 2).sqrt()
    behind = ((x / 50) ** 2 + ((y - 45) / 38) ** 2 + ((z - 34) / 26) ** 2).sqrt()
    stem = torch.maximum(((x / 13) ** 2 + ((y - 18) / 14) ** 2).sqrt(), (z - 45).abs() / 36)
    bumps = 0.03 * fields.smooth(30)
    head = (cerebrum + bumps < 1) & (z > 26) | (behind + bumps < 1) | (stem < 1)
    spacing = tuple(full / n for full, n in zip(FULL_SHAPE, shape, strict=True))
    depth = torch.from_numpy(ndimage.distance_transform_edt(head.numpy(), sampling=spacing)).float()
    # Sulci run along the zero crossings of a smooth field and reach some 18 mm deep; grey matter lines them.
    crossing = blur(fields.smooth(11), (1.0 * scale,) * 3).abs() * 7 + (depth - 4).clamp(min=0) * 0.45
    # The hemispheres part in the midline, but for the deep middle where the corpus callosum crosses.
    fissure = x.abs() + ((z < 95) & (y.abs() < 45)) * 100.0
    surface = torch.minimum(torch.minimum(crossing, depth), fissure)
    labels = torch.full(shape, WHITE, dtype=torch.uint8)
    labels[surface < 4.5] = GREY
    deep = ((x.abs() - 20) / 9) ** 2 + ((y + 8) / 20) ** 2 + ((z - 72) / 13) ** 2
    labels[deep + bumps * 4 < 1] = GREY
    labels[surface < 1.2] = CSF
    folia = (behind < 0.94) & (cerebrum > 0.98) & (torch.sin(z * 0.9 + 2 * fields.smooth(20)) > -0.2)
    labels[folia] = GREY
    horn = ((x.abs() - 9 - (y - 10).clamp(min=0) * 0.35) / 6) ** 2 + ((y - 8) / 42) ** 2 + ((z - 82) / 10) ** 2
    third = (x / 2.5) ** 2 + ((y - 2) / 14) ** 2 + ((z - 66) / 10) ** 2
    labels[(horn + bumps * 4 < 1) | (third < 1)] = CSF
    labels[~head] = 0
    return labels
