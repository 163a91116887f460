"""Split files: which cases train and which validate, by name."""

import json
import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from medmiss.cases.case import Case
from medmiss.cases.files import write_atomically

Split = dict[str, list[str]]
"""`{"train": [names], "val": [names]}`."""

PARTS = ("train", "val")


def patient_of(name: str) -> str:
    """The patient a case belongs to: BraTS 2023 and later number the time points of a patient in the name."""
    return re.sub(r"^(BraTS-[A-Za-z]+-\d{5})-\d{3}$", r"\1", name)


def split_cases(names: Iterable[str], val_share: float = 0.2, seed: int = 0) -> Split:
    """Draw a split; the time points of a patient stay together, and both parts get at least one patient.

    Args:
        names: case names, at least two patients among them; their order does not matter.
        val_share: share of the patients to validate on, between 0 and 1.
        seed: the same seed and names give the same split.

    Raises:
        ValueError: when there are fewer than two patients or the share is not between 0 and 1.
    """
    cases = sorted(set(names))
    patients = sorted({patient_of(name) for name in cases})
    if len(patients) < 2 or not 0 < val_share < 1:
        raise ValueError(f"{len(patients)} patients and val_share {val_share}: expected two or more, and 0 < share < 1")
    random.Random(seed).shuffle(patients)
    count = min(max(round(val_share * len(patients)), 1), len(patients) - 1)
    held_out = set(patients[:count])
    return {
        "train": [name for name in cases if patient_of(name) not in held_out],
        "val": [name for name in cases if patient_of(name) in held_out],
    }


def write_split(path: Path, split: Split) -> None:
    """Write a split as JSON, at once or not at all."""
    write_atomically(path, (json.dumps(split, indent=2) + "\n").encode())


def read_split(path: Path) -> Split:
    """Read a split file.

    Raises:
        ValueError: when it is no JSON object with the lists `train` and `val`, or a patient is in both.
    """
    try:
        split = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(split, dict) or not all(isinstance(split.get(part), list) for part in PARTS):
        raise ValueError(f'{path}: expected {{"train": [names], "val": [names]}}')
    train, val = ({patient_of(name) for name in split[part]} for part in PARTS)
    if train & val:
        raise ValueError(f"{path}: {', '.join(sorted(train & val)[:5])} in both train and val")
    return {part: split[part] for part in PARTS}


def cases_of(cases: Sequence[Case], names: Iterable[str]) -> list[Case]:
    """The cases of these names, in the order of the names.

    Raises:
        ValueError: when a name has no case.
    """
    by_name = {case.name: case for case in cases}
    names = list(names)
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise ValueError(f"no case for {len(unknown)} names of the split, such as {unknown[0]}")
    return [by_name[name] for name in names]
