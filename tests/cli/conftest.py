"""What every test of the command line shares."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """Undo the log level that `main` sets for its process, so that no later test misses a message."""
    logger = logging.getLogger("medmiss")
    level = logger.level
    yield
    logger.setLevel(level)
