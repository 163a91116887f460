"""Writing tensors at once or not at all."""

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
