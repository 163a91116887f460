"""OpenI as training items: words as numbers, frontal images, the split by patient, and what a sample lacks."""

import logging
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.image import imread
from torch import Tensor
from torch.nn import functional

from medmiss.cases import CaseError
from medmiss.cases.files import write_once
from medmiss.classification.openi import Report
from medmiss.classification.pairs import PairedSamples

logger = logging.getLogger(__name__)

PADDING, START, UNKNOWN = range(3)
"""Tokens that are no words: after the end, before the first word (so that an empty text is a sequence), not known."""
LENGTH = 100
"""Tokens of a text; what is longer is cut."""
SIDE = 224
"""Pixels of an image's side, as ResNets are given."""
TEST_SHARE, HELD_OUT_SHARE = 0.2, 0.1
"""Share of the patients to test on, and share of the others to select on."""
FRONTAL = ("PA", "AP")
"""Views of a table of views that are frontal."""


@dataclass(frozen=True)
class Vocabulary:
    """Words and their tokens.

    Args:
        words: the first has token 3.
    """

    words: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str], least: int = 2) -> "Vocabulary":
        """The words that come at least so often in the texts, the most frequent first."""
        counts = Counter(word for text in texts for word in split(text))
        kept = [(-count, word) for word, count in counts.items() if count >= least]
        return cls(tuple(word for _, word in sorted(kept)))

    def __len__(self) -> int:
        """Number of tokens, words or not."""
        return UNKNOWN + 1 + len(self.words)

    @classmethod
    def read(cls, path: str | Path) -> "Vocabulary":
        """The vocabulary of a file that `write` wrote."""
        return cls(tuple(Path(path).read_text(encoding="utf-8").splitlines()))

    def write(self, path: str | Path) -> None:
        """Write the words, one a line, in the order of their tokens.

        Raises:
            CaseError: when there are other words, to which other weights belong.
        """
        write_once(Path(path), "".join(f"{word}\n" for word in self.words).encode(), "words")

    def encode(self, texts: Sequence[str], length: int = LENGTH) -> Tensor:
        """Tokens `(M, length)`, int32."""
        tokens = {word: token for token, word in enumerate(self.words, UNKNOWN + 1)}
        encoded = torch.full((len(texts), length), PADDING, dtype=torch.int32)
        for row, text in enumerate(texts):
            numbers = [START, *(tokens.get(word, UNKNOWN) for word in split(text))][:length]
            encoded[row, : len(numbers)] = torch.tensor(numbers, dtype=torch.int32)
        return encoded


def split(text: str) -> list[str]:
    """The words of a text, in lower case, without punctuation."""
    return re.findall(r"[a-z0-9]+", text.lower())


class PairedReports(PairedSamples):
    """Images and texts with their labels, in memory; of a batch's `image` `(B, 2, L)`, row 0 is an image, row 1 a text.

    An image fills the first `side * side` of the L numbers, its pixels from -1 to 1; a text the first of them with its
    tokens. What is left, and what is not available, is zero.

    Args:
        pixels: `(M, side, side)`, uint8; `(M, 0, 0)` where there are no images.
        tokens: `(M, length)`, int32.
        available: `(M, 2)` boolean, at least one a sample.
        label: `(M,)`, 1 for a problem.
        drop: see `PairedSamples`.
        seed: likewise.

    Raises:
        ValueError: see `PairedSamples`.
    """

    NAMES = ("image", "text")

    def __init__(
        self, pixels: Tensor, tokens: Tensor, available: Tensor, label: Tensor, drop: str = "none", seed: int = 0
    ) -> None:
        super().__init__(available, label, drop, seed)
        self.pixels = pixels
        self.tokens = tokens

    def inputs(self, rows: Tensor) -> Tensor:
        """`(B, 2, L)`."""
        pixels = self.pixels[rows].flatten(1)
        tokens = self.tokens[rows]
        packed = torch.zeros(len(rows), 2, max(pixels.shape[1], tokens.shape[1]))
        packed[:, 0, : pixels.shape[1]] = pixels / 127.5 - 1
        packed[:, 1, : tokens.shape[1]] = tokens.float()
        packed[~self.available[rows]] = 0
        return packed

    def restricted(self, rows: Tensor, available: Tensor) -> "PairedReports":
        """The samples of `rows`, with these modalities and no draws."""
        return PairedReports(self.pixels[rows], self.tokens[rows], available, self.label[rows])


class Images(NamedTuple):
    """The frontal images of some reports.

    Attributes:
        pixels: `(M, side, side)`, uint8; zero where there is none.
        found: `(M,)` boolean.
    """

    pixels: Tensor
    found: np.ndarray


def read_images(reports: Sequence[Report], folder: Path, views: str | Path | None = None, side: int = SIDE) -> Images:
    """Read the frontal image of each report, in grey, resized to a square.

    Args:
        reports: whose images are looked for.
        folder: with the files of `NLMCXR_png.tgz` in it or below it, such as `CXR1_1_IM-0001-3001.png`.
        views: see `frontal`.
        side: of the square, in pixels.

    Raises:
        CaseError: when the folder has no image of any report, or a file is no image.
    """
    known = read_views(Path(views)) if views else {}
    files = {file.stem: file for file in sorted(folder.rglob("*.png"))}
    pixels, found = torch.zeros(len(reports), side, side, dtype=torch.uint8), np.zeros(len(reports), dtype=bool)
    for row, report in enumerate(reports):
        name = frontal(report, known)
        if name is not None and name in files:
            pixels[row] = _read_image(files[name], side)
            found[row] = True
    if not found.any():
        expected = "files such as CXR1_1_IM-0001-3001.png"
        raise CaseError("OpenI", "no image of the reports", expected, "unpack NLMCXR_png.tgz there", folder)
    if not found.all():
        logger.warning("%d of %d reports have no frontal image there", len(found) - found.sum(), len(found))
    return Images(pixels, found)


def _read_image(file: Path, side: int) -> Tensor:
    try:
        image = imread(file, format="png")  # 0 to 1
    except (OSError, ValueError, SyntaxError) as error:
        expected = "a PNG image"
        raise CaseError(file.stem, f"something else ({error})", expected, "download it again", file) from error
    grey = image if image.ndim == 2 else image[..., :3].mean(axis=2)
    values = torch.from_numpy(255 * grey.astype(np.float32))
    resized = functional.interpolate(values[None, None], (side, side), mode="bilinear", antialias=True)
    return resized[0, 0].round().clamp(0, 255).to(torch.uint8)


def read_views(file: Path) -> dict[str, str]:
    """The views of images by their ids, from the columns `imageid` and `View Position` of a CSV file.

    Raises:
        CaseError: when the file is no such table.
    """
    try:
        table = pd.read_csv(file, dtype=str)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        found, expected = f"something else ({str(error).strip()})", "a CSV file in UTF-8"
        raise CaseError("OpenI", found, expected, "give the table of DICOM headers", file) from error
    if not {"imageid", "View Position"} <= set(table.columns):
        found = "other columns"
        raise CaseError("OpenI", found, "columns imageid and View Position", "give the table of DICOM headers", file)
    table = table.dropna(subset=["imageid", "View Position"])
    return dict(zip(table["imageid"], table["View Position"].str.strip().str.upper(), strict=True))


def frontal(report: Report, views: Mapping[str, str]) -> str | None:
    """The image that is taken as the frontal one: the first that `views` calls so, else the first it does not know.

    Neither reports nor file names tell the view, so that without `views` it is a report's first image: where the
    DICOM headers name the view of the first image, it is frontal in 2,338 of 2,467 reports.
    """
    for wanted in (FRONTAL, (None,)):
        for image in report.images:
            if views.get(image) in wanted:
                return image
    return None


def patient_split(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Rows of so many patients in `train`, `held_out` and `test`, by `TEST_SHARE` and `HELD_OUT_SHARE`."""
    order = np.random.default_rng(seed).permutation(count)
    test = round(TEST_SHARE * count)
    held_out = test + round(HELD_OUT_SHARE * (count - test))
    return {"train": order[held_out:], "held_out": order[test:held_out], "test": order[:test]}


class ReportSets(NamedTuple):
    """The sets of one run.

    Attributes:
        sets: `train`, `held_out` and `test`.
        vocabulary: of the texts in `train`.
    """

    sets: dict[str, PairedReports]
    vocabulary: Vocabulary


def report_sets(
    reports: Sequence[Report],
    images: Images | None = None,
    image_rate: float = 1.0,
    text_rate: float = 1.0,
    seed: int = 0,
    split_seed: int = 0,
    least: int = 2,
) -> ReportSets:
    """Split the reports by patient, and take images and texts from the training part as the rates say.

    A training sample that would have neither is left out. `held_out` and `test` have all there is.

    Args:
        reports: one a patient, see `read_reports`; those to use.
        images: of these reports; `None` where there are none.
        image_rate: share of the training samples' images that are available, chosen by the seed; 0 uses no image
            anywhere.
        text_rate: likewise of the texts.
        seed: of what is available.
        split_seed: of the split, so that runs of several seeds share it.
        least: how often a word comes in the training texts to be known.

    Raises:
        ValueError: when a rate is outside 0 to 1, a set would be empty, or images are to be used and there are none.
    """
    if images is None and image_rate > 0:
        raise ValueError(f"image_rate is {image_rate} and there are no images: give their folder, or a rate of 0")
    count = len(reports)
    found = existing(count, images) & np.array([image_rate > 0, text_rate > 0])
    parts = patient_split(count, split_seed)
    available = found.copy()
    generator = np.random.default_rng((seed, 1))
    for channel, rate in enumerate((image_rate, text_rate)):
        if not 0 <= rate <= 1:
            raise ValueError(f"a rate is {rate}: expected 0 to 1")
        own = generator.permutation(parts["train"][found[parts["train"], channel]])
        available[own[round(rate * len(own)) :], channel] = False
    for name, rows in parts.items():
        parts[name] = np.sort(rows[available[rows].any(axis=1)])
        if len(parts[name]) == 0:
            raise ValueError(f"no sample is left for the {name} set: give more reports, images or higher rates")
    texts = [reports[row].text for row in parts["train"][available[parts["train"], 1]]]
    vocabulary = Vocabulary.of(texts, least)
    sets = {}
    for name, rows in parts.items():
        shown = None if images is None else Images(images.pixels[rows], images.found[rows])
        sets[name] = paired([reports[row] for row in rows], vocabulary, shown, available[rows])
    return ReportSets(sets, vocabulary)


def paired(
    reports: Sequence[Report],
    vocabulary: Vocabulary,
    images: Images | None = None,
    available: np.ndarray | None = None,
) -> PairedReports:
    """Reports as samples.

    Args:
        reports: which.
        vocabulary: of their words.
        images: of these reports; `None` where there are none.
        available: `(M, 2)` boolean; all texts and what images there are when left out.
    """
    pixels = torch.zeros(len(reports), 0, 0, dtype=torch.uint8) if images is None else images.pixels
    tokens = vocabulary.encode([report.text for report in reports])
    label = torch.tensor([int(report.problem) for report in reports])
    has = torch.from_numpy(existing(len(reports), images) if available is None else available)
    return PairedReports(pixels, tokens, has, label)


def existing(count: int, images: Images | None) -> np.ndarray:
    """`(count, 2)` boolean: every report has a text, some have an image."""
    found = np.zeros(count, dtype=bool) if images is None else images.found
    return np.stack([found, np.ones(count, dtype=bool)], axis=1)
