"""From structures to the four images: random contrast, regional drift, texture, blur, bias field, noise.

The intensity ranges are relative to normal white matter, mostly wider than what was measured on real cases
(three BraTS cases, CSF from BraTS 2013), so that a network cannot rely on any one contrast. Oedema that
hardly stands out on FLAIR is left out (item 7 of docs/synthetic-training.md).
"""

import math

import numpy as np
import torch
from torch import Tensor

from medmiss.modalities import MODALITIES
from medmiss.phantom.anatomy import Structure
from medmiss.phantom.fields import Fields, apply_along, blur, box_mean
from medmiss.phantom.tissues import TEXTURES

RANGES: dict[Structure, dict[str, tuple[float, float]]] = {
    Structure.CSF: {"flair": (0.1, 0.8), "t1": (0.25, 0.72), "t2": (1.6, 3.6)},
    Structure.GREY: {"flair": (0.9, 1.45), "t1": (0.66, 0.97), "t2": (1.05, 1.55)},
    Structure.WHITE: {"flair": (1.0, 1.0), "t1": (1.0, 1.0), "t2": (1.0, 1.0)},
    Structure.DURA: {"flair": (0.5, 1.5), "t1": (0.5, 1.1), "t1c": (0.9, 2.4), "t2": (0.5, 1.7)},
    Structure.VESSEL: {"flair": (0.3, 1.4), "t1": (0.45, 1.3), "t1c": (1.1, 3.0), "t2": (0.3, 1.6)},
    Structure.CHOROID: {"flair": (0.7, 1.6), "t1": (0.65, 1.0), "t1c": (0.9, 2.2), "t2": (1.3, 2.4)},
    Structure.WHITE_LESION: {"flair": (1.15, 2.2), "t1": (0.55, 1.0), "t2": (1.15, 2.4)},
    Structure.REMNANT: {"flair": (0.2, 1.4), "t1": (0.2, 1.3), "t1c": (0.3, 2.0), "t2": (0.2, 1.6)},
    Structure.OEDEMA: {"flair": (1.4, 2.2), "t1": (0.68, 1.02), "t2": (1.2, 2.2)},
    Structure.NECROSIS: {"flair": (0.8, 2.3), "t1": (0.55, 1.0), "t2": (1.4, 3.3)},
    Structure.NON_ENHANCING: {"flair": (1.3, 2.2), "t1": (0.65, 1.0), "t2": (1.35, 2.4)},
    Structure.ENHANCING: {"flair": (1.2, 2.0), "t1": (0.78, 1.12), "t1c": (1.25, 2.2), "t2": (1.2, 2.4)},
    Structure.CYST: {"flair": (0.3, 1.7), "t1": (0.3, 0.75), "t2": (1.9, 3.4)},
    Structure.BLOOD: {"flair": (0.6, 2.0), "t1": (0.9, 1.8), "t2": (0.5, 2.0)},
}
"""Intensity over that of white matter. Without a row for T1c, a structure takes up no contrast."""

TUMOUR = [structure for structure in Structure if structure >= Structure.OEDEMA]
FIELD_LENGTHS = (60.0, 30.0, 12.0, 6.0, 3.0)
"""mm; the fields that regional drift (the long ones) and texture (the short ones) are mixed from."""
SYMMETRIC_LENGTHS = (60.0, 30.0)
"""mm; the fields of what is brighter than its tissue on both sides alike, such as the white matter at the back."""
TEXTURED = {
    **dict.fromkeys((Structure.CSF, Structure.GREY, Structure.WHITE, Structure.WHITE_LESION), 1.0),
    Structure.OEDEMA: 0.4,
}
"""Structures that show the atlas's texture, and how much of it."""
LIKE = {"flair": "flair", "t1": "t1", "t1c": "t1", "t2": "t2"}
"""The image of the atlas, by `TEXTURES`, that a modality's texture is most like."""


def draw_contrast(fields: Fields) -> Tensor:
    """Draw the mean intensity of every structure on every modality, `(4, structures)`."""
    contrast = np.zeros((len(MODALITIES), len(Structure)), dtype=np.float32)
    uptake = fields.uniform(0.85, 1.02)  # T1 and T1c come from two sequences
    for structure, ranges in RANGES.items():
        for index, modality in enumerate(MODALITIES):
            if modality == "t1c" and modality not in ranges:
                value = contrast[MODALITIES.index("t1"), structure] * uptake * fields.uniform(0.95, 1.05)
            else:
                value = fields.uniform(*ranges[modality])
            contrast[index, structure] = value
    contrast[MODALITIES.index("t1c"), Structure.WHITE] = 1.0
    for modality, gap in (("flair", (0.2, 0.55)), ("t2", (0.1, 0.45))):  # brighter than cortex, or no expert sees it
        row = contrast[MODALITIES.index(modality)]
        for structure in (Structure.OEDEMA, Structure.NON_ENHANCING, Structure.WHITE_LESION):
            row[structure] = max(row[structure], row[Structure.GREY] + fields.uniform(*gap))
    return torch.from_numpy(contrast)


def render(
    structures: Tensor, fields: Fields, texture: Tensor | None = None, drift: bool = True, faults: bool = True
) -> Tensor:
    """Render the four images, `(4, X, Y, Z)` float32, background 0, white matter about 1.

    Args:
        structures: `(X, Y, Z)` uint8 values of `Structure`.
        fields: source of randomness on the same grid.
        texture: `(3, X, Y, Z)`, in the order of `TEXTURES`, as `medmiss.phantom.tissues.read_anatomy` gives it.
        drift: brightness varies within a tissue.
        faults: the scanner has a bias field, thick slices and the like; without them, blur and noise alone.
    """
    contrast = draw_contrast(fields)
    brain = structures.flatten().nonzero().flatten()
    shared = [fields.smooth(length).flatten()[brain] for length in FIELD_LENGTHS]
    shared += [mirrored(fields.smooth(length)).flatten()[brain] for length in SYMMETRIC_LENGTHS]
    index = structures.flatten()[brain].long()
    surface = near_surface(structures).flatten()[brain]
    water = soaked(structures, fields).flatten()[brain]
    white = (index == Structure.WHITE) | (index == Structure.OEDEMA)
    details = [] if texture is None else [image.flatten()[brain] for image in texture]
    images = []
    for modality, tissue in zip(MODALITIES, contrast, strict=True):
        detail = atlas_texture(details, index, modality, fields)
        swollen = tissue[Structure.WHITE] + water * (tissue[Structure.OEDEMA] - tissue[Structure.WHITE])
        values = torch.where(white, swollen, tissue[index]) * variation(index, shared if drift else [], detail, fields)
        if faults and fields.chance(0.5):  # next to air and bone: patches of this modality alone
            patches = fields.smooth(fields.uniform(8, 25)).flatten()[brain]
            gain = fields.uniform(-0.4, 1.2) * surface * (patches - fields.uniform(0.0, 1.5)).clamp(min=0, max=1.5)
            values = values * (1 + gain).clamp(min=0.2)
        images.append(scanned(values, brain, fields, faults))
    return torch.stack(images)


def mirrored(field: Tensor) -> Tensor:
    """The same on both sides of the middle of X. The variance is kept far from the middle and doubled in it."""
    return (field + field.flip(0)) / math.sqrt(2)


def atlas_texture(details: list[Tensor], index: Tensor, modality: str, fields: Fields) -> Tensor:
    """What the atlas's texture adds to a modality, `(V,)`: that of the image most like it, and some of the others."""
    total = torch.zeros(len(index))
    for image, like in zip(details, TEXTURES, strict=False):  # no details: no texture
        total += image * ((fields.uniform(0.0, 1.0) if like == LIKE[modality] else 0.0) + 0.3 * fields.rng.normal())
    shown = torch.zeros(len(Structure))
    for structure, share in TEXTURED.items():
        shown[structure] = share
    return total * shown[index]


def near_surface(structures: Tensor) -> Tensor:
    """Nearness of the outside, `(X, Y, Z)`: 1 at the surface and beyond, 0 deep inside."""
    radius = max(1, round(structures.shape[0] / 24))
    return (2 * box_mean(structures == Structure.OUTSIDE, radius)).clamp(max=1)


def soaked(structures: Tensor, fields: Fields) -> Tensor:
    """How far white matter and oedema look like oedema, `(X, Y, Z)`: about half at the border between them.

    Zero in all other structures.
    """
    swollen = structures >= Structure.OEDEMA
    radius = round(fields.uniform(0, 4) * fields.scale)
    share = swollen.float() if radius == 0 else box_mean(swollen, radius)
    return share * ((structures == Structure.WHITE) | (structures == Structure.OEDEMA))


def variation(index: Tensor, shared: list[Tensor], texture: Tensor, fields: Fields) -> Tensor:
    """How much brighter than its structure's mean each voxel of one modality is, `(V,)`, about 1.

    Args:
        index: the structure of each voxel of the brain, `(V,)`.
        shared: the fields of `FIELD_LENGTHS` and `SYMMETRIC_LENGTHS`, `(V,)` each; none: no drift.
        texture: of the atlas, `(V,)`.
        fields: source of randomness.
    """
    strength = fields.uniform(0.5, 1.8) * np.array([0.06, 0.06, 0.035, 0.025, 0.02])
    strength = np.append(strength, (fields.uniform(0.0, 0.12), fields.uniform(0.0, 0.08)))
    gains = fields.rng.normal(0, 1, (len(strength), len(Structure))) * strength[:, None]
    gains[:, TUMOUR] *= np.array([0.5, 1.0, 1.6, 2.5, 2.0, 0.5, 0.5])[:, None]
    total = torch.ones_like(texture) + texture
    for gain, field in zip(torch.from_numpy(gains.astype(np.float32)), shared, strict=False):
        total += gain[index] * field
    return total.clamp(min=0.2, max=2.5)


def scanned(values: Tensor, brain: Tensor, fields: Fields, faults: bool = True) -> Tensor:
    """The image `(X, Y, Z)` that a scanner makes of the brain's voxels, `(V,)` at the places `brain`."""
    rng, scale = fields.rng, fields.scale

    def volume(values: Tensor) -> Tensor:
        return torch.zeros(math.prod(fields.shape)).index_copy(0, brain, values).reshape(fields.shape)

    image = volume(values)
    # Partial volume and the scanner's point spread; now and then slices thicker than the grid.
    image = blur(image, (fields.uniform(0.45, 0.9) * scale,) * 3)
    if faults and fields.chance(0.35):
        image = thick_slices(image, int(rng.choice(3, p=(0.15, 0.15, 0.7))), fields.uniform(1.5, 6.0) * scale)
    if faults and fields.chance(0.15):
        image = moved(image, fields)
    if faults:
        bias = fields.uniform(0.0, 0.25) * fields.smooth(110) + fields.uniform(0.0, 0.08) * fields.smooth(50)
        image = image * bias.exp()
    values = image.flatten()[brain].clamp(min=0)
    # Rician: the magnitude of a complex signal with noise on both parts.
    noise = fields.uniform(0.005, 0.06)
    values = torch.hypot(values + noise * fields.white(len(values)), noise * fields.white(len(values)))
    image = volume(values.clamp(min=1e-3) ** fields.uniform(0.85, 1.2))
    if faults and fields.chance(0.3):  # noise after interpolation to the common space is smooth
        image = volume(blur(image, (0.5 * scale,) * 3).flatten()[brain])
    if faults and fields.chance(0.2):  # a converter cut the brightest voxels off
        image = image.clamp(max=float(np.quantile(image.flatten()[brain].numpy(), fields.uniform(0.98, 0.999))))
    return image


def thick_slices(image: Tensor, axis: int, thickness: float) -> Tensor:
    """`(X, Y, Z)` as slices of `thickness` voxels along `axis` show it, interpolated back to the grid linearly."""
    n = image.shape[axis]
    slices = max(2, round(n / max(1.0, thickness)))
    centres = (torch.arange(slices) + 0.5) * n / slices - 0.5
    distance = (torch.arange(n)[None] - centres[:, None]).abs()
    profile = (thickness / 2 + 0.5 - distance).clamp(min=0, max=1)
    profile = profile / profile.sum(dim=1, keepdim=True)
    position = (torch.arange(n).clamp(min=centres[0], max=centres[-1])[:, None] - centres[None]) * slices / n
    matrix = (1 - position.abs()).clamp(min=0) @ profile
    return apply_along(image, [matrix if other == axis else None for other in range(3)])


def moved(image: Tensor, fields: Fields) -> Tensor:
    """Ghosts along one axis from a head that moved, and the ringing of a spectrum cut short (Gibbs)."""
    axis = int(fields.rng.integers(3))
    n = image.shape[axis]
    spectrum = torch.fft.rfft(image, dim=axis)
    lines = torch.arange(spectrum.shape[axis])
    keep = (lines <= fields.uniform(0.55, 1.0) * spectrum.shape[axis]).float()
    period, strength = int(fields.rng.integers(2, 6)), fields.uniform(0.0, 0.08)
    keep = keep * (1 + strength * torch.cos(2 * math.pi * lines / period) * (lines > 2))
    shape = [1, 1, 1]
    shape[axis] = len(lines)
    return torch.fft.irfft(spectrum * keep.reshape(shape), n=n, dim=axis).clamp(min=0)
