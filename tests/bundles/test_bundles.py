"""What is true of every bundle: it trains, evaluates, predicts, resumes and passes MONAI's own checks."""

import argparse
import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export

from medmiss.cli import phantom
from medmiss.cli.main import main

from .conftest import BUNDLES, ROOT

PYTHON = [sys.executable]
ALL = [file.parents[1] for file in sorted((ROOT / "bundles").glob("*/configs/train.json"))]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def test_train_evaluate_and_infer_from_a_foreign_folder(
    tmp_path: Path, phantoms: Path, tiny: dict[str, Any], monai_bundle: Callable
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    entries = {**tiny, "dataset_dir": phantoms}
    monai_bundle(PYTHON, elsewhere, "train", **entries, output_dir=tmp_path / "run", epochs=1)
    assert torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)["epoch"] == 1
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))

    entries |= {"dataset_dir": phantoms / "phantom_0", "weights": tmp_path / "run" / "models" / "model.pt"}
    del entries["val_subsets"]
    monai_bundle(PYTHON, elsewhere, "train", "evaluate", **entries, output_dir=tmp_path / "evaluation")
    rows = dict(csv.reader((tmp_path / "evaluation" / "metrics.csv").open()))
    assert len(rows) == 1 + 3 + 15
    assert all(0 <= float(value) <= 1 for value in rows.values())

    small = {"device::name": "cpu", "network_def::backbone::channels": "[8, 16]", "inferer::roi_size": "[32, 32, 32]"}
    small |= {name: entries[name] for name in ("dataset_dir", "weights")}
    monai_bundle(PYTHON, elsewhere, "inference", **small, output_dir=tmp_path / "masks")
    assert (tmp_path / "masks" / "phantom_0.nii.gz").is_file()
    assert not list(elsewhere.iterdir())


def test_the_output_folder_of_a_run_is_a_bundle_that_predicts(
    tmp_path: Path, phantoms: Path, tiny: dict[str, Any], train_command: Callable
):
    assert main(train_command(tmp_path / "mine", {**tiny, "epochs": 1})) == 0
    out = tmp_path / "masks"
    assert main(["predict", "--bundle", str(tmp_path / "mine"), str(phantoms / "phantom_0"), str(out), "--quiet"]) == 0
    assert (out / "phantom_0.nii.gz").is_file()


def test_the_workflow_has_the_properties_a_bundle_needs(
    tmp_path: Path, phantoms: Path, tiny: dict[str, Any], workflow: Callable
):
    found = workflow("train", **tiny, dataset_dir=str(phantoms), output_dir=str(tmp_path / "run"))
    found.initialize()
    assert found.check_properties() == []


def test_two_processes_train_the_same_network_as_one(
    tmp_path: Path, phantoms: Path, tiny: dict[str, Any], workflow: Callable, monai_bundle: Callable
):
    """Half a batch each: the items, the gradients and so the weights are those of the whole batch."""
    entries = {**tiny, "dataset_dir": str(phantoms), "epochs": 1, "train::optimizer::_target_": "torch.optim.SGD"}
    entries["learning_rate"] = 0.1  # far enough for a term that is not the mean over samples to show
    one = workflow("train", **entries, output_dir=str(tmp_path / "one"), batch_size=4)
    one.initialize()
    one.run()
    del entries["device::name"]
    monai_bundle(TORCHRUN, tmp_path, "train", "multi_gpu_train", **entries, output_dir=tmp_path / "two", batch_size=2)
    states = [torch.load(tmp_path / run / "checkpoints" / "last.pt", weights_only=True) for run in ("one", "two")]
    assert states[0]["iteration"] == states[1]["iteration"] >= 1
    torch.testing.assert_close(states[1]["network"], states[0]["network"], rtol=1e-4, atol=1e-4)
    assert states[1]["best"]["metric"] == pytest.approx(states[0]["best"]["metric"], abs=1e-3)


def test_a_killed_run_goes_on_as_if_it_had_not_been(
    tmp_path: Path, tiny: dict[str, Any], train_command: Callable, environment: dict[str, str]
):
    entries = {**tiny, "val_subsets": ["all"], "epochs": 6}
    killed, unbroken = tmp_path / "killed", tmp_path / "unbroken"
    checkpoint = killed / "checkpoints" / "last.pt"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the process that is killed: sums in another order are other sums
    try:
        words = train_command(killed, entries)
        with subprocess.Popen([*PYTHON, "-m", "medmiss.cli.main", *words], cwd=tmp_path, env=environment) as run:
            _wait_until(lambda: checkpoint.is_file() or run.poll() is not None)
            run.send_signal(signal.SIGKILL)
        reached = torch.load(checkpoint, weights_only=True)["epoch"]
        assert 1 <= reached < 6
        with pytest.raises(SystemExit, match="2"):  # without --resume nothing is overwritten
            main(words)
        assert main(["train", "--out", str(killed), "--device", "cpu", "--resume"]) == 0
        assert main(train_command(unbroken, entries)) == 0
    finally:
        torch.set_num_threads(threads)
    for file in ("checkpoints/last.pt", "models/model.pt"):
        resumed, expected = (torch.load(folder / file, weights_only=True) for folder in (killed, unbroken))
        torch.testing.assert_close(_flat(resumed), _flat(expected), rtol=0, atol=0)


def test_verify_net_in_out_passes_on_the_real_network(bundle: Path, check_net_in_out: Callable[[Path], None]):
    check_net_in_out(bundle / "configs")


def test_ckpt_export_gives_the_same_network(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    parser["network_def::backbone::channels"] = [4, 8]
    network = parser.get_parsed_content("network_def").eval()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    ConfigParser.export_config_file(parser.get(), str(tmp_path / "inference.json"))
    files: dict[str, Any] = {"config_file": str(tmp_path / "inference.json"), "ckpt_file": str(tmp_path / "model.pt")}
    ckpt_export("network_def", filepath=str(tmp_path / "model.ts"), **files)
    image = torch.randn(1, 4, 16, 16, 16)
    image[:, 1] = 0
    torch.testing.assert_close(torch.jit.load(tmp_path / "model.ts")(image), network(image))


@pytest.mark.parametrize("folder", ALL, ids=lambda folder: folder.name)
def test_a_bundle_is_what_the_template_says(folder: Path, render: Callable[[str], dict[str, str]]):
    """Those that segment, and those that classify."""
    for path, text in render(folder.name).items():
        assert (folder / path).read_text() == text, f"{path}: run python tools/render_bundles.py"


def test_a_meta_step_of_the_published_profile_takes_20_cases_one_by_one():
    """As the published code, however few cases are held out: of 5, another crop each time."""
    configs = BUNDLES["brats_mckd"] / "configs"
    parser = ConfigParser()
    parser.read_config([str(configs / name) for name in ("train.json", "published.json")])
    parser["meta_step::dataset::data"] = [{"image": torch.full((1,), i)} for i in range(5)]
    parser["meta_step::dataset::transform"] = {"_target_": "monai.transforms.Identityd", "keys": "image"}
    batches = [batch["image"] for batch in parser.get_parsed_content("meta_step::dataloader")]
    wanted = parser.get_parsed_content("train::between_steps::0::batches")
    assert wanted == 20 and len(batches) >= wanted
    assert {len(batch) for batch in batches} == {1} and {int(batch) for batch in batches[:wanted]} == {0, 1, 2, 3, 4}


def test_version_licence_and_model_card(bundle: Path):
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]
    assert (bundle / "LICENSE").is_file()
    assert "not for clinical" in (bundle / "docs" / "README.md").read_text()


def _wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)


def _flat(value: Any) -> Any:
    """Nested dictionaries as lists of leaves, which `assert_close` compares; None and text are left out."""
    if isinstance(value, dict):
        return [leaf for key in value for leaf in _flat(value[key])]
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in _flat(item)]
    return [] if value is None or isinstance(value, str) else [value]


def test_phantoms_to_try_things_on_are_not_those_of_a_training(bundle: Path):
    parser = argparse.ArgumentParser()
    phantom.add_arguments(parser)
    trained_on = json.loads((bundle / "configs" / "train_phantom.json").read_text())["phantom_seed"]
    assert parser.get_default("seed") != trained_on
