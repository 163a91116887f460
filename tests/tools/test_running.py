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


def test_an_attempt_that_fails_gives_nothing_and_other_errors_are_errors(capsys: pytest.CaptureFixture[str]):
    assert running.attempt(lambda: 3) == 3
    assert running.attempt(lambda: running.medmiss("phantom")) is None
    with pytest.raises(ZeroDivisionError):
        running.attempt(lambda: 1 // 0)
    assert (running.tell_gaps([]), running.tell_gaps(["a-0", "b-1"])) == (0, 1)
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "a-0: not trained or not measured, see above",
        "b-1: not trained or not measured, see above",
    ]


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
