"""Decide which of the available modalities the network may use: random modality drop and dedicated training."""

from collections.abc import Mapping
from itertools import combinations
from math import comb
from typing import Any

import torch
from monai.transforms import Randomizable, Transform

from medmiss.modalities import parse_subset, presence

MODES = ("uniform_size", "uniform_subset", "bernoulli", "none")


class DropModalitiesd(Randomizable, Transform):
    """Add `present` (4,) bool: the part of `available` (4,) that is used now. The image stays as it is.

    `present` is never empty. Every mode is a probability for each non-empty subset of the n available modalities:

    * `"uniform_size"`: the number kept k ~ U{1..min(n, max_kept)}, then a subset of that size, all alike
      (ShaSpec and MCKD; LCKD with `max_kept=3`).
    * `"uniform_subset"`: all 2^n - 1 subsets alike.
    * `"bernoulli"`: each kept with `keep_probability`, given that one is kept at all (MMANet).
    * `"none"`: all available ones.
    * a subset as `medmiss.modalities.parse_subset` reads it, such as `"flair,t2"`: those of it that are available
      (training dedicated to a subset).

    Each sample draws for itself. For one draw a batch, as the published code of ShaSpec does, pass the batch through
    `share_present`.

    Args:
        mode: one of the above.
        max_kept: largest number kept by `"uniform_size"`.
        keep_probability: of one modality, for `"bernoulli"`; above 0, at most 1.

    Raises:
        ValueError: when an argument is outside its range; when called, if nothing of the subset is available.
    """

    def __init__(self, mode: str = "uniform_size", max_kept: int = 4, keep_probability: float = 0.5) -> None:
        if max_kept < 1:
            raise ValueError(f"max_kept is {max_kept}: expected at least 1")
        if not 0 < keep_probability <= 1:
            raise ValueError(f"keep_probability is {keep_probability}: expected above 0, at most 1")
        self.mode = mode
        self.max_kept = max_kept
        self.keep_probability = keep_probability
        self.subset = None if mode in MODES else torch.tensor(_fixed_presence(mode))

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Add `present`."""
        item = dict(data)
        available = item["available"]
        if not available.any():
            raise ValueError(f"case {item.get('name', '?')} has no available modality: expected one or more")
        if self.subset is not None:
            item["present"] = available & self.subset
            if not item["present"].any():
                raise ValueError(
                    f"case {item.get('name', '?')} has no modality of the subset {self.mode!r}: leave it out of the "
                    "training cases or choose another subset"
                )
            return item
        subsets = self.probabilities(torch.nonzero(available).flatten().tolist())
        kept = list(subsets)[self.R.choice(len(subsets), p=list(subsets.values()))]
        item["present"] = torch.zeros_like(available)
        item["present"][list(kept)] = True
        return item

    def probabilities(self, channels: list[int]) -> dict[tuple[int, ...], float]:
        """The random modes as a table: each non-empty subset of the available `channels` and its probability."""
        count = len(channels)
        subsets = [subset for size in range(1, count + 1) for subset in combinations(channels, size)]
        weights = [self._weight(len(subset), count) for subset in subsets]
        return {subset: weight / sum(weights) for subset, weight in zip(subsets, weights, strict=True)}

    def _weight(self, size: int, count: int) -> float:
        """Unnormalised probability of one subset of `size` out of `count` modalities."""
        if self.mode == "uniform_size":
            return 1 / comb(count, size) if size <= self.max_kept else 0.0
        if self.mode == "uniform_subset":
            return 1.0
        if self.mode == "bernoulli":
            return self.keep_probability**size * (1 - self.keep_probability) ** (count - size)
        return float(size == count)


def _fixed_presence(mode: str) -> tuple[bool, ...]:
    """The presence flags of a subset given as a mode."""
    try:
        return presence(parse_subset(mode))
    except ValueError as error:
        raise ValueError(f"mode is {mode!r}: expected one of {', '.join(MODES)}, or a subset ({error})") from error


def share_present(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Give every sample of a batch the first sample's draw: modality drop once a batch.

    The first sample's draw is as random as any other and depends on nothing but that sample's own random state, so
    a resumed run repeats it. A sample that lacks some of those modalities uses the rest of them; one that lacks them
    all keeps its own draw, so that no sample is ever empty.

    Args:
        batch: with `present` (B, 4) and `available` (B, 4), both bool.
    """
    shared = dict(batch)
    common = batch["present"][:1] & batch["available"]
    shared["present"] = torch.where(common.any(dim=1, keepdim=True), common, batch["present"])
    return shared
