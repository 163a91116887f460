"""`medmiss slicer`: label maps as segmentations that 3D Slicer opens with names and colours."""

import argparse
import logging
from pathlib import Path

from medmiss.cli.predict import LABELS

logger = logging.getLogger(__name__)

SUMMARY = "turn label maps into files for 3D Slicer"

EXAMPLES = """\
MASK is a label map, a folder of label maps (what 'medmiss predict' writes) or labelled cases. OUT gets
  <case>.seg.nrrd          one segment a label value, with name, colour and SNOMED CT or NCIt code
  <case>_regions.seg.nrrd  with --regions: ET, TC and WT, which overlap, one layer each
  <labels>.ctbl            the colour table for the NIfTI files themselves
  volumes.csv              ml of ET, TC, WT and of each label: NCR (the core that does not enhance, by whatever
                           name the year has for it), ED, NET (brats2013), RC (brats2024)

A segment is written for every label of the year, also where a case has none of it, so that names and order are
the same in all cases.

What the label values mean: --labels says it for all masks. Without it, what 'medmiss predict' recorded beside
the mask; or else the mask's name (BraTS-GLI-00000-000 brats2023, -1xx at its end brats2024, BraTS2021_00000
brats2021, brats_2013_... brats2013, a folder labelsTr msd); or else brats2018. A mask with a value that the
convention does not have is refused. 1 and 2 are swapped in msd, which no value tells: give --labels there.

A segmentation that is there and differs, such as one edited in Slicer, is not replaced without --overwrite.

examples:
  medmiss slicer MASKS MASKS                       beside the masks
  medmiss slicer case_seg.nii.gz OUT --labels brats2021 --regions

In Slicer: drag an image and the .seg.nrrd into the window.
Exit status: 0 done, 1 some mask failed, 2 wrong usage. Research use only."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.usage = "medmiss slicer [options] MASK [MASK ...] OUT"
    parser.epilog = EXAMPLES
    parser.add_argument("paths", nargs="+", metavar="MASK ... OUT", help="label maps, and the folder for the files")
    parser.add_argument("--labels", choices=LABELS, help="what the label values of all masks mean (default: see below)")
    parser.add_argument("--regions", action="store_true", help="write OUT/<case>_regions.seg.nrrd too")
    parser.add_argument("--overwrite", action="store_true", help="replace segmentations that differ")


def run(args: argparse.Namespace) -> int:
    """Write the files, and return the exit status.

    Raises:
        argparse.ArgumentError: when an argument is missing, or names nothing.
        CaseError: when there is no mask at a place.
    """
    *masks, out = map(Path, args.paths)
    if not masks:
        raise argparse.ArgumentError(None, f"give MASK and OUT, not {args.paths[0]!r} alone")
    for mask in masks:
        if not mask.exists():
            raise argparse.ArgumentError(None, f"MASK: no such file or folder: {mask}")
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from medmiss.cases import CaseError, find_masks
    from medmiss.slicer import SegmentationExporter, SlicerioMissing

    try:
        exporter = SegmentationExporter(args.regions, args.overwrite)
    except SlicerioMissing as error:
        logger.error("%s", error)
        return 1
    found: dict[str, dict[Path, Path]] = {}  # of a case, each file once, by where it really is
    for mask in masks:
        for case, path in find_masks(mask).items():
            found.setdefault(case, {})[path.resolve()] = path
    failed = 0
    with logging_redirect_tqdm(), tqdm(sorted(found.items()), unit="mask", disable=True if args.quiet else None) as bar:
        for case, paths in bar:
            try:
                _export(exporter, case, list(paths.values()), args.labels, out)
            except CaseError as error:
                logger.error("%s", error)
                failed += 1
    logger.info("segmentations in %s: %d, failed: %d", out, len(found) - failed, failed)
    return 1 if failed else 0


def _export(exporter, case: str, paths: list[Path], labels: str | None, out: Path) -> None:
    from medmiss.cases import CONVENTIONS, CaseError, read_mask, recorded_labels
    from medmiss.cases.layouts import is_segmentation
    from medmiss.cases.masks import guessed_labels

    path = paths[0]
    if len(paths) > 1:
        places = " and ".join(map(str, paths))
        raise CaseError(case, f"two label maps: {places}", "one a case", "give one, or use another OUT for each")
    if is_segmentation(path):
        raise CaseError(case, "a segmentation of Slicer", "a label map", "open it in Slicer as it is", path)
    recorded = None if labels else recorded_labels(path, case)
    convention = CONVENTIONS[labels or recorded or guessed_labels(path, case)]
    source = "as given" if labels else "as recorded" if recorded else "guessed from its name; --labels says otherwise"
    mask = read_mask(path, case, convention)
    exporter(case, mask.array, convention, mask.grid, out)
    logger.info("%s: %s (labels %s, %s)", case, ", ".join(exporter.files(case)), convention.name, source)
