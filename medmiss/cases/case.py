"""What a case is: the files of one examination, one a modality, some of them absent."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medmiss.cases.errors import CaseError
from medmiss.modalities import MODALITIES, Subset, canonical_subset, subset_name


@dataclass(frozen=True)
class ImageSource:
    """Where one volume lies.

    Args:
        path: the file.
        channel: index on the last axis of a 4-D file; None for a 3-D file.
    """

    path: Path
    channel: int | None = None


@dataclass(frozen=True)
class Case:
    """One case on disk. Nothing outside `images` and `label` is ever opened, not even a header.

    Args:
        name: names the output file.
        images: the modalities that exist, in channel order.
        label: the expert's label map, None where there is none.
        layout: key of `medmiss.cases.LAYOUTS`, or `"files"` for files named one by one.
        convention: key of `medmiss.cases.CONVENTIONS` that the label file follows.
        problem: why the case cannot be read although its folder exists; reading it raises this error,
            so that one bad case in a folder is reported and the rest go on.
    """

    name: str
    images: dict[str, ImageSource]
    label: ImageSource | None = None
    layout: str = "plain"
    convention: str = "brats2018"
    problem: CaseError | None = None

    @property
    def available(self) -> Subset:
        """The modalities that exist, in channel order."""
        return tuple(modality for modality in MODALITIES if modality in self.images)

    @property
    def files(self) -> list[Path]:
        """What it is made from: the file of each volume, so a 4-D file as often as it has modalities."""
        return [source.path for source in (*self.images.values(), *([self.label] if self.label else []))]

    @property
    def fingerprint(self) -> list[Any]:
        """What tells its files from others at the same place: the size and time of each.

        Raises:
            OSError: when a file is not there.
        """
        return [(stat.st_size, stat.st_mtime_ns) for stat in (file.stat() for file in self.files)]

    def restricted_to(self, modalities: Iterable[str]) -> "Case":
        """The same case with only these of its modalities; the others' files are out of reach.

        A case with a `problem` comes back unchanged: reading it says what is wrong.

        Raises:
            CaseError: when none of them exists.
            ValueError: when a name is unknown.
        """
        wanted = canonical_subset(modalities)
        if self.problem is not None:
            return self
        images = {modality: self.images[modality] for modality in self.available if modality in wanted}
        if not images:
            raise CaseError(
                self.name,
                f"only {subset_name(self.available)}",
                f"at least one of {subset_name(wanted)}",
                "choose modalities that the case has",
            )
        return replace(self, images=images)
