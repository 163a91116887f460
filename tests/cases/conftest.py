"""Small synthetic volumes for the tests of cases."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

LPS = np.array([[-1.0, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.fixture
def brain() -> np.ndarray:
    """(24, 26, 22), float32: an ellipsoid of brain-like values on a zero background."""
    shape = (24, 26, 22)
    place = np.stack(np.meshgrid(*[np.linspace(-1.2, 1.2, size) for size in shape], indexing="ij"))
    values = np.random.default_rng(0).normal(400, 60, shape)
    return np.where((place**2).sum(0) < 1, values, 0).astype(np.float32)


@pytest.fixture
def save(brain: np.ndarray) -> Callable[..., Path]:
    """Write a NIfTI file (the brain, BraTS affine, unless told otherwise) and give its path."""

    def write(path: Path, array: np.ndarray | None = None, affine: np.ndarray = LPS) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(brain if array is None else array, affine), path)
        return path

    return write


@pytest.fixture
def touch() -> Callable[..., None]:
    """Make files that hold nothing usable, to show that finding cases opens none."""

    def make(folder: Path, *names: str) -> None:
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"not an image")

    return make
