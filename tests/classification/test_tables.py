"""The tables of the experiments, from results that are made up."""

import math
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import ttest_rel

from medmiss.cases import CaseError
from medmiss.classification.experiments import EXPERIMENTS
from medmiss.classification.runs import Results, Run
from medmiss.classification.tables import markdown, percent, shown, table_of

AUDIO = EXPERIMENTS["audio-missing"]


@pytest.fixture
def results(tmp_path: Path) -> Results:
    found = Results(tmp_path / "results.csv")
    for seed, (lower, ours) in enumerate([(0.90, 0.93), (0.92, 0.94), (0.94, 0.95)]):
        found.add(Run("lower", 0.05, 1.0, seed), {"image": lower, "more": lower + 0.01})
        found.add(Run("shaspec", 0.1, 1.0, seed), {"image": ours, "more": ours, "sound": 0.5, "both": 0.99})
    found.add(Run("upper", 1.0, 1.0, 0), {"image": 0.1, "sound": 0.2, "both": 0.98, "more": 0.3})
    return found


def test_results_are_read_as_they_were_written(results: Results, tmp_path: Path):
    assert Results(tmp_path / "results.csv").found == results.found
    assert (tmp_path / "results.csv").read_text().splitlines()[:2] == [
        "method,audio_rate,image_rate,seed,test,accuracy",
        "lower,0.05,1.0,0,image,0.900000",
    ]
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CaseError, match="something else in line 2"):
        Results(tmp_path / "results.csv")


def test_mean_sd_difference_and_p(results: Results):
    lines = table_of(results, AUDIO, ["lower", "upper", "shaspec"], [(0.1, 1.0)], 3).to_dict("records")
    table: dict[Any, dict[Any, Any]] = {(line["method"], line["test"]): line for line in lines}
    ours = table["shaspec", "image"]
    assert ours["mean"] == pytest.approx(94)
    assert ours["sd"] == pytest.approx(1)
    assert ours["published"] == 93.56
    assert ours["difference"] == pytest.approx(2)
    assert ours["sd_difference"] == pytest.approx(1)
    assert ours["p"] == pytest.approx(ttest_rel([93, 94, 95], [90, 92, 94]).pvalue)
    assert table["shaspec", "more"]["difference"] == pytest.approx(1)
    lower = table["lower", "image"]
    assert (lower["mean"], lower["published"]) == (pytest.approx(92), 92.35)  # trained once, stands at every rate
    assert math.isnan(lower["difference"])
    upper = table["upper", "both"]
    assert (upper["mean"], upper["seeds"], upper["difference"]) == (pytest.approx(98), 1, pytest.approx(8))
    assert math.isnan(upper["sd"]) and math.isnan(upper["p"])
    assert ("upper", "more") not in table


def test_seeds_that_are_not_asked_for_do_not_count(results: Results):
    table = table_of(results, AUDIO, ["shaspec"], [(0.1, 1.0)], 2)
    assert table["mean"].tolist() == [pytest.approx(93.5)] * 2


def test_the_text_has_every_figure_and_a_dash_where_there_is_none(results: Results):
    table = table_of(results, AUDIO, ["lower", "shaspec", "mckd"], [(0.1, 1.0)], 3)
    text = markdown(table, AUDIO, "Caption.")
    assert "| 10% | 100% | 92.00 ± 2.00 (92.35) | 94.00 ± 1.00 (93.56) | - |" in text
    assert "| 10% | 100% | +2.00 (p 0.074) | - |" in text
    assert "MNIST test images that are not in the test set" in text


def test_bounds_are_trained_once_and_each_cell_finds_its_training():
    runs = AUDIO.runs(["lower", "upper", "mckd"], AUDIO.rates, 2)
    assert len(runs) == 2 * 4 * 3
    assert len(set(runs)) == 2 * (1 + 1 + 4)
    assert EXPERIMENTS["image-missing"].run("lower", (1.0, 0.2), 0) == Run("lower", 1.0, 0.05, 0)
    assert EXPERIMENTS["both-missing"].run("smil", (0.5, 0.5), 3) == Run("smil", 0.5, 0.5, 3)


def test_the_lower_bound_has_what_there_is_of_its_own_modality_and_less_of_the_other():
    assert AUDIO.run("lower", (0.05, 0.2), 0) == AUDIO.run("lower", (0.1, 0.2), 0) == Run("lower", 0.05, 0.2, 0)
    assert EXPERIMENTS["image-missing"].run("lower", (0.2, 0.1), 0) == Run("lower", 0.2, 0.05, 0)
    for own in (0.01, 0.05, 0.1, 1.0):
        assert AUDIO.run("lower", (0.5, own), 0).audio_rate < own


def test_rates_are_the_experiments_where_none_are_asked_for():
    assert AUDIO.asked(None, None) == [(rate, 1.0) for rate in (0.05, 0.1, 0.15, 0.2)]
    assert AUDIO.asked([0.1, 0.2, 0.1], None) == [(0.1, 1.0), (0.2, 1.0)]
    assert AUDIO.asked([0.1, 0.2], [0.3]) == [(0.1, 0.3), (0.2, 0.3)]
    assert EXPERIMENTS["image-missing"].asked([0.5], None) == [(0.5, rate) for rate in (0.05, 0.1, 0.15, 0.2)]


def test_near_rates_are_told_apart():
    assert [percent(rate) for rate in (0.05, 0.054, 0.001, 0.29, 1.0)] == ["5%", "5.4%", "0.1%", "29%", "100%"]


def test_where_every_seed_has_the_same_difference_there_is_no_test(tmp_path: Path):
    found = Results(tmp_path / "results.csv")
    for seed, right in enumerate((411, 420, 433)):
        found.add(Run("lower", 0.05, 1.0, seed), {"image": right / 450})
        found.add(Run("shaspec", 0.05, 1.0, seed), {"image": (right + 3) / 450})
    (line,) = table_of(found, AUDIO, ["shaspec"], [(0.05, 1.0)], 3).query("test == 'image'").to_dict("records")
    assert line["difference"] == pytest.approx(300 / 450, abs=1e-3)
    assert line["sd_difference"] == pytest.approx(0, abs=1e-3)
    assert math.isnan(line["p"])


def test_a_p_of_fewer_seeds_says_so(results: Results):
    results.add(Run("shaspec", 0.1, 1.0, 3), {"image": 0.96})
    table = table_of(results, AUDIO, ["shaspec"], [(0.1, 1.0)], 4)
    (line,) = table.query("test == 'image'").to_dict("records")
    assert (line["seeds"], line["pairs"]) == (4, 3)
    assert f"(p {line['p']:.2g}, 3 seeds)" in markdown(table, AUDIO, "Caption.")


def test_a_mean_over_fewer_seeds_says_so(results: Results):
    results.add(Run("shaspec", 0.1, 1.0, 3), {"image": 0.96})
    text = markdown(table_of(results, AUDIO, ["lower", "shaspec", "mckd"], [(0.1, 1.0)], 4), AUDIO, "Caption.")
    assert "over 4 seeds, or as many as a cell says; published" in text
    assert "| 92.00 ± 2.00, 3 seeds (92.35) | 94.50 ± 1.29 (93.56) | - |" in text
    even = markdown(table_of(results, AUDIO, ["lower", "mckd"], [(0.1, 1.0)], 4), AUDIO, "Caption.")
    assert "over 3 seeds; published" in even


def test_a_table_is_of_all_rates_of_its_experiment(results: Results):
    for run in (Run("mckd", 0.5, 1.0, 0), Run("mckd", 1.0, 0.5, 0), Run("smil", 0.2, 0.2, 1), Run("smil", 1.0, 1.0, 1)):
        results.add(run, {"image": 0.9, "sound": 0.9, "both": 0.9})
    assert shown(results, AUDIO, ["lower"], [(0.05, 1.0)])[1] == [(0.05, 1.0), (0.1, 1.0), (0.5, 1.0)]
    methods, rates, _ = shown(results, EXPERIMENTS["image-missing"], ["gan"], [])
    assert (rates, "gan" in methods, "mckd" in methods, "smil" in methods) == ([(1.0, 0.5)], True, True, False)
    methods, rates, seeds = shown(results, EXPERIMENTS["both-missing"], [], [])
    assert (methods, rates, seeds) == (["smil"], [(0.2, 0.2), (1.0, 1.0)], 3)


@pytest.mark.parametrize(
    ("experiment", "method", "rates", "reads"),
    [
        ("audio-missing", "lower", (0.05, 1.0), True),
        ("audio-missing", "full2miss", (1.0, 0.5), False),
        ("audio-missing", "smil", (0.05, 1.0), True),
        ("audio-missing", "smil", (1.0, 1.0), True),
        ("image-missing", "smil", (1.0, 0.05), True),
        ("image-missing", "smil", (0.5, 1.0), False),
        ("image-missing", "lower", (1.0, 0.05), True),
        ("both-missing", "smil", (0.5, 0.5), True),
        ("both-missing", "full2miss", (0.5, 0.5), False),
        ("both-missing", "upper", (0.5, 0.5), True),
    ],
)
def test_what_an_experiment_can_test(experiment: str, method: str, rates: tuple[float, float], reads: bool):
    assert EXPERIMENTS[experiment].reads(method, rates) == reads
