"""A bundle and cases small enough that a prediction takes a fraction of a second."""

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

BUNDLE = Path(__file__).parents[1] / "bundles" / "brats_shaspec"
BRATS_NAMES = {"flair": "flair", "t1": "t1", "t1c": "t1ce", "t2": "t2"}
SHAPE = (26, 22, 24)
AFFINE = np.array([[-1.0, 0, 0, 0], [0, -1, 0, 21], [0, 0, 1, 0], [0, 0, 0, 1]])


def phantom_volume(index: int, seed: int) -> np.ndarray:
    """An ellipsoid of a brain with a bright ball in it, zero outside; float32 of `SHAPE`."""
    generator = np.random.default_rng([seed, index])
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    volume = (100 * (index + 1) + 5 * generator.standard_normal(SHAPE)) * (x**2 + y**2 + z**2 < 0.8)
    volume[(x - 0.2) ** 2 + y**2 + (z + 0.2) ** 2 < 0.12] *= 1.5
    return volume.astype(np.float32)


@pytest.fixture(autouse=True)
def no_log_level_of_another_test() -> None:
    """A command that ran with --quiet in this process sets the level of all medmiss loggers."""
    logging.getLogger("medmiss").setLevel(logging.NOTSET)


@pytest.fixture
def write_case() -> Callable[..., Path]:
    """`write_case(root, "A", ["flair", "t2"])` writes a case in BraTS 2018 layout and returns its folder."""

    def write(root: Path, name: str, modalities: Sequence[str] = tuple(BRATS_NAMES), seed: int = 0) -> Path:
        folder = root / name
        folder.mkdir(parents=True)
        for index, (modality, word) in enumerate(BRATS_NAMES.items()):
            if modality in modalities:
                image = nib.Nifti1Image(phantom_volume(index, seed), AFFINE)
                nib.save(image, folder / f"{name}_{word}.nii.gz")
        return folder

    return write


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle's own configuration with a tiny network, a small window and random weights."""
    import torch

    from medmiss.inference import load_bundle

    root = tmp_path_factory.mktemp("bundles") / "tiny"
    (root / "models").mkdir(parents=True)
    shutil.copytree(BUNDLE / "configs", root / "configs")
    path = root / "configs" / "inference.json"
    config = json.loads(path.read_text())
    config["network_def"]["backbone"] = {"_target_": "medmiss.networks.LightUNet", "channels": [4, 8]}
    config["inferer"] |= {"roi_size": [16, 16, 16], "overlap": 0.25}
    path.write_text(json.dumps(config))
    torch.manual_seed(0)
    network = load_bundle(root).get_parsed_content("network_def")
    torch.save(network.state_dict(), root / "models" / "model.pt")
    return root
