"""LCKD: distillation from the modalities that do best alone.

Wang, Ma, Zhang, Zhang, Avery, Hull, Carneiro: "Learnable Cross-modal Knowledge Distillation for Multi-modal
Learning with Missing Modality", MICCAI 2023. The equation numbers below are the paper's.
"""

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from ignite.engine import Events
from torch import Tensor

from medmiss.cases import REGIONS
from medmiss.losses import DISTANCES, pair_distances
from medmiss.methods.history import History
from medmiss.methods.interval import iterations_of
from medmiss.methods.modality_dropout import ModalityDropout
from medmiss.networks import ModalityFeatures

logger = logging.getLogger(__name__)


class LCKD(ModalityDropout):
    """The plain network whose bottleneck features are drawn to those of the elected teachers.

    The teachers are the buffer `teachers` `(N,)`, which `TeacherElection` sets. Before the first election there
    are none, unless the weights that a training begins with have some, and the loss is that of the plain network.

    Args:
        backbone: makes the encoder and the decoder.
        modalities: N.
        alpha: weight of the distillation (Eq. 7).
        distance: `"l1"` (the published choice) or `"mse"`, means over elements.
        detach_teacher: the gradient moves students alone, as in the published code; the paper is silent. Teachers
            teach each other too, either way (Eq. 4).
        missing: what stands for a missing modality at the bottleneck (Eq. 5: the mean).
        missing_skips: see `ModalityDropout`.
        task_loss: loss of the output against the label.

    Raises:
        ValueError: when an option has no such value.
    """

    teachers: Tensor

    def __init__(
        self,
        backbone: Any,
        modalities: int = 4,
        alpha: float = 0.1,
        distance: str = "l1",
        detach_teacher: bool = True,
        missing: str = "mean",
        missing_skips: str = "zero",
        task_loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(backbone, modalities, missing, missing_skips, task_loss)
        self.check_option("distance", distance, tuple(DISTANCES))
        self.register_buffer("teachers", torch.zeros(modalities, dtype=torch.bool))
        self.alpha = alpha
        self.distance = distance
        self.detach_teacher = detach_teacher

    @torch.jit.unused
    def loss_terms(self, image: Tensor, present: Tensor, label: Tensor, available: Tensor) -> dict[str, Tensor]:
        """`task` + alpha * `distillation` (Eq. 7); see `Method.loss_terms`."""
        levels = self.encode(image, present)
        return {
            "task": self.task_loss(self.decode(levels), label),
            "distillation": self.alpha * self.distillation_loss(levels[-1]),
        }

    @torch.jit.unused
    def distillation_loss(self, bottleneck: ModalityFeatures) -> Tensor:
        """Distances of the available modalities from the available teachers, summed; mean over samples (Eq. 4)."""
        distances = pair_distances(
            bottleneck.values,
            bottleneck.present,
            DISTANCES[self.distance],
            pairs=self.teachers[:, None].expand(-1, len(self.teachers)),
            detach_first=self.detach_teacher,
        )
        return distances.sum(dim=(1, 2)).mean()


class Evaluator(Protocol):
    """What the election needs of an evaluator, such as `medmiss.training.MethodEvaluator`."""

    @property
    def data_loader(self) -> Any:
        """The held-out cases, each with one modality at a time."""

    def run(self) -> Any:
        """Predict them."""


class ScoreTable(Protocol):
    """What the election needs of the evaluator's metric, such as `medmiss.training.RegionDice`."""

    @property
    def subset_names(self) -> Sequence[str]:
        """What the rows of the table are."""

    def table(self) -> Tensor:
        """`(N, K)`: mean score of each modality alone in each task; NaN where no case has the modality."""


class TeacherElection:
    """Handler that elects the teachers of an `LCKD` (Eqs. 1 and 2).

    The winner of a task is the single modality with the best score in it; see `winners_of` for ties. The metric
    gathers the scores from all processes, so that every process elects the same teachers.

    Args:
        method: whose `teachers` are set.
        evaluator: predicts held-out cases, which are neither trained nor validated on, from each single modality.
            Give it the weights that are trained rather than their average, which lags behind.
        metric: of the evaluator; its subsets are the N modalities, in channel order.
        interval: iterations between elections, or a share of the run (see `iterations_of`): 5,000 of 115,000 is
            published. The first one comes after the first interval.
        at_start: elect after the first iteration as well, as the published code does (before it, FLAIR teaches).
        teachers: all winners (`"multi"`, LCKD-m) or the most frequent one (`"single"`, LCKD-s).
        tasks: names of the K tasks.
        record: CSV file of all elections: iteration, modality, task, score; whether the modality is `best` in the
            task (0 or 1), and whether it teaches.

    Raises:
        ValueError: when `teachers` has no such value or there is no held-out case; in an election, when the table
            is not of this method.
    """

    def __init__(
        self,
        method: LCKD,
        evaluator: Evaluator,
        metric: ScoreTable,
        interval: float = 5000 / 115000,
        at_start: bool = False,
        teachers: str = "multi",
        tasks: Sequence[str] = REGIONS,
        record: str | Path | None = None,
    ) -> None:
        method.check_option("teachers", teachers, ("multi", "single"))
        if len(evaluator.data_loader) == 0:
            raise ValueError("there is no held-out case to elect teachers on: hold labelled cases out")
        self.method = method
        self.evaluator = evaluator
        self.metric = metric
        self.interval = interval
        self.at_start = at_start
        self.single = teachers == "single"
        self.tasks = tuple(tasks)
        self.history = History(("iteration", "modality", "task", "score", "best", "teaches"), record)

    def attach(self, trainer: Any) -> None:
        """Register with the trainer."""
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self.hold)
        self.history.attach(trainer)

    def hold(self, trainer: Any) -> None:
        """Hold an election when it is time for one."""
        iteration, interval = trainer.state.iteration, iterations_of(self.interval, trainer)
        if (interval and iteration % interval == 0) or (self.at_start and iteration == 1):
            with torch.random.fork_rng(devices=[]):  # data loaders draw from the generator of training
                self.evaluator.run()
            self.elect(iteration, self.metric.table(), quiet=trainer.state.rank != 0)

    def elect(self, iteration: int, scores: Tensor, quiet: bool = False) -> None:
        """Set the teachers from `scores` `(N, K)`, log them and add them to the history."""
        names, expected = self.metric.subset_names, (len(self.method.teachers), len(self.tasks))
        if scores.shape != expected:
            raise ValueError(
                f"an election among {expected[0]} modalities in {expected[1]} tasks got scores of shape "
                f"{tuple(scores.shape)}: the evaluator's subsets must be the modalities, one by one, in channel order"
            )
        winners = winners_of(scores)
        elected = teachers_of(winners, scores, self.single)
        self.method.teachers.fill_(False)
        self.method.teachers[elected] = True
        for i, row in enumerate(scores.tolist()):
            for k, task in enumerate(self.tasks):
                self.history.rows.append([iteration, names[i], task, row[k], int(winners[k] == i), int(i in elected)])
        if not quiet:
            best = ", ".join(
                f"{task} nobody" if i is None else f"{task} {names[i]} ({scores[i, k]:.3f})"
                for k, (task, i) in enumerate(zip(self.tasks, winners, strict=True))
            )
            teachers = ", ".join(names[i] for i in elected) or "none"
            logger.info("iteration %d, best alone: %s; teachers: %s", iteration, best, teachers)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps; the teachers are in the method's own state."""
        return {"history": self.history.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.history.rows = list(state["history"])


def winners_of(scores: Tensor) -> list[int | None]:
    """The modality with the best score in each task (Eq. 1).

    A tie goes to the better mean over the tasks, then to the first in channel order. Where nobody scores above 0,
    nobody wins: early in a run every Dice is 0, and a tie of them says nothing.

    Args:
        scores: `(N, K)`; a NaN does not stand for election.
    """
    standing = _standing(scores)
    winners: list[int | None] = []
    for column in scores.nan_to_num(nan=-math.inf).T.tolist():
        best = max(range(len(column)), key=list(zip(column, standing, strict=True)).__getitem__)
        winners.append(best if column[best] > 0 else None)
    return winners


def teachers_of(winners: Sequence[int | None], scores: Tensor, single: bool = False) -> list[int]:
    """The teacher set: the winners without repeats (Eq. 2), or the winner of most tasks, ties as in `winners_of`."""
    won = [winner for winner in winners if winner is not None]
    if single and won:
        standing = _standing(scores)
        return [max(set(won), key=lambda i: (won.count(i), standing[i]))]
    return sorted(set(won))


def _standing(scores: Tensor) -> list[tuple[float, int]]:
    """What decides a tie between modalities: the mean over the tasks, then the place in channel order."""
    means = scores.nanmean(dim=1).nan_to_num(nan=-math.inf).tolist()
    return [(mean, -i) for i, mean in enumerate(means)]
