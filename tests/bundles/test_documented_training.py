"""The shipped weights, and what the documents say of them: the command that made them, and what was measured."""

import json
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medmiss.cases import CONVENTIONS, REGIONS, find_cases, read_label
from medmiss.cases.files import sha256_of
from medmiss.cli.main import main
from medmiss.inference import load_bundle
from medmiss.inference.trust import WEIGHTS
from medmiss.modalities import SUBSETS

from .conftest import BUNDLES, ROOT

SHIPPED = [name for name, folder in BUNDLES.items() if (folder / "models" / "model.pt").is_file()]
REAL = ROOT.parent / "shared" / "data" / "msd_task01"
"""A labelled patient, where there is one beside the checkout."""
ELSEWHERE = ("--tissues", "--start-from", "--teacher", "--out")
"""Options that name files which a test has not."""


def documented(bundle: Path) -> list[str]:
    """The words of the last `medmiss train --phantoms` of the card, lines joined; none for a bundle without one."""
    text = (bundle / "docs" / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"^medmiss (train .*--phantoms .*)$", text, flags=re.MULTILINE)
    return shlex.split(found[-1]) if found else []


@pytest.mark.parametrize("bundle", [name for name, folder in BUNDLES.items() if documented(folder)], indirect=True)
def test_the_command_that_made_the_weights(bundle: Path, tiny: dict[str, Any], tmp_path: Path):
    words = documented(bundle)
    for option in ELSEWHERE:
        if option in words:
            place = words.index(option)
            del words[place : place + 2]
    assert words[words.index("--bundle") + 1] == bundle.name
    words[words.index("--phantoms") + 1] = "4"
    words[words.index("--epochs") + 1] = "1"
    settings = {name: value for name, value in tiny.items() if name != "val_subsets"}
    settings |= {"phantom_shape": [48, 48, 40], "val_fraction": 0.25, "cache_dir": str(tmp_path / "cache")}
    words += [word for name, value in settings.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    assert main([*words, "--out", str(tmp_path / "run"), "--device", "cpu", "--quiet"]) == 0
    weights = torch.load(tmp_path / "run" / "models" / "model.pt", weights_only=True)
    assert all(value.isfinite().all() for value in weights.values())
    asked = dict(word.split("=", 1) for option, word in pairwise(words) if option == "--set")
    recorded = json.loads((tmp_path / "run" / "configs" / "train.json").read_text())
    assert recorded["learning_rate"] == float(asked["learning_rate"])
    assert recorded["phantoms"] == 4


def test_bundles_with_weights_say_how_they_were_made():
    assert SHIPPED
    assert all(documented(BUNDLES[name]) for name in SHIPPED)


def measured(name: str) -> dict[str, dict[str, float]]:
    """Subset to region to Dice, as the bundle's metadata have it."""
    metrics = json.loads((BUNDLES[name] / "configs" / "metadata.json").read_text())["eval_metrics"]
    (scores,) = (table for measure, table in metrics.items() if measure != WEIGHTS)
    return scores


@pytest.mark.parametrize("name", SHIPPED)
def test_the_weights_fit_and_are_those_that_were_measured(name: str):
    weights = BUNDLES[name] / "models" / "model.pt"
    assert weights.stat().st_size < 10e6
    metrics = json.loads((BUNDLES[name] / "configs" / "metadata.json").read_text())["eval_metrics"]
    assert metrics[WEIGHTS] == sha256_of(weights)
    load_bundle(BUNDLES[name], {"device::name": "cpu"}).get_parsed_content("network")  # or it says what does not fit


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data at {REAL}")
@pytest.mark.parametrize("name", SHIPPED)
def test_the_weights_find_the_tumour_of_a_patient(name: str):
    (case,) = find_cases(REAL)
    quick = {"device::name": "cpu", "inferer::overlap": 0.0}
    prediction = load_bundle(BUNDLES[name], quick).get_parsed_content("predictor")(case)
    truth = CONVENTIONS[case.convention].regions(read_label(case, prediction.grid).array)
    for region, mask, label in zip(REGIONS, prediction.regions, truth, strict=True):
        dice = 2 * np.count_nonzero(mask & label) / (np.count_nonzero(mask) + np.count_nonzero(label))
        assert dice > 0.6, region


@pytest.mark.parametrize("name", SHIPPED)
def test_the_card_says_what_was_measured(name: str):
    card = (BUNDLES[name] / "docs" / "README.md").read_text(encoding="utf-8")
    tables = card.partition("<!-- scores -->")[2].partition("<!-- end of scores -->")[0]
    (table,) = re.findall(
        r"^\| modalities \| ET \| TC \| WT \| ET post .*\n\|---.*\n((?:\|.*\n)+)", tables, re.MULTILINE
    )
    rows = {cells[0]: cells[-3:] for cells in (row.strip("| \n").split(" | ") for row in table.splitlines())}
    means = rows.pop("**mean**")
    assert set(rows) == set(measured(name)) and len(rows) == len(SUBSETS)
    for subset, scores in measured(name).items():
        said = [float(cell) / 100 for cell in rows[subset]]
        assert said == pytest.approx([scores[region] for region in REGIONS], abs=0.0011)  # both are rounded
    for region, mean in zip(REGIONS, means, strict=True):
        expected = sum(scores[region] for scores in measured(name).values()) / len(SUBSETS)
        assert float(mean) / 100 == pytest.approx(expected, abs=0.0011)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_readme_says_what_was_measured(name: str):
    scores = measured(name)
    means = [sum(row[region] for row in scores.values()) / len(scores) for region in REGIONS]
    (line,) = re.findall(rf"^\| `{name}` \|.*$", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    said = [float(value) / 100 for value in line.split("|")[-2].split("/")]
    assert said == pytest.approx(means, abs=0.0055)  # whole percent, of values that are rounded themselves
