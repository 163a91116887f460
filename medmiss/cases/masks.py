"""Label maps on disk: the masks of `medmiss predict` and of others, and the experts' label files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medmiss.cases.case import Case, ImageSource
from medmiss.cases.errors import CaseError
from medmiss.cases.files import RECORDS, read_record
from medmiss.cases.find import find_cases, is_file
from medmiss.cases.geometry import Grid
from medmiss.cases.labels import CONVENTIONS, LabelConvention
from medmiss.cases.layouts import LAYOUTS, is_segmentation, modalities_in, name_without_label, stem_of
from medmiss.cases.volumes import TOLERANCE_MM, grid_mismatch, load_array

PROBABILITIES = "_probabilities"
"""What the name of a file of probabilities ends in; it is no mask."""


@dataclass(frozen=True)
class Mask:
    """A label map in memory.

    Attributes:
        array: `(X, Y, Z)` uint8, in the values of its file.
        grid: of the file.
    """

    array: np.ndarray
    grid: Grid


def find_masks(path: Path | str) -> dict[str, Path]:
    """The label maps at a place, by case.

    Args:
        path: one image file; a folder with one image file a case, named by the case, with or without `_seg` (what
            `medmiss predict` writes; probabilities, Slicer's segmentations and hidden files are not masks); or
            labelled cases as `find_cases` reads them, which a file named by a modality tells, unless
            `medmiss predict` has recorded that it is a mask.

    Returns:
        Case name to file, sorted by name.

    Raises:
        CaseError: when there is no such place, no label map, or two of one name.
    """
    place = Path(path)
    if place.is_file():
        return {name_without_label(stem_of(place) or place.stem): place}
    if not place.exists():
        raise CaseError(place.name, "no file or folder of this name", "label maps", "check the path", file=place)
    files = (file for file in sorted(place.iterdir()) if is_file(file) and not is_segmentation(file))
    stems = {file: stem for file in files if (stem := stem_of(file))}
    others = [stem for stem in stems.values() if not record_path(place, stem).is_file()]
    if not stems or any(modalities_in(stem) for stem in others):
        named = [(case.name, case.label.path) for case in find_cases(place) if case.label is not None]
    else:
        named = [(name_without_label(stem), file) for file, stem in stems.items() if not stem.endswith(PROBABILITIES)]
    if not named:
        raise CaseError(place.name, "no label map", "one a case", "give a folder of masks or of labelled cases", place)
    found: dict[str, Path] = {}
    for name, file in named:
        if name in found:
            raise CaseError(name, f"two label maps: {found[name].name} and {file.name}", "one", "remove one", file)
        found[name] = file
    return dict(sorted(found.items()))


def read_mask(path: Path, case: str, convention: LabelConvention | None = None) -> Mask:
    """Read a label map as it is on disk.

    Args:
        path: the file.
        case: for errors.
        convention: whose values the file may hold; without it any integers from 0 to 255.

    Raises:
        CaseError: when the file is unreadable or not 3-D, holds NaN, or holds a value that is no integer or
            that the convention does not know.
    """
    array, affine, _ = load_array(ImageSource(path), case)
    values = np.unique(array).tolist()
    known: Sequence[float] = range(256) if convention is None else convention.values
    unknown = [value for value in values if value not in known]
    if unknown:
        found = "label values " + ", ".join(f"{value:g}" for value in unknown[:5])
        expected = "integers from 0 to 255" if convention is None else f"{convention.values} ({convention.name})"
        remedy = "name the convention the labels follow, since values differ by year"
        raise CaseError(case, found, expected, remedy, file=path)
    x, y, z = array.shape
    return Mask(array.astype(np.uint8), Grid((x, y, z), affine))


def read_label(case: Case, grid: Grid | None = None) -> Mask:
    """Read a case's own label map, in the values of `case.convention`.

    Args:
        case: only its label file is opened.
        grid: that of the images, which the label must share.

    Raises:
        CaseError: when there is none, when it is unusable (see `read_mask`), or when it does not lie on `grid`.
    """
    if case.label is None:
        raise CaseError(case.name, "no label file", "one", "add it, or use the case for prediction only")
    mask = read_mask(case.label.path, case.name, CONVENTIONS[case.convention])
    if grid is not None and mask.grid.distance_mm(grid) > TOLERANCE_MM:
        raise grid_mismatch(case.name, case.images[case.available[0]].path, grid, case.label.path, mask.grid)
    return mask


def record_path(folder: Path, case: str) -> Path:
    """Where it is written how the mask of a case in this folder was made."""
    return folder / RECORDS / f"{case}.json"


def recorded_labels(path: Path, case: str) -> str | None:
    """The label convention of a mask that `medmiss predict` wrote; None where nothing is recorded.

    Args:
        path: the mask.
        case: its name.

    Raises:
        CaseError: when what is recorded is no convention of this version.
    """
    settings = (read_record(record_path(path.parent, case)) or {}).get("settings")
    labels = settings.get("labels") if isinstance(settings, dict) else None
    if labels is not None and labels not in CONVENTIONS:
        found, remedy = f"labels of an unknown convention, {labels!r}, as its record says", "predict the case again"
        raise CaseError(case, found, f"one of {', '.join(CONVENTIONS)}", remedy, path)
    return labels


def guessed_labels(path: Path, case: str) -> str:
    """The label convention that the name of a mask speaks for.

    That of the first layout whose case names are like this one's or its file's (`BraTS-GLI-00000-000`,
    `BraTS2021_00000`), msd for a file in a folder `labelsTr`, and brats2018 for any other, as for images of no
    known layout.

    Args:
        path: the mask.
        case: its name.
    """
    names = (case, stem_of(path) or "")
    for layout in LAYOUTS.values():
        if layout.stacked and path.parent.name == layout.label_path(Path(), case).parent.name:
            return layout.convention
        if layout.case_pattern and any(re.match(layout.case_pattern, name, re.IGNORECASE) for name in names):
            return layout.convention
    return "brats2018"
