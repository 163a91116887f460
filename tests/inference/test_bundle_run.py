"""MONAI's own tools on the bundle, from a foreign working directory."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, verify_net_in_out

from medmiss.cli.main import main

BUNDLE = Path(__file__).parents[2] / "bundles" / "brats_shaspec"


def test_monai_bundle_run_writes_what_predict_writes(
    tmp_path: Path, tiny_bundle: Path, write_case: Callable, monkeypatch: pytest.MonkeyPatch
):
    write_case(tmp_path / "cases", "A", ["flair", "t2"])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    words = [
        *("--config_file", str(tiny_bundle / "configs" / "inference.json")),
        *("--bundle_root", str(tiny_bundle), "--dataset_dir", "../cases", "--output_dir", "../run"),
        *("--device::name", "cpu"),
    ]
    subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", *words],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(BUNDLE.parents[1])},
    )
    assert main(["predict", "--bundle", str(tiny_bundle), "--device", "cpu", "../cases", "../predict"]) == 0
    assert (tmp_path / "run" / "A.nii.gz").read_bytes() == (tmp_path / "predict" / "A.nii.gz").read_bytes()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_workflow_has_the_properties_a_bundle_needs(tmp_path: Path, tiny_bundle: Path, write_case: Callable):
    write_case(tmp_path / "cases", "A")
    workflow = ConfigWorkflow(
        config_file=str(tiny_bundle / "configs" / "inference.json"),
        workflow_type="infer",
        logging_file=False,
        bundle_root=str(tiny_bundle),
        dataset_dir=str(tmp_path / "cases"),
        output_dir=str(tmp_path / "masks"),
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    workflow.run()
    workflow.finalize()
    assert (tmp_path / "masks" / "A.nii.gz").is_file()


def test_verify_net_in_out_passes_on_the_real_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    configs = BUNDLE / "configs"
    options: dict[str, Any] = {"config_file": str(configs / "inference.json"), "device": "cpu"}
    verify_net_in_out("network_def", meta_file=str(configs / "metadata.json"), **options)
    # It can tell: what the metadata says wrongly is found.
    wrong = json.loads((configs / "metadata.json").read_text())
    wrong["network_data_format"]["outputs"]["pred"]["num_channels"] = 4
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    with pytest.raises(ValueError, match="output channel number"):
        verify_net_in_out("network_def", meta_file=str(tmp_path / "wrong.json"), **options)


def test_ckpt_export_gives_the_same_network(tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    config = str(tiny_bundle / "configs" / "inference.json")
    ckpt_export("network_def", filepath=str(tmp_path / "model.ts"), config_file=config, bundle_root=str(tiny_bundle))
    exported = torch.jit.load(tmp_path / "model.ts")
    parser = ConfigParser()
    parser.read_config(config)
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(tiny_bundle / "models" / "model.pt", weights_only=True))
    image = torch.randn(1, 4, 16, 16, 16)
    image[:, 1] = 0
    torch.testing.assert_close(exported(image), network(image))


def test_the_version_is_in_the_changelog():
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]


def test_inference_and_training_share_network_and_window():
    inference, train = (
        json.loads((BUNDLE / "configs" / f"{name}.json").read_text()) for name in ("inference", "train")
    )
    assert inference["network_def"] == train["network_def"]
    assert inference["inferer"]["roi_size"] == train["crop_size"]
