"""Losses over the samples of all processes of a distributed run, in which each process sees a part of the batch.

Distributed training averages the gradients of the processes. A loss that is a mean over samples needs nothing: the
mean of the parts' means is the mean. Here is what the others need, so that the result is that of one process with
the whole batch. Every process must call them alike, also one that has nothing to add.
"""

from typing import Any

import torch
from torch import Tensor, distributed


def processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def gathered(rows: Tensor) -> Tensor:
    """The rows of all processes, process by process; with one process, `rows` itself.

    Gradients flow to the own rows, times the number of processes: the average over processes that follows is then
    the gradient of the joint loss, if every process makes the same scalar from the result.

    Args:
        rows: `(B, ...)`, of the same shape on every process.
    """
    return rows if processes() == 1 else _Gather.apply(rows)


def joint_weight(count: int, device: torch.device) -> float:
    """What a process multiplies its mean over `count` samples by, so that the joint result is the mean over all.

    Args:
        count: samples that enter this process's mean; may be 0.
        device: where the process group can reduce.
    """
    if processes() == 1:
        return 1.0
    total = torch.tensor(count, device=device)
    distributed.all_reduce(total)
    return count * processes() / max(1, int(total))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        rows = rows.contiguous()
        parts = [torch.empty_like(rows) for _ in range(processes())]
        distributed.all_gather(parts, rows)
        start = distributed.get_rank() * len(rows)
        ctx.own = slice(start, start + len(rows))
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return processes() * gradients[0][ctx.own]
