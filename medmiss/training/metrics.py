"""Scores during training: per item, by subset of the modalities, each item once."""

from collections.abc import Sequence
from typing import Any

import torch
from ignite.metrics import Metric
from monai.metrics import compute_dice, compute_roc_auc
from monai.utils import evenly_divisible_all_gather
from torch import Tensor

from medmiss.cases import REGIONS


class SubsetMetric(Metric):
    """A score of every item in every task, as a mean over items, by subset of the modalities.

    Its value is the mean over subsets and tasks of each one's mean over items, so that a subset which few items have
    weighs as much as any. `engine.state.metrics` also gets `<score>_<task>` (where there are several) and
    `<score>_<subset>`.

    Args:
        subset_names: names of the subsets that `row` numbers.
    """

    required_output_keys = ("pred", "label", "row")
    score = ""
    """What is measured, as `engine.state.metrics` names it."""
    tasks: tuple[str, ...] = ()
    """Names of the K tasks."""

    def __init__(self, subset_names: Sequence[str]) -> None:
        self.subset_names = tuple(subset_names)
        super().__init__()

    def scores(self, prediction: Tensor, label: Tensor) -> Tensor:
        """The scores of a batch, a line a sample: `(B, K)`, or what `summary` takes."""
        raise NotImplementedError

    def summary(self, values: Tensor) -> Tensor:
        """`(K,)` of the scores of some items, `(items, K)`: their mean, those that are NaN apart."""
        return values.nanmean(dim=0)

    def reset(self) -> None:
        """Forget what was counted."""
        self._rows: list[Tensor] = []

    def update(self, output: tuple[Tensor, Tensor, Tensor]) -> None:
        """Count a batch.

        Args:
            output: prediction and label as `scores` takes them, and row `(B, 2)`.
        """
        prediction, label, row = output
        self._rows.append(torch.cat([row.cpu().double(), self.scores(prediction, label).cpu().double()], dim=1))

    def table(self) -> Tensor:
        """`(subsets, K)`: mean score of each subset and task over items, all processes together; NaN where none."""
        rows = torch.cat(self._rows) if self._rows else torch.zeros(0, 2 + len(self.tasks), dtype=torch.float64)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rows = evenly_divisible_all_gather(rows.to(_collective_device()), concat=True).cpu()
        once = {int(row[0]): row for row in rows}
        counted = torch.stack([once[number] for number in sorted(once)]) if once else rows
        return torch.stack(
            [self.summary(counted[counted[:, 1] == number, 2:]) for number in range(len(self.subset_names))]
        )

    def compute(self) -> float:
        """Mean over subsets and tasks."""
        return float(self.table().nanmean())

    def completed(self, engine: Any, name: str) -> None:
        """Write the value and its parts to `engine.state.metrics`."""
        table = self.table()
        engine.state.metrics[name] = float(table.nanmean())
        if len(self.tasks) > 1:
            for task, value in zip(self.tasks, table.nanmean(dim=0).tolist(), strict=True):
                engine.state.metrics[f"{self.score}_{task}"] = value
        for subset, value in zip(self.subset_names, table.mean(dim=1).tolist(), strict=True):
            engine.state.metrics[f"{self.score}_{subset}"] = value


class RegionDice(SubsetMetric):
    """Mean Dice over subsets, regions and cases; see `SubsetMetric`.

    Args:
        subset_names: see `SubsetMetric`.
        ignore_empty: a region that a case does not have says nothing; otherwise it counts 1 where it is not marked
            either, and 0 where it is, as BraTS counts.
    """

    score = "dice"
    tasks = REGIONS

    def __init__(self, subset_names: Sequence[str], ignore_empty: bool = False) -> None:
        super().__init__(subset_names)
        self.ignore_empty = ignore_empty

    def scores(self, prediction: Tensor, label: Tensor) -> Tensor:
        """Dice of boolean regions `(B, 3, X, Y, Z)`."""
        return compute_dice(prediction, label, include_background=True, ignore_empty=self.ignore_empty)


class ClassAccuracy(SubsetMetric):
    """Share of items whose class is the right one, by subset; see `SubsetMetric`."""

    score = "accuracy"
    tasks = ("class",)

    def scores(self, prediction: Tensor, label: Tensor) -> Tensor:
        """Whether classes `(B,)` agree."""
        return (prediction == label)[:, None]


class ClassArea(SubsetMetric):
    """Area under the ROC curve of two classes, by subset; see `SubsetMetric`. NaN where items are of one class."""

    score = "auc"
    tasks = ("class",)

    def scores(self, prediction: Tensor, label: Tensor) -> Tensor:
        """What the area is of: the score of class 1, `(B,)`, and the class `(B,)`."""
        return torch.stack([prediction, label.to(prediction.dtype)], dim=1)

    def summary(self, values: Tensor) -> Tensor:
        """The area, `(1,)`."""
        if values.shape[0] == 0 or len(values[:, 1].unique()) < 2:
            return torch.full((1,), torch.nan, dtype=torch.float64)
        return torch.tensor([compute_roc_auc(values[:, 0], values[:, 1])], dtype=torch.float64)


def _collective_device() -> torch.device:
    """Where the process group can gather tensors."""
    return torch.device("cuda" if torch.distributed.get_backend() == "nccl" else "cpu")
