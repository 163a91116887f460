"""Tissue maps: 0 outside, 1 CSF, 2 grey matter, 3 white matter, in the LPS voxel order of BraTS."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medmiss.cases import CaseError, Grid, ImageSource, read_volume

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
