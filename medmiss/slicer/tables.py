"""The colour table for a plain NIfTI file, and the table of volumes."""

import csv
import io
from pathlib import Path

import numpy as np

from medmiss.cases import REGIONS, CaseError, Grid, LabelConvention, write_atomically
from medmiss.cases.files import lock_of
from medmiss.slicer.tissues import TISSUES, label_tissues

VOLUMES = "volumes.csv"
COLUMNS = ("case", "labels", *(f"{key}_ml" for key in dict.fromkeys((*REGIONS, *TISSUES))))
"""Of the table of volumes. ET is a region and a label alike; a tissue that the year has no value for is empty."""

Row = dict[str, str]


def colour_table(convention: LabelConvention) -> bytes:
    """A `.ctbl` file: a line `index name R G B A` for each label value, 0 to 255, no blank in a name."""
    tissues = label_tissues(convention)
    lines = [f"# Color table file {convention.name}.ctbl", f"# {len(tissues) + 1} values", "0 Background 0 0 0 0"]
    for value, tissue in tissues.items():
        lines.append(f"{value} {tissue.name.replace(' ', '_')} {' '.join(map(str, tissue.rgb))} 255")
    return ("\n".join(lines) + "\n").encode("ascii")


def volumes_row(case: str, labels: np.ndarray, grid: Grid, convention: LabelConvention) -> Row:
    """The volumes of a case in ml, under `COLUMNS`.

    Args:
        case: its name.
        labels: `(X, Y, Z)`, in the values of `convention`.
        grid: of the label map.
        convention: of the label map.
    """
    ml = grid.voxel_volume_mm3 / 1000
    voxels = {tissue.key: np.count_nonzero(labels == value) for value, tissue in label_tissues(convention).items()}
    voxels |= {name: np.count_nonzero(region) for name, region in zip(REGIONS, convention.regions(labels), strict=True)}
    return {"case": case, "labels": convention.name, **{f"{key}_ml": f"{n * ml:.3f}" for key, n in voxels.items()}}


def add_volumes(path: Path, row: Row) -> None:
    """Put the row of a case into the table, in place of an earlier one; rows are sorted by case.

    Safe where several processes share a folder, as the jobs of an array do.

    Raises:
        CaseError: when the file is there and is another table.
    """
    with lock_of(path):
        rows = {**_read(path, row["case"]), row["case"]: row}
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[case] for case in sorted(rows))
        write_atomically(path, text.getvalue().encode("utf-8"))


def _read(path: Path, case: str) -> dict[str, Row]:
    """The rows of the table by case; `case` is for the error."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise CaseError(case, "another table", f"the columns {','.join(COLUMNS)}", "move it away", path)
        return {row["case"]: row for row in reader}
