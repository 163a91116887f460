"""One mask of a submission: its file, its header, its voxels, and how it fits its case."""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import nibabel as nib
import numpy as np

from medmiss.cases import CONVENTIONS, Case, CaseError, Grid, Volume, background_value, read_volume
from medmiss.cases.volumes import TOLERANCE_MM
from medmiss.submission.archive import READ_ERRORS, TooLargeError, gunzip
from medmiss.submission.challenges import Challenge
from medmiss.submission.findings import Finding
from medmiss.submission.labels import likely_conventions, same_labels, values_text, wrong_values

PLAIN_DTYPES = ("uint8", "int16")
"""Voxel types without a warning: what `medmiss predict` writes, and what the organisers' own label files have."""

OUTSIDE_SHARE = 0.1
"""A mask with more than this share of its voxels on the image's background gets a warning."""

_SPACING_TOLERANCE_MM = 1e-3
_TEXT_FIELDS = ("descrip", "aux_file", "intent_name", "db_name", "data_type")
_NIFTI2_SIZE = 540
_HEADER_ERRORS = (*READ_ERRORS, nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError)
_RESUBMIT = "write it again with medmiss submit"
_Add = Callable[[str, str, str, str], None]  # kind, found, expected, remedy


@dataclass
class CheckedMask:
    """What is known of a mask.

    Args:
        findings: about this mask alone.
        values: its label values without 0; empty also where the voxels could not be read.
        digest: of its voxels; None for an empty mask and where they could not be read.
    """

    findings: list[Finding] = field(default_factory=list)
    values: frozenset[float] = frozenset()
    digest: bytes | None = None


def check_mask(
    name: str, content: bytes, challenge: Challenge, case: Case | None = None, recorded: str | None = None
) -> CheckedMask:
    """Check one mask.

    Args:
        name: of the file, for the findings.
        content: the bytes of a `.nii.gz` file.
        challenge: whose rules hold.
        case: the case it is meant for; the first of its images is read.
        recorded: key of `medmiss.cases.CONVENTIONS` in which it was predicted, where that is known.
    """
    mask = CheckedMask()

    def add(kind: str, found: str, expected: str, remedy: str) -> None:
        mask.findings.append(Finding(kind, name, found, expected, remedy))

    image = _open(content, add)
    if image is None:
        return mask
    _check_header(image, add)
    if len(image.shape) != 3:
        remedy = f"drop the extra axes, or {_RESUBMIT}"
        add("dimensions", f"an image of {len(image.shape)} axes, {image.shape}", f"three, {challenge.shape}", remedy)
        return mask
    if image.shape != challenge.shape:
        remedy = "predict on the images as the organisers give them, and keep their grid"
        add("shape", f"the shape {image.shape}", f"{challenge.shape}", remedy)
        return mask
    grid = _check_grid(image, challenge, case is not None, add)
    array = _voxels(image, add)
    if array is None:
        return mask
    values = {float(value) for value in np.unique(array)} - {0.0}
    mask.values = frozenset(values)
    _check_values(values, challenge, recorded, add)
    if values:
        mask.digest = sha256(array.astype(np.float32).tobytes()).digest()
    if case is not None:
        _check_against_case(array, grid, case, add)
    return mask


def first_image(case: Case) -> Volume:
    """The first image that a case has: masks lie on its grid.

    Raises:
        CaseError: when the case or the image cannot be read.
    """
    if case.problem is not None:
        raise case.problem
    return read_volume(case.images[case.available[0]], case.name)


def _open(content: bytes, add: _Add) -> nib.Nifti1Image | None:
    """The image, its header read; None after a finding."""
    try:
        raw = gunzip(content)
    except TooLargeError as error:
        add("too-large", str(error), "a mask of some 9 MiB", "replace the file")
        return None
    except READ_ERRORS as error:
        add("unreadable", f"no complete gzip file ({_brief(error)})", "a .nii.gz file", "write or copy it again")
        return None
    newer = _NIFTI2_SIZE in (int.from_bytes(raw[:4], order) for order in ("little", "big"))
    try:
        image = (nib.Nifti2Image if newer else nib.Nifti1Image).from_bytes(raw)
    except _HEADER_ERRORS as error:
        add("unreadable", f"no NIfTI image ({_brief(error)})", "a NIfTI image", "write or copy it again")
        return None
    if newer:
        add("format", "a NIfTI-2 image", "NIfTI-1", _RESUBMIT)
    return image


def _check_header(image: nib.Nifti1Image, add: _Add) -> None:
    header = image.header
    texts = [key for key in _TEXT_FIELDS if key in header and bytes(header[key].item()).strip(b"\0 ")]
    if header.extensions:
        texts.append("header extensions")
    if texts:  # named, not shown: it may be about a patient
        add("header-text", f"text in {', '.join(texts)}", "an empty header", _RESUBMIT)
    dtype = header.get_data_dtype()
    if dtype.kind in "iuf" and dtype.name not in PLAIN_DTYPES:
        add("dtype", f"voxels of type {dtype.name}", " or ".join(PLAIN_DTYPES), _RESUBMIT)
    stored: Any = image.dataobj
    slope, inter = stored.slope, stored.inter  # nibabel takes them out of the header
    if (slope, inter) != (1, 0):
        add("scaling", f"values scaled by {slope:g} and shifted by {inter:g}", "plain integers", _RESUBMIT)


def _check_grid(image: nib.Nifti1Image, challenge: Challenge, has_case: bool, add: _Add) -> Grid | None:
    """The mask's grid; None after a finding that leaves nothing to compare."""
    header = image.header
    coded = {form: int(header[f"{form}_code"]) > 0 for form in ("qform", "sform")}
    expected = f"that of the data, {_describe(challenge.affine)}"
    if not any(coded.values()):
        add("no-affine", "a header without qform and sform", expected, "save it with the affine of its case's image")
        return None
    try:
        grid = Grid(challenge.shape, image.affine)
        forms = {"qform": header.get_qform(), "sform": header.get_sform()}
        apart = all(coded.values()) and _distance(forms["qform"], forms["sform"], challenge) > TOLERANCE_MM
    except (ValueError, nib.spatialimages.HeaderDataError) as error:
        add("no-affine", f"an unusable affine ({_brief(error)})", expected, "save it with that of its case's image")
        return None
    if any(abs(size - 1) > _SPACING_TOLERANCE_MM for size in grid.spacing):
        sizes = " x ".join(f"{size:.4g}" for size in grid.spacing)
        remedy = "save it with the affine of its case's image"
        add("spacing", f"voxels of {sizes} mm", "1 x 1 x 1 mm", remedy)
        return None
    if challenge.exact_qform and not np.array_equal(forms["qform"], challenge.affine):
        off = np.abs(forms["qform"] - challenge.affine).max()
        found = f"a qform of {_describe(forms['qform'])}, up to {off:.2g} off"
        remedy = f"{_RESUBMIT}; where the images of the case have it too, get the case anew from the organisers"
        add("qform", found, f"exactly {_describe(challenge.affine)}", remedy)
        return None
    if apart:
        found = f"a qform of {_describe(forms['qform'])} and an sform of {_describe(forms['sform'])}"
        add("sform-qform", found, "one and the same", _RESUBMIT)
        return None
    if not has_case and grid.distance_mm(Grid(challenge.shape, challenge.affine)) > TOLERANCE_MM:
        remedy = "check it against its case (--cases)"
        add("placement", f"an affine of {_describe(grid.affine)}", expected, remedy)
    return grid


def _voxels(image: nib.Nifti1Image, add: _Add) -> np.ndarray | None:
    """`(X, Y, Z)`, whole numbers; None after a finding."""
    dtype = image.get_data_dtype()
    if dtype.kind not in "iuf":
        add("values", f"voxels of type {dtype}", "label values", _RESUBMIT)
        return None
    try:
        array = np.asanyarray(image.dataobj)
    except _HEADER_ERRORS as error:
        add("unreadable", f"a truncated image ({_brief(error)})", "a complete one", "write or copy it again")
        return None
    if array.dtype.kind != "f":
        return array
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        add("values", f"{bad} NaN or infinite voxels", "label values", "repair what wrote it")
        return None
    broken = array != np.floor(array)
    if broken.any():
        found = f"values that are no whole numbers, such as {array[broken][0]:g}"
        add("values", found, "label values", "give masks, not probabilities, and resample labels by nearest neighbour")
        return None
    return array


def _check_values(values: set[float], challenge: Challenge, recorded: str | None, add: _Add) -> None:
    convention = CONVENTIONS[challenge.convention]
    expected = f"{values_text(convention.values)} ({convention.name})"
    command = f"medmiss submit MASKS --challenge {challenge.name} --cases CASES --out FILE.zip"
    if recorded is not None and not same_labels(CONVENTIONS[recorded], convention):
        add("labels", f"labels of {recorded}, as its record says", expected, f"convert them: {command}")
        return
    wrong = wrong_values(values, convention)
    if wrong:
        likely = likely_conventions(values)
        guess = f", as in {' or '.join(likely)}" if likely else ", which no known year has"
        remedy = f"convert them: {command} --labels {likely[0]}" if likely else "write masks in the challenge's labels"
        add("labels", f"label value{'s' if len(wrong) > 1 else ''} {values_text(wrong)}{guess}", expected, remedy)
    elif not values:
        add("empty", "no labelled voxel", "a tumour", "look at the case; a mask may rightly be empty")


def _check_against_case(array: np.ndarray, grid: Grid | None, case: Case, add: _Add) -> None:
    try:
        volume = first_image(case)
    except CaseError as error:
        where = error.file.name if error.file is not None else case.name
        add("case-image", f"{error.found} in {where} of its case", error.expected, f"{error.remedy} and check again")
        return
    if grid is None:
        return
    file = case.images[case.available[0]].path.name
    if grid.distance_mm(volume.grid) > TOLERANCE_MM:
        expected = f"the grid of {file}, {_describe(volume.affine)}, shape {volume.grid.shape}"
        remedy = "predict on these images, or resample the mask to them by nearest neighbour"
        add("grid", f"{_describe(grid.affine)}, shape {grid.shape}", expected, remedy)
        return
    background = background_value(volume.array)
    labelled = array != 0
    if background is not None and labelled.any():
        share = float(np.mean(volume.array[labelled] == background))
        if share > OUTSIDE_SHARE:
            remedy = "look whether the mask is flipped or of another case"
            add("outside-brain", f"{share:.0%} of the mask on the background of {file}", "tumour", remedy)


def _distance(one: np.ndarray, other: np.ndarray, challenge: Challenge) -> float:
    return Grid(challenge.shape, one).distance_mm(Grid(challenge.shape, other))


def _describe(affine: np.ndarray) -> str:
    """Axes and origin of an affine: `"LPS, origin (0, 239, 0)"`; the origin in mm, RAS+."""
    axes = "".join(code or "?" for code in nib.aff2axcodes(affine))
    origin = ", ".join(f"{value + 0.0:.6g}" for value in affine[:3, 3])
    return f"{axes}, origin ({origin})"


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:100]
