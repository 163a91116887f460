"""Tiny labelled cases to train on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medmiss.cases import LAYOUTS, Grid, write_case
from medmiss.modalities import MODALITIES, Subset

SHAPE = (28, 30, 26)
GRID = Grid(SHAPE, np.diag([-1.0, -1.0, 1.0, 1.0]))


def tiny_case(index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A brain with a three-shell tumour of a place of its own, `SHAPE`: images and label map (BraTS 2018)."""
    generator = np.random.default_rng([7, index])
    axes = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij"))
    brain = (axes**2).sum(axis=0) < 0.9
    radius = np.sqrt(((axes - generator.uniform(-0.3, 0.3, (3, 1, 1, 1))) ** 2).sum(axis=0))
    labels = np.select([radius < 0.2, radius < 0.35, radius < 0.5], [1, 4, 2], 0).astype(np.uint8)
    gains = {"flair": (2.0, 1.6, 1.8), "t1": (0.8, 0.9, 0.95), "t1c": (0.7, 1.6, 0.9), "t2": (2.0, 1.5, 1.6)}
    images = {}
    for modality in MODALITIES:
        ncr, et, ed = gains[modality]
        gain = np.select([labels == 1, labels == 4, labels == 2], [ncr, et, ed], 1.0)
        noisy = 100 * gain + 5 * generator.standard_normal(SHAPE)
        images[modality] = (noisy * brain).astype(np.float32)
    return images, labels * brain


@pytest.fixture(scope="session")
def write_dataset() -> Callable[..., Path]:
    """`write_dataset(root, 4)` writes cases case_0 to case_3; `modalities` says which of their files exist."""

    def write(root: Path, cases: int, modalities: Subset = MODALITIES, labelled: bool = True) -> Path:
        for index in range(cases):
            images, labels = tiny_case(index)
            chosen = {modality: images[modality] for modality in modalities}
            label = labels if labelled else None
            write_case(root, LAYOUTS["brats2018"], f"case_{index}", chosen, GRID, label)
        return root

    return write


@pytest.fixture(scope="session")
def dataset(write_dataset: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six labelled cases with all modalities."""
    return write_dataset(tmp_path_factory.mktemp("data") / "six", 6)
