"""MCKD: distillation between all modalities, by importance weights that are learned on held-out cases.

Wang, Ma, Liu, Chen, Tian, Avery, Hull, Carneiro: "Enhancing Multi-modal Learning: Meta-learned Cross-modal
Knowledge Distillation for Handling Missing Modalities", 2024. The equation numbers below are the paper's.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.networks.utils import eval_mode
from torch import Tensor, distributed, nn
from torch.utils.data import DistributedSampler

from medmiss.losses import DISTANCES, pair_distances, processes
from medmiss.methods.history import History
from medmiss.methods.interval import iterations_of
from medmiss.methods.modality_dropout import ModalityDropout
from medmiss.modalities import DISPLAY_NAMES
from medmiss.networks import ModalityFeatures, completed

NORMALIZATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda importance: importance.softmax(dim=0),
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
}
"""From the learned numbers to the weights w: Eq. 6, and the ablations of the paper's appendix."""

SMALLEST_DIVISOR = 0.01
"""Of the ratio of two weights with `"relu"`, of which one may be 0; the paper says nothing of it."""


class MCKD(ModalityDropout):
    """The plain network whose bottleneck features are drawn to each other, most to those of high importance.

    The parameter `importance` `(N,)` holds the numbers that the weights are made of. It takes no part in the
    prediction and has no gradient in training, so that no optimiser of the network moves it; `MetaStep` does.

    Args:
        backbone: makes the encoder and the decoder.
        modalities: N.
        alpha: weight of the distillation (Eq. 4).
        distance: `"l1"` (the published choice) or `"mse"`, means over elements (Eq. 5).
        normalization: `"softmax"` (Eq. 6), `"sigmoid"` or `"relu"`.
        initial: the importance at the start, `"equal"`, or `"random"` ~ U(0, 1) as in the published code; a training
            that begins with another MCKD's weights takes its importance.
        detach_teacher: the gradient moves the student j of a pair alone, as in the published code; otherwise both,
            and the weights all but lose their direction, as the sum is nearly symmetric.
        missing: what stands for a missing modality at the bottleneck (Eq. 2: the mean).
        missing_skips: see `ModalityDropout`.
        task_loss: loss of the output against the label.

    Raises:
        ValueError: when an option has no such value.
    """

    def __init__(
        self,
        backbone: Any,
        modalities: int = 4,
        alpha: float = 0.1,
        distance: str = "l1",
        normalization: str = "softmax",
        initial: str = "equal",
        detach_teacher: bool = True,
        missing: str = "mean",
        missing_skips: str = "zero",
        task_loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(backbone, modalities, missing, missing_skips, task_loss)
        self.check_option("distance", distance, tuple(DISTANCES))
        self.check_option("normalization", normalization, tuple(NORMALIZATIONS))
        self.check_option("initial", initial, ("equal", "random"))
        # Softmax knows no difference between ones and zeros, but a ReLU at zero has no gradient.
        start = torch.ones(modalities) if initial == "equal" else torch.rand(modalities)
        self.importance = nn.Parameter(start, requires_grad=False)
        self.alpha = alpha
        self.distance = distance
        self.normalization = normalization
        self.detach_teacher = detach_teacher

    @torch.jit.unused
    def loss_terms(self, image: Tensor, present: Tensor, label: Tensor, available: Tensor) -> dict[str, Tensor]:
        """`task` + alpha * `distillation` (Eq. 4, second line); see `Method.loss_terms`."""
        levels = self.encode(image, present)
        return {
            "task": self.task_loss(self.decode(levels), label),
            "distillation": self.alpha * self.distillation_loss(levels[-1]),
        }

    @torch.jit.unused
    def distillation_loss(self, bottleneck: ModalityFeatures) -> Tensor:
        """Sum of w_i / w_j times the distance of the student j from its teacher i, mean over samples (Eqs. 4 and 5)."""
        ratios = self.ratios()
        distances = pair_distances(
            bottleneck.values,
            bottleneck.present,
            DISTANCES[self.distance],
            pairs=~torch.eye(len(ratios), dtype=torch.bool, device=ratios.device),
            detach_first=self.detach_teacher,
        )
        return (ratios * distances).sum(dim=(1, 2)).mean()

    @torch.jit.unused
    def weights(self) -> Tensor:
        """The importance weights w `(N,)` (Eq. 6)."""
        return NORMALIZATIONS[self.normalization](self.importance)

    @torch.jit.unused
    def ratios(self) -> Tensor:
        """w_i / w_j, `(N, N)`."""
        weights = self.weights()
        divisor = weights.clamp(min=SMALLEST_DIVISOR) if self.normalization == "relu" else weights
        return weights[:, None] / divisor[None, :]

    @torch.jit.unused
    def meta_loss(self, image: Tensor, present: Tensor, label: Tensor, importance: Tensor) -> Tensor:
        """Task loss with the bottleneck features, generated ones too, times the weights (Eq. 4, first line).

        The gradient reaches `importance` `(N,)` and the decoder; the features are fixed. See `Method.loss_terms`.
        """
        with torch.no_grad():
            levels = self.encode(image, present)
        embeddings = completed(levels[-1], self.missing)
        weights = NORMALIZATIONS[self.normalization](importance)
        weighted = embeddings * weights.reshape(-1, *[1] * (embeddings.dim() - 2))
        return self.task_loss(self.decoder(weighted, self.skips(levels)), label)


class MetaStep:
    """Handler that moves the importance of an `MCKD` (Algorithm 1, "Meta-validation & Meta-updating").

    Before the first iteration and after every `interval` of them, Adam takes a step a batch of held-out cases to
    lower `MCKD.meta_loss` in float32, with the network fixed. The two levels of Eq. 4 alternate, as in Algorithm 1:
    no gradient goes through the steps of the network.

    The batches depend on the number of the meta step alone, and the random state of training is left as it is.
    Each process takes batches of its own; the gradients are averaged, so that all of them hold the same weights.

    Args:
        method: whose `importance` is learned.
        data_loader: batches of held-out cases, with `image`, `present` and `label`. Its sampler draws anew for each
            meta step, as `medmiss.training.EpochSampler` does. The published code meta-validates with all modalities.
        interval: iterations between meta steps, or a share of the run (see `iterations_of`): 100 of 115,000 in the
            paper, 500 in the second stage of the published code.
        batches: Adam's steps in a meta step, or as many as the loader has batches if these are fewer; the published
            code takes 20, of one case each.
        learning_rate: of Adam.
        weight_decay: of Adam; 1e-2 on Audiovision-MNIST.
        names: of the N modalities.
        record: CSV file of all meta steps: iterations done, mean loss, and each modality's weight after the step.

    Raises:
        FloatingPointError: in a meta step, when the loss or its gradient is not finite.
        ValueError: in a meta step, when there is no held-out case.
    """

    def __init__(
        self,
        method: MCKD,
        data_loader: Iterable[Mapping[str, Tensor]],
        interval: float = 100 / 115000,
        batches: int = 1,
        learning_rate: float = 1e-2,
        weight_decay: float = 5e-5,
        names: Sequence[str] = tuple(DISPLAY_NAMES.values()),
        record: str | Path | None = None,
    ) -> None:
        self.method = method
        self.data_loader = data_loader
        self.interval = interval
        self.batches = batches
        self.names = tuple(names)
        self.optimizer = torch.optim.Adam([method.importance], lr=learning_rate, weight_decay=weight_decay)
        self.history = History(("iteration", "loss", *self.names), record)

    def attach(self, trainer: Any) -> None:
        """Register with the trainer."""
        trainer.add_event_handler(Events.ITERATION_STARTED, self.step)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.report)
        self.history.attach(trainer)

    def step(self, trainer: Any) -> None:
        """Make a meta step when it is time for one."""
        done, interval = trainer.state.iteration - 1, iterations_of(self.interval, trainer)
        if not interval or done % interval:
            return
        with torch.random.fork_rng(devices=[]):  # data loaders draw from the generator of training
            sampler = getattr(self.data_loader, "sampler", None)
            if isinstance(sampler, DistributedSampler):
                sampler.set_epoch(done // interval)
            losses = [self.update(batch) for batch in islice(self.data_loader, self.batches)]
        if not losses:
            raise ValueError("there is no held-out case to learn the importance on: hold labelled cases out")
        self.history.rows.append([done, sum(losses) / len(losses), *self.method.weights().tolist()])

    def update(self, batch: Mapping[str, Tensor]) -> float:
        """One step of Adam on one batch; returns its loss."""
        importance = self.method.importance
        variable = importance.detach().clone().requires_grad_()
        image, present, label = (batch[key].to(importance.device) for key in ("image", "present", "label"))
        with eval_mode(self.method), torch.enable_grad():
            loss = self.method.meta_loss(image, present, label, variable)
            (gradient,) = torch.autograd.grad(loss, variable)
        outcome = torch.cat([gradient, loss.detach()[None]])
        if processes() > 1:
            distributed.all_reduce(outcome)
            outcome /= processes()
        if not outcome.isfinite().all():
            raise FloatingPointError(f"the meta step is not finite: gradient and loss are {outcome.tolist()}")
        importance.grad = outcome[:-1]
        self.optimizer.step()
        importance.grad = None
        return outcome[-1].item()

    def report(self, trainer: Any) -> None:
        """Add the weights to the metrics of the epoch."""
        for name, weight in zip(self.names, self.method.weights().tolist(), strict=True):
            trainer.state.metrics[f"weight_{name}"] = weight

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps; the importance is in the method's own state."""
        return {"optimizer": self.optimizer.state_dict(), "history": self.history.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.history.rows = list(state["history"])
