"""Training and measuring by the command line: what the tools that train many networks have in common."""

import argparse
import hashlib
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


def existing(text: str) -> Path:
    """The argument that names a folder which must be there.

    Raises:
        ArgumentTypeError: when there is no such folder.
    """
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is no folder")
    return path


def add_test_options(parser: argparse.ArgumentParser) -> None:
    """What the networks are measured on: `--test` phantoms, or `--test-data`."""
    measured = parser.add_mutually_exclusive_group()
    measured.add_argument("--test", type=int, default=10, help="synthetic cases to measure on (default: %(default)s)")
    measured.add_argument("--test-data", type=existing, metavar="DIR", help="labelled cases to measure on instead")


def cases_to_measure(folder: Path, args: argparse.Namespace) -> Path | None:
    """The labelled cases, or phantoms, made or found made; their folder, None when they could not be made."""
    return args.test_data or phantoms(folder / "test", args.test, args.shape)


def settings_of(args: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """What all runs of a folder have in common.

    A folder is told by its name and a digest of the names in it: the settings may be passed on with the results, and
    other cases in a folder of the same name would mix.
    """
    settings = {name: getattr(args, name) for name in names}
    return {name: _told(value) if isinstance(value, Path) else value for name, value in settings.items()}


def _told(folder: Path) -> str:
    inside = "\n".join(sorted(file.name for file in folder.iterdir()))
    return f"{folder.resolve().name} ({hashlib.sha256(inside.encode()).hexdigest()[:8]})"


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
