"""Writing tensors so that a killed process leaves the old file or the new one, never half of one."""

import os
from pathlib import Path
from typing import Any

import torch


def atomic_save(content: Any, path: Path) -> None:
    """`torch.save` to a temporary file beside `path`, flush to disk, then rename.

    Args:
        content: tensors and plain Python values, so that `torch.load(weights_only=True)` reads it.
        path: the file to write; its folder is made when missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
