"""Validation with fixed sets of modalities."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from monai.handlers import ValidationHandler
from monai.inferers import Inferer
from torch import Tensor

from medmiss.methods import Method
from medmiss.training.average import WeightAverage
from medmiss.training.metrics import SubsetMetric
from medmiss.training.precision import autocast, to_device
from medmiss.training.progress import is_no_interrupt

KEY_METRICS = {"regions": "val_mean_dice", "classes": "val_accuracy", "scores": "val_auc"}
"""The name of what selects the model, by what the logits are."""


class MethodEvaluator(SupervisedEvaluator):
    """Runs a method on validation items and measures them.

    Args:
        device: where the network is.
        val_data_loader: batches of `ValidationDataset`, or of others that have a `row`.
        network: the method itself, not the module that training wraps.
        inferer: `inferer(image, network, present)` returns logits `(B, 3, X, Y, Z)`, or `(B, classes)`.
        metric: what selects the model: `RegionDice`, `ClassAccuracy` or `ClassArea`.
        average: when given, the averaged weights are evaluated.
        precision: `"float32"`, `"bfloat16"` or `"float16"`.
        val_handlers: ignite handlers.
        outputs: what the logits are: overlapping `"regions"`; `"classes"`, of which a sample has one; or `"scores"`
            of two classes, of which the metric gets the difference.
    """

    def __init__(
        self,
        device: torch.device,
        val_data_loader: Any,
        network: Method,
        inferer: Inferer,
        metric: SubsetMetric,
        average: WeightAverage | None = None,
        precision: str = "float32",
        val_handlers: Sequence[Any] = (),
        outputs: str = "regions",
    ) -> None:
        super().__init__(
            device=device,
            val_data_loader=val_data_loader,
            network=network,
            inferer=inferer,
            prepare_batch=to_device,
            key_val_metric={KEY_METRICS[outputs]: metric},
            val_handlers=val_handlers,
            decollate=False,
        )
        self.logger.addFilter(is_no_interrupt)
        self.outputs = outputs
        self.average = average
        self.precision = precision

    def run(self, global_epoch: int = 1) -> None:  # type: ignore[override]
        """Evaluate; `state.metrics` holds the result."""
        with self.average.applied() if self.average else nullcontext():
            super().run(global_epoch)

    def _iteration(self, engine: Any, batchdata: dict[str, Tensor]) -> dict[str, Tensor]:
        """One batch: `pred` and `label`, boolean `(B, 3, X, Y, Z)` or `(B,)`, and `row` `(B, 2)`."""
        batch = self.prepare_batch(batchdata, self.state.device, self.non_blocking)
        with self.mode(self.network), autocast(self.state.device, self.precision):
            logits = self.inferer(batch["image"], self.network, batch["present"])
        if self.outputs == "regions":
            output = {"pred": logits > 0, "label": batch["label"] > 0, "row": batch["row"]}
        elif self.outputs == "scores":
            output = {"pred": logits[:, 1] - logits[:, 0], "label": batch["label"], "row": batch["row"]}
        else:
            output = {"pred": logits.argmax(dim=1), "label": batch["label"], "row": batch["row"]}
        engine.state.output = output
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return output


class Validation(ValidationHandler):
    """MONAI's handler, which validates after every `interval` epochs, and after the last one too.

    Otherwise what is learned after the last interval could not be among the best weights.
    """

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED(event_filter=self._is_time), self)

    def _is_time(self, engine: Engine, epoch: int) -> bool:
        return epoch % self.interval == 0 or epoch == engine.state.max_epochs
