"""When something happens in a run: after a number of iterations, or after a share of the budget."""

from typing import Any


def iterations_of(amount: float, trainer: Any) -> int:
    """Turn an interval of a configuration into iterations of a run.

    Published intervals belong to budgets of a hundred thousand iterations; a share keeps their meaning in a
    short run.

    Args:
        amount: an int is iterations (0 for none); a float in (0, 1] is a share of all iterations of the run,
            at least one.
        trainer: an ignite engine, whose state has `max_epochs` and `epoch_length`.

    Raises:
        ValueError: when it is negative, or a float outside (0, 1].
    """
    if isinstance(amount, int):
        if amount < 0:
            raise ValueError(f"an interval of {amount} iterations: expected 0 or more")
        return amount
    if not 0 < amount <= 1:
        raise ValueError(f"an interval of {amount}: expected a whole number of iterations, or a share in (0, 1]")
    return max(1, round(amount * trainer.state.max_epochs * trainer.state.epoch_length))
