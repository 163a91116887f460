"""A small tumour that has every tissue, on grids of any orientation."""

from collections.abc import Callable

import numpy as np
import pytest

from medmiss.cases import Grid, LabelConvention
from medmiss.slicer import label_tissues

SHAPE = (9, 11, 7)


def rotated() -> np.ndarray:
    """An oblique affine, 0.5 x 0.9 x 3 mm."""
    a, b = 0.3, -0.2
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x * (0.5, 0.9, 3.0)
    affine[:3, 3] = 12.5, -40, 7.25
    return affine


AFFINES = {
    "LPS": np.array([[-1.0, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]]),
    "RAS": np.array([[1.0, 0, 0, -20], [0, 1, 0, -30], [0, 0, 1, 40], [0, 0, 0, 1]]),
    "PIR": np.array([[0.0, 0, 2.5, 3], [-0.8, 0, 0, 5], [0, -1.1, 0, 90], [0, 0, 0, 1]]),
    "oblique": rotated(),
}


@pytest.fixture(params=AFFINES)
def grid(request: pytest.FixtureRequest) -> Grid:
    """Grids in the orders of BraTS and MSD, one with permuted axes, one oblique; the last two anisotropic."""
    return Grid(SHAPE, AFFINES[request.param])


@pytest.fixture
def lps() -> Grid:
    """As BraTS has it."""
    return Grid(SHAPE, AFFINES["LPS"])


@pytest.fixture
def label_map() -> Callable[[LabelConvention], np.ndarray]:
    """`label_map(convention)`: nothing symmetric; a block of every tissue, of another size each."""

    def make(convention: LabelConvention) -> np.ndarray:
        labels = np.zeros(SHAPE, dtype=np.uint8)
        for step, value in enumerate(label_tissues(convention)):
            labels[2 + step, 1 + step : 7, 1 : 3 + step] = value
        return labels

    return make
