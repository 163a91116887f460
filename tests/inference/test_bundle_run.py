"""MONAI's own tools on the bundle, from a foreign working directory."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow

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
