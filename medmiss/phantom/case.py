"""One synthetic patient: anatomy, tumours, four images and the labels."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medmiss.modalities import MODALITIES
from medmiss.phantom.anatomy import add_confounders, surface_depth, warped
from medmiss.phantom.brain import procedural_tissues
from medmiss.phantom.fields import Fields
from medmiss.phantom.render import render
from medmiss.phantom.tissues import FULL_SHAPE, read_anatomy
from medmiss.phantom.tumour import LABELS, add_tumour, deep_grey, draw_tumours

BRATS_AFFINE = np.array([[-1.0, 0, 0, 0], [0, -1.0, 0, 239.0], [0, 0, 1.0, 0], [0, 0, 0, 1]])
"""Affine of every BraTS volume: LPS voxel order, 1 mm."""

GENERATOR = 5
"""Changes whenever the same arguments come to give another patient."""

PARTS = ("displacement", "confounders", "texture", "drift", "scanner")
"""What can be left out, to see what it is worth: tissue that tumours push away; what looks like tumour and is none; the
atlas's texture; brightness that varies within a tissue; bias field, thick slices and the scanner's other faults. What
is drawn after a part comes out otherwise without it: a set without confounders has other tumours, of the same kinds."""

_ANATOMIES = 61
"""How many different procedural brains there are; each is warped anew for every case. A prime number: every second or
fourth case of a set still has all of them."""


@dataclass(frozen=True)
class PhantomCase:
    """A synthetic patient on the BraTS grid.

    Attributes:
        images: `(4, X, Y, Z)` float32 in channel order, background 0.
        labels: `(X, Y, Z)` uint8, BraTS 2018 values (1 NCR/NET, 2 ED, 4 ET).
        affine: voxel to RAS+ mm.
    """

    images: np.ndarray
    labels: np.ndarray
    affine: np.ndarray


def make_case(
    seed: int,
    index: int,
    shape: tuple[int, int, int] = FULL_SHAPE,
    tissues: Path | str | None = None,
    healthy: bool = False,
    without: Collection[str] = (),
) -> PhantomCase:
    """Make the phantom number `index` of the set `seed`: the same arguments give the same patient.

    Args:
        seed: the set.
        index: the patient.
        shape: grid at 1 mm; anything smaller than BraTS's 240x240x155 holds a smaller head.
        tissues: a tissue map (1 CSF, 2 GM, 3 WM), or the folder of an atlas with texture as well (see
            `medmiss.phantom.tissues.read_anatomy`), such as SRI24's; a procedural brain by default.
        healthy: no tumour: what looks like one is there alone.
        without: those of `PARTS` that are left out.

    Raises:
        CaseError: when the tissue map or the atlas is not one.
        ValueError: when a part to leave out is not one of `PARTS`.
    """
    check_parts(without)
    scale = shape[0] / FULL_SHAPE[0]
    source, texture = (
        (procedural_tissues((seed, index % _ANATOMIES, 1), shape), None)
        if tissues is None
        else read_anatomy(Path(tissues), shape)
    )
    box = _head_box(source, margin=round(14 * scale))
    small = source[box]
    fields = Fields((seed, index), tuple(small.shape), scale)
    tumours = [] if healthy else draw_tumours(small, surface_depth(small > 0, scale), fields)
    masses = [] if "displacement" in without else [(tumour.centre, tumour.radius) for tumour in tumours]
    texture = None if texture is None or "texture" in without else texture[(slice(None), *box)]
    anatomy, midline, texture = warped(small, fields, masses, texture)
    depth = surface_depth(anatomy > 0, scale)
    structures = anatomy if "confounders" in without else add_confounders(anatomy, depth, midline, fields)
    deep = deep_grey(structures, depth, scale)
    for tumour in tumours:
        structures = add_tumour(structures, tumour, deep, fields)
    images = np.zeros((len(MODALITIES), *shape), dtype=np.float32)
    labels = np.zeros(shape, dtype=np.uint8)
    images[(slice(None), *box)] = render(
        structures, fields, texture, drift="drift" not in without, faults="scanner" not in without
    ).numpy()
    labels[box] = LABELS[structures.numpy()]
    affine = BRATS_AFFINE.copy()
    affine[1, 3] = shape[1] - 1
    return PhantomCase(images, labels, affine)


def check_parts(without: Collection[str]) -> None:
    """Raise ValueError when a part to leave out is not one of `PARTS`."""
    unknown = set(without) - set(PARTS)
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: no part of a phantom; expected some of {', '.join(PARTS)}")


def _head_box(tissues: Tensor, margin: int) -> tuple[slice, ...]:
    found = [torch.nonzero((tissues > 0).movedim(axis, 0).flatten(1).any(1)) for axis in range(3)]
    return tuple(
        slice(max(0, int(hits.min()) - margin), min(n, int(hits.max()) + 1 + margin))
        for hits, n in zip(found, tissues.shape, strict=True)
    )
