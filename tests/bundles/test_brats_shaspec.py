"""The bundle trains, evaluates, resumes and trains on several processes. (Inference: tests/inference.)"""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigWorkflow

from medmiss.cli.main import main

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "brats_shaspec"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def config(*names: str) -> str:
    """The bundle's configuration files, as `monai.bundle` takes them."""
    return str([str(BUNDLE / "configs" / f"{name}.json") for name in names])


def monai_bundle(launcher: Sequence[str], folder: Path, *names: str, **entries: Any) -> None:
    """`python -m monai.bundle run` in `folder`, which is not the bundle's."""
    words = [word for name, value in entries.items() for word in (f"--{name}", str(value))]
    files = ["--config_file", config(*names), "--bundle_root", str(BUNDLE)]
    result = subprocess.run(
        [*launcher, "-m", "monai.bundle", "run", *files, *words],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]


def workflow(*names: str, **entries: Any) -> ConfigWorkflow:
    """The same in this process."""
    return ConfigWorkflow(
        [str(BUNDLE / "configs" / f"{name}.json") for name in names],
        logging_file=False,
        bundle_root=str(BUNDLE),
        **entries,
    )


def medmiss_train(data: Path, out: Path, tiny: dict[str, Any], **entries: Any) -> list[str]:
    """The words of `medmiss train`."""
    settings = [f"{name}={json.dumps(value)}" for name, value in {**tiny, **entries}.items()]
    words = ["train", "--data", str(data), "--out", str(out), "--device", "cpu", "--quiet"]
    return [*words, *(word for setting in settings for word in ("--set", setting))]


def test_train_then_evaluate_from_a_foreign_folder(tmp_path: Path, phantoms: Path, tiny: dict):
    (tmp_path / "elsewhere").mkdir()
    entries = {**tiny, "dataset_dir": phantoms}
    python = [sys.executable]
    monai_bundle(python, tmp_path / "elsewhere", "train", **entries, output_dir=tmp_path / "run", epochs=1)
    assert torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)["epoch"] == 1
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))

    del entries["val_subsets"]
    entries["dataset_dir"] = phantoms / "phantom_0"
    model = tmp_path / "run" / "models" / "model.pt"
    monai_bundle(
        python,
        tmp_path / "elsewhere",
        *("train", "evaluate"),
        **entries,
        output_dir=tmp_path / "evaluation",
        weights=model,
    )
    rows = dict(csv.reader((tmp_path / "evaluation" / "metrics.csv").open()))
    assert len(rows) == 1 + 3 + 15
    assert all(0 <= float(value) <= 1 for value in rows.values())
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_workflow_has_the_properties_a_bundle_needs(tmp_path: Path, phantoms: Path, tiny: dict):
    found = workflow("train", **tiny, dataset_dir=str(phantoms), output_dir=str(tmp_path / "run"))
    found.initialize()
    assert found.check_properties() == []


def test_two_processes_train_the_same_network_as_one(tmp_path: Path, phantoms: Path, tiny: dict):
    """Half a batch each: the items, the gradients and so the weights are those of the whole batch."""
    entries = {**tiny, "dataset_dir": str(phantoms), "epochs": 1, "train::optimizer::_target_": "torch.optim.SGD"}
    one = workflow("train", **entries, output_dir=str(tmp_path / "one"), batch_size=2)
    one.initialize()
    one.run()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    names = ("train", "multi_gpu_train")
    del entries["device::name"]
    monai_bundle(torchrun, tmp_path, *names, **entries, output_dir=tmp_path / "two", batch_size=1)
    states = [torch.load(tmp_path / run / "checkpoints" / "last.pt", weights_only=True) for run in ("one", "two")]
    assert [state["iteration"] for state in states] == [2, 2]
    torch.testing.assert_close(states[1]["network"], states[0]["network"], rtol=1e-4, atol=1e-6)
    assert states[1]["best"]["metric"] == pytest.approx(states[0]["best"]["metric"], abs=1e-3)


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path: Path, phantoms: Path, tiny: dict):
    epochs = 6
    tiny = {**tiny, "val_subsets": ["all"]}
    killed, unbroken = tmp_path / "killed", tmp_path / "unbroken"
    checkpoint = killed / "checkpoints" / "last.pt"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the process that is killed: sums in another order are other sums
    try:
        words = medmiss_train(phantoms, killed, tiny, epochs=epochs)
        with subprocess.Popen([sys.executable, "-m", "medmiss.cli.main", *words], cwd=tmp_path, env=ENVIRONMENT) as run:
            _wait_until(lambda: checkpoint.is_file() or run.poll() is not None)
            run.send_signal(signal.SIGKILL)
        reached = torch.load(checkpoint, weights_only=True)["epoch"]
        assert 1 <= reached < epochs
        with pytest.raises(SystemExit, match="2"):  # without --resume nothing is overwritten
            main(words)
        assert main(["train", "--data", str(phantoms), "--out", str(killed), "--device", "cpu", "--resume"]) == 0
        assert main(medmiss_train(phantoms, unbroken, tiny, epochs=epochs)) == 0
    finally:
        torch.set_num_threads(threads)
    for file in ("checkpoints/last.pt", "models/model.pt"):
        resumed, expected = (torch.load(folder / file, weights_only=True) for folder in (killed, unbroken))
        torch.testing.assert_close(_flat(resumed), _flat(expected), rtol=0, atol=0)


def test_training_on_four_phantoms_raises_the_validation_dice(tmp_path: Path, phantoms: Path, tiny: dict):
    split = {"train": [f"phantom_{i}" for i in range(4)], "val": ["phantom_4", "phantom_5"]}
    (tmp_path / "splits.json").write_text(json.dumps(split))
    common = {**tiny, "splits": str(tmp_path / "splits.json"), "visits": 4, "val_interval": 8, "learning_rate": 0.01}
    words = medmiss_train(phantoms, tmp_path / "trained", common, epochs=8)
    assert main(words) == 0
    trained = torch.load(tmp_path / "trained" / "checkpoints" / "last.pt", weights_only=True)["best"]["metric"]
    untrained = _untrained_dice(tmp_path, phantoms, common)
    assert trained > untrained + 0.1


def test_the_output_folder_is_a_bundle_that_predicts(tmp_path: Path, phantoms: Path, tiny: dict):
    settings = {name: value for name, value in tiny.items() if name != "val_subsets"}
    words = medmiss_train(phantoms, tmp_path / "mine", settings, epochs=1)
    assert main([*words, "--subset", "T2,flair"]) == 0
    recorded = json.loads((tmp_path / "mine" / "configs" / "train.json").read_text())
    assert (recorded["modalities"], recorded["modality_drop"], recorded["val_subsets"]) == ("flair,t2", "none", ["all"])
    out = tmp_path / "masks"
    assert main(["predict", "--bundle", str(tmp_path / "mine"), str(phantoms / "phantom_0"), str(out), "--quiet"]) == 0
    assert (out / "phantom_0.nii.gz").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "nowhere"], "nowhere does not exist"),
        (["--set", "epoch=3"], "has no entry epoch"),
        (["--set", "epochs"], "expected ID=VALUE"),
        (["--subset", "flair,ct"], "unknown modality 'ct'"),
        (["--epochs", "0"], "expected a number above 0"),
        (["--bundle", "nothing"], "bundle 'nothing'"),
    ],
)
def test_wrong_usage_is_said_and_writes_nothing(tmp_path: Path, words: list[str], message: str, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--data", str(tmp_path), "--out", str(tmp_path / "out"), *words])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_training_on_phantoms_made_on_demand(tmp_path: Path, tiny: dict):
    settings = {**tiny, "epochs": 1, "phantom_shape": [48, 48, 40], "val_fraction": 0.4}
    words = ["train", "--phantoms", "3", "--subset", "flair,t2", "--out", str(tmp_path / "run"), "--quiet"]
    words += [word for name, value in settings.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    assert main([*words, "--device", "cpu"]) == 0
    cached = [torch.load(file, weights_only=True) for file in (tmp_path / "run" / "cache").iterdir()]
    assert len(cached) == 3
    for item in cached:  # the dedicated run never saw T1 or T1c
        assert item["available"].tolist() == [True, False, False, True]
        assert not item["image"][1:3].any() and item["image"][0].any() and item["label"][2].any()
    assert (tmp_path / "run" / "models" / "model.pt").is_file()


def test_data_and_phantoms_do_not_go_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for words in ([], ["--data", str(tmp_path), "--phantoms", "3"]):
        with pytest.raises(SystemExit) as stop:
            main(["train", "--out", str(tmp_path / "out"), *words])
        assert stop.value.code == 2 and "give either --data or --phantoms" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_labelled_case_ends_with_status_1(tmp_path: Path, phantoms: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "data").mkdir()
    assert main(["train", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 1
    assert str(tmp_path / "data") in caplog.text


def _untrained_dice(folder: Path, data: Path, entries: dict[str, Any]) -> float:
    """Validation Dice of the same network at the start of training."""
    before = workflow("train", **entries, dataset_dir=str(data), output_dir=str(folder / "untrained"))
    before.initialize()
    evaluator = before.parser.get_parsed_content("validate::evaluator")
    evaluator.run()
    return evaluator.state.metrics["val_mean_dice"]


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
