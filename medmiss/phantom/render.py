"""From structures to the four images: random contrast, regional drift, texture, blur, bias field, noise.

The intensity ranges are relative to normal white matter, wider than what was measured on real cases
(three BraTS cases, CSF from BraTS 2013), so that a network cannot rely on any one contrast.
"""

import math

import numpy as np
import torch
from torch import Tensor

from medmiss.modalities import MODALITIES
from medmiss.phantom.anatomy import Structure
from medmiss.phantom.fields import Fields, blur

RANGES: dict[Structure, dict[str, tuple[float, float]]] = {
    Structure.CSF: {"flair": (0.15, 0.75), "t1": (0.3, 0.7), "t2": (1.6, 3.2)},
    Structure.GREY: {"flair": (0.95, 1.32), "t1": (0.72, 0.96), "t2": (1.08, 1.4)},
    Structure.WHITE: {"flair": (1.0, 1.0), "t1": (1.0, 1.0), "t2": (1.0, 1.0)},
    Structure.DURA: {"flair": (0.5, 1.5), "t1": (0.5, 1.1), "t1c": (0.9, 2.4), "t2": (0.5, 1.7)},
    Structure.VESSEL: {"flair": (0.3, 1.4), "t1": (0.45, 1.3), "t1c": (1.1, 3.0), "t2": (0.3, 1.6)},
    Structure.CHOROID: {"flair": (0.7, 1.6), "t1": (0.65, 1.0), "t1c": (0.9, 2.2), "t2": (1.3, 2.4)},
    Structure.WHITE_LESION: {"flair": (1.2, 1.8), "t1": (0.75, 0.98), "t2": (1.2, 1.8)},
    Structure.REMNANT: {"flair": (0.2, 1.4), "t1": (0.2, 1.3), "t1c": (0.3, 2.0), "t2": (0.2, 1.6)},
    Structure.OEDEMA: {"flair": (1.3, 2.0), "t1": (0.72, 1.02), "t2": (1.3, 2.1)},
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
    for modality in ("flair", "t2"):  # oedema is brighter than cortex, or no expert would see it
        row = contrast[MODALITIES.index(modality)]
        for structure in (Structure.OEDEMA, Structure.NON_ENHANCING, Structure.WHITE_LESION):
            row[structure] = max(row[structure], row[Structure.GREY] + fields.uniform(0.1, 0.3))
    return torch.from_numpy(contrast)


def render(structures: Tensor, fields: Fields) -> Tensor:
    """Render the four images, `(4, X, Y, Z)` float32, background 0, white matter about 1.

    Args:
        structures: `(X, Y, Z)` uint8 values of `Structure`.
        fields: source of randomness on the same grid.
    """
    contrast = draw_contrast(fields)
    brain = structures.flatten().nonzero().flatten()
    shared = [fields.smooth(length).flatten()[brain] for length in FIELD_LENGTHS]
    index = structures.flatten()[brain].long()
    return torch.stack([_image(index, brain, row, shared, fields) for row in contrast])


def _image(index: Tensor, brain: Tensor, contrast: Tensor, shared: list[Tensor], fields: Fields) -> Tensor:
    """One modality; `index` and `shared` hold the brain's voxels only, `(V,)` each, `brain` their places."""
    rng, scale = fields.rng, fields.scale

    def volume(values: Tensor) -> Tensor:
        return torch.zeros(math.prod(fields.shape)).index_copy(0, brain, values).reshape(fields.shape)

    strength = fields.uniform(0.5, 1.5) * np.array([0.05, 0.05, 0.025, 0.025, 0.02])
    gains = rng.normal(0, 1, (len(shared), len(Structure))) * strength[:, None]
    gains[:, TUMOUR] *= np.array([0.5, 1.0, 2.0, 2.5, 2.0])[:, None]
    variation = torch.ones_like(shared[0])
    for gain, field in zip(torch.from_numpy(gains.astype(np.float32)), shared, strict=True):
        variation += gain[index] * field
    image = volume(contrast[index] * variation.clamp(min=0.2, max=2.5))
    # Partial volume and the scanner's point spread; now and then slices thicker than the grid.
    sigma = np.full(3, fields.uniform(0.45, 0.9) * scale)
    if fields.chance(0.3):
        sigma[rng.integers(3)] = fields.uniform(0.9, 2.2) * scale
    image = blur(image, tuple(sigma))
    bias = fields.uniform(0.0, 0.12) * fields.smooth(110) + fields.uniform(0.0, 0.04) * fields.smooth(50)
    values = (image * bias.exp()).flatten()[brain]
    # Rician: the magnitude of a complex signal with noise on both parts.
    noise = fields.uniform(0.005, 0.06)
    values = torch.hypot(values + noise * fields.white(len(values)), noise * fields.white(len(values)))
    image = volume(values.clamp(min=1e-3) ** fields.uniform(0.85, 1.2))
    if fields.chance(0.3):  # noise after interpolation to the common space is smooth
        image = volume(blur(image, (0.5 * scale,) * 3).flatten()[brain])
    return image
