"""Which items an epoch visits, on which process."""

from collections.abc import Iterator
from typing import Any

import torch.distributed
from torch.utils.data import Dataset, DistributedSampler

from medmiss.losses.joint import processes
from medmiss.training.datasets import derived_seed


class ShardSampler(DistributedSampler):
    """Every item once, in order, shared out over the processes (one process when not distributed).

    Where the shares are uneven, the first items are visited twice; `SubsetMetric` counts them once.

    Args:
        dataset: what is sampled.
        shuffle: draw a new order each epoch, from (seed, epoch).
        seed: of the order.
    """

    def __init__(self, dataset: Dataset, shuffle: bool = False, seed: int = 0) -> None:
        number = processes()
        super().__init__(
            dataset,
            num_replicas=number,
            rank=torch.distributed.get_rank() if number > 1 else 0,
            shuffle=shuffle,
            seed=derived_seed(seed),  # of the sum of it and the epoch the order is drawn, which neighbours would share
        )


class EpochSampler(ShardSampler):
    """Pairs `(epoch, index)` in an order of their own each epoch, for `SeededDataset`.

    The epoch travels with the index, so that worker processes, which hold a copy of the data set, need
    not be told of it. (`MethodTrainer` sets the epoch, as MONAI does for every `DistributedSampler`.)

    Args:
        dataset: a `SeededDataset`.
        seed: of the order.
    """

    def __init__(self, dataset: Dataset, seed: int = 0) -> None:
        super().__init__(dataset, shuffle=True, seed=seed)

    def __iter__(self) -> Iterator[Any]:
        """Iterate over this process's pairs."""
        return iter([(self.epoch, index) for index in super().__iter__()])
