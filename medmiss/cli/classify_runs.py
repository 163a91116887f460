"""What `medmiss classify` does with every data set: many trainings, and the tables of their results."""

import argparse
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from medmiss.classification.runs import Results, Train

logger = logging.getLogger(__name__)


RESULTS = "results.csv"


def claim(out: Path, settings: dict[str, Any]) -> None:
    """Remember in OUT what its results are made with.

    Args:
        out: folder of the results.
        settings: what they are made with.

    Raises:
        argparse.ArgumentError: when it holds results of something else, or of nobody knows what.
    """
    from medmiss.inference.records import remember

    if (out / RESULTS).exists() and not (out / "settings.json").exists():
        raise argparse.ArgumentError(None, f"--out: {out} has {RESULTS} without settings.json; give another folder")
    changed = remember(out, settings)
    if changed:
        words = f"{out} has results made with other settings ({changed}); give another folder, or those settings"
        raise argparse.ArgumentError(None, f"--out: {words}")


def carry_out(
    args: argparse.Namespace,
    results: "Results",
    runs: Sequence[Any],
    make: Callable[..., "Train"],
    arguments: Sequence[object],
    jobs: int,
) -> int:
    """Do the runs that have no results yet, see `run_all`, but none with `--tables`; the exit status."""
    from medmiss.classification.runs import run_all

    failures = [] if args.tables else run_all(results, runs, make, arguments, jobs, not args.quiet)
    for failure in failures:
        logger.error("%s", failure)
    return 1 if failures else 0


def write_table(out: Path, stem: str, table: "pd.DataFrame", text: str) -> int:
    """Write OUT/STEM.csv and OUT/STEM.md, and print the latter; the exit status, 1 where there is no result to show."""
    from medmiss.cases import write_atomically

    if not table["seeds"].any():
        logger.error("%s: no result of what was asked for, and so no table", out / RESULTS)
        return 1
    write_atomically(out / f"{stem}.csv", table.to_csv(index=False, float_format="%.6g").encode())
    write_atomically(out / f"{stem}.md", text.encode())
    print(text)
    return 0


def cores() -> int:
    """Those that this process may use."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
