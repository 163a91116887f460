"""Dice of the three regions during training: per case, by subset, each item once."""

from collections.abc import Sequence
from typing import Any

import torch
from ignite.metrics import Metric
from monai.metrics import compute_dice
from monai.utils import evenly_divisible_all_gather
from torch import Tensor

from medmiss.cases import REGIONS


class RegionDice(Metric):
    """Mean Dice over subsets, regions and cases (a region empty in both counts 1).

    Its value is the mean over subsets of each subset's mean, so that a subset which few cases have weighs
    as much as any. `engine.state.metrics` also gets `dice_ET`, `dice_TC`, `dice_WT` and `dice_<subset>`.

    Args:
        subset_names: names of the subsets that `row` numbers.
    """

    required_output_keys = ("pred", "label", "row")

    def __init__(self, subset_names: Sequence[str]) -> None:
        self.subset_names = tuple(subset_names)
        super().__init__()

    def reset(self) -> None:
        """Forget what was counted."""
        self._rows: list[Tensor] = []

    def update(self, output: tuple[Tensor, Tensor, Tensor]) -> None:
        """Count a batch.

        Args:
            output: prediction and label, boolean `(B, 3, X, Y, Z)`, and row `(B, 2)`.
        """
        prediction, label, row = output
        dice = compute_dice(prediction, label, include_background=True, ignore_empty=False)
        self._rows.append(torch.cat([row.cpu().double(), dice.cpu().double()], dim=1))

    def table(self) -> Tensor:
        """`(subsets, 3)`: mean Dice of each subset and region over cases, all processes together; NaN where none."""
        rows = torch.cat(self._rows) if self._rows else torch.zeros(0, 2 + len(REGIONS), dtype=torch.float64)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rows = evenly_divisible_all_gather(rows.to(_collective_device()), concat=True).cpu()
        once = {int(row[0]): row for row in rows}
        counted = torch.stack([once[number] for number in sorted(once)]) if once else rows
        return torch.stack(
            [counted[counted[:, 1] == number, 2:].mean(dim=0) for number in range(len(self.subset_names))]
        )

    def compute(self) -> float:
        """Mean over subsets and regions."""
        return float(self.table().nanmean())

    def completed(self, engine: Any, name: str) -> None:
        """Write the value and its parts to `engine.state.metrics`."""
        table = self.table()
        engine.state.metrics[name] = float(table.nanmean())
        for region, value in zip(REGIONS, table.nanmean(dim=0).tolist(), strict=True):
            engine.state.metrics[f"dice_{region}"] = value
        for subset, value in zip(self.subset_names, table.mean(dim=1).tolist(), strict=True):
            engine.state.metrics[f"dice_{subset}"] = value


def _collective_device() -> torch.device:
    """Where the process group can gather tensors."""
    return torch.device("cuda" if torch.distributed.get_backend() == "nccl" else "cpu")
