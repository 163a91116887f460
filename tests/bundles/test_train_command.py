"""`medmiss train` on the default bundle: what the command adds to the bundle's configuration."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medmiss.cli.main import main

on_the_default = pytest.mark.parametrize("bundle", ["brats_shaspec"], indirect=True)


@on_the_default
def test_training_on_four_phantoms_raises_the_validation_dice(
    tmp_path: Path, phantoms: Path, tiny: dict[str, Any], train_command: Callable, workflow: Callable
):
    split = {"train": [f"phantom_{i}" for i in range(4)], "val": ["phantom_4", "phantom_5"]}
    (tmp_path / "splits.json").write_text(json.dumps(split))
    common = {**tiny, "splits": str(tmp_path / "splits.json"), "visits": 8, "val_interval": 4, "learning_rate": 0.01}
    common |= {"val_subsets": ["all"], "modality_drop": "none"}
    assert main(train_command(tmp_path / "trained", {**common, "epochs": 8})) == 0
    trained = torch.load(tmp_path / "trained" / "checkpoints" / "last.pt", weights_only=True)["best"]["metric"]
    before = workflow("train", **common, dataset_dir=str(phantoms), output_dir=str(tmp_path / "untrained"))
    before.initialize()
    evaluator = before.parser.get_parsed_content("validate::evaluator")
    evaluator.run()
    assert trained > evaluator.state.metrics["val_mean_dice"] + 0.1


@on_the_default
def test_dedicated_training_and_prediction_use_the_subset_alone(
    tmp_path: Path, phantoms: Path, tiny: dict[str, Any], train_command: Callable
):
    del tiny["val_subsets"]
    out = tmp_path / "mine"
    assert main([*train_command(out, {**tiny, "epochs": 1}), "--subset", "T2,flair"]) == 0
    recorded = json.loads((out / "configs" / "train.json").read_text())
    assert (recorded["modalities"], recorded["modality_drop"], recorded["val_subsets"]) == ("flair,t2", "none", ["all"])
    assert json.loads((out / "configs" / "inference.json").read_text())["modalities"] == "flair,t2"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "nowhere"], "nowhere does not exist"),
        (["--set", "epoch=3"], "has no entry epoch"),
        (["--set", "epochs"], "expected ID=VALUE"),
        (["--subset", "flair,ct"], "unknown modality 'ct'"),
        (["--epochs", "0"], "expected a number above 0"),
        (["--bundle", "nothing"], "bundle 'nothing'"),
        (["--bundle", "brats_dropout", "--profile", "published"], "bundle brats_dropout has no published profile"),
        (
            ["--bundle", "brats_shaspec", "--teacher", "brats_shaspec"],
            "--teacher: bundle brats_shaspec learns from none; leave it out",
        ),
    ],
)
def test_wrong_usage_is_said_and_writes_nothing(tmp_path: Path, words: list[str], message: str, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--data", str(tmp_path), "--out", str(tmp_path / "out"), *words])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@on_the_default
def test_training_on_phantoms_made_on_demand(tmp_path: Path, tiny: dict[str, Any]):
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
