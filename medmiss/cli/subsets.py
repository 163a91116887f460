"""`medmiss subsets`: the table of every paper on missing modalities, for a bundle and labelled cases."""

import argparse
import logging
import os
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmiss.cli import DEFAULT_BUNDLE
from medmiss.cli.predict import device, subset
from medmiss.modalities import SUBSETS, Subset, subset_name

if TYPE_CHECKING:
    import numpy as np

    from medmiss.cases import Case
    from medmiss.evaluation.subsets import Failure, SubsetRun
    from medmiss.inference import CasePredictor, Prediction

logger = logging.getLogger(__name__)

SUMMARY = "measure a bundle on labelled cases with every subset of the modalities"

EXAMPLES = """\
DATA is a folder of labelled cases in any layout that 'medmiss predict' reads. Each case is segmented with
each of the 15 subsets of FLAIR, T1, T1c and T2, as 'medmiss predict --modalities' does it, and the masks are
compared with its label map. A case that lacks modalities takes part in the subsets that it has. OUT gets
  subsets.csv   a line a case, subset and region: Dice of the raw mask, Dice and HD95 (mm) of the
                post-processed one
  table.csv, table.md, report.html (one file, opens from disk), figures/
  settings.json what made the masks

A run that was killed goes on where it was; more DATA or subsets are added to what is there. Cases are known
by their names. With another bundle or other settings, give another OUT, or --overwrite to start anew.

Published figures stand beside the results for orientation: they are of other cases. --compare sets other
runs of this command beside them, with a one-tailed paired t-test over the subset means.

examples:
  medmiss subsets CASES --out results
  medmiss subsets CASES MORE_CASES --bundle runs/mine --out results/mine --compare results
  medmiss subsets CASES --out quick --subsets all flair,t2 t1c

Exit status: 0 done, 1 some case could not be measured, 2 wrong usage. Research use only."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLES
    parser.add_argument("data", nargs="+", type=Path, metavar="DATA", help="labelled cases")
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE, metavar="B", help="name or folder (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder for the results")
    parser.add_argument(
        "--subsets",
        nargs="+",
        type=subset,
        default=list(SUBSETS),
        metavar="M,...",
        help="only these, such as: all flair,t2 t1c (default: all 15; 'all' is the one of four modalities)",
    )
    parser.add_argument(
        "--compare", nargs="+", type=Path, default=[], metavar="DIR", help="the OUT of other runs, to set beside it"
    )
    parser.add_argument(
        "--device", type=device, default="auto", metavar="D", help="auto, cpu, cuda or cuda:N (default: %(default)s)"
    )
    parser.add_argument("--amp", action="store_true", help="autocast: float16 on a GPU, bfloat16 on the CPU")
    parser.add_argument("--tta", action="store_true", help="mean with the left-right mirror image: twice the time")
    parser.add_argument("--overwrite", action="store_true", help="measure everything again")


def run(args: argparse.Namespace) -> int:
    """Measure, and return the exit status.

    Raises:
        argparse.ArgumentError: when the arguments do not go together, or OUT holds a run with other settings.
        BundleError: when there is no such bundle.
        CaseError: when a folder of results cannot be read.
    """
    for path in args.data:
        if not path.exists():
            raise argparse.ArgumentError(None, f"DATA: no such file or folder: {path}")
    for path in args.compare:
        if not (path / "subsets.csv").is_file() or not (path / "settings.json").is_file():
            raise argparse.ArgumentError(None, f"--compare: {path} is no OUT of 'medmiss subsets'")
        if path.resolve() == args.out.resolve():
            raise argparse.ArgumentError(None, f"--compare: {path} is OUT itself")
    names = [path.resolve().name for path in args.compare]
    if len(set(names)) < len(names):
        raise argparse.ArgumentError(None, f"--compare: two runs of one name among {', '.join(names)}; rename a folder")
    from medmiss.inference.bundle import load_bundle, segmentation_bundle

    bundle = segmentation_bundle(args.bundle)  # this and finding the cases: before the imports that take seconds
    cases, problems = find(args.data)
    from medmiss.cli.failures import explained

    try:
        config = load_bundle(bundle, {"device::name": args.device, "amp": args.amp, "tta": args.tta})
        weights, predictor = Path(config.get_parsed_content("weights")), config.get_parsed_content("predictor")
    except Exception as error:
        cause = explained(error)
        if cause is None:
            raise
        logger.error("%s", cause)
        return 1
    from medmiss.evaluation.report import write_report
    from medmiss.evaluation.subsets import SubsetRun, measure
    from medmiss.inference.failures import one_sentence
    from medmiss.inference.report import run_facts

    others = [SubsetRun(path) for path in args.compare]
    measured = SubsetRun(args.out)
    begin(measured, run_facts(bundle, weights, predictor.device), predictor, cases, args.overwrite)
    wanted = [subset for subset in SUBSETS if subset in args.subsets]
    work = [(case, [subset for subset in wanted if set(subset) <= set(case.available)]) for case in cases]
    failures = measure(measured, work, lambda case: _Opened(case, predictor), one_sentence, not args.quiet)
    problems += sentences(failures, cases, args.out)
    if len(measured) == 0:
        logger.error("nothing was measured: no case with a label map has one of the subsets, or all failed")
        return 1
    logger.info("writing tables, figures and report")
    write_report(measured, others, problems, time.strftime("%Y-%m-%d"))
    print(text_table(measured))
    print(f"\nOpen {args.out / 'report.html'}")
    return 1 if problems else 0


class _Opened:
    """A case whose files are read once for all its subsets (`medmiss.evaluation.subsets.OpenCase`)."""

    def __init__(self, case: "Case", predictor: "CasePredictor") -> None:
        from medmiss.inference import CaseReader

        self.reader = CaseReader(case, predictor.preprocessing)
        self.predictor = predictor
        self.warned: set[str] = set()

    def segment(self, subset: Subset) -> "Prediction":
        prediction = self.predictor.predict(self.reader(subset))
        for line in prediction.warnings:
            if line not in self.warned:
                self.warned.add(line)
                logger.warning("%s: %s", self.reader.case.name, line)
        return prediction

    def image(self, modality: str) -> "np.ndarray":
        return self.reader.image(modality)


def find(places: Iterable[Path]) -> "tuple[list[Case], list[str]]":
    """The cases at all places, each once, and what is wrong with a place, without its folders.

    The second of two cases of one name comes with that as its `problem`.
    """
    from medmiss.cases.errors import CaseError
    from medmiss.cases.find import find_cases

    cases: dict[str, Case] = {}
    doubles: list[Case] = []
    problems = []
    for place in places:
        try:
            found = find_cases(place)
        except CaseError as error:
            logger.error("%s", error)
            problems.append(str(error).replace(f"{place.absolute().parent}{os.sep}", ""))
            continue
        for case in found:
            if case.name not in cases:
                cases[case.name] = case
            elif case != cases[case.name]:
                expected, remedy = "names that differ, since scores are known by them", "rename one"
                double = CaseError(case.name, "a second case of this name", expected, remedy, place.absolute())
                doubles.append(replace(case, images={}, problem=double))
    return [*cases.values(), *doubles], problems


def begin(
    run: "SubsetRun", facts: dict[str, Any], predictor: "CasePredictor", cases: "list[Case]", overwrite: bool
) -> None:
    """Write what makes the masks into the folder of results, unless it holds scores of other masks.

    Raises:
        argparse.ArgumentError: when it does and `overwrite` is not given.
    """
    from medmiss.cases.files import changes
    from medmiss.evaluation.subsets import PROTOCOL
    from medmiss.inference.report import network_settings

    settings = {**network_settings(predictor, facts["weights"]["sha256"]), "protocol": PROTOCOL}
    if overwrite and any(case.images and case.label is not None for case in cases):
        run.clear()
    if len(run):
        changed = "no settings.json" if run.record is None else changes(run.record["settings"], settings)
        if changed:
            raise argparse.ArgumentError(
                None,
                f"--out: {run.folder} holds scores made with other settings ({changed}); give another folder, or "
                "--overwrite to measure everything again",
            )
    new = {case.name: {"layout": case.layout, "modalities": list(case.available)} for case in cases if case.images}
    run.begin({**facts, "settings": settings, "cases": new})


def sentences(failures: "Iterable[Failure]", cases: "Iterable[Case]", out: Path) -> list[str]:
    """What could not be measured, each reason once with the subsets it concerns, without folders."""
    from medmiss.inference.failures import without_folders

    reasons: dict[str, list[str]] = {}
    for failure in failures:
        reason = failure.reason
        for case in cases:
            if case.name == failure.case:
                reason = without_folders(reason, case, out)
        subsets = reasons.setdefault(reason, [])
        if failure.subset is not None:
            subsets.append(subset_name(failure.subset))
    return [f"{reason} (Subsets: {', '.join(names)}.)" if names else reason for reason, names in reasons.items()]


def text_table(run: "SubsetRun") -> str:
    """The means over cases, for the terminal."""
    from medmiss.evaluation.statistics import by_subset
    from medmiss.evaluation.subset_tables import percent

    means = percent(by_subset(run.scores()))
    means.loc["mean"] = means.mean()
    return f"Dice in %, HD95 in mm\n{means.round(1).to_string(index_names=False)}"
