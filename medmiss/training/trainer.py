"""The one trainer: sums a method's loss terms, logs them and steps."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, cast

import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from medmiss.methods import iterations_of
from medmiss.training.average import WeightAverage
from medmiss.training.datasets import derived_seed
from medmiss.training.precision import autocast, to_device
from medmiss.training.progress import is_no_interrupt
from medmiss.transforms import share_present


class MethodTrainer(SupervisedTrainer):
    """Trains any method from its loss terms.

    `state.output` of an iteration is `{"loss": sum, <term>: value, ...}`, plain numbers; at the end of an
    epoch `state.metrics` holds their means (of this process) and the last step's learning rate.

    Args:
        device: where the network is.
        max_epochs: epochs of the whole run, also when it is resumed.
        train_data_loader: batches of `SeededDataset` by `EpochSampler`.
        network: `LossTerms`, or `LossTerms` in `DistributedDataParallel`.
        optimizer: over the method's parameters.
        scheduler: stepped once an optimiser step.
        inferer: calls the network on a batch; MONAI's `SimpleInferer` when left out.
        average: moving average of the weights, updated once an optimiser step.
        precision: `"float32"`, `"bfloat16"` or `"float16"` (with loss scaling, on CUDA).
        accumulation: batches an optimiser step; the last step of an epoch takes what is left.
        drop_per_batch: every sample uses the modalities drawn for the first one, as in the published code of
            ShaSpec; otherwise each its own.
        complete_first: as long as this (iterations, or a share of the run; see `iterations_of`) every sample uses
            all it has: the first stage of the published schedules.
        clip_norm: largest norm of the whole gradient; `None` does not clip.
        seed: of what the network itself draws, such as dropout.
        train_handlers: ignite handlers; what the method does between steps comes before the rest.

    Raises:
        ValueError: when `accumulation` is not positive, or the precision is unknown.
    """

    def __init__(
        self,
        device: torch.device,
        max_epochs: int,
        train_data_loader: Any,
        network: nn.Module,
        optimizer: Optimizer,
        scheduler: LRScheduler | None = None,
        inferer: Inferer | None = None,
        average: WeightAverage | None = None,
        precision: str = "float32",
        accumulation: int = 1,
        drop_per_batch: bool = False,
        complete_first: float = 0,
        clip_norm: float | None = None,
        seed: int = 0,
        train_handlers: Sequence[Any] = (),
    ) -> None:
        if accumulation < 1:
            raise ValueError(f"accumulation is {accumulation}, expected at least 1")
        autocast(torch.device(device), precision)
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            train_data_loader=train_data_loader,
            network=network,
            optimizer=optimizer,
            loss_function=total,
            inferer=inferer,
            prepare_batch=to_device,
            decollate=False,
        )
        self.logger.addFilter(is_no_interrupt)
        self.scheduler = scheduler
        self.average = average
        self.precision = precision
        self.accumulation = accumulation
        self.drop_per_batch = drop_per_batch
        self.complete_first = complete_first
        self.clip_norm = clip_norm
        self.seed = seed
        self.grad_scaler = torch.amp.GradScaler(self.state.device.type, enabled=precision == "float16")
        self.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        self.add_event_handler(Events.ITERATION_COMPLETED, self._add_to_means)
        self.add_event_handler(Events.EPOCH_COMPLETED, self._finish_epoch)
        self._register_handlers(train_handlers)

    def _iteration(self, engine: Any, batchdata: dict[str, Tensor]) -> dict[str, float]:
        batch = self.prepare_batch(batchdata, self.state.device, self.non_blocking)
        if self.state.iteration <= iterations_of(self.complete_first, self):
            batch = {**batch, "present": batch["available"]}
        elif self.drop_per_batch:
            batch = share_present(batch)
        position = (self.state.iteration - 1) % self.state.epoch_length
        first = position - position % self.accumulation
        group = min(self.accumulation, self.state.epoch_length - first)
        steps_now = position == first + group - 1
        self.network.train()
        if position == first:
            self.optimizer.zero_grad(set_to_none=True)
        # Between steps, processes accumulate each for itself.
        waits = isinstance(self.network, DistributedDataParallel) and not steps_now
        with cast(DistributedDataParallel, self.network).no_sync() if waits else nullcontext():
            with autocast(self.state.device, self.precision):
                terms = self.inferer(batch, self.network)
                engine.fire_event(IterationEvents.FORWARD_COMPLETED)
                loss = self.loss_function(terms)
            engine.fire_event(IterationEvents.LOSS_COMPLETED)
            values = {"loss": loss.item(), **{name: term.item() for name, term in terms.items()}}
            if not self.grad_scaler.is_enabled() and not torch.isfinite(loss):
                raise FloatingPointError(
                    f"the loss is not finite in epoch {self.state.epoch}, iteration {self.state.iteration}: "
                    f"{values}; lower the learning rate or clip the gradient"
                )
            self.grad_scaler.scale(loss / group).backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if steps_now:
            self._step()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return values

    def _step(self) -> None:
        if self.clip_norm is not None:
            self.grad_scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_norm)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        self._rate = self.optimizer.param_groups[0]["lr"]
        if self.scheduler is not None:
            self.scheduler.step()
        if self.average is not None:
            self.average.update()

    def _start_epoch(self, engine: Any) -> None:
        torch.manual_seed(derived_seed(self.seed, self.state.epoch, self.state.rank))
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def _add_to_means(self, engine: Any) -> None:
        for name, value in self.state.output.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def _finish_epoch(self, engine: Any) -> None:
        self.state.metrics = {name: value / self._counts[name] for name, value in self._sums.items()}
        self.state.metrics["learning_rate"] = self._rate


def total(terms: dict[str, Tensor]) -> Tensor:
    """Sum of the weighted terms."""
    return torch.stack(list(terms.values())).sum()
