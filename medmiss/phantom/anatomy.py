"""From a tissue map to one patient's healthy anatomy, with the structures that look like tumour and are not.

Two rough trials (docs/synthetic-training.md) showed that these confounders decide: a network trained without
them takes everything bright for a lesion.
"""

import math
from enum import IntEnum

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from medmiss.phantom.fields import Fields, blur, box_mean
from medmiss.phantom.tissues import CSF, GREY, WHITE


class Structure(IntEnum):
    """What a voxel of a phantom is; the renderer draws an intensity for each."""

    OUTSIDE = 0
    CSF = CSF
    GREY = GREY
    WHITE = WHITE
    DURA = 4
    VESSEL = 5
    CHOROID = 6
    WHITE_LESION = 7
    REMNANT = 8  # what a skull strip left behind
    OEDEMA = 9
    NECROSIS = 10
    NON_ENHANCING = 11
    ENHANCING = 12
    CYST = 13
    BLOOD = 14


def warped(
    tissues: Tensor, fields: Fields, masses: list[tuple[np.ndarray, float]], texture: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Another head of the same kind: random affine, elastic warp, and tissue pushed away from tumours.

    Args:
        tissues: `(X, Y, Z)` uint8.
        fields: source of randomness on the same grid.
        masses: centre (voxels) and radius (voxels) of each tumour that displaces tissue.
        texture: `(K, X, Y, Z)`, goes with the tissues.

    Returns:
        The warped tissues, and the distance of each voxel to the mid-sagittal plane in voxels, both `(X, Y, Z)`; and
        the warped texture.
    """
    shape = tissues.shape
    middle = torch.tensor([(n - 1) / 2 for n in shape])
    grid = torch.stack(torch.meshgrid(*(torch.arange(n).float() for n in shape), indexing="ij"))
    for centre, radius in masses:
        offset = grid - torch.tensor(centre).float().reshape(3, 1, 1, 1)
        squared = offset.square().sum(dim=0)
        push = fields.uniform(0.0, 0.45) * torch.exp(-squared / (2 * (1.4 * radius) ** 2))
        grid = grid - offset * push
    angles = [fields.uniform(-0.15, 0.15) for _ in range(3)]
    matrix = torch.eye(3)
    for axis, angle in enumerate(angles):
        turn = torch.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[a, a] = turn[b, b] = math.cos(angle)
        turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
        matrix = matrix @ turn
    size = fields.uniform(0.92, 1.1)
    matrix = matrix @ torch.diag(torch.tensor([size * fields.uniform(0.95, 1.05) for _ in range(3)]))
    if fields.chance(0.5):
        matrix[0] = -matrix[0]
    centred = torch.einsum("ij,jxyz->ixyz", matrix, grid - middle.reshape(3, 1, 1, 1))
    for axis in range(3):
        centred[axis] += fields.scale * (
            fields.uniform(1.5, 4) * fields.smooth(45) + fields.uniform(0.3, 1.0) * fields.smooth(18)
        )
    places = (centred / middle.reshape(3, 1, 1, 1)).flip(0).permute(1, 2, 3, 0)[None]

    def sampled(volumes: Tensor, mode: str) -> Tensor:
        return functional.grid_sample(volumes[None], places, mode=mode, padding_mode="zeros", align_corners=True)[0]

    moved = sampled(tissues[None].float(), "nearest")[0].to(torch.uint8)
    return moved, centred[0].abs(), None if texture is None else sampled(texture, "bilinear")


def surface_depth(head: Tensor, scale: float) -> Tensor:
    """Depth below the brain's surface in mm of a full-size head, by a distance transform on every second voxel."""
    coarse = ndimage.distance_transform_edt(head[::2, ::2, ::2].numpy())
    depth = torch.from_numpy(coarse).float()[None, None] * 2 / scale
    return functional.interpolate(depth, size=head.shape, mode="trilinear")[0, 0]


def add_confounders(structures: Tensor, depth: Tensor, midline: Tensor, fields: Fields) -> Tensor:
    """Draw dura, falx, vessels, choroid plexus, white-matter lesions and the faults of a skull strip.

    Args:
        structures: warped tissues, `(X, Y, Z)` uint8.
        depth: depth below the surface, mm.
        midline: distance to the mid-sagittal plane, voxels.
        fields: source of randomness.

    Returns:
        The structures, `(X, Y, Z)` uint8.
    """
    out = structures.clone()
    head = structures > 0
    csf, white = structures == CSF, structures == WHITE
    radius = max(1, round(2 * fields.scale))
    ventricle = csf & (depth > fields.uniform(13, 18)) & (midline < 38 * fields.scale)
    if fields.chance(0.4):  # atrophy: wide ventricles
        ventricle |= (box_mean(ventricle, radius) > fields.uniform(0.15, 0.4)) & head
        out[ventricle] = Structure.CSF
    beside = box_mean(box_mean(ventricle, 2 * radius), radius)
    spots = fields.smooth(fields.uniform(4, 9))
    burden = fields.uniform(1.4, 3.6)  # from many lesions to none
    out[white & (spots + 6 * beside > burden)] = Structure.WHITE_LESION
    if fields.chance(0.5):  # caps and bands along the ventricles
        out[white & (beside > fields.uniform(0.06, 0.2)) & (fields.smooth(15) > fields.uniform(-0.5, 1.0))] = (
            Structure.WHITE_LESION
        )
    out[ventricle & (fields.smooth(6) > fields.uniform(0.8, 2.0)) & (beside < 0.75)] = Structure.CHOROID
    # Dura over the surface, falx in the midline, sheets such as the tentorium along a smooth field's zero.
    patches = fields.smooth(35)
    thickness = fields.uniform(0.8, 3.0)
    dura = head & (depth < thickness) & (patches > fields.uniform(-1.5, 1.2))
    falx = (csf | (structures == GREY)) & (midline < fields.uniform(0.6, 1.6)) & ~ventricle & (depth < 45)
    sheet = (csf | (depth < 6)) & head & (fields.smooth(40).abs() < fields.uniform(0.0, 0.06)) & ~ventricle
    out[dura | (falx & (fields.smooth(25) > fields.uniform(-1.5, 1.0))) | sheet] = Structure.DURA
    # Where two smooth fields are near zero together lies a curve: a vessel.
    width = fields.uniform(0.03, 0.11)
    tubes = torch.sqrt(fields.smooth(22).square() + fields.smooth(22).square()) < width
    thick = torch.sqrt(fields.smooth(30).square() + fields.smooth(30).square()) < fields.uniform(0.05, 0.2)
    out[head & ((tubes & (~white | (depth < 12))) | (thick & (csf | (depth < 8)))) & ~ventricle] = Structure.VESSEL
    return _skull_strip(out, head, fields)


def _skull_strip(structures: Tensor, head: Tensor, fields: Fields) -> Tensor:
    """Cut a little too much here, leave a little too much there."""
    if fields.chance(0.3):
        return structures
    soft = blur(head.float(), (2.5 * fields.scale,) * 3)
    kept = soft + fields.uniform(0.0, 0.1) * fields.smooth(20) > fields.uniform(0.4, 0.55)
    out = torch.where(kept, structures, torch.zeros_like(structures))
    out[kept & ~head] = Structure.REMNANT
    return out
