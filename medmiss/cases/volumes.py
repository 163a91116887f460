"""Reading and writing volumes, with every way a file can be wrong turned into a `CaseError`."""

import gzip
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import nibabel as nib
import numpy as np

from medmiss.cases.case import Case, ImageSource
from medmiss.cases.errors import CaseError
from medmiss.cases.files import write_atomically
from medmiss.cases.foreground import background_value
from medmiss.cases.geometry import Grid
from medmiss.modalities import DISPLAY_NAMES

TOLERANCE_MM = 0.1
"""Modalities are on one grid when no corner voxel of one lies further than this from the other's, mm."""

NIFTI_SUFFIXES = (".nii.gz", ".nii")
ITK_SUFFIXES = (".mha", ".mhd", ".nrrd")
SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES

_READ_ERRORS = (
    OSError,
    EOFError,
    MemoryError,
    OverflowError,
    ValueError,
    RuntimeError,
    zlib.error,
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
)


@dataclass(frozen=True)
class Volume:
    """A volume in memory.

    Args:
        array: `(X, Y, Z)`, float32.
        affine: `(4, 4)`, voxel index to mm in RAS+ world coordinates.
        doubt: why the affine may be wrong, in words that follow the file's name; empty where there is no doubt.
    """

    array: np.ndarray
    affine: np.ndarray
    doubt: str = ""

    @property
    def grid(self) -> Grid:
        """Shape and position of the volume."""
        x, y, z = self.array.shape
        return Grid((x, y, z), self.affine)


@dataclass(frozen=True)
class CaseVolumes:
    """The available modalities of a case on one grid.

    Args:
        arrays: modality to `(X, Y, Z)`, float32, in channel order.
        grid: that of the first available modality.
        warnings: what was done to the files or assumed about them, one sentence each.
    """

    arrays: dict[str, np.ndarray]
    grid: Grid
    warnings: list[str] = field(default_factory=list)


def read_volume(source: ImageSource, case: str) -> Volume:
    """Read one volume; of a 4-D file, only the source's channel.

    NIfTI is read with nibabel, the other formats with SimpleITK. A fourth axis of length 1 is dropped.

    Args:
        source: the file, and its channel where it is 4-D.
        case: name of the case, for errors.

    Raises:
        CaseError: when the file is missing, truncated or no image, is 2-D, empty or constant, holds NaN or
            infinite values, or is 4-D where 3-D is expected and the other way round.
    """
    array, affine, doubt = load_array(source, case)
    if array.min() == array.max():
        _fail(case, source.path, f"the value {array.flat[0]:g} in every voxel", "an image", "leave this modality out")
    return Volume(array, affine, doubt)


def read_case(case: Case, resample: bool = False) -> CaseVolumes:
    """Read the available modalities of a case and check that they lie on one grid.

    Args:
        case: only the files of `case.images` are opened.
        resample: bring modalities that lie on another grid to the first one's (linear interpolation in world
            coordinates, the background outside) instead of refusing them.

    Raises:
        CaseError: when a file is unusable (see `read_volume`), or when shape or affine differ by more than
            `TOLERANCE_MM` and `resample` is off.
    """
    if case.problem is not None:
        raise case.problem
    arrays: dict[str, np.ndarray] = {}
    warnings: list[str] = []
    first = case.available[0]
    grid: Grid | None = None
    for modality in case.available:
        source = case.images[modality]
        volume = read_volume(source, case.name)
        if volume.doubt:
            warnings.append(f"{source.path.name} {volume.doubt}")
        grid = grid or volume.grid
        array = volume.array
        if volume.grid.distance_mm(grid) > TOLERANCE_MM:
            if not resample:
                raise grid_mismatch(case.name, case.images[first].path, grid, source.path, volume.grid)
            array = _resample(volume, grid)
            warnings.append(f"{DISPLAY_NAMES[modality]} was resampled to the grid of {DISPLAY_NAMES[first]}")
        arrays[modality] = array
    assert grid is not None  # a case has at least one modality
    return CaseVolumes(arrays, grid, warnings)


def write_volume(path: Path, array: np.ndarray, grid: Grid) -> None:
    """Write a NIfTI file at once or not at all.

    The header holds dtype, shape, voxel size (mm) and the affine, as sform and qform alike, and nothing else;
    the same input gives the same bytes.

    Args:
        path: ends in `.nii.gz` or `.nii`; its folder is made.
        array: `(X, Y, Z)`, or `(X, Y, Z, C)` for a 4-D file, in a dtype that NIfTI has.
        grid: the volume's grid.

    Raises:
        ValueError: when the array's first three axes are not the grid's or the file name is another format's.
    """
    if array.ndim not in (3, 4) or array.shape[:3] != grid.shape:
        raise ValueError(f"array of shape {array.shape}: expected {grid.shape}, with or without a channel axis")
    if not path.name.endswith(NIFTI_SUFFIXES):
        raise ValueError(f"{path}: expected a name ending in .nii.gz or .nii")
    image = nib.Nifti1Image(array, grid.affine)
    image.set_sform(grid.affine, code=1)
    image.set_qform(grid.affine, code=1)
    image.header.set_xyzt_units("mm")
    content = image.to_bytes()
    if path.name.endswith(".gz"):
        content = gzip.compress(content, compresslevel=4, mtime=0)
    write_atomically(path, content)


def load_array(source: ImageSource, case: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Array `(X, Y, Z)` (float32, finite), affine and why this may be wrong (see `Volume`).

    Raises:
        CaseError: as `read_volume`, but that a constant volume is fine.
    """
    path = source.path
    if path.is_symlink() and not path.exists():
        _fail(case, path, "a link to a file that is not there", "an image", "fetch the file, or remove the link")
    if not path.is_file():
        _fail(case, path, "no file of this name", "an image", "check the path")
    try:
        array, affine, doubt = (_load_nifti if path.name.lower().endswith(NIFTI_SUFFIXES) else _load_itk)(source, case)
    except _READ_ERRORS as error:
        text = " ".join(str(error).split()).rpartition("ERROR: ")[2]  # SimpleITK puts source lines before it
        _fail(case, path, f"an unreadable file ({text[:200]})", "a NIfTI, MetaImage or NRRD image", "replace it")
    if array.ndim != 3 or min(array.shape) < 2:
        _fail(case, path, f"an image of shape {array.shape}", "a 3-D volume", "give a 3-D volume")
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        remedy = "repair the file or leave it out"
        _fail(case, path, f"{bad} NaN or infinite voxels of {array.size}", "finite values", remedy)
    try:
        Grid(array.shape, affine)
    except ValueError:
        found, expected = f"the affine {affine.tolist()}", "finite numbers and a volume per voxel above 0"
        _fail(case, path, found, expected, "repair the header")
    return array, affine, doubt


def _load_nifti(source: ImageSource, case: str) -> tuple[np.ndarray, np.ndarray, str]:
    image = nib.load(source.path, mmap=False)
    if not isinstance(image, nib.Nifti1Image):  # NIfTI-2 is a subclass
        _fail(case, source.path, f"a {type(image).__name__}", "a NIfTI image", "convert it")
    if image.get_data_dtype().kind not in "iuf":
        _fail(case, source.path, f"voxels of type {image.get_data_dtype()}", "numbers", "give a grey-value image")
    index = _channel_index(source, case, image.shape[3:])
    array = np.asarray(image.dataobj if index is None else image.dataobj[..., index], dtype=np.float32)
    return array.reshape(array.shape[:3]), image.affine, _doubt(image)


def _doubt(image: nib.Nifti1Image) -> str:
    """Why a NIfTI's affine may be wrong: its header gives none, or two."""
    forms = [form for form, code in (image.get_sform(coded=True), image.get_qform(coded=True)) if code > 0]
    if not forms:
        return f"does not say how it is oriented: taken as {_axes(image.affine)}"
    try:
        x, y, z = image.shape[:3]
        sform, *others = (Grid((x, y, z), form) for form in forms)
        gap = max((sform.distance_mm(other) for other in others), default=0.0)
    except ValueError:  # one of them is no affine: that of the image is checked in any case
        return ""
    if gap <= TOLERANCE_MM:
        return ""
    return (
        f"says in two ways where it lies, {gap:.1f} mm apart: its sform ({_axes(forms[0])}) is taken, the mask follows "
        f"it, and a viewer that takes the qform ({_axes(forms[1])}) shows the mask elsewhere; repair the header"
    )


def _load_itk(source: ImageSource, case: str) -> tuple[np.ndarray, np.ndarray, str]:
    import SimpleITK as sitk

    image = sitk.ReadImage(str(source.path))
    array = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:  # components come last and are the channels
        array = np.moveaxis(array, -1, 0)
    array = array.T
    if image.GetDimension() < 3:
        _fail(case, source.path, f"an image of shape {array.shape}", "a 3-D volume", "give a 3-D volume")
    index = _channel_index(source, case, array.shape[3:])
    array = array if index is None else array[..., index]
    dimension = image.GetDimension()
    direction = np.array(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    affine[:2] *= -1  # ITK's world is LPS+, nibabel's RAS+
    return array.reshape(array.shape[:3]).astype(np.float32), affine, ""


def _channel_index(source: ImageSource, case: str, channels: tuple[int, ...]) -> int | None:
    """The index on the fourth axis, None for a volume without one (or with a fourth axis of length 1)."""
    count = int(np.prod(channels, dtype=int))
    if source.channel is None:
        if count > 1:
            remedy = "give one 3-D file a modality, or the 4-D file of an MSD case alone"
            _fail(case, source.path, f"a 4-D image with {count} volumes", "a 3-D volume", remedy)
        return None
    if len(channels) != 1 or source.channel >= count:
        found = f"{count} volume{'s' if count > 1 else ''} in the file"
        remedy = "name 3-D files by modality (--flair, --t1, --t1c, --t2)"
        _fail(case, source.path, found, f"a 4-D file with channel {source.channel}", remedy)
    return source.channel


def _resample(volume: Volume, grid: Grid) -> np.ndarray:
    import SimpleITK as sitk

    value = background_value(volume.array)
    fill = float(volume.array.min()) if value is None else value
    image = _itk_image(volume.array, volume.affine)
    reference = _itk_image(np.zeros(grid.shape, dtype=np.uint8), grid.affine)
    return sitk.GetArrayFromImage(sitk.Resample(image, reference, sitk.Transform(), sitk.sitkLinear, fill)).T.copy()


def _itk_image(array: np.ndarray, affine: np.ndarray):
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array.T)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = nib.affines.voxel_sizes(affine)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def grid_mismatch(case: str, first: Path, grid: Grid, second: Path, other: Grid) -> CaseError:
    """The error of two files that do not lie on one grid."""

    def describe(path: Path, place: Grid) -> str:
        origin = ", ".join(f"{value:.4g}" for value in place.affine[:3, 3])
        spacing = " x ".join(f"{value:.4g}" for value in place.spacing)
        return f"{path.name} has shape {place.shape}, {_axes(place.affine)}, {spacing} mm, origin ({origin})"

    return CaseError(
        case,
        f"two grids: {describe(first, grid)}; {describe(second, other)}",
        f"one grid within {TOLERANCE_MM} mm",
        "co-register the files, or use --resample to bring the images to the grid of the first",
        file=second,
    )


def _axes(affine: np.ndarray) -> str:
    return "".join(nib.aff2axcodes(affine))


def _fail(case: str, path: Path, found: str, expected: str, remedy: str) -> NoReturn:
    raise CaseError(case, found, expected, remedy, file=path)
