"""Tumours: what is drawn into a phantom's anatomy, and the expert labels that belong to it.

Volumes and extents are drawn around those of real cases (ml of ET/NCR/ED 22/5/35, 33/12/13, 32/27/53; the
enhancing rim 2-4 mm thick; oedema 2-14 mm from the core, along white matter, stopped by CSF), and wider.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medmiss.phantom.anatomy import Structure
from medmiss.phantom.fields import Fields, box_mean

Smooth = Callable[[float], Tensor]
"""A smooth field of a length in mm, on the window of one focus."""

KINDS = {"ring": 0.53, "solid": 0.27, "non_enhancing": 0.1, "cystic": 0.1}
"""Kinds of tumour core and how often each is drawn."""
INFILTRATION = "infiltration"
"""The kind of a further focus that is oedema alone."""


@dataclass(frozen=True)
class Tumour:
    """One focus: its centre and mean radius in voxels, and its kind (one of `KINDS`, or `INFILTRATION`)."""

    centre: np.ndarray
    radius: float
    kind: str


def draw_tumours(tissues: Tensor, depth: Tensor, fields: Fields) -> list[Tumour]:
    """Choose place, size and kind of one to three foci inside `tissues` `(X, Y, Z)`.

    Args:
        tissues: the tissue map before it is warped.
        depth: depth below its surface, mm.
        fields: source of randomness.
    """
    rng = fields.rng
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    inside = (depth > 9) & (tissues > 1)
    lower = round(0.3 * tissues.shape[2])  # gliomas of the cerebellum and brain stem are rare
    if not fields.chance(0.08):
        inside[:, :, :lower] = False
    places = inside.nonzero().numpy()
    number = int(rng.choice([1, 2, 3], p=[0.75, 0.18, 0.07]))
    volume = float(np.clip(rng.lognormal(math.log(24), 0.8), 1.5, 110))  # ml of the core
    tumours: list[Tumour] = []
    for index in range(number):
        millilitres = volume if index == 0 else volume * fields.uniform(0.02, 0.4)
        radius = (3 * millilitres * 1000 / (4 * math.pi)) ** (1 / 3) * fields.scale
        if index == 0 or fields.chance(0.4):
            centre = places[rng.integers(len(places))].astype(float)
        else:  # a satellite of the first
            centre = tumours[0].centre + rng.normal(0, 0.9 * tumours[0].radius + 6 * fields.scale, 3)
        bare = index > 0 and kind != "non_enhancing" and fields.chance(0.4)
        tumours.append(Tumour(centre, radius, INFILTRATION if bare else kind))
    return tumours


def deep_grey(structures: Tensor, depth: Tensor, scale: float) -> Tensor:
    """Thalamus, basal ganglia and the like, which oedema enters: thick grey matter far from the surface.

    Args:
        structures: `(X, Y, Z)`, before tumours are drawn.
        depth: depth below the surface, mm.
        scale: voxels a mm of a full-size head.

    Returns:
        `(X, Y, Z)` bool.
    """
    grey = structures == Structure.GREY
    return grey & (depth > 18) & (box_mean(grey, max(1, round(3 * scale))) > 0.55)


def add_tumour(structures: Tensor, tumour: Tumour, deep: Tensor, fields: Fields) -> Tensor:
    """Draw one focus: core, rim, necrosis, specks and oedema, `(X, Y, Z)` uint8.

    Args:
        structures: `(X, Y, Z)`, where it is drawn.
        tumour: the focus.
        deep: where the `deep_grey` is.
        fields: source of randomness.
    """
    reach = 3.2 * tumour.radius + 32 * fields.scale
    window = tuple(
        slice(max(0, int(c - reach)), max(2, min(n, int(c + reach) + 1)))
        for c, n in zip(tumour.centre, structures.shape, strict=True)
    )
    out = structures.clone()
    out[window] = _focus(structures[window], tumour, [part.start for part in window], deep[window], fields)
    return out


def _focus(structures: Tensor, tumour: Tumour, start: list[int], deep: Tensor, fields: Fields) -> Tensor:
    shape, scale = tuple(structures.shape), fields.scale

    def smooth(length: float) -> Tensor:
        return fields.smooth(length, shape)

    axes = (torch.arange(n).float() + s - c for n, s, c in zip(shape, start, tumour.centre, strict=True))
    offset = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    stretch = np.exp(fields.rng.normal(0, 0.22, 3))
    stretch /= np.prod(stretch) ** (1 / 3)
    turn = np.linalg.qr(fields.rng.normal(size=(3, 3)))[0]
    matrix = torch.from_numpy((turn * stretch) @ turn.T).float()
    distance = torch.einsum("ij,jxyz->ixyz", matrix, offset).square().sum(0).sqrt()
    lumps = fields.uniform(0.1, 0.45) * smooth(max(6.0, 0.9 * tumour.radius / scale))
    lumps += fields.uniform(0.03, 0.1) * smooth(4)
    outward = (distance / tumour.radius + lumps - 1) * tumour.radius / scale  # about mm from the core's border

    inside = structures > 0
    csf = structures == Structure.CSF
    core = (outward < 0) & inside & ~(structures == Structure.DURA)
    out = structures.clone()
    if tumour.kind == INFILTRATION:
        out[core & (structures == Structure.WHITE)] = Structure.OEDEMA
        return out
    out[_oedema(structures, outward, deep, smooth, fields) & ~core] = Structure.OEDEMA
    out[core] = _inner(outward, smooth, tumour.kind, fields)[core]
    if tumour.kind != "non_enhancing" and fields.chance(0.5):  # specks of enhancement around the core
        specks = (smooth(4) > fields.uniform(2.4, 3.2)) & (outward < 15) & (outward > 0) & inside & ~csf
        out[specks] = Structure.ENHANCING
    return out


def _oedema(structures: Tensor, outward: Tensor, deep: Tensor, smooth: Smooth, fields: Fields) -> Tensor:
    """Finger-like spread along white matter and into deep grey matter, that spares cortex and stops at CSF."""
    if fields.chance(0.07):
        return torch.zeros_like(structures, dtype=torch.bool)
    mean = fields.uniform(1.5, 18) * (1.6 if fields.chance(0.2) else 1.0)
    extent = mean * (1 + 0.6 * smooth(22) + 0.3 * smooth(8))
    tissue = torch.full(outward.shape, fields.uniform(0.0, 0.35))  # cortex, vessels and the rest
    tissue[deep] = fields.uniform(0.4, 1.0)
    tissue[(structures == Structure.WHITE) | (structures == Structure.WHITE_LESION)] = 1.0
    tissue[(structures == Structure.CSF) | (structures == Structure.OUTSIDE) | (structures == Structure.CHOROID)] = 0.0
    return (outward < extent * tissue) & (tissue > 0) & (structures < Structure.OEDEMA)


def _inner(outward: Tensor, smooth: Smooth, kind: str, fields: Fields) -> Tensor:
    """Which part of the core each voxel is."""
    inward = -outward
    parts = torch.full(outward.shape, int(Structure.ENHANCING), dtype=torch.uint8)
    patches = smooth(9)
    if kind == "non_enhancing":
        parts[:] = Structure.NON_ENHANCING
        parts[(patches > fields.uniform(1.3, 2.8)) & (inward > 1)] = Structure.ENHANCING
        return parts
    if kind == "solid":
        holes = 0.7 * smooth(fields.uniform(4, 8)) + 0.5 * patches
        parts[(holes > fields.uniform(0.0, 1.8)) & (inward > 1.5)] = Structure.NECROSIS
    else:
        rim = fields.uniform(1.5, 5.5) * (1 + 0.45 * smooth(7)).clamp(min=0.25)
        fluid = kind == "cystic" or fields.chance(0.15)
        parts[inward > rim] = Structure.CYST if fluid else Structure.NECROSIS
        islands = (smooth(5) > fields.uniform(1.2, 3.0)) & (inward > rim)
        parts[islands] = Structure.ENHANCING
    if fields.chance(0.3):  # a part of the rim does not enhance
        parts[(smooth(20) > fields.uniform(0.5, 1.8)) & (parts == Structure.ENHANCING)] = Structure.NON_ENHANCING
    if fields.chance(0.12):
        parts[(smooth(10) > fields.uniform(0.8, 1.8)) & (inward > 3)] = Structure.BLOOD
    return parts


LABELS = np.zeros(len(Structure), dtype=np.uint8)
"""BraTS 2018 label of each structure."""
LABELS[[Structure.NECROSIS, Structure.NON_ENHANCING, Structure.CYST, Structure.BLOOD]] = 1
LABELS[Structure.OEDEMA] = 2
LABELS[Structure.ENHANCING] = 4
