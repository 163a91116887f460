"""What each label value and each region is called in Slicer: name, colour and terminology.

Names are those of the organisers of each year. Codes are those of DICOM PS3.16, CID 7168 and 7169 (brain lesion
segmentation types with and without necrosis) and CID 7159 (lesion segmentation types). They are codes of
SNOMED CT (`SCT`) and of the NCI Thesaurus (`NCIt`), as triplets of scheme, value and meaning.
"""

from dataclasses import dataclass

from medmiss.cases import CONVENTIONS, REGIONS, LabelConvention
from medmiss.cases.colours import COLOURS

Code = tuple[str, str, str]

EDEMA: Code = ("SCT", "79654002", "Edema")
NECROSIS: Code = ("SCT", "6574001", "Necrosis")
ENHANCING: Code = ("NCIt", "C113842", "Enhancing Lesion")
# Also for necrosis and non-enhancing tumour under one value (NCR/NET), which have no code of their own. CID 7169
# is for segmentations that do not part the two, and this is its code for what does not enhance.
NON_ENHANCING: Code = ("NCIt", "C81175", "Non-Enhancing Lesion")
# The nearest there is: neither DICOM's lists nor Slicer's have a resection cavity.
TUMOR_BED: Code = ("SCT", "1162492000", "Tumor bed")
NEOPLASM: Code = ("SCT", "108369006", "Neoplasm")
# The whole tumour holds oedema as well, so it is more than the neoplasm.
LESION: Code = ("SCT", "52988006", "Lesion")


@dataclass(frozen=True)
class Tissue:
    """One segment as Slicer shows it.

    Args:
        key: short and unique among the segments of a file; the segment's ID.
        name: the segment's name.
        colour: `#rrggbb`.
        code: its type in the terminology.
    """

    key: str
    name: str
    colour: str
    code: Code

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, 0 to 255."""
        red, green, blue = bytes.fromhex(self.colour[1:])
        return red, green, blue


_ET = Tissue("ET", "Enhancing tumor (ET)", COLOURS["ET"], ENHANCING)
_ED = Tissue("ED", "Peritumoral edema (ED)", COLOURS["WT"], EDEMA)
_NET = Tissue("NET", "Non-enhancing tumor (NET)", "#ff7f00", NON_ENHANCING)
_RC = Tissue("RC", "Resection cavity (RC)", "#377eb8", TUMOR_BED)
_NCR = Tissue("NCR", "Necrotic tumor core (NCR)", COLOURS["TC"], NECROSIS)
_NCR_NET = Tissue("NCR", "Necrotic and non-enhancing tumor core (NCR/NET)", COLOURS["TC"], NON_ENHANCING)
_NETC = Tissue("NCR", "Non-enhancing tumor core (NETC)", COLOURS["TC"], NON_ENHANCING)
# Oedema is its nearest code: it may hold infiltrating tumour and changes after treatment, too.
_SNFH = Tissue("ED", "Surrounding non-enhancing FLAIR hyperintensity (SNFH)", COLOURS["WT"], EDEMA)

_CORES = {
    "brats2013": _NCR,
    "brats2018": _NCR_NET,
    "brats2021": _NCR,
    "brats2023": _NCR,
    "brats2024": _NETC,
    "msd": _NCR_NET,
}

TISSUES = ("NCR", "ED", "ET", "NET", "RC")
"""Keys of all tissues that a label value stands for; a year has three or four of them."""


def label_tissues(convention: LabelConvention) -> dict[int, Tissue]:
    """Label value to tissue, ascending, without the background."""
    tissues = {
        convention.ncr: _CORES[convention.name],
        convention.ed: _SNFH if convention is CONVENTIONS["brats2024"] else _ED,
        convention.et: _ET,
        **dict.fromkeys(convention.other_core, _NET),
    }
    if convention.rc is not None:
        tissues[convention.rc] = _RC
    return dict(sorted(tissues.items()))


def region_tissues() -> tuple[Tissue, ...]:
    """The overlapping regions in the order of `medmiss.cases.REGIONS`."""
    regions = {
        "ET": _ET,
        "TC": Tissue("TC", "Tumor core (TC)", COLOURS["TC"], NEOPLASM),
        "WT": Tissue("WT", "Whole tumor (WT)", COLOURS["WT"], LESION),
    }
    return tuple(regions[name] for name in REGIONS)
