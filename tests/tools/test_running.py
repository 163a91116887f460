"""What the tools that train many networks share: one training a folder, and one set of settings."""

import subprocess
from pathlib import Path

import pytest

import running


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands of medmiss that would be run."""
    seen: list[list[str]] = []
    monkeypatch.setattr(running, "medmiss", lambda *words: seen.append([str(word) for word in words]))
    return seen


def test_a_command_runs_and_its_failure_is_an_error():
    running.medmiss("info")
    with pytest.raises(subprocess.CalledProcessError) as failure:
        running.medmiss("phantom")
    assert failure.value.returncode == 2


def test_a_network_is_trained_once_and_an_interrupted_training_goes_on(tmp_path: Path, commands: list[list[str]]):
    run = tmp_path / "run"
    run.mkdir()
    for begun in (False, True):
        if begun:
            (run / "trained").unlink()
            (run / "checkpoints").mkdir()
            (run / "checkpoints" / "last.pt").touch()
        assert running.train(run, ["--epochs", 3], ["a=1", "b=2"]) == run
        assert running.train(run, ["--epochs", 3], ["a=1", "b=2"]) == run  # finished
    assert commands == [
        ["train", "--epochs", "3", "--set", "a=1", "--set", "b=2", "--out", str(run)],
        ["train", "--resume", "--out", str(run)],
    ]
