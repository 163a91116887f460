"""Many runs: what a process says of one that it could not do, what is kept, and a process that is lost."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medmiss.cases import CaseError
from medmiss.classification import runs
from medmiss.cli.classify import digits_trainer

RUN = runs.Run("shaspec", 0.05, 1.0, 0)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """What a process begins with; this one is as before at the end."""
    monkeypatch.setattr(runs, "_train", None, raising=False)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    return runs._start


def test_a_process_that_cannot_start_says_so_of_each_run(start: Callable, tmp_path: Path):
    start(digits_trainer, (tmp_path / "none.npz", None))
    run, outcome = runs._do(RUN)
    assert run == RUN
    assert "found nothing, but expected a file of tools/prepare_avmnist.py" in outcome


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory.\nTry less."), "CUDA out of memory."),
        (RuntimeError(), "RuntimeError"),
        (ValueError("too few"), "too few"),
        (IndexError("Target 13 is out of bounds."), "Target 13 is out of bounds."),
    ],
)
def test_a_training_that_fails_is_said_in_a_line(start: Callable, error: Exception, said: str):
    def train(run: runs.Run) -> dict[str, float]:
        raise error

    start(lambda: train, ())
    assert runs._do(RUN) == (RUN, said)


def test_two_processes_keep_their_results_in_one_file(tmp_path: Path):
    first, second = runs.Results(tmp_path / "results.csv"), runs.Results(tmp_path / "results.csv")
    first.add(RUN, {"image": 0.5})
    second.add(RUN._replace(seed=1), {"image": 0.25})
    first.add(RUN._replace(seed=2), {"image": 0.75})
    found = runs.Results(tmp_path / "results.csv").found
    assert {run.seed: values["image"] for run, values in found.items()} == {0: 0.5, 1: 0.25, 2: 0.75}


def test_a_file_of_results_that_is_none_is_told(tmp_path: Path):
    (tmp_path / "results.csv").write_bytes(b"method,\xff\xfe\n")
    with pytest.raises(CaseError, match="expected the columns"):
        runs.Results(tmp_path / "results.csv")


def ending() -> Callable:
    """What a process is whom the system ends at its second run."""

    def train(run: runs.Run) -> dict[str, float]:
        if run.seed == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"image": 0.5}

    return train


def test_a_process_that_is_ended_from_outside_ends_the_command_and_loses_nothing(tmp_path: Path):
    results = runs.Results(tmp_path / "results.csv")
    (said,) = runs.run_all(results, [RUN._replace(seed=seed) for seed in range(3)], ending, (), 1, False)
    assert "ended from outside" in said
    assert [run.seed for run in runs.Results(tmp_path / "results.csv").found] == [0]
    assert runs.run_all(results, [RUN], ending, ()) == []


def even() -> Callable:
    """Does every second run."""

    def train(run: runs.Run) -> dict[str, float]:
        if run.seed % 2:
            raise ValueError("an odd one")
        return {"image": run.seed / 10}

    return train


def test_every_run_is_done_once_or_told(tmp_path: Path):
    results = runs.Results(tmp_path / "results.csv")
    wanted = [RUN._replace(seed=seed) for seed in range(7)]
    failures = runs.run_all(results, [*wanted, *wanted], even, (), 2, False)
    assert sorted(failures) == [
        f"method shaspec, audio_rate 0.05, image_rate 1.0, seed {i}: an odd one" for i in (1, 3, 5)
    ]
    assert {run.seed: found["image"] for run, found in results.found.items()} == {0: 0.0, 2: 0.2, 4: 0.4, 6: 0.6}
