"""What a case on disk is: layouts, label conventions, volumes, geometry, foreground, splits.

`find_cases` or `case_from_files` gives `Case` objects, `read_case` their volumes on one grid, `Grid` the way
to the network's grid and back, and `write_volume` a clean file.
"""

from medmiss.cases.case import Case, ImageSource
from medmiss.cases.errors import CaseError
from medmiss.cases.files import write_atomically
from medmiss.cases.find import case_from_files, find_cases
from medmiss.cases.foreground import background_value, foreground, plausibility_warnings
from medmiss.cases.geometry import Grid
from medmiss.cases.labels import CONVENTIONS, REGIONS, LabelConvention
from medmiss.cases.layouts import LAYOUTS, Layout
from medmiss.cases.masks import Mask, find_masks, read_label, read_mask, recorded_labels
from medmiss.cases.splits import cases_of, read_split, split_cases
from medmiss.cases.volumes import CaseVolumes, Volume, read_case, read_volume, write_volume
from medmiss.cases.writing import write_case

__all__ = [
    "CONVENTIONS",
    "LAYOUTS",
    "REGIONS",
    "Case",
    "CaseError",
    "CaseVolumes",
    "Grid",
    "ImageSource",
    "LabelConvention",
    "Layout",
    "Mask",
    "Volume",
    "background_value",
    "case_from_files",
    "cases_of",
    "find_cases",
    "find_masks",
    "foreground",
    "plausibility_warnings",
    "read_case",
    "read_label",
    "read_mask",
    "read_split",
    "read_volume",
    "recorded_labels",
    "split_cases",
    "write_atomically",
    "write_case",
    "write_volume",
]
