"""`medmiss check`: whether a submission is what a challenge takes."""

import argparse
import logging
from pathlib import Path

logger = logging.getLogger(__name__)

SUMMARY = "check a challenge submission before it is uploaded"

CHALLENGES = ("brats2018", "brats2019", "brats2020", "brats2021", "brats2023-gli", "brats2024-gli")

CHALLENGE_TABLE = """\
challenge                labels          names                        voxels
  brats2018              1 2 4           Brats18_<name>.nii.gz        240x240x155
  brats2019, brats2020   1 2 4           BraTS19_..., BraTS20_...     240x240x155
  brats2021              1 2 4           BraTS2021_<5 digits>         240x240x155
  brats2023-gli          1 2 3           BraTS-GLI-00000-000          240x240x155, and its qform
  brats2024-gli          1 2 3 4 (RC)    BraTS-GLI-00000-100          182x218x182"""

EXAMPLES = f"""\
FILE is a zip or tar archive (2018 to 2020: zip), DIR a folder with the masks that would be packed. Nothing is
unpacked to disk. Each finding is one line: severity, kind, file, what was found, what was expected, the remedy.

An error is refused by the organisers or makes the score wrong: the form of the archive, paths that lead out of
it, links, names, duplicates, unknown and missing cases, unreadable files, shape, affine, spacing, qform, NaN,
label values. A warning is accepted, and may be right: empty masks, two masks with the same voxels, hidden files,
folders, header text, voxel types other than uint8 and int16, a mask on the background of its image, 2024 without
a resection cavity. With --cases, ids, grids and images are compared with the cases; without, only the number of
masks with the validation set's (2018: 66, 2019 and 2020: 125, 2021: 219).

{CHALLENGE_TABLE}

examples:
  medmiss check submission.zip --challenge brats2021 --cases ValidationData
  medmiss check submission.tar.gz --challenge brats2023-gli
  medmiss check MASKS --challenge brats2018 --cases CASES --allow-warnings

Exit status: 0 clean, 1 findings (with --allow-warnings: errors), 2 wrong usage."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLES
    parser.add_argument("submission", type=Path, metavar="FILE|DIR", help="the archive, or a folder of masks")
    parser.add_argument("--challenge", choices=CHALLENGES, required=True, help="whose rules hold")
    parser.add_argument("--cases", type=Path, metavar="DIR", help="the cases to be submitted")
    parser.add_argument("--partial", action="store_true", help="some cases may be missing")
    parser.add_argument("--allow-warnings", action="store_true", help="exit with 0 when there are warnings alone")


def run(args: argparse.Namespace) -> int:
    """Print the findings, and return the exit status.

    Raises:
        argparse.ArgumentError: when the submission does not exist.
        CaseError: when there is no case in --cases.
    """
    if not args.submission.exists():
        raise argparse.ArgumentError(None, f"no such file or folder: {args.submission}")
    from medmiss.cases import find_cases
    from medmiss.submission import CHALLENGES as RULES
    from medmiss.submission import check_submission, errors_first, has_errors, summary

    cases = find_cases(args.cases) if args.cases is not None else None
    rules = RULES[args.challenge]
    findings = check_submission(args.submission, rules, cases, args.partial, progress=not args.quiet)
    for finding in errors_first(findings):
        print(finding)
    logger.info("%s: %s", args.submission.name, summary(findings))
    if args.submission.is_dir():
        logger.info("a folder was checked as it would be packed: medmiss submit makes the archive")
    if cases is None and rules.cases is None:
        logger.info("without --cases, a missing case is not seen")
    return 1 if has_errors(findings) or (findings and not args.allow_warnings) else 0
