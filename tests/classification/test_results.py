"""The tables in the documents are those of the results that lie beside them."""

from pathlib import Path

import pandas as pd
import pytest

from medmiss.classification.experiments import EXPERIMENTS
from medmiss.classification.runs import Results
from medmiss.classification.tables import shown, table_of

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "results" / "avmnist"
NAMES = {
    "lower": "LowerB",
    "upper": "UpperB (both)",
    "autoencoder": "AutoEncoder",
    "gan": "GAN",
    "full2miss": "Full2miss",
    "dropout": "plain network",
    "smil": "SMIL",
    "shaspec": "ShaSpec",
    "lckd": "LCKD",
    "mckd": "MCKD",
    "mmanet": "MMANet",
}


def _table(name: str) -> pd.DataFrame:
    return pd.read_csv(FOLDER / ("table.csv" if name == "audio-missing" else f"table-{name}.csv"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_tables_are_those_of_the_results(name: str):
    table = _table(name)
    results, experiment = Results(FOLDER / "results.csv"), EXPERIMENTS[name]
    made = table_of(results, experiment, *shown(results, experiment, [], []))
    for column in made.columns:
        if made[column].dtype == float:
            assert table[column].to_numpy(float) == pytest.approx(made[column].to_numpy(), rel=1e-3, nan_ok=True)
        else:
            assert table[column].tolist() == made[column].tolist()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_note_has_the_figures_of_the_tables(name: str):
    table = _table(name)
    lines = (ROOT / "docs" / "avmnist.md").read_text(encoding="utf-8").splitlines()
    for (method, more), own in table.groupby(["method", table["test"] == "more"]):
        cells = [f"{row['mean']:.2f} ± {row['sd']:.2f}" for row in own.to_dict("records")]
        rows = [line.split(" | ")[1:] for line in lines if line.startswith(f"| {NAMES[str(method)]} | ")]
        found = [row for row in rows if [cell[: len(each)] for cell, each in zip(row, cells, strict=False)] == cells]
        assert found, (method, more, cells)
