"""Reading MNIST, the Free Spoken Digit Dataset and other sets as they are distributed."""

import gzip
import io
import re
import struct
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.io import wavfile

from medmiss.cases import CaseError

RECORDING = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")
ARCHIVES = ("*.tar", "*.tar.*", "*.tgz")
"""What archives in a folder are called."""
LARGEST = 2**24
"""Bytes of a file in an archive; those of the distributions have less than a hundredth of it."""
IDX_TYPE = b"\x00\x00\x08"
"""How an idx file of unsigned bytes begins; the next byte is the number of dimensions."""


class Recording(NamedTuple):
    """One spoken digit.

    Attributes:
        digit: 0 to 9.
        speaker: name.
        number: of the recording, of this digit by this speaker.
        rate: Hz.
        wave: `(samples,)` float64 in [-1, 1).
    """

    digit: int
    speaker: str
    number: int
    rate: int
    wave: np.ndarray


def read_mnist(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images `(N, 28, 28)` and labels `(N,)`, uint8, in the order of the files.

    Args:
        folder: with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, and `t10k-...`, each as it is or with `.gz`.
        part: `"train"` or `"t10k"`.

    Raises:
        CaseError: when a file is missing or not what its name says.
    """
    images = _read_idx(folder, f"{part}-images-idx3-ubyte", 3)
    labels = _read_idx(folder, f"{part}-labels-idx1-ubyte", 1)
    if len(images) != len(labels) or images.shape[1:] != (28, 28):
        found = f"images {images.shape} and labels {labels.shape}"
        raise CaseError("MNIST", found, "28 x 28 images and as many labels", "download it again", folder)
    return images, labels


def _read_idx(folder: Path, name: str, dimensions: int) -> np.ndarray:
    plain, zipped = folder / name, folder / f"{name}.gz"
    file = plain if plain.is_file() else zipped
    if not file.is_file():
        raise CaseError("MNIST", "nothing", f"a file {name} or {name}.gz", "give the folder of the downloads", folder)
    try:
        content = gzip.decompress(file.read_bytes()) if file == zipped else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise CaseError("MNIST", f"a broken archive ({error})", "a gzip file", "download it again", file) from error
    start = 4 + 4 * dimensions
    shape = np.frombuffer(content[4:start], dtype=">u4") if len(content) >= start else np.zeros(0)
    if content[:4] != IDX_TYPE + bytes([dimensions]) or len(content) != start + int(np.prod(shape)):
        expected = f"an idx file of bytes in {dimensions} dimensions"
        raise CaseError("MNIST", f"{len(content)} bytes of another kind", expected, "download it again", file)
    return np.frombuffer(content[start:], dtype=np.uint8).reshape(tuple(int(size) for size in shape))


def read_recordings(source: Path) -> list[Recording]:
    """All recordings in a tar archive, or below a folder (see `members`), by digit, speaker and number.

    Of a folder without recordings the one archive in it is read.

    Raises:
        CaseError: when there is none, a name comes twice, or a file is no mono 16-bit wav.
    """
    found: dict[tuple[int, str, int], Recording] = {}
    if source.is_dir() and not any(RECORDING.fullmatch(path.name) for path in source.rglob("*.wav")):
        archives = sorted(path for kind in ARCHIVES for path in source.rglob(kind))
        if len(archives) > 1:
            names = ", ".join(path.name for path in archives)
            raise CaseError("FSDD", f"several archives ({names})", "one", "give the archive itself", source)
        source = archives[0] if archives else source
    for name, content in members(source, ".wav", "FSDD"):
        match = RECORDING.fullmatch(name)
        if match is None:
            continue
        recording = _decoded(source, name, content, int(match[1]), match[2], int(match[3]))
        if recording[:3] in found:
            raise CaseError("FSDD", f"{name} twice", "each recording once", "leave one data set there", source)
        found[recording[:3]] = recording
    if not found:
        expected = "recordings such as 7_theo_12.wav"
        raise CaseError("FSDD", "no recording", expected, "give the folder or archive of the download", source)
    return [found[key] for key in sorted(found)]


def members(source: Path, suffix: str, data_set: str) -> Iterator[tuple[str, bytes]]:
    """Name without folder, and content, of each file of one kind below a folder or in a tar archive.

    An archive is read in memory: nothing is written, whatever paths its members have, and links are not followed.

    Args:
        source: folder or archive.
        suffix: of the names, such as `".wav"`.
        data_set: whose name an error gives.

    Raises:
        CaseError: when the archive is broken, or a file in it is larger than `LARGEST`.
        OSError: when there is no such file.
    """
    if source.is_dir():
        for path in sorted(source.rglob(f"*{suffix}")):
            yield path.name, path.read_bytes()
        return
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() and member.name.endswith(suffix) else None
                if file is not None:
                    if member.size > LARGEST:
                        found, expected = f"a file of {member.size} bytes", f"{LARGEST} at most"
                        raise CaseError(data_set, found, expected, "use the archive as distributed", source)
                    yield Path(member.name).name, file.read()
    except (tarfile.TarError, EOFError, zlib.error) as error:
        expected, reason = "a folder or a tar archive", str(error).partition(":")[0].partition("\n")[0]
        raise CaseError(data_set, f"a broken file ({reason})", expected, "download it again", source) from error


def _decoded(source: Path, name: str, content: bytes, digit: int, speaker: str, number: int) -> Recording:
    try:
        rate, samples = wavfile.read(io.BytesIO(content))
    except (ValueError, EOFError, struct.error) as error:
        raise CaseError(name, f"a broken file ({error})", "a wav file", "download it again", source) from error
    if samples.dtype != np.int16 or samples.ndim != 1:
        found = f"samples {samples.dtype} of shape {samples.shape}"
        raise CaseError(name, found, "mono 16-bit samples", "convert the file", source)
    return Recording(digit, speaker, number, int(rate), samples / 32768)
