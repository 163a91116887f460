"""Checkpoints that survive a kill at any moment and from which a run goes on exactly."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Events

from medmiss.methods import Method
from medmiss.networks.files import read_tensors, save_tensors
from medmiss.training.average import WeightAverage
from medmiss.training.evaluator import MethodEvaluator
from medmiss.training.trainer import MethodTrainer

logger = logging.getLogger(__name__)

NEVER = -1
"""MONAI's `best_metric_epoch` before the first validation."""


class RunCheckpoint:
    """Writes `last.pt` (the whole state of the run) and the best weights; resumes from `last.pt`.

    Attach it behind the validation. The best weights are written first: a run killed between the two
    files repeats the epoch and writes the same weights again.

    Args:
        folder: where `last.pt` is.
        model_path: file of the best weights (averaged, when there is an average) that prediction needs, such as
            a bundle's `models/model.pt`. Before the first validation, or without any, the newest weights.
        network: the method.
        evaluator: whose key metric selects the best weights.
        average: moving average of the weights.
        between_steps: handlers of the method; the state of those that have a `state_dict` belongs to the run's.
        resume: go on from `last.pt` where it exists. Otherwise a `last.pt` that is already there is an error.
        interval: epochs between checkpoints; the last epoch has one always.
    """

    def __init__(
        self,
        folder: str | Path,
        model_path: str | Path,
        network: Method,
        evaluator: MethodEvaluator | None = None,
        average: WeightAverage | None = None,
        between_steps: Sequence[Any] = (),
        resume: bool = False,
        interval: int = 1,
    ) -> None:
        self.path = Path(folder) / "last.pt"
        self.model_path = Path(model_path)
        self.network = network
        self.evaluator = evaluator
        self.average = average
        self.between_steps = [handler for handler in between_steps if hasattr(handler, "state_dict")]
        self.resume = resume
        self.interval = interval

    def attach(self, trainer: MethodTrainer) -> None:
        """Register with the trainer."""
        trainer.add_event_handler(Events.STARTED, self.start)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def start(self, trainer: MethodTrainer) -> None:
        """Load `last.pt` when resuming.

        Raises:
            FileExistsError: when there is a `last.pt` and the run is not to be resumed.
        """
        if not self.path.is_file():
            if self.resume:
                logger.info("no checkpoint at %s: starting from the beginning", self.path)
            return
        if not self.resume:
            raise FileExistsError(f"{self.path} belongs to an earlier run: resume it or choose another output folder")
        state = read_tensors(self.path, trainer.state.device, "begin the run anew in another folder")
        self._warn_of_changes(trainer, state["run"])
        self.network.load_state_dict(state["network"])
        trainer.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"] and trainer.grad_scaler.is_enabled():
            trainer.grad_scaler.load_state_dict(state["scaler"])
        if trainer.scheduler is not None:
            trainer.scheduler.load_state_dict(state["scheduler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self.evaluator is not None:
            self.evaluator.state.best_metric = state["best"]["metric"]
            self.evaluator.state.best_metric_epoch = state["best"]["epoch"]
        for handler, content in zip(self.between_steps, state["between_steps"], strict=True):
            handler.load_state_dict(content)
        trainer.state.epoch = state["epoch"]
        trainer.state.iteration = state["iteration"]
        logger.info("resuming after epoch %d of %d", trainer.state.epoch, trainer.state.max_epochs)

    def save(self, trainer: MethodTrainer) -> None:
        """Write the best weights when this epoch has them, then `last.pt`."""
        if trainer.state.rank != 0:
            return
        epoch = trainer.state.epoch
        if self.evaluator is None or self.evaluator.state.best_metric_epoch in (epoch, NEVER):
            weights = self.average.weights if self.average else self.network.state_dict()
            save_tensors(self.network.deployed(weights), self.model_path)
        if epoch % self.interval == 0 or epoch == trainer.state.max_epochs:
            save_tensors(self.state_of(trainer), self.path)

    def state_of(self, trainer: MethodTrainer) -> dict[str, Any]:
        """The whole state of the run: tensors and plain Python values only."""
        best = self.evaluator.state if self.evaluator else None
        return {
            "run": _identity(trainer),
            "epoch": trainer.state.epoch,
            "iteration": trainer.state.iteration,
            "network": self.network.state_dict(),
            "optimizer": trainer.optimizer.state_dict(),
            "scheduler": trainer.scheduler.state_dict() if trainer.scheduler else None,
            "scaler": trainer.grad_scaler.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "between_steps": [handler.state_dict() for handler in self.between_steps],
            "best": {"metric": float(best.best_metric), "epoch": int(best.best_metric_epoch)} if best else None,
        }

    def _warn_of_changes(self, trainer: MethodTrainer, before: dict[str, int]) -> None:
        for name, now in _identity(trainer).items():
            if before[name] != now:
                logger.warning("%s was %s and is %s now: this is not the unbroken run", name, before[name], now)


def _identity(trainer: MethodTrainer) -> dict[str, int]:
    """What must not change for a resumed run to be the unbroken one."""
    return {
        "seed": trainer.seed,
        "max_epochs": trainer.state.max_epochs,
        "epoch_length": trainer.state.epoch_length,
        "accumulation": trainer.accumulation,
    }
