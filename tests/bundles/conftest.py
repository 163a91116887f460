"""Every bundle that segments, phantoms small enough to train on in a test, and the settings that go with them."""

import json
import os
import runpy
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigWorkflow, verify_net_in_out

from medmiss.cases import LAYOUTS, Grid, write_case
from medmiss.cli.main import main
from medmiss.modalities import MODALITIES
from medmiss.phantom import make_case

ROOT = Path(__file__).parents[2]
BUNDLES = {folder.name: folder for folder in sorted((ROOT / "bundles").glob("brats_*"))}
"""Those that segment; the others have tests of their own."""
SHAPE = (48, 48, 32)
TINY = {
    "device::name": "cpu",
    "network_def::backbone::channels": [8, 16],
    "crop_size": [32, 32, 32],
    "validate::inferer::roi_size": [32, 32, 32],
    "val_fraction": 0.25,
    "workers": 0,
    "val_interval": 1,
    "val_subsets": ["all", "t1"],
}
"""Entries of train.json: a network of a few thousand parameters on crops of 32 voxels, on one core."""


@pytest.fixture(params=BUNDLES)
def bundle(request: pytest.FixtureRequest) -> Path:
    """Each bundle's folder in turn."""
    return BUNDLES[request.param]


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight labelled phantoms in BraTS 2018 layout, phantom_0 to phantom_7."""
    root = tmp_path_factory.mktemp("phantoms")
    for index in range(8):
        case = make_case(0, index, SHAPE)
        images = dict(zip(MODALITIES, case.images, strict=True))
        write_case(root, LAYOUTS["brats2018"], f"phantom_{index}", images, Grid(SHAPE, case.affine), case.labels)
    return root


@pytest.fixture
def tiny(bundle: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """`TINY`, with what the bundle's method needs besides: a teacher, or cases held out."""
    config = json.loads((bundle / "configs" / "train.json").read_text())
    entries = dict(TINY)
    if "teacher_bundle" in config:
        entries["teacher_bundle"] = str(request.getfixturevalue("teacher"))
    if config["held_out_fraction"]:
        entries["held_out_fraction"] = 0.25
    return entries


@pytest.fixture(scope="session")
def teacher(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose network was trained with all modalities."""
    out = tmp_path_factory.mktemp("teacher")
    words = train_words(BUNDLES["brats_dropout"], phantoms, out, {**TINY, "modality_drop": "none", "epochs": 1})
    assert main(words) == 0
    return out


def train_words(bundle: Path, data: Path, out: Path, entries: dict[str, Any]) -> list[str]:
    """The words of `medmiss train`."""
    words = ["train", "--bundle", str(bundle), "--data", str(data), "--out", str(out), "--device", "cpu", "--quiet"]
    return [*words, *(word for name, value in entries.items() for word in ("--set", f"{name}={json.dumps(value)}"))]


@pytest.fixture
def train_command(bundle: Path, phantoms: Path) -> Callable[..., list[str]]:
    """`train_command(out, entries)`: the words of `medmiss train` for the bundle on the phantoms."""
    return lambda out, entries: train_words(bundle, phantoms, out, entries)


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """For other processes, on one core each."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def monai_bundle(bundle: Path, environment: dict[str, str]) -> Callable[..., None]:
    """`python -m monai.bundle run` on configurations of the bundle, in a folder that is not the bundle's."""

    def run(launcher: Sequence[str], folder: Path, *names: str, **entries: Any) -> None:
        words = [word for name, value in entries.items() for word in (f"--{name}", str(value))]
        files = str([str(bundle / "configs" / f"{name}.json") for name in names])
        command = [*launcher, "-m", "monai.bundle", "run", "--config_file", files, "--bundle_root", str(bundle)]
        result = subprocess.run([*command, *words], cwd=folder, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr[-3000:]

    return run


@pytest.fixture
def workflow(bundle: Path) -> Callable[..., ConfigWorkflow]:
    """The same in this process, to be initialised and run."""

    def make(*names: str, **entries: Any) -> ConfigWorkflow:
        files = [str(bundle / "configs" / f"{name}.json") for name in names]
        return ConfigWorkflow(files, logging_file=False, bundle_root=str(bundle), **entries)

    return make


@pytest.fixture(scope="session")
def render() -> Callable[[str], dict[str, str]]:
    """`render(name)`: what `tools/render_bundles.py` makes of the template."""
    return runpy.run_path(str(ROOT / "tools" / "render_bundles.py"))["render"]


@pytest.fixture
def check_net_in_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """MONAI's check of the network against the metadata, which also has to find what the metadata says wrongly."""

    def check(configs: Path) -> None:
        options: dict[str, Any] = {"config_file": str(configs / "inference.json"), "device": "cpu"}
        verify_net_in_out("network_def", meta_file=str(configs / "metadata.json"), **options)
        wrong = json.loads((configs / "metadata.json").read_text())
        wrong["network_data_format"]["outputs"]["pred"]["num_channels"] += 1
        (tmp_path / "wrong.json").write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match="output channel number"):
            verify_net_in_out("network_def", meta_file=str(tmp_path / "wrong.json"), **options)

    monkeypatch.chdir(tmp_path)
    return check
