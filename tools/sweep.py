"""How much a setting matters: train a bundle with several values of it, and measure each network.

    python tools/sweep.py --bundle brats_shaspec --ids network_def::alpha network_def::beta
                          --values 0,0.02,0.1,0.5 0,0.02,0.1 --out DIR
                          (--phantoms N [--shape X,Y,Z] | --data DIR) [--test M | --test-data DIR] [--subsets M,... ...]
                          [--epochs E] [--seeds S] [--jobs 2] [--teacher B] [--set ID=VALUE ...]

One setting is varied at a time and the others keep their default, as in the papers' figures (ShaSpec Fig. 4, LCKD
Fig. 3). A setting is an entry of train.json or train_phantom.json, or an argument of a class that is configured there;
a network that several settings share is trained once. All are trained for the same number of iterations without a
validation part: the averaged weights of the last step count, so that nothing is selected. Each is measured on M other
phantoms, or on the labelled cases of --test-data, with `medmiss subsets`. What is finished is not done again, so the
command may be stopped and repeated, with more values or seeds. A training that fails, such as one that diverges,
leaves a gap.

Writes DIR/sensitivity.csv (a line a setting, value, seed and region: Dice in %, mean over subsets of the mean over
cases, raw and post-processed) and DIR/sensitivity.png (raw; mean over seeds, bars: standard deviation). One seed says
nothing of how much of a difference is chance.

Exit status: 0 done, 1 some network could not be trained or measured, or no phantom made, 2 wrong usage.
"""

import argparse
import inspect
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pydoc import locate
from typing import Any, NamedTuple

import pandas as pd
from monai.bundle import ConfigParser

import running
from medmiss.cases import REGIONS, write_atomically
from medmiss.cli import DEFAULT_BUNDLE
from medmiss.cli.train import value_of
from medmiss.evaluation.run_plots import draw_sensitivity
from medmiss.evaluation.statistics import by_subset
from medmiss.inference import BundleError, resolve_bundle
from medmiss.inference.records import remember
from medmiss.modalities import SUBSETS, parse_subset, subset_name

CONFIGS = ("train.json", "train_phantom.json")
"""Where a bundle's settings are: of every training, and of one on synthetic cases."""
MEASURES = ["dice", "dice_postprocessed"]
OWN = ("epochs", "seed", "phantoms", "phantom_shape", "dataset_dir", "teacher_bundle", "output_dir")
"""Settings that are options of this tool, beside those of `running.entries_of_all`, so that they are no `--ids`."""
MADE_WITH = ("bundle", "teacher", "data", "phantoms", "test", "test_data", "shape", "epochs", "set")
"""Arguments that all runs of a folder have in common; settings, values, seeds and subsets may be added later."""


class Point(NamedTuple):
    """One setting at one value."""

    setting: str
    value: Any
    default: bool

    def run(self, seed: int) -> str:
        """Name of its run; that of the defaults is the same for all settings."""
        name = "default" if self.default else f"{self.setting.replace('::', '.')}={self.value}"
        return f"{name}-{seed}".replace("/", "_")  # of a path: a run is a folder beside the others


def main() -> int:
    """Train, measure and draw; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE, metavar="B", help="name or folder (default: %(default)s)")
    parser.add_argument("--ids", nargs="+", required=True, metavar="ID", help="settings to vary, one at a time")
    parser.add_argument("--values", nargs="+", required=True, metavar="V,V,...", help="values of each, in that order")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for runs, table and figure")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--phantoms", type=int, metavar="N", help="synthetic cases to train on")
    source.add_argument("--data", type=running.existing, metavar="DIR", help="labelled cases to train on")
    parser.add_argument("--shape", default="240,240,155", help="voxels of a synthetic case (default: %(default)s)")
    running.add_test_options(parser)
    parser.add_argument("--subsets", nargs="+", default=[], metavar="M,...", help="measure these (default: all 15)")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of a training (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each value (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, one core each (default: %(default)s)")
    parser.add_argument("--teacher", metavar="B", help="bundle that teaches, for a method that learns from one")
    parser.add_argument("--set", action="append", default=[], metavar="ID=VALUE", help="entry of train.json for all")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    if len(args.ids) != len(args.values):
        parser.error(f"{len(args.ids)} --ids and {len(args.values)} --values: give a list of values for each setting")
    if args.data is not None and args.test_data is None:
        parser.error("--data: name other labelled cases to measure on with --test-data")
    try:
        subsets = [parse_subset(text) for text in args.subsets] or list(SUBSETS)
        points = points_of(args)
    except (ValueError, BundleError) as error:
        parser.error(str(error))
    changed = remember(out, running.settings_of(args, MADE_WITH))
    if changed:
        parser.error(f"--out: {args.out} holds runs made with other settings ({changed}); give another folder")

    test = running.cases_to_measure(out, args)
    if test is None:
        return 1
    runs = {point.run(seed): (point, seed) for seed in range(args.seeds) for point in points}
    words = ["--subsets", *(",".join(subset) for subset in subsets)]
    with ThreadPoolExecutor(args.jobs) as pool:
        tables = list(pool.map(lambda run: outcome(args, out / run, *runs[run], test, words), runs))
    scores = {run: table for run, table in zip(runs, tables, strict=True) if table is not None}
    table = sensitivity(points, args.seeds, scores, [subset_name(subset) for subset in subsets])
    status = running.tell_gaps(run for run in runs if run not in scores)
    if len(table):
        write_atomically(out / "sensitivity.csv", table.to_csv(index=False, float_format="%.3f").encode())
        summary = over_seeds(table)
        draw_sensitivity(out / "sensitivity.png", summary, ylabel_of(len(subsets), args.seeds))
        wide = summary.pivot_table(index=["id", "value"], columns="region", values="dice", sort=False)
        print(f"{ylabel_of(len(subsets), args.seeds)}\n{wide.round(1).to_string()}\n{out / 'sensitivity.png'}")
    return status


def points_of(args: argparse.Namespace) -> list[Point]:
    """Every setting with every value, in the order asked for.

    Raises:
        ValueError: when the bundle has no such setting, or all networks have it alike.
        BundleError: when there is no such bundle.
    """
    chosen = {name: value_of(value) for name, _, value in (entry.partition("=") for entry in args.set)}
    points = []
    own = {*OWN, *(entry.partition("=")[0] for entry in running.entries_of_all(Path()))}
    for setting, values in zip(args.ids, args.values, strict=True):
        if setting in own:
            raise ValueError(f"--ids: {setting} is the same for all networks here; use an option, or another --out")
        default = chosen[setting] if setting in chosen else default_of(args.bundle, setting)
        distinct = dict.fromkeys(value_of(text.strip()) for text in values.split(","))
        points += [Point(setting, value, value == default) for value in distinct]
    return points


def default_of(bundle: str, setting: str) -> Any:
    """The value of a setting in the bundle's `CONFIGS`, or that of the argument of the class configured there.

    Raises:
        ValueError: when there is neither.
        BundleError: when there is no such bundle.
    """
    config = ConfigParser()
    config.read_config([str(resolve_bundle(bundle) / "configs" / name) for name in CONFIGS])
    if setting in config:
        return config[setting]
    parent, _, name = setting.rpartition("::")
    configured = config[parent] if parent and parent in config else None
    target = locate(str(configured.get("_target_"))) if isinstance(configured, dict) else None
    parameters = inspect.signature(target).parameters if callable(target) else {}
    if name not in parameters or parameters[name].default is inspect.Parameter.empty:
        raise ValueError(f"--ids: {' and '.join(CONFIGS)} of {bundle} have no setting {setting}")
    return parameters[name].default


def outcome(
    args: argparse.Namespace, run: Path, point: Point, seed: int, test: Path, words: Sequence[str]
) -> pd.DataFrame | None:
    """Train and measure one network; the lines of its `subsets.csv`, None when it failed."""
    source = ["--data", args.data] if args.data is not None else ["--phantoms", args.phantoms]
    teacher = ["--teacher", args.teacher] if args.teacher is not None else []
    entries = [*running.entries_of_all(run.parent), *args.set]
    if args.data is None:
        entries.append(f"phantom_shape=[{args.shape}]")
    if not point.default:
        entries.append(f"{point.setting}={json.dumps(point.value)}")
    options = ["--bundle", args.bundle, "--epochs", args.epochs, "--seed", seed, *source, *teacher]
    return running.attempt(lambda: running.measure(test, running.train(run, options, entries), *words))


def sensitivity(
    points: Sequence[Point], seeds: int, scores: dict[str, pd.DataFrame], subsets: Sequence[str]
) -> pd.DataFrame:
    """Dice in %, a row a setting, value, seed and region (and `mean`, of the three); of the runs that are there."""
    rows = []
    for point in points:
        for seed in range(seeds):
            if point.run(seed) in scores:
                table = scores[point.run(seed)]
                means = 100 * by_subset(table[table["subset"].isin(subsets)])[MEASURES].mean().unstack(level=0)
                means.loc["mean"] = means.mean()
                value = "null" if point.value is None else point.value
                of = {"id": point.setting, "value": value, "default": int(point.default), "seed": seed}
                rows += [{**of, "region": region, **means.loc[region]} for region in (*REGIONS, "mean")]
    return pd.DataFrame(rows)


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation (n - 1) of raw Dice over seeds."""
    groups = table.groupby(["id", "value", "default", "region"], sort=False)["dice"]
    return groups.agg(dice="mean", sd="std").reset_index()


def ylabel_of(subsets: int, seeds: int) -> str:
    """What the Dice of the figure is the mean of."""
    of = f"mean over {subsets} subsets" if subsets > 1 else "one subset"
    return f"Dice in %, {of}, {seeds} seeds" if seeds > 1 else f"Dice in %, {of}, one seed"


if __name__ == "__main__":
    sys.exit(main())
