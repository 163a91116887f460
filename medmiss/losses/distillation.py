"""Distances between the features of a sample's modalities, of which the distillation losses are sums."""

from collections.abc import Callable

import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]
"""Maps two stacks of features `(P, C, ...)` to one number a row, `(P,)`."""


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of each row, `(P,)`."""
    return (a - b).abs().flatten(1).mean(dim=1)


def mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of each row, `(P,)`; the papers' "L2"."""
    return (a - b).square().flatten(1).mean(dim=1)


DISTANCES: dict[str, Distance] = {"l1": l1, "mse": mse}
"""What an option `distance` may be."""


def pair_distances(
    values: Tensor, present: Tensor, distance: Distance, pairs: Tensor, detach_first: bool = False
) -> Tensor:
    """How far the features of each two modalities of a sample lie apart, in float32.

    Args:
        values: `(P, C, ...)`, one row a (sample, modality) that is present, ordered by sample, then modality.
        present: `(B, N)` boolean.
        distance: of the pairs' features.
        pairs: `(N, N)` boolean, the pairs (i, j) that are asked for.
        detach_first: let the gradient reach j alone: i is the teacher.

    Returns:
        `(B, N, N)`: the distance of i from j; 0 for a pair that is not asked for or of which one is missing.
    """
    row = torch.zeros(present.shape, dtype=torch.int64, device=values.device)
    row[present] = torch.arange(values.shape[0], device=values.device)
    sample, i, j = (present[:, :, None] & present[:, None, :] & pairs).nonzero().unbind(1)
    first = values.detach() if detach_first else values
    distances = torch.zeros((*present.shape, present.shape[1]), device=values.device)
    distances[sample, i, j] = distance(first[row[sample, i]].float(), values[row[sample, j]].float())
    return distances
