"""A whole submission: its form, its names, the cases it is for, and each of its masks."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from medmiss.cases import CONVENTIONS, Case, CaseError, recorded_labels
from medmiss.cases.layouts import stem_of
from medmiss.submission.archive import (
    READ_ERRORS,
    Archive,
    Member,
    NotAnArchiveError,
    TooLargeError,
    open_archive,
)
from medmiss.submission.challenges import SUFFIX, Challenge
from medmiss.submission.findings import Finding
from medmiss.submission.mask import CheckedMask, check_mask

_HIDDEN_STARTS = ("__", "._", "~", ".DS_Store")
"""File names that the organisers' validators pass over."""

_HIDDEN_FOLDERS = ("__MACOSX",)
_SUFFIXES = {"zip": (".zip",), "tar": (".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tar.xz")}


def check_submission(
    source: Path | bytes,
    challenge: Challenge,
    cases: Sequence[Case] | None = None,
    partial: bool = False,
    progress: bool = False,
) -> list[Finding]:
    """Find what is wrong with a submission; nothing of it is written to disk under its own names.

    Args:
        source: the archive, its bytes, or a folder that holds what would be packed.
        challenge: whose rules hold.
        cases: those to be submitted: ids, grids and images are compared with them. Without them the number of
            masks is compared with the challenge's validation set.
        partial: whether cases may be missing.
        progress: show a progress bar where stderr is a terminal.

    Returns:
        Findings in the order of the archive, then those about the masks together.
    """
    where = source.name if isinstance(source, Path) else "the archive"
    try:
        with open_archive(source) as archive:
            check = _Check(challenge, cases)
            check.form(archive, source.name if isinstance(source, Path) else None)
            with tqdm(archive.members, desc="check", unit="file", disable=None if progress else True) as members:
                for member in members:
                    check.member(member)
            check.together(where, partial)
            return check.findings
    except TooLargeError as error:
        return [Finding("too-large", where, str(error), "a submission of some 20 MiB", "pack the masks alone")]
    except NotAnArchiveError as error:
        remedy = f"pack the masks with medmiss submit --challenge {challenge.name}"
        return [Finding("archive", where, str(error), _forms(challenge), remedy)]


def cases_by_id(cases: Sequence[Case], challenge: Challenge) -> tuple[dict[str, Case], list[Finding]]:
    """The cases by their ids, and a finding for each that has none, or another's."""
    known: dict[str, Case] = {}
    findings = []
    for case in cases:
        key = challenge.case_id(case.name)
        if key is None:
            remedy = "leave it out of --cases, or name another challenge"
            expected = f"one of {challenge.name}, such as {_stem(challenge.example)}"
            findings.append(Finding("case-name", case.name, "a case of this name", expected, remedy))
        elif key in known:
            remedy = "give the cases of this challenge alone"
            findings.append(
                Finding("case-name", case.name, f"the id {key}, as {known[key].name} has", "one case an id", remedy)
            )
        else:
            known[key] = case
    return known, findings


def missing_cases(known: dict[str, Case], seen: set[str]) -> list[Finding]:
    """A finding for each case without a mask."""
    return [
        Finding("missing-case", case.name, "no mask of it", "one for each case", "predict it, or give --partial")
        for key, case in known.items()
        if key not in seen
    ]


class _Check:
    """The state of checking one submission.

    Args:
        challenge: whose rules hold.
        cases: those to be submitted, None where they are not at hand.
    """

    def __init__(self, challenge: Challenge, cases: Sequence[Case] | None) -> None:
        self.challenge = challenge
        self.findings: list[Finding] = []
        self.known: dict[str, Case] | None = None
        if cases is not None:
            self.known, self.findings = cases_by_id(cases, challenge)
        self.first_of: dict[str, str] = {}  # id in lower case -> first file
        self.seen: set[str] = set()
        self.nameless = 0  # masks without an id
        self.masks: dict[str, CheckedMask] = {}  # file -> what was found
        self.folders: set[str] = set()
        self.hidden: set[str] = set()

    def add(self, kind: str, where: str, found: str, expected: str, remedy: str) -> None:
        self.findings.append(Finding(kind, where, found, expected, remedy))

    def form(self, archive: Archive, name: str | None) -> None:
        """The kind of archive, and whether its name, where it has one, says so."""
        if archive.form == "folder" or name is None:
            return
        suffixes = _SUFFIXES[archive.form]
        if archive.form not in self.challenge.archives:
            remedy = f"pack it with medmiss submit --challenge {self.challenge.name}"
            self.add("archive", name, f"a {archive.form} archive", _forms(self.challenge), remedy)
        elif not name.lower().endswith(suffixes):
            expected = f"a name ending in {suffixes[0]}"
            self.add("suffix", name, f"a {archive.form} archive of this name", expected, "rename it")

    def member(self, member: Member) -> None:
        """One entry: whether it is a mask, whose, and a good one."""
        name = member.name
        path = PurePosixPath(name)
        if member.is_folder and not path.parts:  # "./", as tar stores it
            return
        if _is_unsafe(name):
            self.add("path", name, "a path out of the folder", "a file name", "pack file names alone")
            self._note_id(path)
            return
        hidden = next((part for part in path.parts if _is_hidden(part)), None)
        if hidden is not None:
            # One line for a hidden folder, however much is in it.
            place = path.parts[0] if path.parts[0] in _HIDDEN_FOLDERS else name
            if place not in self.hidden:
                self.hidden.add(place)
                self.add("hidden", place, "a hidden file or folder", "masks alone", "pack the masks without it")
            return
        top = path.parts[0] if len(path.parts) > 1 or member.is_folder else None
        if top is not None and top not in self.folders:
            self.folders.add(top)
            remedy = "pack the files side by side"
            self.add("nested", top, "a folder in the submission", "masks at the top level", remedy)
        if member.is_folder:
            return
        if member.is_special:
            remedy = "put a copy of the file in its place"
            self.add("link", name, "a link or device", "a regular file", remedy)
            self._note_id(path)
            return
        if not name.endswith(SUFFIX):
            self.add("not-nifti", name, "a file of another kind", f"masks ending in {SUFFIX} alone", "leave it out")
            self._note_id(path)
            return
        key = self._id_of(name, path)
        if key is not None:
            self._check_content(member, self._case(name, key, path))

    def together(self, where: str, partial: bool) -> None:
        """What only the masks together show."""
        count = len(self.first_of) + self.nameless
        if count == 0:
            expected = f"at least one mask, such as {self.challenge.example}"
            self.add("archive", where, "no mask", expected, "pack the masks with medmiss submit")
        elif self.known is None:
            if self.challenge.cases not in (None, count) and not partial:
                expected = f"{self.challenge.cases}, as the validation set has"
                masks = f"{count} mask{'s' if count > 1 else ''}"
                self.add("count", where, masks, expected, "give --cases CASES to see what is missing")
        elif not partial:
            self.findings += missing_cases(self.known, self.seen)
        self._same_masks()
        self._label_use(where)

    def _note_id(self, path: PurePosixPath) -> None:
        """Count the case as submitted, so that what is wrong with its file is said once."""
        key = self.challenge.case_id(stem_of(Path(path.name)) or path.name)
        if key is not None:
            self.seen.add(key)
            self.first_of.setdefault(key.lower(), str(path))

    def _id_of(self, name: str, path: PurePosixPath) -> str | None:
        """The id of a mask whose name is right and new; None after a finding."""
        key = self.challenge.case_id(_stem(path.name))
        if key is None:
            self.nameless += 1
            expected = f"a name such as {self.challenge.example}"
            self.add("name", name, "a name without the id of a case", expected, "name masks after their cases")
            return None
        first = self.first_of.get(key.lower())
        self._note_id(path)
        if first is not None:
            found = f"the id {key} again, after {first}" if key in first else f"the name {first} in other case"
            self.add("duplicate", name, found, "one mask a case", "remove one of the two")
            return None
        return key

    def _case(self, name: str, key: str, path: PurePosixPath) -> Case | None:
        """The case of a mask, where the cases are known."""
        stem = _stem(path.name)
        if self.known is None:
            if not self.challenge.is_usual(stem):
                expected = f"a name such as {self.challenge.example}"
                remedy = "check that it belongs to this challenge"
                self.add("unusual-name", name, "the id of a case under another name", expected, remedy)
            return None
        case = self.known.get(key)
        if case is None:
            self.add("unknown-case", name, f"the id {key}", "the id of a case in --cases", "remove or rename it")
        elif case.name != stem:
            remedy = "name the mask after its case"
            self.add("unusual-name", name, "the id of a case under another name", f"{case.name}{SUFFIX}", remedy)
        return case

    def _check_content(self, member: Member, case: Case | None) -> None:
        try:
            content = member.read()
        except TooLargeError as error:
            self.add("too-large", member.name, str(error), "a mask of some 100 KiB", "replace the file")
            return
        except READ_ERRORS as error:
            remedy = "pack the masks again"
            self.add("unreadable", member.name, f"a broken entry ({error})", "a file that can be unpacked", remedy)
            return
        recorded = None
        with suppress(CaseError):  # of another version: the values themselves are looked at
            recorded = recorded_labels(member.path, _stem(member.path.name)) if member.path is not None else None
        mask = check_mask(member.name, content, self.challenge, case, recorded)
        self.masks[member.name] = mask
        self.findings += mask.findings

    def _same_masks(self) -> None:
        first: dict[bytes, str] = {}
        for name, mask in self.masks.items():
            if mask.digest is not None and (other := first.setdefault(mask.digest, name)) != name:
                remedy = "look whether one case was predicted twice"
                self.add("same-mask", name, f"the same voxels as in {other}", "masks that differ", remedy)

    def _label_use(self, where: str) -> None:
        """Where 4 is the resection cavity: masks without one, and masks that use 4 as years before did."""
        convention = CONVENTIONS[self.challenge.convention]
        used = {value for mask in self.masks.values() for value in mask.values}
        if convention.rc is None or not used or not used <= set(convention.values):
            return
        if convention.rc not in used:
            found = f"no resection cavity ({convention.rc}) in any mask"
            remedy = "submit as it is if the method does not segment it: its score is that of an empty region"
            self.add("no-cavity", where, found, f"some, as {self.challenge.name} scores it", remedy)
        elif convention.et not in used:
            found = f"the label {convention.rc} (resection cavity) but no {convention.et} (enhancing tumour)"
            remedy = "if 4 is enhancing tumour, convert the masks: medmiss submit ... --labels brats2021"
            self.add("labels-unlikely", where, found, "enhancing tumour in some mask", remedy)


def _is_unsafe(name: str) -> bool:
    return name.startswith("/") or "\\" in name or ":" in name or ".." in PurePosixPath(name).parts


def _is_hidden(part: str) -> bool:
    return part.startswith(_HIDDEN_STARTS)


def _stem(name: str) -> str:
    return name.removesuffix(SUFFIX)


def _forms(challenge: Challenge) -> str:
    return f"a {' or '.join(challenge.archives)} archive of masks named {challenge.example}"
