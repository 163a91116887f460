"""Training and measuring by the command line: what the tools that train many networks have in common."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

T = TypeVar("T")
TEST_SEED = 1_000_003
"""Of the phantoms to measure on, far from the seeds of those to train on."""


def medmiss(*words: object) -> None:
    """One command of medmiss, on one core.

    Raises:
        CalledProcessError: when it fails; it has said why.
    """
    command = [sys.executable, "-m", "medmiss.cli.main", *map(str, words), "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def attempt(work: Callable[[], T]) -> T | None:
    """What `work` gives; None when a command of medmiss failed in it, which has said why."""
    try:
        return work()
    except subprocess.CalledProcessError:
        return None


def tell_gaps(names: Iterable[str]) -> int:
    """Name the runs that there is nothing of; the exit status, 1 where there are some."""
    gaps = list(names)
    for name in gaps:
        print(f"{name}: not trained or not measured, see above", file=sys.stderr)
    return 1 if gaps else 0


def entries_of_all(folder: Path) -> list[str]:
    """Settings of every training: no validation part, so that nothing is selected, and one store of prepared cases."""
    return [f"cache_dir={folder / 'cache'}", "val_fraction=0", "tensorboard=false", "workers=0"]


def add_test_options(parser: argparse.ArgumentParser) -> None:
    """What the networks are measured on: `--test` phantoms, or `--test-data`."""
    parser.add_argument("--test", type=int, default=10, help="synthetic cases to measure on (default: %(default)s)")
    parser.add_argument("--test-data", type=Path, metavar="DIR", help="labelled cases to measure on instead")


def cases_to_measure(folder: Path, args: argparse.Namespace) -> Path | None:
    """The labelled cases, or phantoms, made or found made; their folder, None when they could not be made."""
    return args.test_data or phantoms(folder / "test", args.test, args.shape)


def settings_of(args: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """What all runs of a folder have in common; of folders their names, since it may be passed on with the results."""
    settings = {name: getattr(args, name) for name in names}
    return {name: value.resolve().name if isinstance(value, Path) else value for name, value in settings.items()}


def phantoms(folder: Path, number: int, shape: str, *words: object) -> Path | None:
    """Make phantoms that no network is trained on, or find them made; `folder`, None when they could not be made."""
    try:
        medmiss("phantom", folder, "--cases", number, "--seed", TEST_SEED, "--shape", shape, *words)
    except subprocess.CalledProcessError:
        print(f"{folder}: the phantoms could not be made, see above", file=sys.stderr)
        return None
    return folder


def train(run: Path, words: Sequence[object], entries: Sequence[str]) -> Path:
    """Train one network, or go on with it, or find it finished.

    Args:
        run: its folder.
        words: of `medmiss train`, without settings.
        entries: settings, `ID=VALUE`; of two for one ID the later counts.

    Returns:
        `run`.
    """
    done = run / "trained"
    if not done.is_file():
        begun = (run / "checkpoints" / "last.pt").is_file()
        print(f"{run.name}: {'going on' if begun else 'training'}", file=sys.stderr, flush=True)
        settings = [word for entry in entries for word in ("--set", entry)]
        medmiss("train", *(["--resume"] if begun else [*words, *settings]), "--out", run)
        done.touch()
        print(f"{run.name}: trained", file=sys.stderr, flush=True)
    return run


def measure(cases: Path, run: Path, *words: object) -> pd.DataFrame:
    """Score one network by subset, a finished measurement in no time; the lines of its `subsets.csv`."""
    print(f"{run.name}: measuring", file=sys.stderr, flush=True)
    medmiss("subsets", cases, "--bundle", run, "--out", run / "scores", *words)
    return pd.read_csv(run / "scores" / "subsets.csv")
