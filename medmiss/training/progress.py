"""A progress bar, where somebody can see it."""

import sys
from typing import Any

from ignite.handlers.tqdm_logger import ProgressBar


class TerminalProgress:
    """tqdm bar of an epoch's iterations with the current loss, only when standard error is a terminal."""

    def attach(self, engine: Any) -> None:
        """Register with the engine, or not."""
        if sys.stderr.isatty():
            ProgressBar().attach(engine, output_transform=lambda output: {"loss": output["loss"]})
