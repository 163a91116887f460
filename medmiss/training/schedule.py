"""Learning rate: linear warm-up, then polynomial or cosine decay to zero."""

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class WarmupDecay(LRScheduler):
    """Learning rate as a closed form of the optimiser step, so that a resumed run meets it exactly.

    Args:
        optimizer: its parameter groups keep their own base rates.
        steps: optimiser steps of the whole run; the rate reaches zero after the last.
        warmup: share of `steps` over which the rate rises linearly from (nearly) zero.
        shape: `"poly"` is `(1 - t) ** power`, `"cosine"` is `(1 + cos(pi t)) / 2`, `"constant"` does not
            decay; t runs from 0 to 1 after the warm-up.
        power: exponent of `"poly"`.

    Raises:
        ValueError: when `shape` is unknown, `steps` is not positive or `warmup` is outside [0, 1).
    """

    SHAPES = ("poly", "cosine", "constant")

    def __init__(
        self, optimizer: Optimizer, steps: int, warmup: float = 0.0, shape: str = "poly", power: float = 0.9
    ) -> None:
        if shape not in self.SHAPES:
            raise ValueError(f"shape is {shape!r}, expected one of {', '.join(self.SHAPES)}")
        if steps < 1 or not 0 <= warmup < 1:
            raise ValueError(f"expected steps >= 1 and 0 <= warmup < 1, got steps={steps}, warmup={warmup}")
        self.steps = steps
        self.warmup_steps = round(warmup * steps)
        self.shape = shape
        self.power = power
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        """What the base rate is multiplied by at optimiser step `step`, counted from 0."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        t = min(1.0, (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps))
        if self.shape == "poly":
            return (1 - t) ** self.power
        if self.shape == "cosine":
            return (1 + math.cos(math.pi * t)) / 2
        return 1.0

    def state_dict(self) -> dict[str, Any]:
        """Where in the run it is; the shape of the decay is the configuration's, not the checkpoint's."""
        state = super().state_dict()
        return {key: state[key] for key in ("last_epoch", "_step_count", "base_lrs", "_last_lr")}

    def get_lr(self) -> list[Any]:
        """Current rate of each parameter group."""
        return [base * self.factor(self.last_epoch) for base in self.base_lrs]
