"""The pictures of a run: what is drawn follows the tables, and tables of a short run are drawn as well."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from medmiss.evaluation.run_plots import (
    MODALITY_COLOURS,
    REGION_LINES,
    draw_divergences,
    draw_elections,
    draw_modality_weights,
    draw_sensitivity,
    draw_training,
)
from medmiss.modalities import DISPLAY_NAMES

NAMES = list(DISPLAY_NAMES.values())


def share(path: Path, colour: str) -> float:
    """How much of a picture has a colour."""
    return float((np.abs(imread(path)[..., :3] - np.array(to_rgb(colour))).max(axis=-1) < 0.02).mean())


def height(path: Path, colour: str) -> float:
    """The mean row of a colour, from 0 at the bottom to 1 at the top."""
    pixels = imread(path)[..., :3]
    rows = np.nonzero(np.abs(pixels - np.array(to_rgb(colour))).max(axis=-1) < 0.02)[0]
    return 1 - float(rows.mean()) / len(pixels)


def election(iteration: int, best: str, teaches: tuple[str, ...]) -> pd.DataFrame:
    rows = [
        (iteration, name, task, 0.6 if name == best else 0.2, int(name == best), int(name in teaches))
        for name in NAMES
        for task in ("ET", "TC", "WT")
    ]
    return pd.DataFrame(rows, columns=["iteration", "modality", "task", "score", "best", "teaches"])


def test_the_bars_are_of_those_who_teach_for_as_long_as_they_do(tmp_path: Path):
    short = pd.concat([election(10 * i, "T1c", ("T1c",) if i == 1 else ()) for i in range(1, 5)])
    long = pd.concat([election(10 * i, "T1c", ("T1c",)) for i in range(1, 5)])
    for name, table in (("short", short), ("long", long), ("once", election(7, "T1c", ("T1c",)))):
        draw_elections(tmp_path / f"{name}.png", table)
    short_share, long_share, once = (
        share(tmp_path / f"{name}.png", MODALITY_COLOURS["T1c"]) for name in ("short", "long", "once")
    )
    assert long_share > 2 * short_share > 0
    assert once > 0.02  # one election alone fills its row


def test_an_election_without_a_score_is_drawn(tmp_path: Path):
    table = election(5, "nobody", ())
    table["score"] = np.nan
    draw_elections(tmp_path / "a.png", table)
    assert (tmp_path / "a.png").stat().st_size > 0


def test_the_heavier_modality_is_above(tmp_path: Path):
    weights = {"FLAIR": [0.25, 0.3], "T1": [0.25, 0.25], "T1c": [0.25, 0.35], "T2": [0.25, 0.1]}
    table = pd.DataFrame({"iteration": [0, 50], "loss": [1.0, 0.5], **weights})
    draw_modality_weights(tmp_path / "a.png", table)
    assert height(tmp_path / "a.png", MODALITY_COLOURS["T1c"]) > height(tmp_path / "a.png", MODALITY_COLOURS["T2"])


def test_the_line_of_equal_weights_is_for_weights_that_sum_to_one(tmp_path: Path):
    for name, factor in (("softmax", 1), ("sigmoid", 2.4)):
        table = pd.DataFrame({"iteration": [0, 1], "loss": 1.0, **{name: [0.25 * factor] * 2 for name in NAMES}})
        draw_modality_weights(tmp_path / f"{name}.png", table)
    assert share(tmp_path / "softmax.png", "black") > share(tmp_path / "sigmoid.png", "black")


def test_the_modality_that_is_missed_most_is_above(tmp_path: Path):
    rows = [(i, left_out, 10.0**-left_out) for i in (5, 10, 15) for left_out in range(4)]
    table = pd.DataFrame(rows, columns=["iteration", "left_out", "divergence"])
    draw_divergences(tmp_path / "a.png", table, dict(enumerate(NAMES)))
    heights = [height(tmp_path / "a.png", colour) for colour in MODALITY_COLOURS.values()]
    assert heights[0] > heights[2] > heights[3]


@pytest.mark.parametrize("validated", [True, False])
def test_a_run_is_drawn_with_and_without_validation(tmp_path: Path, validated: bool):
    losses = pd.DataFrame({"alignment": [0.0, 0.0], "task": [1.0, 0.5], "loss": [1.0, 0.5]}, index=[1, 2])
    dice = pd.DataFrame({"ET": 0.1, "TC": 0.2, "WT": [0.5, 0.8], "mean": 0.4, "T1": np.nan, "all": 0.4}, index=[1, 2])
    draw_training(tmp_path / "a.png", losses, dice if validated else pd.DataFrame())
    assert (share(tmp_path / "a.png", REGION_LINES["WT"]) > 1e-3) is validated


def test_sensitivity_has_a_panel_a_setting_and_bars_of_the_seeds(tmp_path: Path):
    rows = [
        (setting, value, int(value == 0.1), region, 50.0 + place, sd)
        for setting in ("alpha", "beta")
        for value in (0, 0.1)
        for place, (region, sd) in enumerate((("ET", 9.0), ("TC", 9.0), ("WT", 9.0), ("mean", 9.0)))
    ]
    two = pd.DataFrame(rows, columns=["id", "value", "default", "region", "dice", "sd"])
    draw_sensitivity(tmp_path / "two.png", two, "Dice in %")
    draw_sensitivity(tmp_path / "one.png", two[two["id"] == "alpha"], "Dice in %")
    draw_sensitivity(tmp_path / "no_sd.png", two.assign(sd=np.nan), "Dice in %")
    widths = [imread(tmp_path / f"{name}.png").shape[1] for name in ("one", "two")]
    assert widths[1] > 1.5 * widths[0]
    assert share(tmp_path / "two.png", "black") > share(tmp_path / "no_sd.png", "black")
