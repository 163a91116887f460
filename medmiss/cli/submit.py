"""`medmiss submit`: predicted masks as an archive that a challenge takes."""

import argparse
import logging
from pathlib import Path

from medmiss.cli.check import CHALLENGE_TABLE, CHALLENGES
from medmiss.cli.predict import LABELS

logger = logging.getLogger(__name__)

SUMMARY = "pack predicted masks for a challenge"

EXAMPLES = f"""\
PRED is the folder that 'medmiss predict' wrote (or one mask). Each mask is brought to the challenge's label
values, named after its case, written with a clean header on the grid of its case's first image, and checked as
'medmiss check' does. The archive is written when there is no error, and the same masks give the same bytes.
Warnings are printed and do not hold it back.

Label values come from the record that 'medmiss predict' keeps beside its masks; masks of other programs need
--labels. A mask belongs to the case with the same id: the five digits of 2021, 00000-000 from 2023 on, the whole
name before. The images are those the organisers gave out: other shapes are refused.

{CHALLENGE_TABLE}

examples:
  medmiss predict ValidationData MASKS
  medmiss submit MASKS --challenge brats2021 --cases ValidationData --out submission.zip
  medmiss submit MASKS --challenge brats2023-gli --cases CASES --out submission.tar.gz --partial
  medmiss submit FOREIGN --labels msd --challenge brats2018 --cases CASES --out submission.zip

Exit status: 0 written, 1 errors and no archive, 2 wrong usage."""

FORMS = {".zip": "zip", ".tar.gz": "tar", ".tgz": "tar"}
"""Suffix to form of the archive."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLES
    parser.add_argument("masks", type=Path, metavar="PRED", help="folder of masks")
    parser.add_argument("--challenge", choices=CHALLENGES, required=True, help="whose rules hold")
    parser.add_argument("--cases", type=Path, required=True, metavar="DIR", help="the cases to be submitted")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=".zip or .tar.gz (2018 to 2020: .zip)")
    parser.add_argument("--labels", choices=LABELS, help="label values of masks without a record")
    parser.add_argument("--partial", action="store_true", help="submit although some cases have no mask")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE when it is there")


def run(args: argparse.Namespace) -> int:
    """Print the findings, write the archive when none is an error, and return the exit status.

    Raises:
        argparse.ArgumentError: when an input does not exist, or the output does or is not an archive's name.
        CaseError: when there is no mask or no case, or the labels of a mask are not known.
    """
    for place in (args.masks, args.cases):
        if not place.exists():
            raise argparse.ArgumentError(None, f"no such file or folder: {place}")
    form = next((form for suffix, form in FORMS.items() if args.out.name.lower().endswith(suffix)), None)
    if form is None:
        raise argparse.ArgumentError(None, f"--out: expected a name ending in {', '.join(FORMS)}, not {args.out.name}")
    if args.out.exists() and not args.overwrite:
        raise argparse.ArgumentError(None, f"--out: {args.out} is there already; give --overwrite to replace it")
    from medmiss.cases import find_cases, find_masks, write_atomically
    from medmiss.submission import CHALLENGES as RULES
    from medmiss.submission import build_submission, errors_first, has_errors, summary

    rules = RULES[args.challenge]
    if form not in rules.archives:
        expected = " or ".join(suffix for suffix, form in FORMS.items() if form in rules.archives)
        raise argparse.ArgumentError(None, f"--out: {rules.name} takes {expected}, not {args.out.name}")
    submission = build_submission(
        find_masks(args.masks), find_cases(args.cases), rules, form, args.labels, args.partial, not args.quiet
    )
    for finding in errors_first(submission.findings):
        print(finding)
    if has_errors(submission.findings):
        logger.error("%s was not written: %s", args.out.name, summary(submission.findings))
        return 1
    write_atomically(args.out, submission.content)
    count = len(submission.names)
    masks = f"{count} mask{'s' if count > 1 else ''}"
    logger.info("%s: %s, %s", args.out.name, masks, summary(submission.findings))
    return 0
