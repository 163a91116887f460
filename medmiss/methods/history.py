"""What a method decided between steps, as a table that grows with the run."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Events

from medmiss.cases.files import write_atomically


class History:
    """Rows that a handler adds as the run goes on, and the CSV file they can be plotted from.

    The rows belong to the handler's state, so that a resumed run has those up to its checkpoint and no others.
    The file is written whole at the end of every epoch.

    Args:
        columns: names of the columns.
        path: of the file; `None` writes none.
    """

    def __init__(self, columns: Sequence[str], path: str | Path | None = None) -> None:
        self.columns = tuple(columns)
        self.path = None if path is None else Path(path)
        self.rows: list[list[Any]] = []

    def attach(self, trainer: Any) -> None:
        """Register with the trainer."""
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def write(self, trainer: Any) -> None:
        """Write the file, by the first process alone."""
        if self.path is None or trainer.state.rank != 0:
            return
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        write_atomically(self.path, text.getvalue().encode())
