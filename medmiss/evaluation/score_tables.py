"""Scores as tables: a line a case and region, a line a lesion, and a summary by region and metric.

In all of them an empty cell is an undefined score (NaN) and `inf` an infinite one.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from medmiss.cases import write_atomically
from medmiss.evaluation.evaluate import CaseScores
from medmiss.evaluation.protocols import Protocol

SUMMARY_COLUMNS = ("protocol", "region", "metric", "n", "undefined", "infinite", "mean", "median", "sd")
LESION_COLUMNS = ("case", "region", "lesion", "status", "volume_pred_voxels", "volume_ref_voxels")


def metrics_table(cases: Mapping[str, CaseScores]) -> pd.DataFrame:
    """One line a case and region, one column a metric.

    Args:
        cases: case to region to scores.
    """
    return pd.DataFrame(
        [
            {"case": case, "region": region, **scores.metrics}
            for case, regions in cases.items()
            for region, scores in regions.items()
        ]
    )


def lesions_table(cases: Mapping[str, CaseScores], protocol: Protocol) -> pd.DataFrame:
    """One line a lesion: what became of it, its volumes and, of those that count in the means, its scores.

    Args:
        cases: case to region to scores.
        protocol: that they were scored by; it looks at lesions.
    """
    assert protocol.lesions is not None
    rows = [
        {
            "case": case,
            "region": region,
            "lesion": number,
            "status": lesion.status.value,
            "volume_pred_voxels": lesion.n_prediction,
            "volume_ref_voxels": lesion.n_reference,
            **lesion.scores,
        }
        for case, regions in cases.items()
        for region, scores in regions.items()
        for number, lesion in enumerate(scores.lesions, start=1)
    ]
    return pd.DataFrame(rows, columns=[*LESION_COLUMNS, *protocol.lesions.metrics])


def summary_table(metrics: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Mean, median and standard deviation (of a sample, n - 1) over cases, one line a region and metric.

    Undefined scores are left out and counted. Infinite ones are counted, and the protocol's number stands in
    their place; where it has none, the mean is infinite and the deviation undefined.

    Args:
        metrics: as `metrics_table` gives them.
        protocol: that they were scored by.
    """
    rows = []
    for region, group in metrics.groupby("region", sort=False):
        for metric in group.columns.drop(["case", "region"]):
            scores = group[metric].to_numpy(dtype=float)
            defined = scores[~np.isnan(scores)]
            infinite = np.isinf(defined)
            if protocol.infinite is not None:
                defined = np.where(infinite, protocol.infinite, defined)
            counts = (len(defined), len(scores) - len(defined), int(infinite.sum()))
            rows.append((protocol.name, region, metric, *counts, *_middle(defined)))
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))


def _middle(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, median and standard deviation; NaN where they are undefined."""
    if not len(values):
        return math.nan, math.nan, math.nan
    finite = np.isfinite(values).all()
    sd = float(np.std(values, ddof=1)) if finite and len(values) > 1 else math.nan
    return float(np.mean(values)), float(np.median(values)), sd


def write_tables(folder: Path, cases: Mapping[str, CaseScores], protocol: Protocol) -> pd.DataFrame:
    """Write `metrics.csv`, `summary.csv` and, where the protocol looks at lesions, `lesions.csv`.

    Tables of an earlier evaluation in the folder are replaced, or removed where there is no new one.

    Args:
        folder: made if need be.
        cases: case to region to scores.
        protocol: that they were scored by.

    Returns:
        The summary.
    """
    metrics = metrics_table(cases)
    summary = summary_table(metrics, protocol)
    _write(folder / "metrics.csv", metrics)
    _write(folder / "summary.csv", summary)
    if protocol.lesions is None:
        (folder / "lesions.csv").unlink(missing_ok=True)
    else:
        _write(folder / "lesions.csv", lesions_table(cases, protocol))
    return summary


def _write(path: Path, table: pd.DataFrame) -> None:
    write_atomically(path, table.to_csv(index=False, float_format="%.10g").encode())


def means_text(summary: pd.DataFrame) -> str:
    """The means of a summary for the terminal, one line a region."""
    wide = summary[~summary["metric"].str.startswith("volume")].pivot(index="region", columns="metric", values="mean")
    wide = wide.loc[summary["region"].unique(), [name for name in summary["metric"].unique() if name in wide]]
    return wide.rename_axis(index=None, columns=None).to_string(float_format=lambda value: f"{value:.4g}", na_rep="-")
