"""The cases to train on and to validate on."""

import logging
from collections.abc import Sequence
from pathlib import Path

from medmiss.cases import Case, CaseError, cases_of, find_cases, read_split, split_cases
from medmiss.cases.files import write_json
from medmiss.cases.splits import PARTS
from medmiss.modalities import parse_subset

logger = logging.getLogger(__name__)


def labelled_cases(dataset_dir: str | Path, modalities: str = "all") -> list[Case]:
    """The usable cases of a folder that have a label map.

    Args:
        dataset_dir: what `medmiss.cases.find_cases` reads.
        modalities: a subset as a user types it; the files of other modalities are never opened.

    Returns:
        Cases by name. One without a label map, with a problem, or without any of the modalities is left out
        and named in the log.

    Raises:
        CaseError: when no case is left.
    """
    cases = []
    for case in find_cases(dataset_dir):
        try:
            restricted = case.restricted_to(parse_subset(modalities))
        except CaseError as error:
            logger.warning("left out: %s", error)
            continue
        if restricted.problem is not None:
            logger.warning("left out: %s", restricted.problem)
        elif restricted.label is None:
            logger.warning("left out: case %s has no label map", case.name)
        else:
            cases.append(restricted)
    if not cases:
        raise CaseError(
            str(dataset_dir), "no usable case with a label map", "one or more", "give a folder of labelled cases"
        )
    return cases


def partition(
    cases: Sequence[Case],
    file: str | Path | None = None,
    val_fraction: float = 0.2,
    held_out_fraction: float = 0.0,
    seed: int = 0,
    record: str | Path | None = None,
) -> dict[str, list[Case]]:
    """Part the cases into `train`, `val` and `held_out`.

    Args:
        cases: all of them.
        file: a split file; without one the split is drawn from `seed`.
        val_fraction: share of the patients to validate on when it is drawn; 0 for none.
        held_out_fraction: share of the patients that the method consults between steps, likewise.
        seed: of the draw.
        record: where to write the split that was used, itself a split file.

    Raises:
        ValueError: when the file names a case that there is not, or there are too few cases to draw from.
    """
    drawn = (val_fraction, held_out_fraction, seed)
    split = read_split(Path(file)) if file is not None else split_cases((case.name for case in cases), *drawn)
    if record is not None:
        Path(record).parent.mkdir(parents=True, exist_ok=True)
        write_json(Path(record), split)
    parts = {part: cases_of(cases, split[part]) for part in PARTS}
    logger.info("%d cases to train on, %d to validate on, %d held out", *(len(part) for part in parts.values()))
    return parts
