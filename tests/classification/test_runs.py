"""What a process says of a run that it could not do; no process is started here."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

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
    ],
)
def test_a_training_that_fails_is_said_in_a_line(start: Callable, error: Exception, said: str):
    def train(run: runs.Run) -> dict[str, float]:
        raise error

    start(lambda: train, ())
    assert runs._do(RUN) == (RUN, said)
