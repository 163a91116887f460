"""One training of one method on samples of two modalities, and its accuracy: what all tasks of classification share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.inferers import SimpleInferer
from torch import nn
from torch.utils.data import DataLoader

from medmiss.classification.pairs import SUBSETS, BySubset, PairedSamples, ShuffledBatches
from medmiss.methods import Method
from medmiss.training import ClassAccuracy, ClassArea, LossTerms, MethodEvaluator, MethodTrainer, SubsetMetric

CPU = torch.device("cpu")
METRICS: dict[str, type[SubsetMetric]] = {"classes": ClassAccuracy, "scores": ClassArea}
"""What is measured of a network's outputs."""


@dataclass(frozen=True)
class Recipe:
    """How every network is trained: Adam, with a rate that falls in steps.

    Args:
        epochs: over all samples, without selection: the last weights count.
        batch_size: samples a batch.
        learning_rate: at the start.
        decay: what the rate is multiplied by at each step.
        decay_epochs: epochs between the steps.
        weight_decay: of Adam, as a part of the gradient.
    """

    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 1e-3
    decay: float = 0.9
    decay_epochs: int = 20
    weight_decay: float = 1e-3


def batches(samples: PairedSamples, recipe: Recipe, seed: int) -> DataLoader:
    """The batches of a training, each a mapping."""
    return DataLoader(samples, sampler=ShuffledBatches(samples, recipe.batch_size, seed), batch_size=None)


def optimizer_of(method: Method, recipe: Recipe) -> torch.optim.Adam:
    """What trains the method's weights."""
    weights = [each for each in method.parameters() if each.requires_grad]
    return torch.optim.Adam(weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)


def fit(
    method: Method,
    samples: PairedSamples,
    recipe: Recipe,
    seed: int,
    handlers: Sequence[Any] = (),
    device: torch.device = CPU,
) -> Method:
    """Train `method` on the samples; returns it, in evaluation mode.

    Args:
        method: to be trained.
        samples: with their draws of what is present.
        recipe: how.
        seed: of the order of the samples, and of what the network draws.
        handlers: what the method does between steps.
        device: to train on.
    """
    loader = batches(samples, recipe, seed)
    method.to(device)
    optimizer = optimizer_of(method, recipe)
    steps = recipe.decay_epochs * len(loader)
    MethodTrainer(
        device,
        recipe.epochs,
        loader,
        LossTerms(method),
        optimizer,
        scheduler=torch.optim.lr_scheduler.StepLR(optimizer, steps, recipe.decay),
        seed=seed,
        train_handlers=handlers,
    ).run()
    return method.eval()


def evaluator_of(
    method: Method,
    samples: PairedSamples,
    subsets: Sequence[tuple[int, ...]] = SUBSETS,
    device: torch.device = CPU,
    outputs: str = "classes",
) -> tuple[MethodEvaluator, SubsetMetric]:
    """What measures the method from each of these subsets of the modalities, and its metric.

    Args:
        method: to be measured.
        samples: on which; those that lack a part of a subset do not count for it.
        subsets: of the two modalities.
        device: where the method is.
        outputs: what is measured: the accuracy of `"classes"`, or the AUC of the `"scores"` of two classes.
    """
    items = BySubset(samples, subsets)
    metric = METRICS[outputs](items.subset_names)
    loader = DataLoader(items, batch_size=None)
    return MethodEvaluator(device, loader, method, SimpleInferer(), metric, outputs=outputs), metric


def measured(
    method: Method,
    samples: PairedSamples,
    subsets: Sequence[tuple[int, ...]] = SUBSETS,
    device: torch.device = CPU,
    outputs: str = "classes",
) -> list[float]:
    """Accuracy or AUC from each subset, see `evaluator_of`; NaN where no sample has it."""
    evaluator, metric = evaluator_of(method, samples, subsets, device, outputs)
    evaluator.run()
    return metric.table()[:, 0].tolist()


def seeded(make: Callable[[], nn.Module], seed: int) -> Any:
    """What `make` makes, with weights drawn from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
