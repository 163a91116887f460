"""What a run writes: at once or not at all."""

import io
import json
from pathlib import Path
from typing import Any

import torch

from medmiss.cases.files import write_atomically


def save_tensors(content: Any, path: Path) -> None:
    """`torch.save`, atomically: tensors and plain Python values, so that `weights_only=True` reads it."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def save_json(content: Any, path: Path) -> None:
    """Write JSON, atomically."""
    write_atomically(path, (json.dumps(content, indent=4) + "\n").encode())
