"""`tools/compare_methods.py`: what is trained with what, and what its tables say, also where a run failed."""

import argparse
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import ttest_rel

import compare_methods
import running
from medmiss.evaluation.statistics import SUBSET_NAMES

DROPOUT, SHASPEC, MMANET = "brats_dropout", "brats_shaspec", "brats_mmanet"
DICE = {f"{DROPOUT}-0": 0.40, f"{DROPOUT}-1": 0.50, f"{DROPOUT}-2": 0.45}
DICE |= {f"{SHASPEC}-0": 0.50, f"{SHASPEC}-1": 0.62, f"{SHASPEC}-2": 0.53}


def scores(run: str) -> pd.DataFrame:
    """Two cases; ET as `DICE` says on the mean, more on later subsets, TC 0.1 and WT 0.2 more; post-processed 0.01."""
    lines = []
    for place, subset in enumerate(SUBSET_NAMES):
        for region, more in (("ET", 0.0), ("TC", 0.1), ("WT", 0.2)):
            for case, off in (("a", -0.1), ("b", 0.1)):
                dice = DICE.get(run, 0.3) + (place - 7) / 100 + more + off
                lines.append((case, subset, region, dice, dice + 0.01, 3.0))
    return pd.DataFrame(lines, columns=["case", "subset", "region", "dice", "dice_postprocessed", "hd95"])


class Commands:
    """Stands for medmiss: notes its trainings and measurements; those whose name is in `bad` fail."""

    def __init__(self) -> None:
        self.bad: set[str] = set()
        self.trained: dict[str, list[str]] = {}
        self.measured: list[str] = []
        self.cases: dict[str, str] = {}

    def __call__(self, *words: object) -> None:
        command, *rest = map(str, words)
        run = Path(rest[0]) if command == "phantom" else Path(rest[rest.index("--out") + 1])
        if command == "train":
            self.trained[run.name] = rest
        name = run.parent.name if command == "subsets" else run.name
        if f"{command} {name}" in self.bad:
            raise subprocess.CalledProcessError(1, "medmiss")
        run.mkdir(parents=True, exist_ok=True)
        if command == "subsets":
            self.measured.append(name)
            self.cases[name] = rest[0]
            scores(name).to_csv(run / "subsets.csv", index=False)

    def settings(self, run: str) -> list[str]:
        """The entries that a run was trained with."""
        words = self.trained[run]
        return [words[place + 1] for place, word in enumerate(words) if word == "--set"]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    found = Commands()
    monkeypatch.setattr(running, "medmiss", found)
    return found


@pytest.fixture
def compare(tmp_path: Path, script: Callable[..., int]) -> Callable[..., int]:
    """`compare("--bundles", ...)` runs the tool into the folder `out`, one run after the other."""
    return lambda *words: script(compare_methods, "--out", tmp_path / "out", "--jobs", 1, *words)


def row(text: str, bundle: str, number: int) -> list[str]:
    """The cells of the bundle's line number so and so of the summary."""
    return [line for line in text.splitlines() if line.startswith(f"| {bundle} |")][number].split(" | ")[1:]


def test_means_spread_and_pairs(tmp_path: Path, compare: Callable[..., int], commands: Commands, capsys):
    assert compare("--bundles", DROPOUT, SHASPEC) == 0
    assert list(commands.trained) == list(DICE)[::3] + list(DICE)[1::3] + list(DICE)[2::3]
    table = pd.read_csv(tmp_path / "out" / "comparison.csv")
    assert len(table) == 2 * 15 * 3 and set(table["seeds"]) == {3}
    (line,) = table.query(f"bundle == '{DROPOUT}' and subset == '{SUBSET_NAMES[7]}' and region == 'WT'").to_dict(
        "records"
    )
    assert (line["dice"], line["sd_dice"], line["dice_postprocessed"]) == (65, 5, 66)
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    assert row(text, DROPOUT, 0) == ["45.0 ± 5.0", "55.0 ± 5.0", "65.0 ± 5.0", "55.0 ± 5.0 |"]
    assert row(text, DROPOUT, 1)[0] == "46.0 ± 5.0", "after post-processing"
    p = ttest_rel([50, 62, 53], [40, 50, 45], alternative="greater").pvalue
    assert row(text, SHASPEC, 1)[0] == f"+10.0 (p nan / {p:.2g})", "each subset gains the same: nothing to test"


def test_measured_on_labelled_cases(tmp_path: Path, compare: Callable[..., int], commands: Commands):
    real = tmp_path / "real"
    (real / "patient").mkdir(parents=True)
    words = ("--bundles", DROPOUT, "--seeds", 1)
    assert compare(*words, "--test-data", real) == 0
    assert commands.cases == {f"{DROPOUT}-0": str(real)}
    assert "the cases of real to measure on" in (tmp_path / "out" / "comparison.md").read_text()
    assert compare(*words, "--test-data", real) == 0
    assert compare(*words) == 2, "other cases would not compare"
    other = tmp_path / "elsewhere" / "real"
    (other / "another").mkdir(parents=True)
    assert compare(*words, "--test-data", other) == 2, "others in a folder of the same name would not, either"


def test_cases_without_some_modality_have_fewer_subsets():
    run = scores(f"{DROPOUT}-0")
    runs = {DROPOUT: {0: run[run["subset"].isin(["FLAIR", "T1c", "FLAIR+T1c"])]}}
    assert set(compare_methods.comparison(runs)["subset"]) == {"FLAIR", "T1c", "FLAIR+T1c"}
    args = argparse.Namespace(seeds=1, phantoms=2, epochs=1, test=1, test_data=None)
    assert compare_methods.summary(runs, args).startswith("Dice in %, mean over 3 subsets,")


def test_a_run_that_fails_leaves_a_gap(tmp_path: Path, compare: Callable[..., int], commands: Commands, capsys):
    commands.bad = {f"train {DROPOUT}-0", f"subsets {SHASPEC}-1"}
    assert compare("--bundles", DROPOUT, SHASPEC, "brats_lckd") == 1
    said = capsys.readouterr().err
    for run in (f"{DROPOUT}-0", f"{SHASPEC}-1"):
        assert f"{run}: not trained or not measured, see above" in said
    table = pd.read_csv(tmp_path / "out" / "comparison.csv")
    assert table.groupby("bundle")["seeds"].first().to_dict() == {DROPOUT: 2, SHASPEC: 2, "brats_lckd": 3}
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert f"there are fewer seeds: {DROPOUT}-0, {SHASPEC}-1." in text
    assert row(text, DROPOUT, 0)[0] == "47.5 ± 3.5"
    assert row(text, SHASPEC, 1)[0] == "+8.0 (p nan / nan)", "of seed 2, the one that both have"

    commands.bad = set()  # the second time only what failed is done
    commands.trained.clear()
    assert compare("--bundles", DROPOUT, SHASPEC, "brats_lckd") == 0
    assert list(commands.trained) == [f"{DROPOUT}-0"]
    assert "fewer seeds" not in (tmp_path / "out" / "comparison.md").read_text()


def test_without_the_baseline_no_other_takes_its_place(tmp_path: Path, compare: Callable[..., int], commands: Commands):
    commands.bad = {f"train {DROPOUT}-0"}
    assert compare("--bundles", DROPOUT, SHASPEC, "--seeds", 1) == 1
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert f"| {DROPOUT} |" not in text and f"Less {DROPOUT}," in text
    assert row(text, SHASPEC, 1) == ["-", "-", "-", "- |"]
    assert set(pd.read_csv(tmp_path / "out" / "comparison.csv")["bundle"]) == {SHASPEC}


def test_a_teacher_that_fails_fails_its_pupil(tmp_path: Path, compare: Callable[..., int], commands: Commands, capsys):
    commands.bad = {"train teacher-1"}
    assert compare("--bundles", DROPOUT, MMANET, "--seeds", 2) == 1
    assert "modality_drop=none" in commands.settings("teacher-0")
    teacher = commands.trained[f"{MMANET}-0"][commands.trained[f"{MMANET}-0"].index("--teacher") + 1]
    assert Path(teacher) == tmp_path / "out" / "teacher-0"
    assert f"{MMANET}-1" not in commands.trained
    assert commands.measured == [f"{DROPOUT}-0", f"{MMANET}-0", f"{DROPOUT}-1"]
    said = capsys.readouterr().err
    assert "teacher-1: not trained" in said and f"{MMANET}-1: not trained" in said


@pytest.mark.parametrize("bad", ["phantom test", f"train {DROPOUT}-0"])
def test_without_phantoms_or_runs_there_is_a_sentence_and_no_table(
    bad: str, tmp_path: Path, compare: Callable[..., int], commands: Commands, capsys
):
    commands.bad = {bad}
    assert compare("--bundles", DROPOUT, "--seeds", 1) == 1
    assert ", see above" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("comparison.*"))


def test_an_entry_is_for_all_or_for_the_bundle_before_it(
    tmp_path: Path, compare: Callable[..., int], commands: Commands
):
    other = tmp_path / "runs" / "a=1"
    words = ["--bundles", DROPOUT, f"{other}/", "--seeds", 1, "--set", "x=a/b", "--set", f"{DROPOUT}/y=1"]
    assert compare(*words, "--set", f"{other}/z=2") == 0
    assert commands.settings(f"{DROPOUT}-0")[-2:] == ["x=a/b", "y=1"]
    assert commands.settings("a=1-0")[-2:] == ["x=a/b", "z=2"], "its folder has the name of its last component"
    assert commands.trained["a=1-0"][:2] == ["--bundle", str(other)]
    assert compare_methods.entries_of("runs/a", ["runs/a/x=1", "runs/x=2"], ["runs", "runs/a"]) == ["x=1"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--bundles", DROPOUT, "--set", f"{SHASPEC}/x=1"], f"--set {SHASPEC}/x=1: before the / must stand one of"),
        (["--bundles", DROPOUT, "--set", f"{DROPOUT}/a/x=1"], f"--set {DROPOUT}/a/x=1: before the / must stand one of"),
        (["--bundles", "runs/a", "old/a"], "runs are named by a, a, which must differ"),
        (["--bundles", "runs/teacher"], "must differ, also from teacher"),
        (["--test", "3", "--test-data", "."], "--test-data: not allowed with argument --test"),
        (["--test-data", "nowhere"], "--test-data: nowhere is no folder"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_made(
    words: list[str], sentence: str, tmp_path: Path, compare: Callable[..., int], commands: Commands, capsys
):
    assert compare(*words) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_bundles_without_a_common_seed_are_not_paired():
    runs = {seed: scores(f"{DROPOUT}-{seed}") for seed in (0, 1)}
    assert compare_methods.tests({0: runs[0]}, {1: runs[1]}, "dice") == ["-"] * 4
    assert compare_methods.tests(runs, {1: runs[1]}, "dice")[0].startswith("+0.0 ")
