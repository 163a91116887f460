"""Many trainings, one process a core, their results kept as they come: what is finished is not done again."""

import csv
import gc
import io
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from medmiss.cases import CaseError, write_atomically
from medmiss.cases.files import lock_of

Train = Callable[[Any], dict[str, float]]
"""What a process does with a run: train, and measure."""


class Run(NamedTuple):
    """One training.

    Attributes:
        method: one of `medmiss.classification.systems.SYSTEMS`.
        audio_rate: share of the training sounds that are available.
        image_rate: likewise of the images.
        seed: of everything that is drawn.
    """

    method: str
    audio_rate: float
    image_rate: float
    seed: int


class Results:
    """The file of results, a line a run and test; values are shares.

    Args:
        path: of the CSV file, with `columns`.
        kind: what tells one run from another, a named tuple of strings and numbers.
        value: what is measured, the name of the last column.

    Raises:
        CaseError: when there is a file of another kind.
    """

    def __init__(self, path: Path, kind: Any = Run, value: str = "accuracy") -> None:
        self.path = path
        self.kind = kind
        self.columns = (*kind._fields, "test", value)
        self.found: dict[Any, dict[str, float]] = {}
        self._read()

    def _read(self) -> None:
        """Take in what the file has."""
        if not self.path.is_file():
            return
        types = self.kind.__annotations__.values()
        with open(self.path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            try:
                for line in reader:
                    *words, test, value = (line[column] for column in self.columns)
                    run = self.kind(*(each(word) for each, word in zip(types, words, strict=True)))
                    self.found.setdefault(run, {})[test] = float(value)
            except (KeyError, TypeError, ValueError) as error:
                found, expected = f"something else in line {reader.line_num}", f"the columns {', '.join(self.columns)}"
                remedy = "mend or delete that line, or give another folder"
                raise CaseError("results", found, expected, remedy, self.path) from error

    def add(self, run: Any, values: dict[str, float]) -> None:
        """Keep the results of a run, and write the file anew, with what other processes have added since."""
        with lock_of(self.path):
            self._read()
            self.found[run] = values
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(self.columns)
            writer.writerows((*line[:-1], f"{line[-1]:.6f}") for line in self.lines())
            write_atomically(self.path, text.getvalue().encode())

    def lines(self) -> list[tuple[Any, ...]]:
        """All lines, as `columns` says."""
        return [(*run, test, value) for run, each in self.found.items() for test, value in each.items()]


def run_all(
    results: Results,
    runs: Iterable[Any],
    make: Callable[..., Train],
    arguments: Sequence[object],
    jobs: int = 1,
    progress: bool = True,
) -> list[str]:
    """Do the runs that have no results yet; a sentence for each that could not be done.

    Args:
        results: where they are kept.
        runs: which; the same one twice is done once.
        make: makes, in each process and once, what does a run. A function of a module, for processes are spawned.
        arguments: of `make`.
        jobs: processes at a time, each on one core.
        progress: show a bar.
    """
    left = [run for run in dict.fromkeys(runs) if run not in results.found]
    failures: list[str] = []
    if not left:
        return failures
    workers = min(jobs, len(left))
    context = multiprocessing.get_context("spawn")
    with _one_thread(), tqdm(total=len(left), unit="training", disable=None if progress else True) as bar:
        pool = ProcessPoolExecutor(workers, context, _start, (make, arguments))
        try:
            for run, outcome in _outcomes(pool, left, workers):
                if isinstance(outcome, str):
                    named = ", ".join(f"{name} {value}" for name, value in run._asdict().items())
                    failures.append(f"{named}: {outcome}")
                else:
                    results.add(run, outcome)
                bar.update()
        except BrokenProcessPool:
            failures.append(
                "a process that trains was ended from outside, often for want of memory; the command may be repeated, "
                "with fewer --jobs"
            )
        finally:
            pool.shutdown(cancel_futures=True)
    return failures


def _outcomes(pool: ProcessPoolExecutor, runs: Sequence[Any], workers: int) -> Iterator[tuple[Any, Any]]:
    """Each run with what came of it, as they come; none waits in the pool, so that an interrupt ends at once."""
    todo = iter(runs)
    under_way: set[Future] = {pool.submit(_do, run) for run in islice(todo, workers)}
    while under_way:
        finished, under_way = wait(under_way, return_when=FIRST_COMPLETED)
        for future in finished:
            yield future.result()
        under_way |= {pool.submit(_do, run) for run in islice(todo, len(finished))}


_train: Train
"""Of this process."""


def _start(make: Callable[..., Train], arguments: Sequence[object]) -> None:
    global _train
    torch.set_num_threads(1)
    try:
        _train = make(*arguments)
    except Exception as error:  # whatever it is: a pool replaces a process that cannot start, again and again
        _train = _refusing(_said(error))


def _refusing(reason: str) -> Train:
    def train(run: Any) -> dict[str, float]:
        raise ValueError(reason)

    return train


def _do(run: Any) -> tuple[Any, dict[str, float] | str]:
    try:
        return run, _train(run)
    # Such as too few complete samples for SMIL's priors, or a GPU's memory that is full; the others go on.
    except Exception as error:
        return run, _said(error)
    finally:
        gc.collect()  # engines refer to themselves, and to the sets of their run, a hundred megabytes


def _said(error: Exception) -> str:
    """In a line: torch adds hints to what it says."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that are started within it have libraries of one thread."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
