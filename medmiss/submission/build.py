"""From predicted masks to an archive: labels and names of the challenge, the case's own grid, a clean header."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from medmiss.cases import (
    CONVENTIONS,
    Case,
    CaseError,
    Grid,
    LabelConvention,
    read_mask,
    recorded_labels,
    write_volume,
)
from medmiss.cases.volumes import TOLERANCE_MM
from medmiss.submission.archive import pack
from medmiss.submission.challenges import SUFFIX, Challenge
from medmiss.submission.check import cases_by_id, check_submission, missing_cases
from medmiss.submission.findings import Finding
from medmiss.submission.labels import convert_labels, likely_conventions, values_text, wrong_values
from medmiss.submission.mask import first_image

_ROUNDING_MM = 1e-3
"""A grid this close to the placement that a challenge demands is taken for it."""


@dataclass(frozen=True)
class Submission:
    """An archive in memory, checked.

    Args:
        content: the bytes of the archive.
        names: of the masks in it.
        findings: about the masks given and the archive made of them.
    """

    content: bytes
    names: list[str]
    findings: list[Finding]


def build_submission(
    masks: Mapping[str, Path],
    cases: Sequence[Case],
    challenge: Challenge,
    form: str = "zip",
    labels: str | None = None,
    partial: bool = False,
    progress: bool = False,
) -> Submission:
    """Make an archive of masks and check it. Nothing is written; with errors among the findings it is not to be.

    Args:
        masks: name to file, as `find_masks` gives them; each belongs to the case with the same id.
        cases: those to be submitted; each mask is written on the grid of its case's first image.
        challenge: whose labels and names the archive gets.
        form: `"zip"` or `"tar"`.
        labels: key of `CONVENTIONS` that the masks follow; by default what `medmiss predict` recorded beside them.
        partial: whether cases may be missing.
        progress: show a progress bar where stderr is a terminal.

    Raises:
        CaseError: when the labels of a mask are neither recorded nor given.
    """
    known, findings = cases_by_id(cases, challenge)
    chosen: dict[str, tuple[str, Path]] = {}  # id -> name of the mask, file
    nameless = {case.name for case in cases if challenge.case_id(case.name) is None}  # reported already
    for name, path in masks.items():
        key = challenge.case_id(name)
        if name in nameless:
            continue
        if key is None or key not in known:
            found = f"no case of the id {key}" if key else "a name without the id of a case"
            findings.append(Finding("unknown-case", path.name, found, "a mask of a case in --cases", "leave it out"))
        elif key in chosen:
            found = f"the id {key} again, after {chosen[key][1].name}"
            findings.append(Finding("duplicate", path.name, found, "one mask a case", "remove one of the two"))
        else:
            chosen[key] = (name, path)
    if not partial:
        findings += missing_cases(known, set(chosen))
    files: dict[str, bytes] = {}
    with tqdm(sorted(chosen), desc="convert", unit="mask", disable=None if progress else True) as keys:
        for key in keys:
            name, path = chosen[key]
            source = _convention(name, path, labels)
            content, about = _clean_mask(path, known[key], source, challenge)
            findings += about
            if content is not None:
                files[f"{known[key].name}{SUFFIX}"] = content
    archive = pack(files, form)
    if files:
        submitted = [case for case in known.values() if f"{case.name}{SUFFIX}" in files]
        findings += check_submission(archive, challenge, submitted, progress=progress)
    return Submission(archive, list(files), findings)


def _convention(name: str, path: Path, labels: str | None) -> LabelConvention:
    recorded = recorded_labels(path, name)
    if recorded is not None and labels is not None and recorded != labels:
        found = f"labels of {recorded}, as its record says"
        raise CaseError(name, found, f"{labels}, as given", "leave out --labels, or move the masks elsewhere", path)
    if (key := recorded or labels) is None:
        remedy = "name the convention the masks follow (--labels), since values differ by year"
        raise CaseError(name, "no record of the label values", f"one of {', '.join(CONVENTIONS)}", remedy, path)
    return CONVENTIONS[key]


def _clean_mask(
    path: Path, case: Case, source: LabelConvention, challenge: Challenge
) -> tuple[bytes | None, list[Finding]]:
    """The bytes of the mask as it goes into the archive, None with an error; and what was found on the way."""
    try:
        mask = read_mask(path, case.name)
    except CaseError as error:
        return None, [Finding("unreadable", path.name, error.found, error.expected, error.remedy)]
    values = np.unique(mask.array).tolist()
    wrong = wrong_values(values, source)
    if wrong:
        likely = likely_conventions(values)
        expected = f"{values_text(source.values)} ({source.name})"
        remedy = f"try --labels {' or '.join(likely)}" if likely else "give masks in the labels of a known year"
        return None, [Finding("labels", path.name, f"label values {values_text(wrong)}", expected, remedy)]
    target = CONVENTIONS[challenge.convention]
    findings = []
    if target.rc is None and source.rc in values:
        found = f"a resection cavity ({source.rc})"
        remedy = "submit as it is if that is meant: its voxels become background"
        findings.append(Finding("cavity-lost", path.name, found, f"labels that {challenge.name} has", remedy))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"mask{SUFFIX}"
        write_volume(file, convert_labels(mask.array, source, target), _grid(mask.grid, case, challenge))
        return file.read_bytes(), findings


def _grid(own: Grid, case: Case, challenge: Challenge) -> Grid:
    """The grid of the case where the mask lies on it, else the mask's own: the check then says what is wrong.

    The placement that the challenge demands is used to the last bit where the case has it but for rounding.
    """
    try:
        grid = first_image(case).grid
    except CaseError:
        return own
    if own.distance_mm(grid) > TOLERANCE_MM:
        return own
    exact = Grid(challenge.shape, challenge.affine)
    return exact if grid.distance_mm(exact) <= _ROUNDING_MM else grid
