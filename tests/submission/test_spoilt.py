"""Every way to spoil a submission that the checker knows: one finding, of the right kind, at the right file."""

import gzip
import io
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medmiss.submission import KINDS, check_submission
from medmiss.submission.archive import MAX_MASK_BYTES, MAX_MEMBERS, pack

A, B = "BraTS-GLI-00001-000.nii.gz", "BraTS-GLI-00002-000.nii.gz"
ARCHIVE = "the archive"
Files = dict[str, bytes]
Spoil = Callable[[Any, Files], bytes]
"""From the kit and a good submission to the bytes of a spoilt archive."""


def zipped(*entries: tuple[str, bytes]) -> bytes:
    """A zip archive that may hold one name twice."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def renamed(old: str, new: str) -> Spoil:
    return lambda kit, files: zipped(*((new if name == old else name, content) for name, content in files.items()))


def added(name: str, content: bytes = b"text") -> Spoil:
    return lambda kit, files: zipped(*files.items(), (name, content))


def replaced(make: Callable[[Any], bytes]) -> Spoil:
    """The first mask replaced by other bytes."""
    return lambda kit, files: zipped(*{**files, A: make(kit)}.items())


def image(make: Callable[[Any], nib.Nifti1Image]) -> Spoil:
    """The first mask replaced by another image."""
    return replaced(lambda kit: kit.packed(make(kit)))


def linked(kit: Any, files: Files) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo(A)
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(info)
        info = tarfile.TarInfo(B)
        info.size = len(files[B])
        tar.addfile(info, io.BytesIO(files[B]))
    return buffer.getvalue()


def linked_in_zip(kit: Any, files: Files) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo(A)
        entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/hostname")
        archive.writestr(B, files[B])
    return buffer.getvalue()


def broken_entry(kit: Any, files: Files) -> bytes:
    content = bytearray(zipped(*files.items()))
    place = content.find(files[A]) + len(files[A]) // 2
    content[place] ^= 255  # the checksum of the entry is wrong now
    return bytes(content)


def placed(shift: float, forms: tuple[str, ...] = ("qform", "sform")) -> Callable[[Any], nib.Nifti1Image]:
    """A mask whose header puts it elsewhere by some mm, in these forms of its affine."""

    def make(kit: Any) -> nib.Nifti1Image:
        image = kit.image()
        affine = kit.affine.copy()
        affine[0, 3] += shift
        for form in forms:
            getattr(image, f"set_{form}")(affine, code=1)
        return image

    return make


def without_affine(kit: Any) -> nib.Nifti1Image:
    return nib.Nifti1Image(kit.tumour(), None)


def with_header(**fields: Any) -> Callable[[Any], nib.Nifti1Image]:
    def make(kit: Any) -> nib.Nifti1Image:
        image = kit.image()
        for name, value in fields.items():
            image.header[name] = value
        return image

    return make


def with_extension(kit: Any) -> nib.Nifti1Image:
    image = kit.image()
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"of a patient"))
    return image


def scaled(kit: Any) -> bytes:
    raw = bytearray(kit.image(kit.tumour().astype(np.int16) * 2).to_bytes())
    raw[112:116] = np.float32(0.5).tobytes()  # scl_slope: 2 4 6 read as 1 2 3
    return gzip.compress(bytes(raw))


def negative(kit: Any) -> nib.Nifti1Image:
    array = kit.tumour().astype(np.int16)
    array[0, 0, 0] = -1
    return kit.image(array)


def at_the_edge(kit: Any) -> nib.Nifti1Image:
    array = np.zeros(kit.shape, dtype=np.uint8)
    array[0:2, 0:3] = 2
    return kit.image(array)


def nifti2(kit: Any) -> bytes:
    image = nib.Nifti2Image(kit.tumour(), kit.affine)
    image.set_qform(kit.affine, code=1)
    image.set_sform(kit.affine, code=1)
    return gzip.compress(image.to_bytes())


SPOILT: dict[str, tuple[Spoil, str, str]] = {
    # what was done: how, kind of finding, where it is found
    "text file": (lambda kit, files: b"no archive at all", "archive", ARCHIVE),
    "truncated zip": (lambda kit, files: zipped(*files.items())[:-30], "archive", ARCHIVE),
    "truncated tar": (lambda kit, files: pack(files, "tar")[:-200], "archive", ARCHIVE),
    "no masks": (lambda kit, files: zipped(), "archive", ARCHIVE),
    "too many entries": (
        lambda kit, files: zipped(*((f"{n}", b"") for n in range(MAX_MEMBERS + 1))),
        "too-large",
        ARCHIVE,
    ),
    "path traversal": (renamed(A, f"../{A}"), "path", f"../{A}"),
    "traversal inside": (renamed(A, f"masks/../../{A}"), "path", f"masks/../../{A}"),
    "absolute path": (renamed(A, f"/tmp/{A}"), "path", f"/tmp/{A}"),
    "Windows path": (renamed(A, f"C:\\{A}"), "path", f"C:\\{A}"),
    "link in a tar": (linked, "link", A),
    "link in a zip": (linked_in_zip, "link", A),
    "broken entry": (broken_entry, "unreadable", A),
    "nested folder": (renamed(A, f"masks/{A}"), "nested", "masks"),
    "empty folder": (added("masks/", b""), "nested", "masks"),
    "macOS leftovers": (added(f"__MACOSX/._{A}"), "hidden", "__MACOSX"),
    "desktop leftovers": (added(".DS_Store"), "hidden", ".DS_Store"),
    "text among masks": (added("readme.txt"), "not-nifti", "readme.txt"),
    "not compressed": (renamed(A, A.removesuffix(".gz")), "not-nifti", A.removesuffix(".gz")),
    "extra name": (added("mean.nii.gz"), "name", "mean.nii.gz"),
    "label suffix": (
        lambda kit, files: zipped(*files.items(), (A.replace(".nii", "-seg.nii"), files[A])),
        "name",
        A.replace(".nii", "-seg.nii"),
    ),
    "same name twice": (lambda kit, files: zipped(*files.items(), (A, files[A])), "duplicate", A),
    "one id twice": (
        lambda kit, files: zipped(*files.items(), ("copy-00001-000.nii.gz", files[A])),
        "duplicate",
        "copy-00001-000.nii.gz",
    ),
    "unknown case": (
        lambda kit, files: zipped(*files.items(), ("BraTS-GLI-00009-000.nii.gz", kit.packed(kit.image(kit.tumour(3))))),
        "unknown-case",
        "BraTS-GLI-00009-000.nii.gz",
    ),
    "missing case": (lambda kit, files: zipped((A, files[A])), "missing-case", B.removesuffix(".nii.gz")),
    "another prefix": (renamed(A, "BraTS-MET-00001-000.nii.gz"), "unusual-name", "BraTS-MET-00001-000.nii.gz"),
    "no gzip": (replaced(lambda kit: kit.image().to_bytes()), "unreadable", A),
    "truncated gzip": (replaced(lambda kit: kit.packed(kit.image())[:-40]), "unreadable", A),
    "no NIfTI": (replaced(lambda kit: gzip.compress(b"text" * 200)), "unreadable", A),
    "truncated voxels": (replaced(lambda kit: gzip.compress(kit.image().to_bytes()[:-99])), "unreadable", A),
    "decompression bomb": (
        replaced(lambda kit: gzip.compress(bytes(MAX_MASK_BYTES + 1), compresslevel=1)),
        "too-large",
        A,
    ),
    "4-D": (image(lambda kit: kit.image(kit.tumour()[..., None])), "dimensions", A),
    "another shape": (image(lambda kit: kit.image(kit.tumour()[:-1])), "shape", A),
    "axes swapped": (image(lambda kit: kit.image(kit.tumour().swapaxes(0, 1))), "shape", A),
    "no affine": (image(without_affine), "no-affine", A),
    "spacing": (image(lambda kit: kit.image(None, np.diag([-2.0, -2, 2, 1]))), "spacing", A),
    "another orientation": (image(lambda kit: kit.image(None, np.eye(4))), "qform", A),
    "origin by a rounding": (image(placed(1e-4)), "qform", A),
    "sform elsewhere": (image(placed(3, forms=("sform",))), "sform-qform", A),
    "NIfTI-2": (replaced(nifti2), "format", A),
    "float voxels": (image(lambda kit: kit.image(kit.tumour().astype(np.float32))), "dtype", A),
    "scaled voxels": (replaced(scaled), "scaling", A),
    "header text": (image(with_header(descrip=b"Jane Doe", db_name=b"x")), "header-text", A),
    "header extension": (image(with_extension), "header-text", A),
    "a complex image": (image(lambda kit: kit.image(kit.tumour().astype(np.complex64))), "values", A),
    "label of another year": (image(lambda kit: kit.image(kit.tumour(0, (1, 2, 4)))), "labels", A),
    "negative label": (image(negative), "labels", A),
    "empty mask": (image(lambda kit: kit.image(np.zeros(kit.shape, np.uint8))), "empty", A),
    "same voxels twice": (lambda kit, files: zipped((A, files[A]), (B, files[A])), "same-mask", B),
    "outside the brain": (image(at_the_edge), "outside-brain", A),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_submission_has_one_finding(kit: Any, tmp_path: Path, how: str):
    spoil, kind, where = SPOILT[how]
    cases = kit.cases(tmp_path / "cases", kit.a, kit.b)
    archive = spoil(kit, kit.files(kit.a, kit.b))
    found = check_submission(archive, kit.challenge("brats2023-gli"), cases)
    assert [(finding.kind, finding.where) for finding in found] == [(kind, where)]
    (line,) = str(found[0]).splitlines()
    assert line.startswith(f"{KINDS[kind]} [{kind}] {where}: found ")
    assert "but expected" in line
    assert found[0].remedy


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.5])
def test_voxels_that_are_no_labels(kit: Any, value: float):
    array = kit.tumour().astype(np.float32)
    array[0, 0, 0] = value
    archive = zipped((A, kit.packed(kit.image(array))), (B, kit.files(kit.b)[B]))
    found = check_submission(archive, kit.challenge("brats2023-gli"))
    assert {finding.kind: finding.where for finding in found} == {"dtype": A, "values": A}


@pytest.mark.parametrize("form", ["zip", "tar", "folder"])
def test_a_good_submission_has_none(kit: Any, tmp_path: Path, form: str):
    files = kit.files(kit.a, kit.b)
    cases = kit.cases(tmp_path / "cases", kit.a, kit.b)
    path = tmp_path / {"zip": "s.zip", "tar": "s.tar.gz", "folder": "masks"}[form]
    if form == "folder":
        (path / ".medmiss").mkdir(parents=True)
        (path / ".medmiss" / "record.json").write_text("{}")
        for name, content in files.items():
            (path / name).write_bytes(content)
    else:
        path.write_bytes(pack(files, form))
    challenge = kit.challenge("brats2023-gli")
    assert check_submission(path, challenge, cases) == []
    assert check_submission(path, challenge) == []


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_as_the_shell_packs_it(kit: Any, tmp_path: Path, mode: str):
    for name, content in kit.files(kit.a, kit.b).items():
        (tmp_path / name).write_bytes(content)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        tar.add(tmp_path, arcname=".")
    assert check_submission(buffer.getvalue(), kit.challenge("brats2023-gli")) == []


def test_nothing_is_written_where_a_member_points(kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    content = kit.files(kit.a)[A]
    for name in (f"../{A}", f"{tmp_path}/{A}", f"sub/{A}"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for archive in (zipped((name, content)), buffer.getvalue()):
            assert check_submission(archive, kit.challenge("brats2023-gli"), partial=True)
    assert [path for path in tmp_path.rglob("*") if path != inner] == []


def test_names_of_an_archive_do_not_reach_the_terminal_raw(kit: Any):
    archive = zipped((A, kit.files(kit.a)[A]), ("x\n\x1b[2Jerror.txt", b""))
    (finding,) = check_submission(archive, kit.challenge("brats2023-gli"), partial=True)
    assert "\n" not in str(finding)
    assert "\x1b" not in str(finding)


def test_header_text_is_named_and_not_shown(kit: Any):
    image = kit.image()
    image.header["descrip"] = b"Jane Doe"
    archive = zipped((A, kit.packed(image)))
    (finding,) = check_submission(archive, kit.challenge("brats2023-gli"), partial=True)
    assert "descrip" in str(finding)
    assert "Jane" not in str(finding)


def test_a_huge_shape_in_a_header_is_not_allocated(kit: Any):
    raw = bytearray(kit.image().to_bytes())
    raw[42:48] = np.array([32767, 32767, 32767], dtype="<i2").tobytes()
    archive = zipped((A, gzip.compress(bytes(raw))))
    (finding,) = check_submission(archive, kit.challenge("brats2023-gli"), partial=True)
    assert finding.kind == "shape"


def test_a_compressed_tar_bomb_is_stopped(kit: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("medmiss.submission.archive.MAX_TOTAL_BYTES", 2**20)
    (finding,) = check_submission(gzip.compress(bytes(2**21)), kit.challenge("brats2023-gli"))
    assert finding.kind == "too-large"


def test_links_and_hidden_files_in_a_folder(kit: Any, tmp_path: Path):
    folder = tmp_path / "masks"
    folder.mkdir()
    for name, content in kit.files(kit.a).items():
        (folder / name).write_bytes(content)
    (folder / ".DS_Store").write_bytes(b"")
    (folder / B).symlink_to(folder / A)
    found = check_submission(folder, kit.challenge("brats2023-gli"))
    assert {finding.kind: finding.where for finding in found} == {"hidden": ".DS_Store", "link": B}
