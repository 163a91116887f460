"""Tissue maps: 0 outside, 1 CSF, 2 grey matter, 3 white matter, in the LPS voxel order of BraTS; and their texture."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medmiss.cases import CaseError, Grid, ImageSource, read_volume
from medmiss.cases.volumes import TOLERANCE_MM

CSF, GREY, WHITE = 1, 2, 3
FULL_SHAPE = (240, 240, 155)
"""The grid of BraTS, 1 mm."""
ATLAS_TISSUES = "tissues"
TEXTURES = {"t1": "spgr", "t2": "late", "flair": "erly"}
"""Images of an atlas that give texture, as SRI24 names them, and the modality that each is most like."""
STRONGEST_TEXTURE = 0.5


def anatomy_files(source: Path) -> list[Path]:
    """The files of an anatomy: a tissue map; or, of an atlas's folder, the tissue map and the images of `TEXTURES`."""
    return [_image(source / name) for name in (ATLAS_TISSUES, *TEXTURES.values())] if source.is_dir() else [source]


def _image(stem: Path) -> Path:
    """The file of an atlas's image, which may be packed or not; the latter where there are both."""
    plain = stem.with_name(f"{stem.name}.nii")
    return plain if plain.is_file() else stem.with_name(f"{stem.name}.nii.gz")


@lru_cache(maxsize=2)
def read_anatomy(source: Path, shape: tuple[int, int, int] = FULL_SHAPE) -> tuple[Tensor, Tensor | None]:
    """A tissue map `(X, Y, Z)` on a grid of `shape` and, of an atlas's folder, its texture.

    Texture `(3, X, Y, Z)` is what each of the images `TEXTURES` has above the median of a voxel's own tissue, as a
    share of it: deep nuclei, tracts, the cerebellum.

    Raises:
        CaseError: when a file is missing or is not one, or an image does not lie on the tissue map's grid.
    """
    first, *others = anatomy_files(source)
    tissues = read_tissues(first, shape)
    if not others:
        return tissues, None
    grid = read_volume(ImageSource(first), "tissue map").grid
    return tissues, torch.stack([_texture(file, tissues, first, grid) for file in others])


def _texture(file: Path, tissues: Tensor, first: Path, grid: Grid) -> Tensor:
    volume = read_volume(ImageSource(file), "atlas image")
    if volume.grid.distance_mm(grid) > TOLERANCE_MM:
        found, expected = f"another grid than that of {first.name}", "one grid for all images of the atlas"
        raise CaseError("atlas image", found, expected, "use the atlas as it is distributed", file)
    values = torch.from_numpy(Grid(volume.array.shape, volume.affine).to_network(volume.array, "linear")).float()
    values = functional.interpolate(values[None, None], size=tissues.shape, mode="trilinear")[0, 0]
    texture = torch.zeros(tissues.shape)
    for tissue in (CSF, GREY, WHITE):
        here = tissues == tissue
        texture[here] = values[here] / values[here].median() - 1
    return texture.nan_to_num().clamp(min=-STRONGEST_TEXTURE, max=STRONGEST_TEXTURE)


def read_tissues(path: Path, shape: tuple[int, int, int] = FULL_SHAPE) -> Tensor:
    """Read a tissue map such as SRI24's (`tissues`: 1 CSF, 2 GM, 3 WM) onto a grid of `shape`.

    Raises:
        CaseError: when the file is no label map of these tissues.
    """
    volume = read_volume(ImageSource(path), "tissue map")
    labels = Grid(volume.array.shape, volume.affine).to_network(volume.array, "nearest")
    found = np.unique(labels)
    if found.tolist() not in ([CSF, GREY, WHITE], [0, CSF, GREY, WHITE]):
        raise CaseError(
            "tissue map",
            found=f"the values {found[:8].tolist()}",
            expected="a label map of 0 outside, 1 CSF, 2 grey matter, 3 white matter",
            remedy="use the folder or the tissue map of SRI24, or leave --tissues out for the procedural brain",
            file=path,
        )
    return _fit(torch.from_numpy(labels.astype(np.uint8)), shape)


def _fit(labels: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Resample to `shape` (nearest), keeping the head's place in the grid."""
    if tuple(labels.shape) == shape:
        return labels
    return functional.interpolate(labels[None, None].float(), size=shape, mode="nearest-exact")[0, 0].to(torch.uint8)
