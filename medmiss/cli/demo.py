"""`medmiss demo`: the main job on synthetic cases, from the images to scores and a picture."""

import argparse
import logging
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medmiss.cli import DEFAULT_BUNDLE, phantom, predict
from medmiss.modalities import MODALITIES, Subset, subset_name

if TYPE_CHECKING:
    import numpy as np

    from medmiss.cases import Case

logger = logging.getLogger(__name__)

SUMMARY = "the main job on synthetic cases, with scores and a picture"

EXAMPLES = """\
Writes synthetic cases to OUT/cases, segments them with all modalities, with FLAIR and T2, and with T1c
alone (OUT/all, OUT/flair+t2, OUT/t1c), and compares with the labels that belong to them: a table, OUT/dice.csv
and OUT/demo.png. A second run skips what is finished.

examples:
  medmiss demo OUT
  medmiss demo OUT --cases 4 --device cuda
  medmiss demo OUT --shape 96,96,64            quicker, with small heads that the weights were not made for

The scores are of synthetic cases and say nothing about patients.
Exit status: 0 done, 1 something failed, 2 wrong usage. Research use only."""

SUBSETS: tuple[Subset, ...] = (MODALITIES, ("flair", "t2"), ("t1c",))
SEED = 2018
"""Of the demo's cases."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLES
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for all of it")
    parser.add_argument(
        "--cases", type=phantom.positive, default=2, metavar="N", help="how many (default: %(default)s)"
    )
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE, metavar="B", help="name or folder (default: %(default)s)")
    parser.add_argument(
        "--shape",
        type=phantom.shape,
        default=phantom.FULL_SHAPE,
        metavar="X,Y,Z",
        help="voxels of a case (default: BraTS's 240,240,155)",
    )
    parser.add_argument(
        "--device", type=predict.device, default="auto", metavar="D", help="auto, cpu, cuda or cuda:N (default: auto)"
    )
    parser.add_argument("--overwrite", action="store_true", help="predict again what is there already")


@dataclass(frozen=True)
class Score:
    """Dice of one mask; a line of `dice.csv`."""

    case: str
    subset: Subset
    dice: dict[str, float]


def run(args: argparse.Namespace) -> int:
    """Do it all, and return the exit status.

    Raises:
        BundleError: when there is no such bundle.
        CaseError: when OUT holds other cases.
    """
    from medmiss.inference.bundle import load_bundle, segmentation_bundle

    bundle = segmentation_bundle(args.bundle)
    weights = Path(load_bundle(bundle).get_parsed_content("weights"))
    if not weights.is_file():  # said now, not after the cases are made
        logger.error("%s: the bundle has no weights; train it, or name one that has some with --bundle", weights)
        return 1
    from medmiss.cases import find_cases
    from medmiss.phantom import write_cases

    folder = args.out / "cases"
    steps = 2 + len(SUBSETS)
    logger.info("2 cases of full size take 2 to 3 minutes on 2 CPU cores")
    logger.info("1/%d synthetic cases: %s", steps, folder)
    names = write_cases(folder, args.cases, seed=SEED, shape=args.shape, progress=not args.quiet)
    for step, subset in enumerate(SUBSETS, start=2):
        status = _predict(args, folder, subset, f"{step}/{steps}")
        if status != 0:
            return status
    cases = [case for case in find_cases(folder) if case.name in names]
    logger.info("%d/%d scores and picture", steps, steps)
    scores = [score_of(case, subset, args.out) for case in cases for subset in SUBSETS]
    _write_csv(args.out / "dice.csv", scores)
    _draw(args.out / "demo.png", cases, scores, args.out)
    print("\n".join(_text(scores, args.out)))
    return 0


def folder_of(subset: Subset) -> str:
    """Where the masks of a subset go, below OUT."""
    return "all" if subset == MODALITIES else "+".join(subset)


def _predict(args: argparse.Namespace, cases: Path, subset: Subset, step: str) -> int:
    """What `medmiss predict CASES MASKS --modalities ...` does."""
    words = [str(cases), str(args.out / folder_of(subset)), "--modalities", ",".join(subset)]
    words += ["--bundle", args.bundle, "--device", args.device, *(["--overwrite"] if args.overwrite else [])]
    logger.info("%s medmiss predict %s", step, shlex.join(words))
    parser = argparse.ArgumentParser()
    predict.add_arguments(parser)
    parser.set_defaults(quiet=args.quiet)
    return predict.run(parser.parse_args(words))


def _regions(case: "Case") -> "np.ndarray":
    from medmiss.cases import CONVENTIONS, read_label

    return CONVENTIONS[case.convention].regions(read_label(case).array)


def _predicted(case: "Case", subset: Subset, out: Path) -> "np.ndarray":
    from medmiss.cases import ImageSource

    return _regions(replace(case, label=ImageSource(out / folder_of(subset) / f"{case.name}.nii.gz")))


def score_of(case: "Case", subset: Subset, out: Path) -> Score:
    """Compare the mask in OUT with the case's label."""
    from medmiss.evaluation import region_dice

    return Score(case.name, subset, region_dice(_predicted(case, subset, out), _regions(case)))


def _write_csv(path: Path, scores: Iterable[Score]) -> None:
    from medmiss.cases import write_atomically

    lines = ["case,subset,region,dice"]
    for score in scores:
        lines += [
            f"{score.case},{subset_name(score.subset)},{region},{dice:.4f}" for region, dice in score.dice.items()
        ]
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def _draw(path: Path, cases: "list[Case]", scores: list[Score], out: Path) -> None:
    from medmiss.cases import read_volume
    from medmiss.evaluation.picture import Panel, draw_rows

    rows = []
    for case in cases:
        flair, t1c = (read_volume(case.images[modality], case.name).array for modality in ("flair", "t1c"))
        reference = _regions(case)
        row = [Panel(f"{case.name}\nFLAIR, reference", flair, reference, outline=True)]
        row.append(Panel("T1c, reference\n", t1c, reference, outline=True))
        for subset in SUBSETS:
            (score,) = (score for score in scores if (score.case, score.subset) == (case.name, subset))
            figures = "  ".join(f"{region} {dice:.2f}" for region, dice in score.dice.items())
            title = f"predicted from {subset_name(subset)}\nDice {figures}"
            row.append(Panel(title, flair if "flair" in subset else t1c, _predicted(case, subset, out)))
        rows.append(row)
    draw_rows(path, rows, "medmiss demo: synthetic cases, not patients")


def _text(scores: list[Score], out: Path) -> list[str]:
    """The table and where to look next."""
    regions = list(scores[0].dice)
    wide = max(len(score.case) for score in scores)
    lines = ["", f"{'Dice':<{wide}}  {'modalities':<16}" + "".join(f"{region:>7}" for region in regions)]
    for score in sorted(scores, key=lambda score: SUBSETS.index(score.subset)):
        name = subset_name(score.subset)
        lines.append(f"{score.case:<{wide}}  {name:<16}" + "".join(f"{score.dice[region]:7.2f}" for region in regions))
    case = scores[0].case
    return [
        *lines,
        "",
        "These are synthetic cases: the scores show that everything works, and say nothing about patients.",
        "ET enhancing tumour, TC tumour core, WT whole tumour. 1 is perfect, 0 no overlap.",
        "",
        "Open next:",
        f"  {out / 'demo.png'}  slices, reference and predictions",
        f"  3D Slicer: {out / 'cases' / case / f'{case}_flair.nii.gz'} as volume,",
        f"             {out / 'all' / f'{case}.nii.gz'} as segmentation",
        f"  cases of your own: {_command()} predict CASES MASKS (README.md has more)",
    ]


def _command() -> str:
    """What a user types to run this program again, wherever it is installed."""
    program = Path(sys.argv[0]).absolute()
    return shlex.quote(str(program)) if program.stem == "medmiss" else f"{sys.executable} -m medmiss.cli.main"
