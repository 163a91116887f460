"""Split files: which cases train and which validate, by name."""

import json
import random
import re
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

from medmiss.cases.case import Case

Split = dict[str, list[str]]
"""`{"train": [names], "val": [names], "held_out": [names]}`."""

PARTS = ("train", "val", "held_out")
"""Cases that the network learns from, that select the model, and that a method consults between steps."""


def patient_of(name: str) -> str:
    """The patient a case belongs to: BraTS 2023 and later number the time points of a patient in the name."""
    return re.sub(r"^(BraTS-[A-Za-z]+-\d{5})-\d{3}$", r"\1", name)


def split_cases(names: Iterable[str], val_share: float = 0.2, held_out_share: float = 0.0, seed: int = 0) -> Split:
    """Draw a split; the time points of a patient stay together.

    Every part of which the share is not 0 gets at least one patient, and so does `train`. The validation
    cases do not depend on the share held out.

    Args:
        names: case names; their order does not matter.
        val_share: share of the patients to validate on.
        held_out_share: share of the patients that a method consults between steps.
        seed: the same seed and names give the same split.

    Raises:
        ValueError: when there are too few patients, or a share is negative or leaves nothing to train on.
    """
    cases = sorted(set(names))
    patients = sorted({patient_of(name) for name in cases})
    shares = (val_share, held_out_share)
    parts = 1 + sum(share > 0 for share in shares)
    if min(shares) < 0 or sum(shares) >= 1 or len(patients) < parts:
        raise ValueError(
            f"{len(patients)} patients, of which a share of {val_share} validates and {held_out_share} is held out: "
            "expected at least one patient a part, and one to train on"
        )
    held = min(max(round(held_out_share * len(patients)), 1), len(patients) - parts + 1) if held_out_share else 0
    most = len(patients) - held - 1
    validating = min(max(round(val_share * len(patients)), 1), most) if val_share else 0
    random.Random(seed).shuffle(patients)
    val, held_out = set(patients[:validating]), set(patients[validating:][:held])
    return {
        "train": [name for name in cases if patient_of(name) not in val | held_out],
        "val": [name for name in cases if patient_of(name) in val],
        "held_out": [name for name in cases if patient_of(name) in held_out],
    }


def read_split(path: Path) -> Split:
    """Read a split file.

    Raises:
        ValueError: when it is no JSON object with the lists `train` and `val` (`held_out` may be left out), names a
            case twice, or has a patient in two of them.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    split = {"held_out": [], **content} if isinstance(content, dict) else {}
    lists = [split.get(part) for part in PARTS]
    if not all(isinstance(each, list) and all(isinstance(name, str) for name in each) for each in lists):
        raise ValueError(f'{path}: expected {{"train": [names], "val": [names]}}')
    names = [name for part in PARTS for name in split[part]]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path}: {', '.join(twice[:5])} named more than once")
    for one, other in combinations(PARTS, 2):
        both = {patient_of(name) for name in split[one]} & {patient_of(name) for name in split[other]}
        if both:
            raise ValueError(f"{path}: {', '.join(sorted(both)[:5])} in both {one} and {other}")
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
