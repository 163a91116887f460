"""Which crops and windows a backbone takes: those whose grid all levels halve and double back to itself."""

from collections.abc import Sequence
from math import ceil
from typing import Any

from monai.utils import ensure_tuple_rep


def check_size(name: str, size: Any, stride: int | Sequence[int]) -> None:
    """Refuse a crop or window that is no multiple of the stride, or a single voxel of the bottleneck.

    Instance norm refuses a 1x1x1 map, so that along one axis it has to be at least twice the stride.

    Args:
        name: of the backbone.
        size: voxels, one number or three.
        stride: voxels of the input a voxel of the bottleneck stands for, likewise.

    Raises:
        ValueError: when it does not fit, or is not one whole number or three.
    """
    steps = ensure_tuple_rep(stride, 3)
    step = " x ".join(map(str, steps))
    rule = f"{name} takes multiples of {step} voxels, at least twice that along one axis"
    values = tuple(size) if isinstance(size, Sequence) and not isinstance(size, str) else (size,) * 3
    if len(values) != 3 or not all(type(value) is int and value > 0 for value in values):
        raise ValueError(f"found {size}, but {rule}; give one whole number or three")
    fitting = [ceil(value / multiple) * multiple for value, multiple in zip(values, steps, strict=True)]
    if fitting == list(steps):
        fitting = [2 * multiple for multiple in steps]
    if fitting != list(values):
        raise ValueError(f"found {list(values)}, but {rule}; give {fitting}, for instance")
