"""Train bundles for the same budget on the same synthetic cases, and compare them over the subsets of the modalities.

    python tools/compare_methods.py --out DIR [--bundles B ...] [--seeds 3] [--epochs E] [--phantoms N]
                                    [--shape X,Y,Z] [--test M | --test-data DIR] [--jobs 2]
                                    [--set [BUNDLE/]ID=VALUE ...]

Every bundle is trained once a seed, on the same N phantoms, with the same random subsets of the modalities, for the
same number of iterations, without a validation part: the averaged weights of the last step count, so that nothing
is selected. A bundle that learns from a teacher gets one trained with all modalities for the same budget. Each
network is then measured with `medmiss subsets`, on M other phantoms or on the labelled cases of --test-data. What is
finished is not done again, so the command may be stopped and repeated. A training that fails, such as one that
diverges, leaves a gap.

A bundle B is a name or a folder, whose last component then names it in runs and tables.

Writes DIR/comparison.csv (bundle, subset, region: mean and sd over seeds of the mean Dice over cases, in %) and
DIR/comparison.md: means over the subsets (all 15 where a case has every modality), and each bundle against the first
one by two paired tests, over the subset means (as the papers do) and over seeds (which says whether another training
would agree), both of the seeds that the two bundles have.

Exit status: 0 done, 1 some network could not be trained or measured, or no phantom made, 2 wrong usage.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from scipy.stats import ttest_rel

import running
from medmiss.cases import REGIONS, write_atomically
from medmiss.evaluation.statistics import by_subset, paired_t_test
from medmiss.inference.records import remember

BASELINE = "brats_dropout"
BUNDLES = (BASELINE, "brats_shaspec", "brats_lckd", "brats_mckd", "brats_mmanet")
TAUGHT = ("brats_mmanet",)
"""Bundles that learn from a teacher."""
TEACHER = "teacher"
"""What the runs of the teachers are named by, as those of a bundle are by its name."""
MADE_WITH = ("epochs", "phantoms", "test", "test_data", "shape", "set")
"""Arguments that all runs of a folder have in common; bundles and seeds may be added later."""
SET_HELP = "entry of every train.json; BUNDLE/ID=VALUE of one bundle's alone"
MEASURES = {"dice": "raw", "dice_postprocessed": "post-processed"}
Scores = dict[str, dict[int, pd.DataFrame]]
"""Lines of `subsets.csv`, by name of the bundle and seed; of the runs that are there."""


def main() -> int:
    """Train, measure and compare; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for runs, scores and tables")
    parser.add_argument("--bundles", nargs="+", default=BUNDLES, help=f"the first is the baseline (default: {BUNDLES})")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each bundle (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of a training (default: %(default)s)")
    parser.add_argument("--phantoms", type=int, default=40, help="cases to train on (default: %(default)s)")
    running.add_test_options(parser)
    parser.add_argument("--shape", default="240,240,155", help="voxels of a case (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, one core each (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="ID=VALUE", help=SET_HELP)
    args = parser.parse_args()
    out: Path = args.out.resolve()
    bundles = {name_of(bundle): bundle.rstrip(os.sep) for bundle in args.bundles}
    if len(bundles) < len(args.bundles) or TEACHER in bundles:
        names = ", ".join(map(name_of, args.bundles))
        parser.error(f"--bundles: runs are named by {names}, which must differ, also from {TEACHER}; rename a folder")
    args.bundles = list(bundles.values())
    try:
        entries_of(BASELINE, args.set, args.bundles)
    except ValueError as error:
        parser.error(f"--set {error}")
    changed = remember(out, running.settings_of(args, MADE_WITH))
    if changed:
        parser.error(f"--out: {args.out} holds runs made with other settings ({changed}); give another folder")
    test = running.cases_to_measure(out, args)
    if test is None:
        return 1
    # Some methods consult cases between steps: all bundles leave them out of training, so that all train on the same.
    common = [*running.entries_of_all(out), "held_out_fraction=0.1", "modality_drop=uniform_size", "batch_size=4"]
    common += [f"phantom_shape=[{args.shape}]", *args.set]
    scores, gaps = train_and_measure(args, common, bundles, out, test)
    if any(scores.values()):
        table = comparison(scores)
        write_atomically(out / "comparison.csv", table.to_csv(index=False, float_format="%.3f").encode())
        text = summary(scores, args, gaps)
        write_atomically(out / "comparison.md", text.encode())
        print(text)
    return running.tell_gaps(gaps)


def train_and_measure(
    args: argparse.Namespace, common: Sequence[str], bundles: dict[str, str], out: Path, test: Path
) -> tuple[Scores, list[str]]:
    """The scores of every bundle (name: as it was given) and seed, and the names of the runs that failed."""
    seeds = range(args.seeds)

    def outcome(name: str, seed: int) -> pd.DataFrame | None:
        run = (bundles[name], folder(out, name, seed), seed)
        return running.attempt(lambda: running.measure(test, train(args, common, *run)))

    with ThreadPoolExecutor(args.jobs) as pool:
        taught = seeds if set(TAUGHT) & set(bundles) else ()
        teachers = [(BASELINE, folder(out, TEACHER, seed), seed, ["modality_drop=none"]) for seed in taught]
        trained = list(pool.map(lambda run: running.attempt(lambda: train(args, common, *run)), teachers))
        untaught = [seed for seed, run in zip(taught, trained, strict=True) if run is None]
        runs = [(name, seed) for seed in seeds for name in bundles if name not in TAUGHT or seed not in untaught]
        tables = list(pool.map(lambda run: outcome(*run), runs))
    scores: Scores = {name: {} for name in bundles}
    for (name, seed), table in zip(runs, tables, strict=True):
        if table is not None:
            scores[name][seed] = table
    gaps = [f"{TEACHER}-{seed}" for seed in untaught]
    gaps += [f"{name}-{seed}" for name in bundles for seed in seeds if seed not in scores[name]]
    return scores, gaps


def name_of(bundle: str) -> str:
    """A bundle's name, or the last component of its path."""
    return os.path.basename(os.path.abspath(bundle))


def folder(out: Path, name: str, seed: int) -> Path:
    """Where a run lies."""
    return out / f"{name}-{seed}"


def train(
    args: argparse.Namespace, common: Sequence[str], bundle: str, run: Path, seed: int, own: Sequence[str] = ()
) -> Path:
    """Train one network, or go on with it; its folder."""
    words = ["--bundle", bundle, "--phantoms", args.phantoms, "--epochs", args.epochs, "--seed", seed]
    if name_of(bundle) in TAUGHT:
        words += ["--teacher", folder(run.parent, TEACHER, seed)]
    return running.train(run, words, entries_of(bundle, [*common, *own], args.bundles))


def entries_of(bundle: str, entries: Sequence[str], bundles: Sequence[str]) -> list[str]:
    """The entries that are for this bundle, without its name.

    Raises:
        ValueError: when one is for a bundle that is none of `bundles`.
    """
    found = []
    for entry in entries:
        owner = max((name for name in bundles if entry.startswith(f"{name}/")), key=len, default="")
        own = entry.removeprefix(f"{owner}/") if owner else entry
        if "/" in own.partition("=")[0]:
            raise ValueError(f"{entry}: before the / must stand one of --bundles ({', '.join(bundles)})")
        if owner in ("", bundle):
            found.append(own)
    return found


def comparison(scores: Scores) -> pd.DataFrame:
    """Mean and standard deviation over seeds of the mean over cases, in %, a line a bundle, subset and region."""
    lines = []
    for bundle, runs in scores.items():
        means = [100 * by_subset(run) for run in runs.values()]
        for subset in means[0].index if means else ():
            for region in REGIONS:
                line: dict[str, object] = {"bundle": bundle, "subset": subset, "region": region, "seeds": len(runs)}
                for measure in MEASURES:
                    values = pd.Series([mean.loc[subset, (measure, region)] for mean in means], dtype=float)
                    line |= {measure: values.mean(), f"sd_{measure}": values.std()}
                lines.append(line)
    return pd.DataFrame(lines)


def summary(scores: Scores, args: argparse.Namespace, gaps: Sequence[str] = ()) -> str:
    """The comparison as Markdown."""
    baseline = next(iter(scores))
    measured = (
        f"{args.test} other phantoms" if args.test_data is None else f"the cases of {args.test_data.resolve().name}"
    )
    subsets = max(len(by_subset(run)) for runs in scores.values() for run in runs.values())
    lines = [
        f"Dice in %, mean over {subsets} subsets, mean ± sd over {args.seeds} seeds; {args.phantoms} phantoms to train "
        f"on, {args.epochs} epochs, {measured} to measure on.",
        "",
    ]
    if gaps:
        lines += [f"Not trained or not measured, so that there are fewer seeds: {', '.join(gaps)}.", ""]
    for measure, title in MEASURES.items():
        lines += [f"**{title}**", "", "| bundle | " + " | ".join((*REGIONS, "mean")) + " |", "|---" * 5 + "|"]
        lines += [
            f"| {bundle} | " + " | ".join(f"{v.mean():.1f} ± {v.std():.1f}" for v in over_subsets(runs, measure)) + " |"
            for bundle, runs in scores.items()
            if runs
        ]
        lines += ["", f"Less {baseline}, in points; p one-tailed, paired over subsets / over seeds:", ""]
        lines += ["| bundle | " + " | ".join((*REGIONS, "mean")) + " |", "|---" * 5 + "|"]
        for bundle, runs in scores.items():
            if bundle != baseline and runs:
                cells = tests(runs, scores[baseline], measure)
                lines.append(f"| {bundle} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def over_subsets(runs: dict[int, pd.DataFrame], measure: str) -> list[pd.Series]:
    """Mean over subsets of each seed, in %: ET, TC, WT, and the mean of the three."""
    tables = [by_subset(run) for run in runs.values()]
    means = pd.DataFrame([{region: 100 * table[measure, region].mean() for region in REGIONS} for table in tables])
    return [*(means[region] for region in REGIONS), means.mean(axis=1)]


def mean_over_seeds(runs: dict[int, pd.DataFrame], measure: str) -> pd.DataFrame:
    """Mean over cases and seeds, a row a subset, a column a region."""
    tables = [pd.DataFrame({region: by_subset(run)[measure, region] for region in REGIONS}) for run in runs.values()]
    return pd.concat(tables).groupby(level=0, sort=False).mean()


def tests(runs: dict[int, pd.DataFrame], baseline: dict[int, pd.DataFrame], measure: str) -> list[str]:
    """Difference, p over subsets and p over seeds, for ET, TC, WT and their mean; of the seeds that both have."""
    both = [seed for seed in runs if seed in baseline]
    if not both:
        return ["-"] * (len(REGIONS) + 1)
    runs, baseline = ({seed: of[seed] for seed in both} for of in (runs, baseline))
    ours, theirs = mean_over_seeds(runs, measure), mean_over_seeds(baseline, measure)
    subsets = [paired_t_test(ours[region], theirs[region]) for region in REGIONS]
    subsets.append(paired_t_test(ours.mean(axis=1), theirs.mean(axis=1)))
    cells = []
    for test, one, other in zip(subsets, over_subsets(runs, measure), over_subsets(baseline, measure), strict=True):
        p = ttest_rel(one, other, alternative="greater").pvalue if len(one) > 1 else float("nan")
        cells.append(f"{100 * test.difference:+.1f} (p {test.p:.2g} / {p:.2g})")
    return cells


if __name__ == "__main__":
    sys.exit(main())
