"""Label maps for 3D Slicer: `.seg.nrrd` files with names, colours and terminology, a colour table, volumes."""

from medmiss.slicer.exporter import SegmentationExporter, SlicerioMissing, require_slicerio
from medmiss.slicer.tissues import TISSUES, Tissue, label_tissues, region_tissues

__all__ = [
    "TISSUES",
    "SegmentationExporter",
    "SlicerioMissing",
    "Tissue",
    "label_tissues",
    "region_tissues",
    "require_slicerio",
]
