"""Scores of one network by subset of the modalities, kept so that a killed run goes on where it was."""

import io
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from medmiss.cases import CONVENTIONS, Case, CaseError, Grid, LabelConvention, read_label, write_atomically
from medmiss.cases.files import RECORDS, lock_of, write_json
from medmiss.cases.volumes import TOLERANCE_MM
from medmiss.evaluation.metrics import evaluate_regions, region_dice
from medmiss.evaluation.montage import Montage
from medmiss.evaluation.statistics import SUBSET_NAMES
from medmiss.modalities import Subset, subset_name

logger = logging.getLogger(__name__)

COLUMNS = ("case", "subset", "region", "dice", "dice_postprocessed", "hd95")
PROTOCOL = "literature"
RECORDED = frozenset({"medmiss", "bundle", "weights", "device", "settings", "cases"})
"""What `settings.json` has."""


class Segmented(Protocol):
    """What one run of a network over one subset of a case gives.

    Attributes:
        raw: `(3, X, Y, Z)` bool, before post-processing.
        regions: the same after it.
        grid: of both.
    """

    @property
    def raw(self) -> np.ndarray: ...  # noqa: D102
    @property
    def regions(self) -> np.ndarray: ...  # noqa: D102
    @property
    def grid(self) -> Grid: ...  # noqa: D102


class OpenCase(Protocol):
    """A case whose files are read once for all its subsets."""

    def segment(self, subset: Subset) -> Segmented:
        """Run the network over the case as if it had these modalities alone."""

    def image(self, modality: str) -> np.ndarray:
        """A modality on the network's grid `(X, Y, Z)`, background 0, for pictures."""


@dataclass(frozen=True)
class Failure:
    """A case, or a case with one subset, that could not be measured.

    Args:
        case: its name.
        reason: one sentence.
        subset: None when it concerns all.
    """

    case: str
    reason: str
    subset: Subset | None = None


class SubsetRun:
    """The folder of a measurement, which grows with every case and subset that is measured.

    `subsets.csv` has one line a case, subset and region: Dice of the raw mask, Dice of the post-processed mask and
    HD95 (mm) of the post-processed mask, as the protocol "literature" defines them. `settings.json` says what
    made the masks. `.medmiss/montage.npz` has what the picture of one case needs.

    Args:
        folder: need not exist.

    Raises:
        CaseError: when one of its files cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.resolve().name
        self._scores = folder / "subsets.csv"
        self._record = folder / "settings.json"
        self.record: dict[str, Any] | None = self._read_record()
        self._rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._take_in()
        self.montage = Montage(folder / RECORDS / "montage.npz")

    def has(self, case: str, subset: Subset) -> bool:
        """Whether this case is measured for this subset."""
        return (case, subset_name(subset)) in self._rows

    def __len__(self) -> int:
        """The number of (case, subset) pairs that are measured."""
        return len(self._rows)

    def scores(self) -> pd.DataFrame:
        """All that is measured, with `COLUMNS`: by case as they came, then by subset and region."""
        cases = list(dict.fromkeys(case for case, _ in self._rows))
        places = {case: place for place, case in enumerate(cases)}
        keys = sorted(self._rows, key=lambda key: (places[key[0]], SUBSET_NAMES.index(key[1])))
        return pd.DataFrame([row for key in keys for row in self._rows[key]], columns=list(COLUMNS))

    def clear(self) -> None:
        """Forget everything that is measured."""
        self._rows.clear()
        self.montage.clear()
        for path in (self._scores, self._record):
            path.unlink(missing_ok=True)

    def begin(self, record: dict[str, Any]) -> None:
        """Write what makes the masks, before the first of them is scored; cases that others have begun stay."""
        with lock_of(self._record):
            others = (self._read_record() or {}).get("cases", {})
            self.record = {**record, "cases": {**others, **record.get("cases", {})}}
            write_json(self._record, self.record)

    def add(self, case: str, subset: Subset, rows: list[dict[str, Any]]) -> None:
        """Keep the lines of one subset of a case, as `score` gives them, and write the table again.

        Safe where several processes measure into one folder: what the others have added since stays.

        Raises:
            CaseError: when another's table cannot be read.
        """
        with lock_of(self._scores):
            self._take_in()
            self._rows[case, subset_name(subset)] = rows
            text = io.StringIO()
            self.scores().to_csv(text, index=False)
            write_atomically(self._scores, text.getvalue().encode())

    def _take_in(self) -> None:
        """Know what the table on disk has."""
        there: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for line in self._read_scores().to_dict("records"):
            there.setdefault((line["case"], line["subset"]), []).append({str(k): v for k, v in line.items()})
        self._rows.update(there)

    def _read_record(self) -> dict[str, Any] | None:
        if not self._record.is_file():
            return None
        try:
            record = dict(json.loads(self._record.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise self._unreadable(self._record, "JSON about a run") from error
        if RECORDED - record.keys():
            raise self._unreadable(self._record, ", ".join(sorted(RECORDED)))
        return record

    def _read_scores(self) -> pd.DataFrame:
        if not self._scores.is_file():
            return pd.DataFrame(columns=list(COLUMNS))
        try:
            table = pd.read_csv(self._scores, dtype={"case": str, "subset": str, "region": str}, keep_default_na=False)
            table = table[list(COLUMNS)].astype({column: float for column in COLUMNS[3:]})
        except (OSError, ValueError, KeyError) as error:
            raise self._unreadable(self._scores, f"columns {', '.join(COLUMNS)}") from error
        if not set(table["subset"]) <= set(SUBSET_NAMES):
            raise self._unreadable(self._scores, "subsets such as FLAIR+T2")
        return table

    def _unreadable(self, file: Path, expected: str) -> CaseError:
        return CaseError(self.name, "a file that is something else", expected, "give another folder", file)


def score(
    case: str, subset: Subset, segmented: Segmented, reference: np.ndarray, convention: LabelConvention
) -> list[dict[str, Any]]:
    """The lines of `subsets.csv` for one subset of a case: the scores of the label maps that it would be written as.

    Args:
        case: its name.
        subset: what the network was given.
        segmented: what it made of it.
        reference: `(3, X, Y, Z)` bool.
        convention: of the case's labels.
    """
    raw, regions = (convention.regions(convention.labels(mask)) for mask in (segmented.raw, segmented.regions))
    of_raw = region_dice(raw, reference)
    final = evaluate_regions(regions, reference, segmented.grid, PROTOCOL)
    return [
        {
            "case": case,
            "subset": subset_name(subset),
            "region": region,
            "dice": round(of_raw[region], 6),
            "dice_postprocessed": round(final[region]["dice"], 6),
            "hd95": round(final[region]["hd95"], 4),
        }
        for region in of_raw
    ]


def measure(
    run: SubsetRun,
    work: Sequence[tuple[Case, Sequence[Subset]]],
    open_case: Callable[[Case], OpenCase],
    explain: Callable[[Case, Exception], str],
    progress: bool = True,
) -> list[Failure]:
    """Measure what is not measured yet; whatever is wrong with one case, the others go on.

    Args:
        run: where the scores go, after each subset of each case.
        work: cases, and the subsets to measure, all of which the case has.
        open_case: makes a case ready for all its subsets; opens no file yet.
        explain: says in a sentence what went wrong with a case.
        progress: show a progress bar when standard error is a terminal.

    Returns:
        What could not be measured.
    """
    failures: list[Failure] = []
    todo = [(case, [subset for subset in subsets if not run.has(case.name, subset)]) for case, subsets in work]
    total, missing = (sum(len(subsets) for _, subsets in part) for part in (work, todo))
    most = max((len(subsets) for case, subsets in work if case.label is not None), default=0)
    with (
        logging_redirect_tqdm(),
        tqdm(total=total, initial=total - missing, unit="subset", disable=None if progress else True) as bar,
    ):
        for (case, wanted), (_, subsets) in zip(work, todo, strict=True):
            if not subsets and case.problem is None:
                continue
            picture = run.montage if len(wanted) == most else None
            for failure in _measure_case(run, case, subsets, open_case(case), explain, bar, picture):
                if all(failure.reason != other.reason for other in failures):  # one broken file spoils many subsets
                    logger.error("%s", failure.reason)
                failures.append(failure)
    return failures


def _measure_case(
    run: SubsetRun,
    case: Case,
    subsets: Sequence[Subset],
    opened: OpenCase,
    explain: Callable[[Case, Exception], str],
    bar: tqdm,
    picture: Montage | None,
) -> Iterator[Failure]:
    try:
        if case.problem is not None:
            raise case.problem
        label = read_label(case)
        convention = CONVENTIONS[case.convention]
        reference = convention.regions(label.array)
    except Exception as error:
        bar.update(len(subsets))
        yield Failure(case.name, explain(case, error))
        return
    for subset in subsets:
        bar.set_postfix_str(f"{case.name} {subset_name(subset)}")
        try:
            segmented = opened.segment(subset)
            if label.grid.distance_mm(segmented.grid) > TOLERANCE_MM:
                read_label(case, segmented.grid)  # says what is wrong
            rows = score(case.name, subset, segmented, reference, convention)
        except Exception as error:
            logger.debug("%s from %s failed", case.name, subset_name(subset), exc_info=error)
            yield Failure(case.name, explain(case, error), subset)
        else:  # what goes wrong with writing is no fault of the case
            if picture is not None:
                picture.add(case.name, subset, segmented.regions, reference, segmented.grid, opened.image)
            run.add(case.name, subset, rows)
            figures = ", ".join(f"{row['region']} {100 * row['dice_postprocessed']:.1f}" for row in rows)
            logger.info("%s from %s: Dice in %%, post-processed: %s", case.name, subset_name(subset), figures)
        bar.update()
