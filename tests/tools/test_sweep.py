"""`tools/sweep.py`: which networks are trained, what is written of them, and what happens on the second call."""

import argparse
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import running
import sweep
from medmiss.cli.main import main


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands of medmiss that were run, in this process."""
    seen: list[list[str]] = []

    def medmiss(*words: object) -> None:
        seen.append([str(word) for word in words])
        try:
            status = main([*seen[-1], "--quiet"])
        except SystemExit as stop:  # wrong usage
            status = int(stop.code or 0)
        if status:
            raise subprocess.CalledProcessError(status, "medmiss")

    monkeypatch.setattr(running, "medmiss", medmiss)
    return seen


def trainings(commands: list[list[str]]) -> list[str]:
    return [Path(words[-1]).name for words in commands if words[0] == "train"]


@pytest.fixture
def words(tmp_path: Path, tiny: list[str], shape: str) -> list[object]:
    """The command line of a small sweep, but for what is varied."""
    sizes = ["--phantoms", 2, "--shape", shape, "--test", 1, "--epochs", 1, "--jobs", 1, "--subsets", "t1", "flair,t2"]
    return ["--bundle", "brats_shaspec", "--out", tmp_path / "sweep", *sizes, *tiny]


def test_a_sweep_trains_each_network_once_and_goes_on(
    tmp_path: Path, words: list[object], commands: list[list[str]], script: Callable, capsys
):
    alpha = ["--ids", "network_def::alpha", "--values"]
    assert script(sweep, *words, *alpha, "0.1,10") == 0
    assert trainings(commands) == ["default-0", "network_def.alpha=10-0"]
    table = pd.read_csv(tmp_path / "sweep" / "sensitivity.csv")
    assert list(table.columns) == ["id", "value", "default", "seed", "region", "dice", "dice_postprocessed"]
    assert table.groupby(["value", "default"]).size().to_dict() == {(0.1, 1): 4, (10.0, 0): 4}
    scores = pd.read_csv(tmp_path / "sweep" / "default-0" / "scores" / "subsets.csv")
    expected = 100 * scores.groupby("region")["dice"].mean()
    found = table[table["default"] == 1].set_index("region")["dice"]
    for region in ("ET", "TC", "WT"):
        assert found[region] == pytest.approx(expected[region], abs=1e-3)
    assert found["mean"] == pytest.approx(expected.mean(), abs=1e-3)
    assert (tmp_path / "sweep" / "sensitivity.png").read_bytes().startswith(b"\x89PNG")
    assert "mean over 2 subsets, one seed" in capsys.readouterr().out

    commands.clear()  # a second setting: its default is trained already
    assert script(sweep, *words, "--ids", "network_def::beta", "--values", "0.02") == 0
    assert trainings(commands) == []
    again = pd.read_csv(tmp_path / "sweep" / "sensitivity.csv")
    assert again["dice"].tolist() == table.loc[table["default"] == 1, "dice"].tolist()

    commands.clear()  # of another budget
    assert script(sweep, *words, *alpha, "0.1,10", "--epochs", 2) == 2
    assert commands == []
    assert "holds runs made with other settings (epochs 1, now 2)" in capsys.readouterr().err


def test_a_training_that_fails_leaves_a_gap(
    tmp_path: Path, words: list[object], commands: list[list[str]], script: Callable, capsys
):
    assert script(sweep, *words, "--ids", "network_def::alignment", "--values", "mse,nonsense") == 1
    assert set(pd.read_csv(tmp_path / "sweep" / "sensitivity.csv")["value"]) == {"mse"}
    assert "network_def.alignment=nonsense-0: not trained or not measured" in capsys.readouterr().err
    assert not (tmp_path / "sweep" / "network_def.alignment=nonsense-0" / "trained").exists()


def test_phantoms_that_cannot_be_made_end_it_in_a_sentence(
    words: list[object], commands: list, script: Callable, capsys
):
    sweeping = [*words, "--ids", "network_def::alpha", "--values", "1"]
    assert script(sweep, *sweeping, "--shape", "48,48,2") == 1
    assert "test: the phantoms could not be made, see above" in capsys.readouterr().err
    assert [command[0] for command in commands] == ["phantom"]


def test_the_default_is_the_configuration_s_or_the_class_s():
    assert sweep.default_of("brats_shaspec", "network_def::alpha") == 0.1
    assert sweep.default_of("brats_shaspec", "network_def::beta") == 0.02
    assert sweep.default_of("brats_lckd", "election::interval") == 0.0435
    assert sweep.default_of("brats_shaspec", "learning_rate") == 0.001
    assert sweep.default_of("brats_shaspec", "phantom_without") == ""


@pytest.mark.parametrize("setting", ["network_def::nonsense", "nonsense", "nonsense::alpha", "epochs::alpha"])
def test_a_setting_that_there_is_not_is_refused(setting: str):
    with pytest.raises(ValueError, match=f"of brats_shaspec have no setting {setting}"):
        sweep.default_of("brats_shaspec", setting)


def test_only_the_default_shares_its_run_and_a_chosen_one_is_the_default():
    ids, values = ["network_def::alpha", "network_def::alignment"], ["0.1, 0.5,0.50", "l1,mse"]
    args = argparse.Namespace(bundle="brats_shaspec", ids=ids, values=values, set=[])
    names = [point.run(2) for point in sweep.points_of(args)]
    assert names == ["default-2", "network_def.alpha=0.5-2", "default-2", "network_def.alignment=mse-2"]
    args.set = ["network_def::alpha=0.5"]
    assert [point.run(2) for point in sweep.points_of(args)][:2] == ["network_def.alpha=0.1-2", "default-2"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--ids", "a", "b", "--values", "1", "--phantoms", "1"], "2 --ids and 1 --values"),
        (["--ids", "epochs", "--values", "1", "--data", "."], "with --test-data"),
        (["--ids", "epochs", "--values", "1", "--phantoms", "1"], "epochs is the same for all networks"),
        (["--ids", "val_fraction", "--values", "0.2", "--phantoms", "1"], "val_fraction is the same for all networks"),
        (["--ids", "epochs", "--values", "1", "--data", "nowhere", "--test-data", "."], "nowhere is no folder"),
        (["--ids", "epochs", "--values", "1", "--phantoms", "1", "--subsets", "pet"], "unknown modality 'pet'"),
        (["--ids", "nonsense", "--values", "1", "--phantoms", "1"], "have no setting nonsense"),
        (["--ids", "a", "--values", "1", "--phantoms", "1", "--bundle", "none_such"], "bundle 'none_such'"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_made(
    arguments: list[str], sentence: str, tmp_path: Path, script: Callable, capsys
):
    assert script(sweep, "--out", tmp_path / "sweep", *arguments) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "sweep").exists()


def test_a_setting_of_nothing_has_its_row():
    scores = pd.DataFrame({"case": "a", "subset": "T1", "region": ["ET", "TC", "WT"], "dice": 0.5, "hd95": 1.0})
    points = [sweep.Point("tissues", None, False)]
    table = sweep.sensitivity(points, 1, {"tissues=None-0": scores.assign(dice_postprocessed=0.5)}, ["T1"])
    assert sweep.over_seeds(table)["value"].tolist() == ["null"] * 4


def test_seeds_have_a_mean_and_a_spread():
    rows = [("a", 1, 0, seed, "ET", dice, dice) for seed, dice in enumerate((40.0, 50.0))]
    table = pd.DataFrame(rows, columns=["id", "value", "default", "seed", "region", *sweep.MEASURES])
    (line,) = sweep.over_seeds(table).to_dict("records")
    assert (line["dice"], line["sd"]) == (45.0, pytest.approx(50**0.5))
