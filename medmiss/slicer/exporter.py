"""One case's files for Slicer, written beside its mask or elsewhere."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from medmiss.cases import CaseError, Grid, LabelConvention, write_atomically
from medmiss.cases.layouts import SEGMENTATION
from medmiss.slicer.segmentation import label_segmentation, region_segmentation
from medmiss.slicer.tables import VOLUMES, add_volumes, colour_table, volumes_row


class SlicerioMissing(ImportError):
    """The package that writes `.seg.nrrd` files is not installed; `str()` says what to do."""


def require_slicerio() -> None:
    """Check that the package is there, before any case is touched.

    Raises:
        SlicerioMissing: when it is not.
    """
    if find_spec("slicerio") is None:
        raise SlicerioMissing(
            "files for 3D Slicer need the package slicerio, which is not installed: pip install 'medmiss[slicer]'"
        )


class SegmentationExporter:
    """Write what Slicer needs to show a label map.

    `FOLDER/<case>.seg.nrrd`, with `regions` also `FOLDER/<case>_regions.seg.nrrd` (ET, TC, WT), the colour table
    `FOLDER/<convention>.ctbl`, and the case's row in `FOLDER/volumes.csv`.

    Args:
        regions: write the overlapping regions too.
        overwrite: replace a segmentation that is there and differs, such as one that was edited in Slicer.

    Raises:
        SlicerioMissing: when slicerio is not installed.
    """

    def __init__(self, regions: bool = False, overwrite: bool = False) -> None:
        require_slicerio()
        self.regions = regions
        self.overwrite = overwrite

    def files(self, case: str) -> list[str]:
        """The names of the files that belong to a case alone."""
        return [f"{case}{SEGMENTATION}", *([f"{case}_regions{SEGMENTATION}"] if self.regions else [])]

    def __call__(self, case: str, labels: np.ndarray, convention: LabelConvention, grid: Grid, folder: Path) -> None:
        """Write the files of a case, each at once or not at all.

        Args:
            case: its name.
            labels: `(X, Y, Z)` uint8, in the values of `convention`.
            convention: of the label map.
            grid: of the label map.
            folder: made when it is not there.

        Raises:
            CaseError: when a file of one of the names is there and differs, and `overwrite` is off.
        """
        makers = [label_segmentation, *([region_segmentation] if self.regions else [])]
        names = self.files(case)
        contents = {folder / name: make(labels, grid, convention) for name, make in zip(names, makers, strict=True)}
        for path, content in contents.items():
            if path.exists() and not self.overwrite and path.read_bytes() != content:
                found = "a segmentation that differs (edited, or of another mask)"
                raise CaseError(case, found, "none, or the same", "use --overwrite or another output", path)
        for path, content in contents.items():
            write_atomically(path, content)
        write_atomically(folder / f"{convention.name}.ctbl", colour_table(convention))
        add_volumes(folder / VOLUMES, volumes_row(case, labels, grid, convention))
