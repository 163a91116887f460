"""Phantoms small enough to train on in a test, and the settings that go with them."""

from pathlib import Path
from typing import Any

import pytest

from medmiss.cases import LAYOUTS, Grid, write_case
from medmiss.modalities import MODALITIES
from medmiss.phantom import make_case

SHAPE = (48, 48, 32)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six labelled phantoms in BraTS 2018 layout, phantom_0 to phantom_5."""
    root = tmp_path_factory.mktemp("phantoms")
    for index in range(6):
        case = make_case(0, index, SHAPE)
        images = dict(zip(MODALITIES, case.images, strict=True))
        write_case(root, LAYOUTS["brats2018"], f"phantom_{index}", images, Grid(SHAPE, case.affine), case.labels)
    return root


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    """Entries of train.json: a network of a few thousand parameters on crops of 32 voxels, on one core."""
    return {
        "device::name": "cpu",
        "network_def::backbone::channels": [8, 16],
        "crop_size": [32, 32, 32],
        "val_fraction": 0.34,
        "workers": 0,
        "val_interval": 1,
        "val_subsets": ["all", "t1"],
    }
