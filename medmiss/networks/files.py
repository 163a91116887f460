"""Files of tensors: written at once or not at all, and read so that they cannot run code."""

import io
from pathlib import Path
from typing import Any

import torch

from medmiss.cases.files import write_atomically


def save_tensors(content: Any, path: Path) -> None:
    """`torch.save`, atomically: tensors and plain Python values, so that `weights_only=True` reads it."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def read_tensors(
    path: str | Path, device: str | torch.device = "cpu", remedy: str = "fetch it again"
) -> dict[str, Any]:
    """What `save_tensors` wrote, a dictionary such as a state dict; read with `weights_only=True`.

    Args:
        path: the file.
        device: where the tensors go.
        remedy: what to do where it cannot be read, for the error.

    Raises:
        ValueError: when it cannot be read, or is something else.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds, by the way a file is broken
        text = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: not a readable file of weights ({text[:200]}); {remedy}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: a file of {type(content).__name__}, expected a dictionary of weights; {remedy}")
    return content
