"""How data sets name their files: one table, read to find cases and to write phantoms.

A layout is data. Finding looks at names alone and opens no file, so that a file which is not used later
cannot have any influence.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from medmiss.cases.volumes import SUFFIXES
from medmiss.modalities import ALIASES, MODALITIES

SEGMENTATION = ".seg.nrrd"
"""What the name of a segmentation of 3D Slicer ends in: one made of a mask, whose values Slicer may change."""

_LABEL_WORDS = ("seg", "segm", "label", "labels")
_NOT_AN_IMAGE = ("seg", "label", "mask", "pred", "prob")


@dataclass(frozen=True)
class Layout:
    """How one data set names a case's folder and files.

    Args:
        name: key in `LAYOUTS`.
        convention: key in `medmiss.cases.CONVENTIONS`.
        words: the name of each modality's file, as `<case><separator><word>`; empty where words are free.
        separator: between the case's name and the word; empty for files named by the word alone.
        case_pattern: regular expression that the case's name or the files' prefix must match from its start.
        case_format: name of a written case, with `{index}`.
        stacked: all modalities in one 4-D file, channels in the order of `MODALITIES`.
    """

    name: str
    convention: str
    words: tuple[str, str, str, str]
    separator: str
    case_format: str
    case_pattern: str = ""
    stacked: bool = False

    def case_name(self, index: int) -> str:
        """Name for the case of this number when cases are written, such as `"BraTS-GLI-90001-000"`."""
        return self.case_format.format(index=index)

    def image_path(self, root: Path, case: str, modality: str) -> Path:
        """File of a modality; the same one for every modality where the layout stacks them."""
        if self.stacked:
            return root / "imagesTr" / f"{case}.nii.gz"
        return self._path(root, case, self.words[MODALITIES.index(modality)])

    def label_path(self, root: Path, case: str) -> Path:
        """File of the label map."""
        return root / "labelsTr" / f"{case}.nii.gz" if self.stacked else self._path(root, case, "seg")

    def describes(self, folder: str, stems: Iterable[str]) -> bool:
        """Whether every one of these image files of a case folder is named as this layout says."""
        for stem in stems:
            prefix, _, _ = stem.rpartition(self.separator) if self.separator else ("", "", stem)
            if self.modality(stem) is None or bool(prefix) != bool(self.separator):
                return False
            if not any(re.match(self.case_pattern, name, re.IGNORECASE) for name in (folder, prefix)):
                return False
        return True

    def modality(self, stem: str) -> str | None:
        """The modality of a file by its name without suffix, None when it is not an image of this layout."""
        word = stem.rpartition(self.separator)[2] if self.separator else stem
        return dict(zip((word.lower() for word in self.words), MODALITIES, strict=True)).get(word.lower())

    def _path(self, root: Path, case: str, word: str) -> Path:
        prefix = f"{case}{self.separator}" if self.separator else ""
        return root / case / f"{prefix}{word}.nii.gz"


_UNDERSCORE = ("flair", "t1", "t1ce", "t2")
_DASH = ("t2f", "t1n", "t1c", "t2w")
_PLAIN = ("flair", "t1", "t1c", "t2")

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout("brats2021", "brats2021", _UNDERSCORE, "_", "BraTS2021_9{index:04d}", r"BraTS2021_\d{5}"),
        Layout("brats2018", "brats2018", _UNDERSCORE, "_", "Brats18_PHANTOM_{index:03d}"),
        # A file ending in -t1c alone could be anybody's: the two dashed layouts go by the case's name too.
        # Post-treatment time points of 2024 count from 100; before, from 000.
        Layout("brats2024", "brats2024", _DASH, "-", "BraTS-GLI-9{index:04d}-100", r"BraTS-GLI-\d{5}-1\d\d"),
        Layout("brats2023", "brats2023", _DASH, "-", "BraTS-GLI-9{index:04d}-000", r"BraTS-[A-Z]+-\d{5}-\d{3}"),
        Layout("brats2013", "brats2013", _PLAIN, "", "brats_2013_phantom{index:04d}", r"brats_2013_"),
        Layout("plain", "brats2018", _PLAIN, "", "phantom_{index:03d}"),
        Layout("msd", "msd", _PLAIN, "", "PHANTOM_{index:03d}", stacked=True),
    )
}
"""Layouts by name, the more specific first; brats2018 serves 2018-2020 and brats2021 serves 2021-2022."""


def stem_of(path: Path) -> str | None:
    """File name without its image suffix; None for hidden files and for what is no image format."""
    lower = path.name.lower()
    if lower.startswith("."):
        return None
    return next((path.name[: -len(suffix)] for suffix in SUFFIXES if lower.endswith(suffix)), None)


def modalities_in(stem: str) -> tuple[str, ...]:
    """The modalities that the words of a file name mean, none for a label, mask or prediction.

    Words are parted by anything but letters and digits, and two neighbours may make one word ("t2-flair",
    "t1_ce").
    """
    words = _words(stem)
    if any(mark in word for word in words for mark in _NOT_AN_IMAGE):
        return ()
    found = []
    while words:
        double = ALIASES.get("".join(words[:2])) if len(words) > 1 else None
        single = ALIASES.get(words[0])
        modality = double or single
        if modality is not None and modality not in found:
            found.append(modality)
        words = words[2 if double else 1 :]
    return tuple(found)


def is_label(stem: str) -> bool:
    """Whether a file is the expert's label map: the last word says so (`seg`, `case_seg`, not `seg_model_a`)."""
    words = _words(stem)
    return bool(words) and words[-1] in _LABEL_WORDS


def is_segmentation(path: Path) -> bool:
    """Whether a file is a segmentation of 3D Slicer, by its name."""
    return path.name.lower().endswith(SEGMENTATION)


def name_without_label(stem: str) -> str:
    """The case's name from the stem of a label file of its own: `case` of `case_seg` and of `case`."""
    return re.sub(rf"(?i)(?<=.)[-_.]({'|'.join(_LABEL_WORDS)})$", "", stem)


def _words(stem: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", stem.lower())
