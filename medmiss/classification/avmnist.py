"""Audiovision-MNIST as SMIL built it: digits written and spoken.

Ma et al., AAAI 2021. The split of the sounds and the MFCC are those of its published code. Which image goes with which
sound is not published: here they are paired by digit, both in their own order.
"""

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from medmiss.cases import CaseError, write_atomically
from medmiss.classification.mfcc import mfcc
from medmiss.classification.sources import Recording, read_mnist, read_recordings

DIGITS = 10
FRAMES = 20
"""Columns of an MFCC; it has as many rows."""
FIRST_TRAINING = 15
"""Recordings of a digit by a speaker with a smaller number are for testing."""
VARIANTS = ("full", "smil")
"""Of the MFCC, the default first."""
MFCC = "mfcc"
"""What the file calls the variant."""
FULL = {"window": 512, "hop": 160}
UNREADABLE = (ValueError, OSError, EOFError, TypeError, AttributeError)
"""What numpy raises for a file of another kind."""
PARTS = {
    "train": ("image", "sound", "label", "speaker"),
    "test": ("image", "sound", "label", "speaker"),
    "more": ("image", "label"),
}
"""What the file holds of each part; `more` are the MNIST test images that are not in `test`."""
SHAPES: dict[str, tuple[int, ...]] = {"image": (28, 28), "sound": (FRAMES, FRAMES), "label": (), "speaker": ()}
RANGES = {"image": (0, 255), "label": (0, DIGITS - 1)}
"""Of one sample's arrays, and of their numbers."""


def sound_features(recording: Recording, variant: str) -> np.ndarray:
    """MFCC of a recording, `(20, 20)` float32, zero-padded or cut to 20 frames.

    Args:
        recording: of a digit.
        variant: `"smil"`: every third sample, taken as if it had the full rate, with frames of 2048 samples every 512,
            so that most recordings fill two or three columns. `"full"`: every sample, frames of 512 every 160, which
            reach 0.41 s; what a recording has beyond them is not read.

    Raises:
        ValueError: when there is no such variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant is {variant!r}, expected one of {', '.join(VARIANTS)}")
    if variant == "smil":
        values = mfcc(recording.wave[::3], recording.rate, FRAMES)
    else:
        values = mfcc(recording.wave, recording.rate, FRAMES, **FULL)
    features = np.zeros((FRAMES, FRAMES), dtype=np.float32)
    features[:, : values.shape[1]] = values[:, :FRAMES]
    return features


def build_avmnist(mnist: Path, fsdd: Path, variant: str = VARIANTS[0]) -> dict[str, np.ndarray]:
    """The arrays of the data set, named `<part>_<what>` as `PARTS` says.

    Sounds of a part by digit, speaker and number; the k-th image of a digit in MNIST's own order, of its training file
    for `train` and of its test file for `test`, goes with the k-th sound of that digit. `speaker` numbers the speakers
    by name, `mfcc` is the variant.

    Raises:
        CaseError: when a file is not as distributed, recordings are missing, or a digit has fewer images than sounds.
    """
    recordings = read_recordings(fsdd)
    speakers = sorted({recording.speaker for recording in recordings})
    numbers = {(each.digit, each.speaker): set[int]() for each in recordings}
    for each in recordings:
        numbers[each.digit, each.speaker].add(each.number)
    complete = len(set().union(*numbers.values())) * DIGITS * len(speakers)
    if len(recordings) != complete:
        expected = f"{complete}, as many of each digit by each of {len(speakers)} speakers"
        raise CaseError("FSDD", f"{len(recordings)} recordings", expected, "give the whole data set", fsdd)
    arrays: dict[str, np.ndarray] = {MFCC: np.array(variant)}
    for part, file in (("train", "train"), ("test", "t10k")):
        own = [each for each in recordings if (each.number >= FIRST_TRAINING) == (part == "train")]
        if not own:
            expected = "recordings numbered below 15 and from 15 on"
            raise CaseError("FSDD", f"no recording to {part}", expected, "give the whole data set", fsdd)
        images, labels = read_mnist(mnist, file)
        rows = _paired(own, labels, mnist)
        arrays[f"{part}_image"] = images[rows]
        arrays[f"{part}_sound"] = np.stack([sound_features(each, variant) for each in own])
        arrays[f"{part}_label"] = labels[rows].astype(np.int64)
        arrays[f"{part}_speaker"] = np.array([speakers.index(each.speaker) for each in own], dtype=np.int64)
    rest = np.setdiff1d(np.arange(len(labels)), rows)
    arrays["more_image"], arrays["more_label"] = images[rest], labels[rest].astype(np.int64)
    return arrays


def _paired(recordings: Sequence[Recording], labels: np.ndarray, folder: Path) -> np.ndarray:
    """The row of the image that goes with each recording."""
    rows = [np.flatnonzero(labels == digit) for digit in range(DIGITS)]
    used = [0] * DIGITS
    chosen = []
    for recording in recordings:
        position, own = used[recording.digit], rows[recording.digit]
        if position == len(own):
            found = f"{len(own)} images of the digit {recording.digit}"
            raise CaseError("MNIST", found, "as many as sounds", "give the whole data set", folder)
        chosen.append(own[position])
        used[recording.digit] += 1
    return np.array(chosen)


def write_avmnist(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arrays as a compressed npz file, atomically; the same arrays give the same bytes."""
    content = io.BytesIO()
    named: dict[str, Any] = {name: arrays[name] for name in _names()}
    np.savez_compressed(content, **named)
    write_atomically(file, content.getvalue())


def read_avmnist(file: Path) -> dict[str, np.ndarray]:
    """The arrays of `build_avmnist`, from a file.

    Raises:
        CaseError: when the file is not one that `write_avmnist` wrote.
    """
    expected, remedy = "a file of tools/prepare_avmnist.py", "prepare the data set again"
    try:
        with np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in _names()}
    except KeyError as error:
        lacking = [name for name in _names() if name not in content.files]
        raise CaseError("avMNIST", f"no {', '.join(lacking)}", expected, remedy, file) from error
    except IsADirectoryError:
        raise CaseError("avMNIST", "a folder", expected, "make it with tools/prepare_avmnist.py", file) from None
    except FileNotFoundError:
        raise CaseError("avMNIST", "nothing", expected, "make it with tools/prepare_avmnist.py", file) from None
    except (*UNREADABLE, zipfile.BadZipFile, zlib.error) as error:
        # Not numpy's own words, which advise to load pickles.
        raise CaseError("avMNIST", "something else", expected, remedy, file) from error
    if str(arrays[MFCC]) not in VARIANTS:
        words = f"{MFCC} {str(arrays[MFCC])!r}"
        raise CaseError("avMNIST", words, f"one of {', '.join(VARIANTS)}", remedy, file)
    for part, whats in PARTS.items():
        count = len(arrays[f"{part}_label"])
        for what in whats:
            array = arrays[f"{part}_{what}"]
            if array.shape != (count, *SHAPES[what]) or (count == 0 and part != "more"):
                words = f"{part}_{what} of shape {array.shape}"
                raise CaseError("avMNIST", words, f"{expected}, with {SHAPES[what]} each", remedy, file)
            low, high = RANGES.get(what, (-np.inf, np.inf))
            if not np.all((array >= low) & (array <= high) & np.isfinite(array)):
                words = f"{part}_{what} with numbers that are none, or outside {low} to {high}"
                raise CaseError("avMNIST", words, expected, remedy, file)
    return arrays


def fingerprint(arrays: Mapping[str, np.ndarray]) -> str:
    """Of the content, however it is packed."""
    content = sha256()
    for name in _names():
        array = np.ascontiguousarray(arrays[name])
        content.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
    return content.hexdigest()[:16]


def _names() -> list[str]:
    return [MFCC, *(f"{part}_{what}" for part, whats in PARTS.items() for what in whats)]
