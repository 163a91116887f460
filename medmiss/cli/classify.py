"""`medmiss classify`: the papers' classification experiments, many small trainings, with a table at the end."""

import argparse
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmiss.cli import classify_openi
from medmiss.cli.classify_runs import RESULTS, carry_out, claim, cores, write_table
from medmiss.cli.phantom import positive

if TYPE_CHECKING:
    import numpy as np

    from medmiss.classification.runs import Run, Train

logger = logging.getLogger(__name__)

SUMMARY = "train and test the methods on two-modality classification"

EXAMPLES = """\
avmnist: digits written and spoken (Audiovision-MNIST). Every method is trained on a share of the sounds or
images, once a seed, and tested on 450 digits. DATA is a file of tools/prepare_avmnist.py, or a folder with the
downloads: the four idx files of MNIST, and FSDD's archive or wavs. OUT gets
  results.csv          a line a training and test: method, audio_rate, image_rate, seed, test, accuracy
  table.csv, table.md  mean and sd over seeds, the published figure, the difference to the lower bound, of all
                       methods, rates and seeds of the experiment that there are results of
                       (table-image-missing.csv, ... likewise)
  settings.json        what the results are made with; avmnist-full-*.npz is made of a folder of downloads
What is finished is not done again: the command may be stopped and repeated, and seeds, methods and rates added.
A training takes 10 to 60 seconds of a core, some of SMIL minutes; all methods, rates and 20 seeds of an
experiment are some 760 of them, and hours. Begin with --seeds 3.

experiments of avmnist:
  audio-missing   all images, 5 to 20 % of the sounds; tested on images alone (the papers' table)
  image-missing   all sounds, 5 to 20 % of the images; tested on sounds alone
  both-missing    15 to 100 % of both, SMIL and ShaSpec, and the plain network (dropout) that the difference is to;
                  tested on both (ShaSpec, Fig. 3)

examples:
  medmiss classify avmnist --data downloads --out results
  medmiss classify avmnist --data downloads --out results --method lower shaspec --audio-rate 0.05 0.2 --seeds 3
  medmiss classify avmnist --data downloads --out results --experiment image-missing --jobs 8
  medmiss classify avmnist --data downloads --out results --tables

{openi}

Exit status: 0 done, 1 some training failed, 2 wrong usage. Research use only."""

METHODS = ("lower", "upper", "autoencoder", "gan", "full2miss", "dropout", "smil", "shaspec", "lckd", "mckd", "mmanet")
KNOWN = {"avmnist": METHODS, "openi": classify_openi.METHODS}
"""The methods of each data set."""
OWN = {"avmnist": ("experiment", "audio_rate", "variant"), "openi": classify_openi.OWN}
"""The options that only one data set has; None where they are not given."""
EXPERIMENTS = ("audio-missing", "image-missing", "both-missing")
PAIRS = (1050, 450)
"""Of the papers, to train on and to test on."""
VARIANTS = ("full", "smil")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLES.format(openi=classify_openi.EXAMPLES)
    parser.add_argument("task", choices=tuple(TASKS), help="the data set")
    parser.add_argument("--data", type=Path, required=True, help="prepared file, or folder of downloads")
    parser.add_argument("--out", type=Path, required=True, help="folder for results and tables")
    parser.add_argument(
        "--method", nargs="+", default=["all"], metavar="M", help="which (default: all): see below for each data set"
    )
    parser.add_argument("--seeds", type=positive, default=20, metavar="N", help="trainings each (default: %(default)s)")
    parser.add_argument(
        "--jobs", type=positive, default=None, metavar="N", help="at a time, one core each (default: all cores)"
    )
    parser.add_argument("--epochs", type=positive, default=None, help="of each training (default: the recipe's)")
    parser.add_argument("--tables", action="store_true", help="train nothing: the table of all that is there")
    digits = parser.add_argument_group("avmnist", f"methods: {', '.join(METHODS)}")
    digits.add_argument("--experiment", choices=EXPERIMENTS, help=f"default: {EXPERIMENTS[0]}")
    digits.add_argument(
        "--audio-rate", nargs="+", type=rate, metavar="R", help="shares of the sounds (default: the experiment's)"
    )
    digits.add_argument("--image-rate", nargs="+", type=rate, metavar="R", help="shares of the images (likewise)")
    digits.add_argument("--variant", choices=VARIANTS, help=f"MFCC, of a folder of downloads (default: {VARIANTS[0]})")
    classify_openi.add_options(parser, rate)


def rate(text: str) -> float:
    """A share in (0, 1]."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected a share above 0 and at most 1, not {text!r}")
    return value


def run(args: argparse.Namespace) -> int:
    """Train and test, and return the exit status."""
    if args.out.exists() and not args.out.is_dir():
        raise argparse.ArgumentError(None, f"--out: {args.out} is a file; give a folder")
    if not args.data.exists():
        raise argparse.ArgumentError(None, f"--data: no such file or folder: {args.data}")
    if args.tables and not (args.out / RESULTS).is_file():
        raise argparse.ArgumentError(None, f"--tables: there is no {args.out / RESULTS}; leave it out to train")
    unknown = sorted(set(args.method) - {"all", *KNOWN[args.task]})
    if unknown:
        known = ", ".join(KNOWN[args.task])
        raise argparse.ArgumentError(None, f"--method: {', '.join(unknown)}: expected all, or some of {known}")
    for task, options in OWN.items():
        foreign = [f"--{name.replace('_', '-')}" for name in options if getattr(args, name) is not None]
        if foreign and task != args.task:
            raise argparse.ArgumentError(None, f"{', '.join(foreign)}: of {task} alone, not of {args.task}")
    return TASKS[args.task](args)


def classify_digits(args: argparse.Namespace) -> int:
    """Audiovision-MNIST.

    Raises:
        argparse.ArgumentError: when a prepared file is to be of a variant, or OUT holds results of other data or
            another recipe.
        CaseError: when the data are not as distributed.
    """
    if args.variant is not None and args.data.is_file():
        words = f"{args.data} is a prepared file, whose MFCC are made; leave it out, or give the folder of downloads"
        raise argparse.ArgumentError(None, f"--variant: {words}")
    from dataclasses import asdict, replace

    from medmiss.classification import read_avmnist
    from medmiss.classification.avmnist import fingerprint
    from medmiss.classification.experiment import RECIPE, AvMnist
    from medmiss.classification.experiments import EXPERIMENTS as TABLES
    from medmiss.classification.runs import Results
    from medmiss.classification.tables import markdown, shown, table_of

    name = args.experiment or EXPERIMENTS[0]
    experiment = TABLES[name]
    rates = experiment.asked(args.audio_rate, args.image_rate)
    methods = list(experiment.methods) if "all" in args.method else [m for m in METHODS if m in args.method]
    for method in methods:
        for audio, image in rates:
            if not experiment.reads(method, (audio, image)):
                words = f"{method} at {audio:.0%} of the sounds and {image:.0%} of the images cannot be tested on"
                raise argparse.ArgumentError(None, f"--method: {words} {experiment.test} ({name}); leave it out")
    how = AvMnist()
    if args.epochs is not None:
        how = replace(how, recipe=replace(how.recipe, epochs=args.epochs))
    file = prepared(args.data, args.out, args.variant or VARIANTS[0])
    arrays = read_avmnist(file)  # refused here if at all, before OUT remembers it
    pairs = len(arrays["train_label"]), len(arrays["test_label"])
    logger.info("%d pairs to train on, %d to test", *pairs)
    if pairs != PAIRS:
        logger.warning("the papers have %d and %d: their figures are left out", *PAIRS)
        experiment = replace(experiment, published={})
    settings = {"task": "avmnist", "data": fingerprint(arrays), "recipe": {"number": RECIPE, **asdict(how)}}
    claim(args.out, settings)
    results = Results(args.out / RESULTS)
    runs = experiment.runs(methods, rates, args.seeds)
    status = carry_out(args, results, runs, digits_trainer, (file, how), args.jobs or cores())
    asked = ([], []) if args.tables else (methods, rates)
    table = table_of(results, experiment, *shown(results, experiment, *asked))
    mfcc = str(arrays["mfcc"])
    table["recipe"], table["epochs"], table["mfcc"] = RECIPE, how.recipe.epochs, mfcc
    stem = "table" if name == EXPERIMENTS[0] else f"table-{name}"
    text = markdown(table, experiment, caption(pairs, how.recipe.epochs, mfcc))
    return write_table(args.out, stem, table, text) or status


def caption(pairs: tuple[int, int], epochs: int, mfcc: str) -> str:
    """What was trained how, and tested on what, for the table."""
    from medmiss.classification.experiment import RECIPE, AvMnist

    frozen = AvMnist().recipe.epochs
    shortened = "" if epochs == frozen else f" **in place of the recipe's {frozen}**"
    return (
        f"Audiovision-MNIST, {pairs[0]} pairs to train on, {pairs[1]} to test on; MFCC {mfcc}, recipe {RECIPE}, "
        f"epochs: {epochs}{shortened}, the last weights."
    )


TASKS: dict[str, Callable[[argparse.Namespace], int]] = {
    "avmnist": classify_digits,
    "openi": classify_openi.classify_reports,
}
"""What runs each data set."""


def digits_trainer(file: Path, how: Any) -> "Train":
    """What a process does with a run on the data of `file`."""
    from medmiss.classification import read_avmnist
    from medmiss.classification.experiment import measure, train_system

    arrays: Mapping[str, np.ndarray] = read_avmnist(file)

    def train(run: "Run") -> dict[str, float]:
        method, sets = train_system(arrays, run.method, run.audio_rate, run.image_rate, run.seed, how)
        return measure(run.method, method, sets)

    return train


def prepared(data: Path, out: Path, variant: str) -> Path:
    """The prepared file: DATA itself, or one below OUT made of the downloads in DATA."""
    if data.is_file():
        return data
    from medmiss.cases import CaseError
    from medmiss.classification import build_avmnist, write_avmnist

    # By its name made of these downloads: others in their place are prepared anew.
    file = out / f"avmnist-{variant}-{told(data)}.npz"
    folders = sorted({images.parent for images in data.rglob("train-images-idx3-ubyte*")})
    if len(folders) != 1:  # other data sets have files of these names too
        found = f"MNIST in {', '.join(str(each) for each in folders)}" if folders else "no MNIST"
        expected, remedy = "one folder of MNIST's idx files", "give the folder of the downloads, or a prepared file"
        raise CaseError("avMNIST", found, expected, remedy, data)
    if not file.is_file():
        logger.info("preparing %s", file)
        write_avmnist(file, build_avmnist(folders[0], data, variant))
    return file


def told(downloads: Path) -> str:
    """Of the names and sizes of what a folder of downloads is read for."""
    from hashlib import sha256

    from medmiss.classification.sources import ARCHIVES

    kinds = ("*-ubyte", "*-ubyte.gz", "*.wav", *ARCHIVES)
    files = sorted((file.name, file.stat().st_size) for kind in kinds for file in downloads.rglob(kind))
    return sha256(repr(files).encode()).hexdigest()[:8]
