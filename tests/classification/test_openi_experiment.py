"""Training on small reports and images, what is measured, and the command."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from medmiss.classification import Recipe, Report
from medmiss.classification.openi_experiment import (
    KeepBest,
    OpenI,
    ReportRun,
    markdown_of_reports,
    measure_reports,
    seen,
    table_of_reports,
    train_reports,
)
from medmiss.classification.openi_networks import Encoded
from medmiss.classification.openi_sets import Images, patient_split, report_sets
from medmiss.classification.runs import Results
from medmiss.cli.main import main
from medmiss.training import ClassArea

COUNT = 60
SMALL = OpenI(Recipe(4, 8, 2e-2, 1.0, 100, 0.0), channels=8, hidden=8, dropout=0.0, word_dropout=0.0)


def words(problem: bool, number: int) -> str:
    return f"The {'lungs are clear' if not problem else 'opacity is large'} in {number % 5}."


@pytest.fixture(scope="module")
def reports() -> list[Report]:
    return [Report(i, f"None.\n{words(i % 2 > 0, i)}", i % 2 > 0, (f"CXR{i}_IM-1-1",)) for i in range(COUNT)]


@pytest.fixture(scope="module")
def images(reports: list[Report]) -> Images:
    """Noise; those of ten reports are not there."""
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 32, 32)).astype(np.uint8)
    return Images(torch.from_numpy(pixels), np.arange(COUNT) % 6 > 0)


def test_the_same_seed_gives_the_same_network_of_texts(reports: list[Report]):
    run = ReportRun.of("text", 1.0, 1.0, 0)
    assert run == ("text", 0.0, 1.0, 0)
    found = [train_reports(reports, run, how=SMALL) for _ in range(2)]
    measured = [measure_reports(network, sets.sets) for network, sets in found]
    assert measured[0] == measured[1]
    assert set(measured[0]) == {"text", "held_out_text"}
    assert measured[0]["text"] > 0.95
    first, second = (network.state_dict() for network, _ in found)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("method", "tests"), [("image", {"image"}), ("concat", {"text", "both"}), ("shaspec", {"text", "both"})]
)
def test_images_missing_in_training_and_testing(
    method: str, tests: set[str], reports: list[Report], images: Images, monkeypatch: pytest.MonkeyPatch
):
    started: list[dict[str, torch.Tensor]] = []
    make = OpenI.network

    def remembered(*arguments: Any) -> Encoded:
        network = make(*arguments)
        started.append({name: value.clone() for name, value in network.state_dict().items()})
        return network

    monkeypatch.setattr(OpenI, "network", remembered)
    run = ReportRun.of(method, 0.5, 1.0, 0)
    network, found = train_reports(reports, run, images, replace(SMALL, recipe=Recipe(1, 16, 1e-3, 1.0, 100, 0.0)))
    measured = measure_reports(network, found.sets)
    assert set(measured) == tests | {f"held_out_{test}" for test in tests}
    assert all(0 <= value <= 1 for value in measured.values())
    assert int(found.sets["train"].available[:, 0].sum()) == 18
    first = "encoders.encoders.0.network.conv1.weight"
    assert not torch.equal(network.state_dict()[first], started[0][first])


def test_what_was_never_seen_is_not_tested(reports: list[Report], images: Images):
    whole = Images(images.pixels, np.ones(COUNT, dtype=bool))
    assert seen(report_sets(reports, whole).sets["train"]) == [(0, 1)]
    assert seen(report_sets(reports, whole, image_rate=0.5, text_rate=0.9).sets["train"]) == [(0,), (1,), (0, 1)]


def test_the_area_is_the_rank_statistic_of_each_subset():
    generator = np.random.default_rng(0)
    score, label, subset = generator.integers(0, 9, 60), generator.integers(0, 2, 60), np.arange(60) % 3
    label[subset == 2] = 1
    metric = ClassArea(["image", "text", "both"])
    rows = torch.tensor(np.stack([np.arange(60), subset], axis=1))
    for part in (slice(0, 25), slice(20, 60)):  # five items twice
        metric.update((torch.tensor(score[part]).float(), torch.tensor(label[part]), rows[part]))
    expected = []
    for number in (0, 1):
        own, positive = label[subset == number], int(label[subset == number].sum())
        ranks = rankdata(score[subset == number])[own == 1].sum() - positive * (positive + 1) / 2
        expected.append(ranks / positive / (len(own) - positive))
    assert metric.table()[:2, 0].tolist() == pytest.approx(expected)
    assert metric.table()[2].isnan()
    assert metric.compute() == pytest.approx(np.mean(expected))


def test_the_best_epoch_is_kept(reports: list[Report], monkeypatch: pytest.MonkeyPatch):
    network = SMALL.network("text", 20, 0)
    best = KeepBest(network, report_sets(reports, image_rate=0).sets["held_out"], [(1,)])
    values = iter([0.6, 0.9, 0.7])
    monkeypatch.setattr(best.metric, "table", lambda: torch.tensor([[next(values)]]))
    monkeypatch.setattr(best.evaluator, "run", lambda: None)
    states = []
    for _ in range(3):
        with torch.no_grad():
            next(network.parameters()).add_(1)
        states.append({name: value.clone() for name, value in network.state_dict().items()})
        best.measure()
    best.restore()
    assert best.areas == pytest.approx([0.6, 0.9, 0.7])
    assert all(torch.equal(value, states[1][name]) for name, value in network.state_dict().items())


def test_the_test_part_decides_nothing(reports: list[Report]):
    changed = list(reports)
    for row in patient_split(COUNT)["test"]:
        changed[row] = reports[row]._replace(text="other words", problem=not reports[row].problem)
    run = ReportRun.of("text", 1.0, 1.0, 1)
    first, second = (train_reports(each, run, how=SMALL)[0].state_dict() for each in (reports, changed))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_table_has_the_published_value_beside(tmp_path: Path):
    results = Results(tmp_path / "results.csv", ReportRun, "auc")
    runs = [ReportRun.of("shaspec", 0.7, 1.0, seed) for seed in range(3)]
    for run, value in zip(runs[:2], (0.8, 0.9), strict=True):
        results.add(run, {"text": value, "held_out_text": 0.7})
    again = Results(tmp_path / "results.csv", ReportRun, "auc")
    assert again.found == results.found
    patients = {"text": 770, "image": 10, "both": 9}
    (line,) = table_of_reports(again, runs, patients).to_dict("records")
    assert (line["seeds"], line["published"], line["held_out"]) == (2, 0.89, pytest.approx(0.7))
    assert (line["mean"], line["sd"]) == (pytest.approx(0.85), pytest.approx(0.1 / 2**0.5))
    assert len(table_of_reports(again, [*runs, *again.found], patients)) == 1
    text = markdown_of_reports(table_of_reports(again, runs, patients), "Caption.")
    assert "| shaspec | 70% | 100% | text | 770 | 2 | 0.850 ± 0.071 | 0.700 | 0.89 |" in text


def test_the_command(tmp_path: Path, pack: Callable, report_xml: Callable, capsys: pytest.CaptureFixture):
    files = {
        f"{i}.xml": report_xml(i, findings=words(i % 2 > 0, i), tags=["Opacity" if i % 2 else "normal"])
        for i in range(1, COUNT)
    }
    data, out = pack(files | {"0.xml": report_xml(0, images=[])}), tmp_path / "out"
    command = ["classify", "openi", "--data", str(data), "--out", str(out), "--method", "text", "--quiet"]
    assert main([*command, "--seeds", "1", "--jobs", "1", "--epochs", "2"]) == 0
    table = (out / "table.md").read_text()
    assert capsys.readouterr().out.strip() == table.strip()
    assert "Patients: train 42 " in table
    with open(out / "results.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["method"], line["image_rate"], line["seed"], line["test"]) for line in lines] == [
        ("text", "0.0", "0", "text"),
        ("text", "0.0", "0", "held_out_text"),
    ]
    assert main([*command, "--seeds", "3", "--epochs", "2", "--tables"]) == 0
    assert len((out / "results.csv").read_text().splitlines()) == 1 + len(lines)
    assert main([*command, "--seeds", "1", "--text-rate", "0.5", "--epochs", "2", "--jobs", "1"]) == 0
    rates = [line.split("|")[3].strip() for line in (out / "table.md").read_text().splitlines() if "| text |" in line]
    assert rates == ["50%", "100%"]  # what was asked for now, and what there was
    with pytest.raises(SystemExit, match="2"):
        main([*command, "--seeds", "1", "--jobs", "1", "--epochs", "3"])
    assert "other settings (recipe.recipe.epochs 2, now 3)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "concat", "text"], "--images: needed by concat"),
        (["--method", "lower"], "--method: lower"),
        (["--images", "nowhere"], "--images: no such"),
        (["--views", "."], "--views: they are those of images; give --images too"),
        (["--device", "gpu"], "--device: expected auto, cpu, cuda or cuda:N, not 'gpu'"),
        (["--device", "cuda:99"], "device 'cuda:99': torch"),
        (["--audio-rate", "1", "--variant", "full"], "--audio-rate, --variant: of avmnist alone, not of openi"),
    ],
)
def test_wrong_usage(options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit, match="2"):
        main(["classify", "openi", "--data", str(tmp_path), "--out", str(tmp_path / "out"), *options])
    assert message in capsys.readouterr().err
