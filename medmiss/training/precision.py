"""Mixed precision by name, and moving a batch to its device."""

from collections.abc import Mapping
from typing import Any

import torch

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""What `precision` may be in a configuration; float16 needs CUDA, since it needs loss scaling."""


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The autocast context of one forward pass.

    Raises:
        ValueError: for an unknown precision, or float16 without CUDA.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
    if precision == "float16" and device.type != "cuda":
        raise ValueError(f"precision float16 needs CUDA, not {device.type}: use bfloat16 or float32")
    dtype = PRECISIONS[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def to_device(batch: Mapping[str, Any], device: torch.device, non_blocking: bool = False) -> dict[str, Any]:
    """Move a batch's tensors to `device`; anything else stays as it is."""
    return {
        key: value.to(device, non_blocking=non_blocking) if isinstance(value, torch.Tensor) else value
        for key, value in batch.items()
    }
