"""`medmiss predict`: from cases with whatever modalities they have to label maps."""

import argparse
import logging
import re
from pathlib import Path
from typing import Any

from medmiss.cli import DEFAULT_BUNDLE
from medmiss.modalities import DISPLAY_NAMES, MODALITIES, parse_subset

logger = logging.getLogger(__name__)

SUMMARY = "segment cases with whatever modalities they have"

EXAMPLES = """\
INPUT is a case folder, a folder of cases (BraTS of any year, MSD Task01, or flair/t1/t1c/t2 in the file
names) or a 4-D MSD file. Each mask is written to OUTPUT/<case>.nii.gz, on the grid of the case's first
available modality (order: FLAIR, T1, T1c, T2). The networks look for glioma in every image they are given.
They expect skull-stripped, co-registered images; a warning says where a case looks otherwise.

--postprocess is one of
  default  the rules that the bundle sets
  keep-et  small components removed, the enhancing tumour left as it is
  rfnet    only the enhancing tumour removed where it is smaller than 500 mm3
  none     the mask as the network gives it

A second run skips the cases that are finished: those whose mask is there and was made with the same
weights, modalities, labels, post-processing and window, as OUTPUT/.medmiss/<case>.json records. The
images themselves are not compared. A mask made with other settings, changed since, or made by something
else, is never replaced: the case fails, unless --overwrite is given.

Many cases: 'torchrun --nproc_per_node=4 -m medmiss.cli.main predict ...' parts the cases over processes (and
GPUs), --part over the jobs of an array. Each case is written once; what was stopped goes on when started again.

examples:
  medmiss predict CASES MASKS
  medmiss predict --flair flair.nii.gz --t2 t2.nii.gz MASKS
  medmiss predict CASES MASKS --modalities flair,t2 --labels brats2023 --report run.json
  medmiss predict CASES MASKS --bundle runs/fold0 --bundle runs/fold1
  medmiss predict CASES MASKS --part $SLURM_ARRAY_TASK_ID/8      (sbatch --array=1-8)

Exit status: 0 all cases done, 1 some case failed, 2 wrong usage. Research use only."""

LABELS = ("brats2013", "brats2018", "brats2021", "brats2023", "brats2024", "msd")
POSTPROCESSING = ("default", "keep-et", "rfnet", "none")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.usage = (
        "medmiss predict [options] INPUT OUTPUT\n"
        "       medmiss predict [options] --flair F --t1 F --t1c F --t2 F OUTPUT   (those that exist)"
    )
    parser.epilog = EXAMPLES
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="INPUT OUTPUT",
        help="cases, and the folder of the masks; OUTPUT alone with files",
    )
    files = parser.add_argument_group("the files of one case, instead of INPUT")
    for modality in MODALITIES:
        files.add_argument(f"--{modality}", type=Path, metavar="F", help=f"its {DISPLAY_NAMES[modality]} volume")
    parser.add_argument(
        "--bundle",
        action="append",
        metavar="B",
        help=f"name or folder (default: {DEFAULT_BUNDLE}); given several times, the mean of their probabilities",
    )
    parser.add_argument(
        "--modalities",
        type=subset,
        metavar="M,...",
        help="use only these of what a case has, such as flair,t2; the files of the others are not opened",
    )
    parser.add_argument(
        "--labels", choices=LABELS, help="label values of the masks (default: those of the input's own layout)"
    )
    parser.add_argument(
        "--resample", action="store_true", help="accept modalities on different grids: bring them to the first one's"
    )
    parser.add_argument(
        "--probabilities", action="store_true", help="write OUTPUT/<case>_probabilities.nii.gz too (ET, TC, WT)"
    )
    parser.add_argument(
        "--slicer",
        action="store_true",
        help="write OUTPUT/<case>.seg.nrrd, a colour table and volumes.csv for 3D Slicer too",
    )
    parser.add_argument(
        "--device", type=device, default="auto", metavar="D", help="auto, cpu, cuda or cuda:N (default: %(default)s)"
    )
    parser.add_argument("--amp", action="store_true", help="autocast: float16 on a GPU, bfloat16 on the CPU")
    parser.add_argument(
        "--postprocess",
        choices=POSTPROCESSING,
        default="default",
        help="rules for the mask, see below (default: %(default)s)",
    )
    parser.add_argument("--tta", action="store_true", help="mean with the left-right mirror image: twice the time")
    parser.add_argument(
        "--part", metavar="I/N", type=_part, help="the I-th of N parts of the cases, for one job of an array"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write a JSON report of the run")
    parser.add_argument("--overwrite", action="store_true", help="predict again what is there already")


def run(args: argparse.Namespace) -> int:
    """Predict, and return the exit status.

    Raises:
        argparse.ArgumentError: when the arguments do not go together.
        BundleError: when there is no such bundle.
        CaseError: when there is no case.
    """
    overrides = overrides_of(args)
    from medmiss.inference.bundle import load_bundle, segmentation_bundle, together

    # This and finding the cases: before the imports that take seconds.
    bundles = [segmentation_bundle(bundle) for bundle in args.bundle or [DEFAULT_BUNDLE]]
    from medmiss.cases.find import find_cases
    from medmiss.cli.failures import explained

    overrides = {**together(bundles), **overrides}
    if "dataset_dir" in overrides:
        find_cases(overrides["dataset_dir"])
    if args.slicer:
        from medmiss.slicer import SlicerioMissing, require_slicerio

        try:
            require_slicerio()
        except SlicerioMissing as error:
            logger.error("%s", error)
            return 1
    try:
        load_bundle(bundles[0], overrides).get_parsed_content("evaluator").run()
    except Exception as error:
        cause = explained(error)
        if cause is None:
            raise
        logger.error("%s", cause)
        logger.debug("where it happened:", exc_info=error)
        return 1
    return 0


def overrides_of(args: argparse.Namespace) -> dict[str, Any]:
    """The entries of the bundle's inference configuration that the arguments set.

    Raises:
        argparse.ArgumentError: when the arguments do not go together, or an input does not exist.
    """
    images = {modality: str(path) for modality in MODALITIES if (path := getattr(args, modality)) is not None}
    given = " ".join(args.paths)
    if images and len(args.paths) != 1:
        raise argparse.ArgumentError(None, f"with files of a case, give OUTPUT alone, not {given!r}")
    if not images and len(args.paths) != 2:
        raise argparse.ArgumentError(
            None, f"give INPUT and OUTPUT (or --flair and the like, and OUTPUT), not {given!r}"
        )
    if not images and not Path(args.paths[0]).exists():
        raise argparse.ArgumentError(None, f"INPUT: no such file or folder: {args.paths[0]}")
    for modality, file in images.items():
        if not Path(file).is_file():
            raise argparse.ArgumentError(None, f"--{modality}: no such file: {file}")
    overrides: dict[str, Any] = {
        "output_dir": args.paths[-1],
        "dataset::part": args.part,
        "labels": args.labels,
        "resample": args.resample,
        "probabilities": args.probabilities,
        "slicer": args.slicer,
        "device::name": args.device,
        "amp": args.amp,
        "tta": args.tta,
        "report": None if args.report is None else str(args.report),
        "overwrite": args.overwrite,
        "progress": not args.quiet,
        **({"images": images} if images else {"dataset_dir": args.paths[0]}),
    }
    if args.modalities is not None:  # a bundle of dedicated training has modalities of its own
        overrides["modalities"] = ",".join(args.modalities)
    if args.postprocess != "default":
        overrides["postprocessing"] = {
            "_target_": "medmiss.postprocessing.postprocessing_preset",
            "name": args.postprocess,
        }
    return overrides


def subset(text: str) -> tuple[str, ...]:
    """Some of the modalities, as an option gives them."""
    try:
        return parse_subset(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _part(text: str) -> str:
    from medmiss.inference.parts import parse_part

    try:
        parse_part(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def device(text: str) -> str:
    """A device by name, as an option gives it."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"expected auto, cpu, cuda or cuda:N, not {text!r}")
    return text
