"""`medmiss phantom`: synthetic cases on disk."""

import argparse
import logging
from pathlib import Path

logger = logging.getLogger(__name__)

SUMMARY = "write synthetic cases"

EXAMPLES = """\
Each case is a synthetic head with a tumour: FLAIR, T1, T1c and T2, and the label map that belongs to them.
The same options give the same bytes. A second run skips the cases that are finished, as OUT/.phantom/<case>.json
records; a case made with other options is never replaced.

--tissues takes a tissue map, or a folder such as SRI24's (nitrc.org/projects/sri24): tissues.nii.gz with
spgr.nii.gz, late.nii.gz and erly.nii.gz (or .nii), whose departures from each tissue's median become the
texture of T1, T2 and FLAIR.

examples:
  medmiss phantom OUT --cases 10
  medmiss phantom OUT --cases 10 --layout brats2023 --missing random --seed 7
  medmiss phantom OUT --cases 2 --shape 64,64,48             small and quick, for tests
  medmiss phantom OUT --cases 100 --tissues downloads/sri24

Exit status: 0 done, 1 a case could not be written, 2 wrong usage."""

LAYOUTS = ("brats2018", "brats2021", "brats2023", "brats2024", "msd", "plain")
FULL_SHAPE = (240, 240, 155)
SMALLEST = 32
"""Voxels a side; below, there is no room for a brain."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLES
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the data set")
    parser.add_argument("--cases", type=positive, required=True, metavar="N", help="how many")
    parser.add_argument(
        "--layout", choices=LAYOUTS, default="brats2018", help="names and labels (default: %(default)s)"
    )
    parser.add_argument(
        "--missing",
        choices=("none", "random"),
        default="none",
        help="random: every case lacks one to three modalities (default: %(default)s)",
    )
    parser.add_argument(
        "--tissues",
        type=Path,
        metavar="PATH",
        help="tissue map (1 CSF, 2 grey, 3 white matter) or an atlas's folder, see below (default: a procedural brain)",
    )
    parser.add_argument("--healthy", action="store_true", help="no tumours: for false positives")
    parser.add_argument(
        "--shape", type=shape, default=FULL_SHAPE, metavar="X,Y,Z", help="voxels (default: BraTS's 240,240,155)"
    )
    parser.add_argument(
        "--seed",
        type=natural,
        default=0,
        metavar="S",
        help="of the set; 'medmiss train' makes the set 1000 (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the cases.

    Raises:
        argparse.ArgumentError: when the arguments do not go together.
        CaseError: when another case of that name is there, or the tissue map is not one.
    """
    if args.layout == "msd" and args.missing != "none":
        raise argparse.ArgumentError(
            None, "--layout msd keeps all modalities in one file, so none can be missing: choose another layout"
        )
    from medmiss.phantom import write_cases

    names = write_cases(
        args.out,
        args.cases,
        args.layout,
        args.missing,
        args.tissues,
        args.seed,
        args.shape,
        progress=not args.quiet,
        healthy=args.healthy,
    )
    logger.info("%d cases in %s, %s to %s", len(names), args.out, names[0], names[-1])
    return 0


def positive(text: str) -> int:
    """A whole number above 0."""
    number = natural(text)
    if number == 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0, not {text!r}")
    return number


def natural(text: str) -> int:
    """A whole number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number, not {text!r}")
    return int(text)


def shape(text: str) -> tuple[int, int, int]:
    """Three sizes in voxels."""
    sizes = [natural(word) for word in text.split(",")]
    if len(sizes) != 3 or min(sizes) < SMALLEST:
        raise argparse.ArgumentTypeError(f"expected three numbers from {SMALLEST} on, such as 64,64,48, not {text!r}")
    return sizes[0], sizes[1], sizes[2]
