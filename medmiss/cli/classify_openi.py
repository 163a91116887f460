"""The data set `openi` of `medmiss classify`: chest X-rays and their reports."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medmiss.cli.classify_runs import RESULTS, carry_out, claim, cores, write_table
from medmiss.cli.predict import device

if TYPE_CHECKING:
    import torch

    from medmiss.classification.openi import Report
    from medmiss.classification.openi_experiment import OpenI
    from medmiss.classification.openi_sets import Images
    from medmiss.classification.runs import Train

METHODS = ("text", "image", "concat", "shaspec")
OWN = ("images", "views", "text_rate", "device")
"""The options that only this data set has."""

EXAMPLES = """\
openi: is there any problem in a chest X-ray, from its frontal image and its report (COMPARISON and FINDINGS). DATA is
NLMCXR_reports.tgz or a folder of its XML files, --images the unpacked NLMCXR_png.tgz. OUT gets results.csv, a line a
training and test with its AUC, and table.csv, table.md of all of them. See docs/openi.md.
  medmiss classify openi --data NLMCXR_reports.tgz --out texts --method text --seeds 5
  medmiss classify openi --data NLMCXR_reports.tgz --images png --out both --image-rate 1 0.7 --seeds 5 --device cuda"""


def add_options(parser: argparse.ArgumentParser, rate: Callable[[str], float]) -> None:
    """Declare the options that only this data set has; `rate` reads a share."""
    group = parser.add_argument_group("openi", f"methods: {', '.join(METHODS)}; --image-rate as above")
    group.add_argument(
        "--images", type=Path, metavar="DIR", help="folder of the images, such as CXR1_1_IM-0001-3001.png"
    )
    group.add_argument(
        "--views", type=Path, metavar="CSV", help="which images are frontal: columns imageid and View Position"
    )
    group.add_argument("--text-rate", nargs="+", type=rate, metavar="R", help="shares of the texts (default: 1)")
    group.add_argument(
        "--device", type=device, metavar="D", help="auto, cpu, cuda or cuda:N (default: cpu); on a GPU --jobs is 1"
    )


def classify_reports(args: argparse.Namespace) -> int:
    """Train and test, write the tables, and return the exit status.

    Raises:
        argparse.ArgumentError: when images are needed and not given, views are given without images, or OUT holds
            results of other data or another recipe.
        BundleError: when torch does not see the device.
        CaseError: when the data are not as distributed.
    """
    methods = _methods(args)
    from dataclasses import asdict, replace

    from medmiss.classification.openi import read_reports
    from medmiss.classification.openi_experiment import RECIPE, OpenI, ReportRun, markdown_of_reports, table_of_reports
    from medmiss.classification.openi_sets import read_images
    from medmiss.classification.runs import Results
    from medmiss.inference.weights import select_device

    place = select_device(args.device or "cpu")
    how = OpenI()
    if args.epochs is not None:
        how = replace(how, recipe=replace(how.recipe, epochs=args.epochs))
    reports = [report for report in read_reports(args.data) if report.images]
    images = read_images(reports, args.images, args.views) if args.images else None
    settings = {"task": "openi", "data": fingerprint(reports, images), "recipe": {"number": RECIPE, **asdict(how)}}
    claim(args.out, settings)
    runs = [
        ReportRun.of(method, image_rate, text_rate, seed)
        for seed in range(args.seeds)
        for image_rate in args.image_rate or [1.0]
        for text_rate in args.text_rate or [1.0]
        for method in methods
    ]
    results = Results(args.out / RESULTS, ReportRun, "auc")
    jobs = (args.jobs or cores()) if place.type == "cpu" else 1
    status = carry_out(args, results, runs, reports_trainer, (reports, images, how, place), jobs)
    parts = parts_of(reports, images, how.split_seed)
    asked = [] if args.tables else runs
    table = table_of_reports(results, [*asked, *results.found], {test: part["test"] for test, part in parts.items()})
    return (
        write_table(args.out, "table", table, markdown_of_reports(table, caption(parts, how.recipe.epochs))) or status
    )


def _methods(args: argparse.Namespace) -> list[str]:
    all_of_them = METHODS if args.images else METHODS[:1]
    methods = [method for method in METHODS if method in (all_of_them if "all" in args.method else args.method)]
    needing = [method for method in methods if method != "text"]
    if needing and not args.images:
        raise argparse.ArgumentError(None, f"--images: needed by {', '.join(needing)}")
    if args.views and not args.images:
        raise argparse.ArgumentError(None, "--views: they are those of images; give --images too, or leave it out")
    for option, path in (("--images", args.images), ("--views", args.views)):
        if path is not None and not path.exists():
            raise argparse.ArgumentError(None, f"{option}: no such file or folder: {path}")
    return methods


def reports_trainer(
    reports: "Sequence[Report]", images: "Images | None", how: "OpenI", place: "torch.device"
) -> "Train":
    """What a process does with a run."""
    from medmiss.classification.openi_experiment import ReportRun, measure_reports, train_reports

    def train(run: ReportRun) -> dict[str, float]:
        network, found = train_reports(reports, run, images, how, place)
        return measure_reports(network, found.sets, place)

    return train


def parts_of(reports: "Sequence[Report]", images: "Images | None", split_seed: int) -> dict[str, dict[str, int]]:
    """Numbers of patients of each part of the split, by what they have: `text`, `image`, `both`, and a `problem`."""
    import numpy as np

    from medmiss.classification.openi_sets import existing, patient_split

    shown = existing(len(reports), images)[:, 0]
    has = {"text": np.ones_like(shown), "image": shown, "both": shown}
    has["problem"] = np.array([report.problem for report in reports])
    parts = patient_split(len(reports), split_seed)
    return {what: {part: int(own[rows].sum()) for part, rows in parts.items()} for what, own in has.items()}


def caption(parts: "Mapping[str, Mapping[str, int]]", epochs: int) -> str:
    """What the table's figures were measured on."""
    numbers = []
    for part, count in parts["text"].items():
        shown = f", {parts['image'][part]} with an image" if any(parts["image"].values()) else ""
        numbers.append(f"{part.replace('_', ' ')} {count} ({parts['problem'][part]} with a problem{shown})")
    return (
        "OpenI, any problem or none: area under the ROC curve on the test patients, mean ± sd over seeds.\n"
        f"Patients: {', '.join(numbers)}; one split for all seeds. Of {epochs} epochs the one that is best on the\n"
        "held-out patients, whose AUC at that epoch is beside it. Published: ShaSpec, CVPR 2023, on another split."
    )


def fingerprint(reports: "Sequence[Report]", images: "Images | None") -> str:
    """Of the content."""
    from hashlib import sha256

    content = sha256(repr([tuple(report) for report in reports]).encode())
    if images is not None:
        content.update(images.pixels.numpy().tobytes())
    return content.hexdigest()[:16]
