"""Writing files so that a killed process leaves the old one or the new one, never half of one."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A temporary file beside `path`, flushed to disk and renamed to it when the block ends well.

    Args:
        path: the file to write; its folder is made when missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_tensors(content: Any, path: Path) -> None:
    """`torch.save`, atomically; tensors and plain Python values, so that `weights_only=True` reads it."""
    with atomic_file(path) as file:
        torch.save(content, file)


def save_json(content: Any, path: Path) -> None:
    """Write JSON, atomically."""
    with atomic_file(path) as file:
        file.write((json.dumps(content, indent=4) + "\n").encode())
