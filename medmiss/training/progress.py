"""What a person sees of a run: a progress bar, a line an epoch, and no error for an interrupt."""

import logging
import sys
from typing import Any

from ignite.engine import Events
from ignite.handlers.tqdm_logger import ProgressBar
from monai.engines import Trainer

logger = logging.getLogger(__name__)


class TerminalProgress:
    """tqdm bar of an epoch's iterations with the current loss, only when standard error is a terminal."""

    def attach(self, engine: Any) -> None:
        """Register with the engine, or not."""
        if sys.stderr.isatty():
            ProgressBar().attach(engine, output_transform=lambda output: {"loss": output["loss"]})


class EpochLog:
    """One log line at the end of an epoch: all of `engine.state.metrics`.

    (MONAI's `StatsHandler` sets up loggers of its own, which neither `logging.conf` nor `--quiet` governs.)

    Args:
        title: what the line is about, such as `"training"`.
    """

    def __init__(self, title: str) -> None:
        self.title = title

    def attach(self, engine: Any) -> None:
        """Register with the engine."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def write(self, engine: Any) -> None:
        """Log the line."""
        of = f" of {engine.state.max_epochs}" if isinstance(engine, Trainer) else ""  # an evaluator knows no end
        values = ", ".join(f"{name} {value:.4g}" for name, value in engine.state.metrics.items())
        logger.info("%s, epoch %d%s: %s", self.title, engine.state.epoch, of, values)


def is_no_interrupt(record: logging.LogRecord) -> bool:
    """Filter of an engine's logger: ignite calls it an error when the user stops the run, and names no reason."""
    return not isinstance(sys.exc_info()[1], KeyboardInterrupt)
