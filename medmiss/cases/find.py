"""Finding the cases in a folder, whatever its layout; names are read, files are not opened."""

import logging
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from medmiss.cases.case import Case, ImageSource
from medmiss.cases.errors import CaseError
from medmiss.cases.files import RECORDS
from medmiss.cases.layouts import LAYOUTS, is_label, is_segmentation, modalities_in, stem_of
from medmiss.modalities import ALIASES, DISPLAY_NAMES, MODALITIES

_LOGGER = logging.getLogger(__name__)
_MSD_FOLDERS = ("imagesTr", "imagesTs")
_NAMES = "files named by modality, such as flair.nii.gz or <case>_t1ce.nii.gz"
_MAX_DEPTH = 3


def find_cases(path: Path | str) -> list[Case]:
    """Find the case or cases at a place.

    A label is an image file named so; a segmentation of Slicer (`.seg.nrrd`) is none, since it may be made of a mask.

    Args:
        path: a case folder, a folder of cases (up to three levels deep), an MSD folder (with `imagesTr` or
            `imagesTs`, or one of these), or one 4-D file, which is taken for MSD's. File names tell the layout.

    Returns:
        Cases sorted by name. In a folder of cases, one whose files are ambiguous or have no known name comes
        with its `problem`, so that the rest can go on.

    Raises:
        CaseError: when there is no such place, no case, a single case with a problem, or two cases of one name.
    """
    place = Path(path).absolute()
    if not place.exists():
        raise CaseError(place.name, "no file or folder of this name", "a case", "check the path", file=place)
    place = place.resolve() if place.name in ("", "..") else place
    cases = [_stacked_case(place)] if place.is_file() else _search(place, _MAX_DEPTH)
    if not cases:
        remedy = "check the path, or name the files one by one (--flair, --t1, --t1c, --t2)"
        raise CaseError(place.name, "no images", _NAMES, remedy, file=place)
    if len(cases) == 1 and cases[0].problem is not None:
        raise cases[0].problem
    cases.sort(key=lambda case: case.name)
    for one, other in pairwise(cases):
        if one.name == other.name:
            folders = " and ".join(str(_first_file(case)) for case in (one, other))
            raise CaseError(one.name, f"two cases of this name: {folders}", "one", "give one of the folders alone")
    return cases


def case_from_files(images: Mapping[str, Path | str]) -> Case:
    """Make a case of files named one by one.

    Its name is the name without the modality of the first file that exists, or its folder's name where nothing is left.

    Args:
        images: modality (any alias) to file.

    Raises:
        CaseError: when there is none, a file does not exist or a modality is named twice.
        ValueError: when a modality is unknown.
    """
    sources: dict[str, ImageSource] = {}
    for word, file in images.items():
        modality = ALIASES.get(word.lower())
        if modality is None:
            raise ValueError(f"unknown modality {word!r}: expected some of {', '.join(MODALITIES)}")
        path = Path(file).absolute()
        if modality in sources:
            raise _ambiguous(path.name, modality, sources[modality].path, path)
        sources[modality] = ImageSource(path)
    if not sources:
        raise CaseError("(unnamed)", "no image", "at least one", "give --flair, --t1, --t1c or --t2")
    ordered = {modality: sources[modality] for modality in MODALITIES if modality in sources}
    there = [source.path for source in ordered.values() if source.path.is_file()]
    name = _name_of(there[0]) if there else "(unnamed)"
    for source in ordered.values():
        if source.path not in there:
            raise CaseError(name, "no file of this name", "an image", "check the path", file=source.path)
    return Case(name, ordered, layout="files")


def is_file(path: Path) -> bool:
    """Whether there is a file, or a link to one that is not there (yet): reading it says so."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _search(folder: Path, depth: int) -> list[Case]:
    children = [child for child in sorted(folder.iterdir()) if not child.name.startswith(".")]
    if folder.name in _MSD_FOLDERS:
        return [_stacked_case(child) for child in children if is_file(child) and stem_of(child) is not None]
    stacked = [child for child in children if child.is_dir() and child.name in _MSD_FOLDERS]
    if stacked:
        return [case for place in stacked for case in _search(place, depth)]
    case = _folder_case(folder, [child for child in children if is_file(child)])
    found = [case] if case is not None else []
    if depth > 0 and (case is None or case.problem is not None):
        deeper = [case for child in children if child.is_dir() for case in _search(child, depth - 1)]
        return deeper or found
    return found


def _folder_case(folder: Path, files: list[Path]) -> Case | None:
    """The case whose files lie in this folder; None when there is no image file at all."""
    stems = {file: stem for file in files if (stem := stem_of(file)) is not None}
    if not stems:
        return None
    name = folder.name
    named = {file: modalities_in(stem) for file, stem in stems.items()}
    images: dict[str, ImageSource] = {}
    problem: CaseError | None = None
    for file, modalities in named.items():
        if len(modalities) > 1:
            words = " and ".join(DISPLAY_NAMES[modality] for modality in modalities)
            remedy = "rename it, or name the files one by one (--flair, --t1, --t1c, --t2)"
            problem = CaseError(name, f"a file named after {words}", "one modality a file", remedy, file=file)
        elif modalities and modalities[0] in images:
            problem = _ambiguous(name, modalities[0], images[modalities[0]].path, file)
        elif modalities:
            images[modalities[0]] = ImageSource(file)
    if not images and problem is None and (folder / RECORDS).is_dir():
        return None  # masks that medmiss wrote among the cases
    if not images and problem is None:
        files_there = ", ".join(file.name for file in list(stems)[:4])
        remedy = "rename them, or name the files one by one (--flair, --t1, --t1c, --t2)"
        problem = CaseError(name, f"no image of a known name among {files_there}", _NAMES, remedy, file=folder)
    if problem is not None:
        return Case(name, {}, problem=problem)
    image_stems = [stem for file, stem in stems.items() if named[file]]
    layout = next(row for row in LAYOUTS.values() if row.name == "plain" or row.describes(name, image_stems))
    ordered = {modality: images[modality] for modality in MODALITIES if modality in images}
    return Case(name, ordered, _label(name, stems), layout.name, layout.convention)


def _label(name: str, stems: Mapping[Path, str]) -> ImageSource | None:
    files = [file for file, stem in stems.items() if is_label(stem) and not is_segmentation(file)]
    if len(files) > 1:
        _LOGGER.warning("case %s: several label files (%s), none is used", name, ", ".join(f.name for f in files))
    return ImageSource(files[0]) if len(files) == 1 else None


def _stacked_case(file: Path) -> Case:
    """One 4-D file of MSD; its label lies in `labelsTr` beside its folder, under the same name."""
    layout = LAYOUTS["msd"]
    images = {modality: ImageSource(file, channel) for channel, modality in enumerate(MODALITIES)}
    label = file.parent.parent / "labelsTr" / file.name
    has_label = file.parent.name == "imagesTr" and label.is_file()
    source = ImageSource(label) if has_label else None
    return Case(stem_of(file) or file.stem, images, source, layout.name, layout.convention)


def _ambiguous(case: str, modality: str, first: Path, second: Path) -> CaseError:
    return CaseError(
        case,
        f"two files for {DISPLAY_NAMES[modality]}: {first.name} and {second.name}",
        "one",
        "remove one, or name the files one by one (--flair, --t1, --t1c, --t2)",
        file=second,
    )


def _name_of(path: Path) -> str:
    stem = stem_of(path) or path.stem
    prefix = stem
    for separator in ("_", "-", "."):
        before, _, word = stem.rpartition(separator)
        if before and word.lower() in ALIASES:
            prefix = min(prefix, before, key=len)  # of "a_T2-FLAIR" the whole word
    return (path.parent.resolve().name or "case") if prefix.lower() in ALIASES else prefix


def _first_file(case: Case) -> Path | None:
    if case.problem is not None:
        return case.problem.file
    return case.images[case.available[0]].path
