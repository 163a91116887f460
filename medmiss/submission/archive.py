"""Archives of masks: read without writing anything to disk under the archive's names, and packed the same each time.

An archive may come from anywhere. Its members are read into memory one at a time, up to a size, and where a
compressed tar is expanded it goes into a nameless temporary file, up to a size.
"""

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from medmiss.cases.files import RECORDS

MAX_MASK_BYTES = 256 * 2**20
"""Of one member, packed or not; a mask of 240x240x155 voxels in float64 has 68 MiB."""

MAX_TOTAL_BYTES = 2 * 2**30
"""Of all members as they lie in the archive; a submission has some 20 MiB."""

MAX_MEMBERS = 10_000

READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,  # an encrypted member
    NotImplementedError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
)
"""What the standard library raises of a broken archive."""

_EXPANDERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_CHUNK = 2**20


class TooLargeError(Exception):
    """More bytes or members than a submission can have; the text is a noun phrase."""


class NotAnArchiveError(Exception):
    """Neither zip nor tar, or broken; the text is a noun phrase."""


@dataclass(frozen=True)
class Member:
    """One entry of an archive or folder.

    Args:
        name: as stored, with `/` between folders.
        read: its bytes; raises `TooLargeError`, or one of `READ_ERRORS`.
        is_folder: an entry for a folder.
        is_special: a link or a device: no file of its own.
        path: where it lies, in a folder on disk.
    """

    name: str
    read: Callable[[], bytes]
    is_folder: bool = False
    is_special: bool = False
    path: Path | None = None


@dataclass(frozen=True)
class Archive:
    """What was opened.

    Args:
        form: `"zip"`, `"tar"` or `"folder"`.
        members: in the order stored; of a folder, sorted by name.
    """

    form: str
    members: list[Member]


@contextmanager
def open_archive(source: Path | bytes) -> Iterator[Archive]:
    """Open an archive (by its content, not its name) or a folder.

    Args:
        source: a file, a folder (its `.medmiss` records are no part of it), or an archive's bytes.

    Raises:
        NotAnArchiveError: when it is no archive or a broken one.
        TooLargeError: when there is more in it than a submission can have.
    """
    if isinstance(source, Path) and source.is_dir():
        yield Archive("folder", _folder_members(source))
        return
    with ExitStack() as opened:
        stream = opened.enter_context(_stream(source))
        if zipfile.is_zipfile(stream):
            with _reported("a broken zip archive"):
                archive = opened.enter_context(zipfile.ZipFile(stream))
                members = _zip_members(archive)
            yield Archive("zip", members)
            return
        stream.seek(0)
        if (expander := _expander(stream)) is not None:
            expanded = opened.enter_context(tempfile.TemporaryFile())
            with _reported("a broken archive"):
                _expand(stream, expander, expanded)
            stream = expanded
        if not tarfile.is_tarfile(stream):
            raise NotAnArchiveError("a file that is neither a zip nor a tar archive")
        stream.seek(0)
        with _reported("a broken tar archive"):
            tar = opened.enter_context(tarfile.open(fileobj=stream, mode="r:"))
            members = _tar_members(tar)
        yield Archive("tar", members)


def pack(files: Mapping[str, bytes], form: str) -> bytes:
    """An archive with these files side by side; the same files give the same bytes.

    Args:
        files: name to content, in the order to be stored.
        form: `"zip"` (members stored: masks are compressed already) or `"tar"` (gzip-compressed).
    """
    buffer = io.BytesIO()
    if form == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in files.items():
                entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                entry.create_system = 3  # Unix, so that the mode is read wherever it was packed
                entry.external_attr = (stat.S_IFREG | 0o644) << 16
                archive.writestr(entry, content)
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), compresslevel=4, mtime=0)


def gunzip(content: bytes) -> bytes:
    """Expand a gzip file.

    Raises:
        TooLargeError: when it expands to more than `MAX_MASK_BYTES`.
        OSError: when it is no gzip file, or broken (as are EOFError and zlib.error).
    """
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
        return _limited(stream)


def _folder_members(folder: Path) -> list[Member]:
    members = []
    paths = [path for path in sorted(folder.rglob("*")) if path.relative_to(folder).parts[0] != RECORDS]
    for path in paths:
        special = path.is_symlink() or not (path.is_file() or path.is_dir())
        members.append(
            Member(
                path.relative_to(folder).as_posix(),
                read=partial(_read_file, path),
                is_folder=path.is_dir() and not special,
                is_special=special,
                path=path,
            )
        )
    _check_total(len(members), sum(path.stat().st_size for path in paths if path.is_file() and not path.is_symlink()))
    return members


def _read_file(path: Path) -> bytes:
    with open(path, "rb") as stream:
        return _limited(stream)


def _zip_members(archive: zipfile.ZipFile) -> list[Member]:
    entries = archive.infolist()
    _check_total(len(entries), sum(entry.file_size for entry in entries))

    def read(entry: zipfile.ZipInfo) -> bytes:
        with archive.open(entry) as stream:
            return _limited(stream)

    return [
        Member(
            entry.filename,
            read=partial(read, entry),
            is_folder=entry.is_dir(),
            is_special=stat.S_ISLNK(entry.external_attr >> 16),
        )
        for entry in entries
    ]


def _tar_members(tar: tarfile.TarFile) -> list[Member]:
    members = []
    total = 0

    def read(info: tarfile.TarInfo) -> bytes:
        stream = tar.extractfile(info)  # never asked of a link or a device
        assert stream is not None
        with stream:
            return _limited(stream)

    for info in tar:
        total += info.size
        members.append(
            Member(
                info.name,
                read=partial(read, info),
                is_folder=info.isdir(),
                is_special=not (info.isfile() or info.isdir()),
            )
        )
        _check_total(len(members), total)
    return members


def _stream(source: Path | bytes) -> IO[bytes]:
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")


def _expander(stream: IO[bytes]) -> Callable[..., Any] | None:
    """What expands this stream, by its first bytes."""
    head = stream.read(6)
    stream.seek(0)
    return next((expand for magic, expand in _EXPANDERS.items() if head.startswith(magic)), None)


def _expand(stream: IO[bytes], expander: Callable[..., Any], expanded: IO[bytes]) -> None:
    total = 0
    with expander(stream) as source:
        while chunk := source.read(_CHUNK):
            total += len(chunk)
            _check_total(0, total)
            expanded.write(chunk)
    expanded.seek(0)


def _limited(stream: IO[bytes] | gzip.GzipFile) -> bytes:
    content = stream.read(MAX_MASK_BYTES + 1)
    if len(content) > MAX_MASK_BYTES:
        raise TooLargeError(f"a file that expands to more than {MAX_MASK_BYTES >> 20} MiB")
    return content


def _check_total(members: int, total: int) -> None:
    if members > MAX_MEMBERS:
        raise TooLargeError(f"more than {MAX_MEMBERS} entries")
    if total > MAX_TOTAL_BYTES:
        raise TooLargeError(f"contents of more than {MAX_TOTAL_BYTES >> 20} MiB")


@contextmanager
def _reported(what: str) -> Iterator[None]:
    try:
        yield
    except READ_ERRORS as error:
        raise NotAnArchiveError(f"{what} ({error})") from error
