"""From the results of many trainings to a table: mean and sd over seeds, and the difference to the lower bound."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ttest_rel

from medmiss.classification.experiments import BOUNDS, Experiment
from medmiss.classification.runs import Results
from medmiss.classification.systems import SYSTEMS

WORDS = {"lower": "the lower bound", "dropout": "the plain network (dropout)"}
"""What the methods are called that others are compared with."""
LEGEND = (
    "lower, upper: a network of what is tested alone, and one of complete samples tested on both, each trained once a "
    "seed for all rates;\ndropout: the plain network, trained with random subsets of the modalities and none of the "
    "methods' terms. No p is corrected for the number of comparisons."
)
NONE = "-"
ROUNDING = 1e-3
"""Points: differences that are the same in all seeds differ by less (results are kept to six decimals), and no test is
possible."""


def shown(
    results: Results, experiment: Experiment, methods: Sequence[str], rates: Sequence[tuple[float, float]]
) -> tuple[list[str], list[tuple[float, float]], int]:
    """Methods, rates and number of seeds of a table of all that there is of an experiment, and of what is asked for.

    Where there is nothing, they are the experiment's.

    Args:
        results: of all trainings.
        experiment: which.
        methods: that are asked for.
        rates: likewise.
    """
    seeds = 1 + max((run.seed for run in results.found), default=-1)
    done = {(run.audio_rate, run.image_rate) for run in results.found if run.method not in BOUNDS}
    own = {_complete(each) for each in experiment.rates}
    rows = sorted({*rates, *(each for each in done if _complete(each) in own)}) or list(experiment.rates)
    there = {run.method for run in experiment.runs(experiment.methods, rows, seeds) if run in results.found}
    columns = [method for method in SYSTEMS if method in methods or method in there]
    return columns or list(experiment.methods), rows, seeds


def _complete(rates: tuple[float, float]) -> tuple[bool, bool]:
    return rates[0] == 1, rates[1] == 1


def table_of(
    results: Results,
    experiment: Experiment,
    methods: Sequence[str],
    rates: Sequence[tuple[float, float]],
    seeds: int,
) -> pd.DataFrame:
    """A line a method, rates and test, accuracies in %.

    `difference` is the mean over seeds of the accuracy less that of the baseline of the same seed, with its sd and the
    two-sided p of a paired t-test over the `pairs`, the seeds that both have. `more` is the accuracy on the MNIST
    test images that are not in the test set.

    Args:
        results: of all trainings.
        experiment: which.
        methods: the columns.
        rates: the rows.
        seeds: those below this number count.
    """

    def values(method: str, each: tuple[float, float], test: str) -> pd.Series:
        cells = {seed: results.found.get(experiment.run(method, each, seed), {}) for seed in range(seeds)}
        return pd.Series({seed: 100 * cell[test] for seed, cell in cells.items() if test in cell}, dtype=float)

    lines = []
    for each in rates:
        for method in methods:
            tests = [experiment.tested(method)] + (["more"] if experiment.test == "image" and method != "upper" else [])
            for test in tests:
                own = values(method, each, test)
                base = values(experiment.baseline, each, test if test == "more" else experiment.test)
                published = experiment.published.get((method, each), math.nan) if test != "more" else math.nan
                line: dict[str, Any] = {"method": method, "audio_rate": each[0], "image_rate": each[1], "test": test}
                line["seeds"] = len(own)
                line |= {"mean": own.mean(), "sd": _plain(own.std()), "published": published}
                lines.append(line | _difference(own, base if method != experiment.baseline else base[:0]))
    return pd.DataFrame(lines)


def _difference(own: pd.Series, base: pd.Series) -> dict[str, float]:
    both = pd.concat([own, base], axis=1, join="inner").to_numpy(float)
    if len(both) == 0:
        return {"pairs": 0, "difference": math.nan, "sd_difference": math.nan, "p": math.nan}
    less = both[:, 0] - both[:, 1]
    differs = np.ptp(less) > ROUNDING
    p = float(ttest_rel(both[:, 0], both[:, 1]).pvalue) if differs else math.nan
    sd = _plain(less.std(ddof=1)) if len(less) > 1 else math.nan
    return {"pairs": len(less), "difference": _plain(less.mean()), "sd_difference": sd, "p": p}


def _plain(value: float) -> float:
    """Without what rounding leaves of zero, and without its sign."""
    return round(float(value), 9) + 0.0


def markdown(table: pd.DataFrame, experiment: Experiment, caption: str) -> str:
    """The table as people read it: accuracies, differences, and the quieter yardstick where there is one.

    Args:
        table: of `table_of`.
        experiment: likewise.
        caption: what was trained how, and tested on what.
    """
    most = table["seeds"].max()
    seeds = f"{most} seed{'s' if most > 1 else ''}"
    seeds += ", or as many as a cell says" if table["seeds"].isin([0, most]).sum() < len(table) else ""
    own, base, less = table[table["test"] != "more"], experiment.baseline, WORDS[experiment.baseline]
    beside = "; published in brackets" if own["published"].notna().any() else ""
    lines = [f"## {experiment.title}", "", caption, ""]
    lines += [f"Accuracy in %, mean ± sd over {seeds}{beside}.", ""]
    lines += _grid(own, lambda row: _mean(row, most) + ("" if math.isnan(row.published) else f" ({row.published:.2f})"))
    if beside:
        lines += ["", "Published: Table 2a of the MCKD paper (2024)."]
    lines += ["", LEGEND]
    if own["difference"].notna().any():
        lines += ["", f"Less {less} of the same seed, in points (p two-sided, paired over seeds):", ""]
        lines += _grid(own[own["method"] != base], _less)
    more = table[table["test"] == "more"]
    if len(more):
        lines += ["", "The same networks on the MNIST test images that are not in the test set, images alone:", ""]
        lines += _grid(more, lambda row: _mean(row, most))
        if more["difference"].notna().any():
            lines += ["", f"and less {less}:", ""]
            lines += _grid(more[more["method"] != base], _less)
    return "\n".join([*lines, ""])


def _grid(table: pd.DataFrame, cell: Callable[[Any], str]) -> list[str]:
    rows: Iterable[Any] = table.itertuples(index=False)
    methods = list(dict.fromkeys(table["method"]))
    heads = [f"{method} (both)" if method == "upper" else method for method in methods]
    cells: dict[tuple[float, float], dict[str, str]] = {}
    for row in rows:
        cells.setdefault((row.audio_rate, row.image_rate), {})[row.method] = cell(row) if row.seeds else NONE
    lines = ["| audio | images | " + " | ".join(heads) + " |", "|---" * (2 + len(methods)) + "|"]
    for (audio, image), own in cells.items():
        lines.append(f"| {percent(audio)} | {percent(image)} | {' | '.join(own.get(m, NONE) for m in methods)} |")
    return lines


def percent(rate: float) -> str:
    """A share in words that tell it from any other: `"5%"`, `"2.5%"`."""
    return f"{100 * rate:.6g}%"


def _mean(row: Any, most: int) -> str:
    fewer = "" if row.seeds == most else f", {row.seeds} seed{'s' if row.seeds > 1 else ''}"
    return f"{row.mean:.2f}" + ("" if math.isnan(row.sd) else f" ± {row.sd:.2f}") + fewer


def _less(row: Any) -> str:
    if math.isnan(row.difference):
        return NONE
    seeds = "" if row.pairs == row.seeds else f", {row.pairs} seeds"
    return f"{row.difference:+.2f}" + ("" if math.isnan(row.p) else f" (p {row.p:.2g}{seeds})")
