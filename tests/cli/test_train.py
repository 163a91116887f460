"""What `medmiss train` says of a run. (Training itself: tests/bundles and tests/training.)"""

import json
from pathlib import Path

import pytest

from medmiss.cli.main import main

INTERRUPT = "$(_ for _ in ()).throw(KeyboardInterrupt)"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle whose training consists of the user's interrupt."""
    configs = tmp_path / "idle" / "configs"
    configs.mkdir(parents=True)
    (configs / "metadata.json").write_text('{"task": "a test"}')
    (configs / "inference.json").write_text('{"inferer": {}}')
    train = {"epochs": 14, "val_interval": 5, "network_def": {}, "crop_size": [8, 8, 8], "device": {"name": "cpu"}}
    train |= {"resume": False, "quiet": False, "dataset_dir": None, "initialize": [], "run": [INTERRUPT]}
    (configs / "train.json").write_text(json.dumps(train))
    (configs / "train_phantom.json").write_text('{"phantoms": 1}')
    return tmp_path / "idle"


def test_an_interrupt_names_the_way_on(tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "my run"
    assert main(["train", "--bundle", str(bundle), "--data", str(tmp_path), "--out", str(out)]) == 1
    assert "interrupted before the first checkpoint" in capsys.readouterr().err.splitlines()[-1]
    (out / "checkpoints").mkdir(exist_ok=True)
    (out / "checkpoints" / "last.pt").touch()
    assert main(["train", "--bundle", str(bundle), "--out", str(out), "--resume"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"medmiss train --out '{out}' --resume")


@pytest.mark.parametrize(
    ("words", "expected", "absent"),
    [
        (["--data", "."], "14 epochs; validation after every 5 epochs", "synthetic"),
        (["--data", ".", "--epochs", "4"], "4 epochs; no validation", "synthetic"),
        (["--phantoms", "3"], "made in the first epoch", "no validation"),
    ],
)
def test_the_start_says_what_is_going_to_happen(
    words: list[str], expected: str, absent: str, tmp_path: Path, bundle: Path, caplog: pytest.LogCaptureFixture
):
    assert main(["train", "--bundle", str(bundle), "--out", str(tmp_path / "run"), *words]) == 1
    (line,) = [message for message in caplog.messages if message.startswith("run in")]
    assert expected in line
    assert absent not in line


def test_starting_from_a_bundle_without_weights_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    empty = tmp_path / "empty"
    (empty / "configs").mkdir(parents=True)
    (empty / "configs" / "inference.json").write_text("{}")
    words = ["train", "--phantoms", "2", "--start-from", str(empty), "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "--start-from: empty has no weights" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
