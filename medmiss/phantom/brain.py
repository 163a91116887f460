"""A brain made of ellipsoids, sheets and a random field: coarse beside an atlas, but free of any data's licence.

Lengths are mm of a full-size head: x from the mid-sagittal plane, y backwards, z upwards from the grid's bottom.
Distances are negative outside a solid and approximate inside.
"""

import torch
from torch import Tensor
from torch.nn import functional

from medmiss.phantom.fields import Fields
from medmiss.phantom.tissues import CSF, FULL_SHAPE, GREY, WHITE

Point = tuple[Tensor, Tensor, Tensor]

_MIDDLE = (119.5, 124.0, 0.0)
_HEAD = ((45, 195), (30, 220), (2, 148))
"""What of the full grid the head can fill."""


def procedural_tissues(seed: tuple[int, ...], shape: tuple[int, int, int] = FULL_SHAPE) -> Tensor:
    """A folded cortex over white matter, with deep grey matter, ventricles, brain stem and cerebellum.

    Args:
        seed: the same integers give the same brain.
        shape: the grid; the head fills it as it fills BraTS's.

    Returns:
        `(X, Y, Z)` uint8: 0 outside, 1 CSF, 2 grey matter, 3 white matter.
    """
    box = tuple(
        slice(low * n // full, -(-high * n // full))
        for (low, high), n, full in zip(_HEAD, shape, FULL_SHAPE, strict=True)
    )
    fields = Fields(seed, tuple(part.stop - part.start for part in box), shape[0] / FULL_SHAPE[0])
    axes = (
        (torch.arange(part.start, part.stop) + 0.5) * full / n - 0.5 - middle
        for part, n, full, middle in zip(box, shape, FULL_SHAPE, _MIDDLE, strict=True)
    )
    x, y, z = (axis + fields.uniform(1.0, 2.0) * fields.smooth(35) for axis in torch.meshgrid(*axes, indexing="ij"))
    labels = torch.zeros(shape, dtype=torch.uint8)
    labels[box] = _brain((x, y, z), fields)
    return labels


def _brain(point: Point, fields: Fields) -> Tensor:
    x, y, z = point
    side = x.abs()
    # Narrower in front, flat below, higher in front and over the cerebellum.
    base = z - 49 + 0.2 * (y + 20).clamp(max=0) - 12 * torch.exp(-((x / 30) ** 2)) * ((y - 10) / 20).clamp(0, 1)
    cerebrum = torch.minimum(_ellipsoid((x / (1 + 0.001 * y).clamp(0.9, 1.04), y, z - 78), (66, 86, 63)), base)
    cerebrum = torch.maximum(cerebrum, _ellipsoid((side - 38, y + 4, z - 50 - 0.1 * y), (24, 44, 22)))  # temporal
    cerebellum = _ellipsoid((x, y - 49, z - 36), (51, 31, 27))
    cerebellum -= 8 * torch.exp(-((x / 6) ** 2)) * ((y - 55) / 15).clamp(0, 1)
    pons = _ellipsoid((x, y - 14, z - 38), (17, 14, 15))
    stem = torch.maximum(pons, _ellipsoid((x, y - 17 + 0.2 * (z - 38), z - 38), (12, 11, 38)))
    labels = torch.zeros(x.shape, dtype=torch.uint8)
    cistern = _within((x, y - 8, z - 48), (34, 36, 16))
    labels[cistern | (cerebellum > -1.5) | (stem > -2) | (cerebrum > 0)] = CSF
    _draw_cerebellum(labels, cerebellum, point, fields)
    _draw_cerebrum(labels, cerebrum, point, fields)
    labels[stem > 0] = WHITE
    labels[_within((x, y - 33, z - 40), (8, 4, 9))] = CSF  # fourth ventricle
    middle = _window(point)
    _draw_middle(labels[middle], (x[middle], y[middle], z[middle]), fields)
    return labels


def _window(point: Point) -> tuple[slice, ...]:
    """The part of the grid that holds what lies around the ventricles."""
    limits = ((-52, 52), (-60, 82), (38, 108))
    centre = [n // 2 for n in point[0].shape]
    window = []
    for axis, (low, high) in enumerate(limits):
        line = point[axis][tuple(slice(None) if other == axis else centre[other] for other in range(3))]
        hits = ((line > low) & (line < high)).nonzero()
        window.append(slice(int(hits.min()), int(hits.max()) + 1))
    return tuple(window)


def _draw_cerebrum(labels: Tensor, depth: Tensor, point: Point, fields: Fields) -> None:
    """Cortex of even thickness along every surface: the outer one, the fissures, the insula and the sulci."""
    x, y, z = point
    side = x.abs()
    joined = 42 * (1 - torch.hypot((y + 3) / 42, (z - 70) / 29))  # the callosum and what lies below it
    fissure = torch.hypot(x, joined.clamp(min=0))
    sylvian = torch.sqrt(
        (z - 60 - 0.45 * y).square() + (36 - side).clamp(min=0).square() + (y - 30).clamp(min=0).square()
    )
    reach = fields.uniform(12, 17) + 4 * fields.smooth(30)
    sulci = torch.hypot(_folds(point, fields), (depth - reach).clamp(min=0))
    widen = fields.uniform(0.3, 0.9) * (1 - depth / 25).clamp(min=0.2)
    pia = torch.minimum(torch.minimum(fissure - 0.8, sylvian - 1.5), torch.minimum(sulci - widen, depth - 1.2))
    inside = depth > 0
    labels[inside] = WHITE
    labels[inside & (pia < fields.uniform(2.8, 3.4))] = GREY
    labels[inside & (pia < 0)] = CSF


def _folds(point: Point, fields: Fields) -> Tensor:
    """Distance to the nearest sulcus: where a random field that hardly changes towards the hemisphere's core is zero.

    Computed on every second voxel of a full-size head.
    """
    coarse = [max(2, round(n / max(1.0, 2 * fields.scale))) for n in point[0].shape]
    x, y, z = functional.interpolate(torch.stack(point)[None], size=coarse, mode="trilinear", align_corners=True)[0]
    core = torch.stack([torch.where(x < 0, -20.0, 20.0), y.clamp(-42, 42), torch.full_like(z, 74.0)])
    offset = torch.stack([x, y, z]) - core
    radius = offset.norm(dim=0).clamp(min=1)
    length = 44 + 0.5 * (radius - 44)  # sulci wander a little on their way down
    shell = core + offset * (length / radius)
    size = 128
    pattern = fields.smooth(fields.uniform(4, 4.75) / fields.scale, (size, size, size))  # of 2 mm whatever the grid
    where = torch.stack([shell[2] - 74, shell[1], shell[0]], dim=-1) / size
    field = functional.grid_sample(pattern[None, None], where[None], align_corners=True)
    field = functional.interpolate(field, size=point[0].shape, mode="trilinear", align_corners=True)[0, 0]
    gx, gy, gz = torch.gradient(field)
    slope = (gx * gx + gy * gy + gz * gz).sqrt_() * fields.scale
    return field.abs() / slope.clamp(min=0.03)


def _draw_cerebellum(labels: Tensor, depth: Tensor, point: Point, fields: Fields) -> None:
    """Thin leaves of cortex, nearly level, on a core of white matter."""
    x, y, z = point
    leaves = torch.sin((z - 34 + 0.25 * (y - 50) + 1.5 * fields.smooth(15)) * 1.15)
    labels[depth > 0] = GREY
    labels[(depth > 0) & (depth < 6) & (leaves > 0.8)] = CSF
    labels[(depth > 9 + 6 * leaves) & (x.abs() > 5) | (depth > 17)] = WHITE


def _draw_middle(labels: Tensor, point: Point, fields: Fields) -> None:
    """Callosum, basal ganglia, thalamus and ventricles."""
    x, y, z = point
    side = x.abs()
    arch = torch.hypot((y + 4) / 42, (z - 68) / 28)
    labels[(side < 14) & ((arch - 0.9).abs() < 0.12) & (z > 72 - 0.1 * y)] = WHITE
    for centre, radii in (
        ((10, 8, 73), (9, 15, 10)),  # thalamus
        ((13, -22, 79), (6, 13, 11)),  # head of the caudate
        ((26, -8, 72), (7, 20, 12)),  # putamen and pallidum
        ((24, 0, 47), (8, 20, 7)),  # amygdala and hippocampus
    ):
        labels[_within((side - centre[0] - 0.2 * (y - centre[1]), y - centre[1], z - centre[2]), radii)] = GREY
    width = fields.uniform(0.75, 1.35)
    for (from_middle, back, up), (rx, ry, rz) in (
        ((7, -24, 84), (4.5, 16, 8)),  # frontal horn
        ((10, 6, 91), (6, 26, 5)),  # body
        ((22, 34, 80), (6, 14, 11)),  # atrium
        ((25, 52, 74), (3.5, 14, 5)),  # occipital horn
        ((33, 14, 54), (3, 18, 4)),  # temporal horn
    ):
        offset = (side - from_middle - 0.3 * (y - back), y - back, z - up)
        labels[_within(offset, (rx * width, ry, rz * width**0.5))] = CSF
    labels[_within((x, y - 4, z - 68), (2 * width, 16, 11))] = CSF  # third ventricle
    labels[(side < 0.8) & (arch < 0.78) & (z > 80) & (labels == CSF)] = WHITE  # septum between the horns


def _within(offset: Point, radii: tuple[float, float, float]) -> Tensor:
    """Whether a point lies in an ellipsoid."""
    x, y, z = (part / radius for part, radius in zip(offset, radii, strict=True))
    return x * x + y * y + z * z < 1


def _ellipsoid(offset: Point, radii: tuple[float, float, float]) -> Tensor:
    """Depth below the surface of an ellipsoid, to first order."""
    x, y, z = (part / radius for part, radius in zip(offset, radii, strict=True))
    scaled = (x * x + y * y + z * z).sqrt_()
    a, b, c = (part / radius for part, radius in zip((x, y, z), radii, strict=True))
    slope = (a * a + b * b + c * c).sqrt_()
    return scaled * (1 - scaled) / slope.clamp_(min=1e-4)
