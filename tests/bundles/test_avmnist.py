"""The bundle that classifies digits: every method trains, is evaluated and predicts; it passes MONAI's own checks."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.bundle import ConfigParser, ConfigWorkflow

from medmiss.cases.errors import CaseError, cause_of
from medmiss.classification import AvMnist, Recipe, write_avmnist

BUNDLE = Path(__file__).parents[2] / "bundles" / "avmnist"
TINY = {
    "device::name": "cpu",
    "held_out_per_digit": 3,
    "how::channels": 8,
    "how::hidden": 8,
    "epochs": 2,
    "val_interval": 1,
    "quiet": True,
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 samples to train on, 60 to test on, of noise."""
    generator = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {"mfcc": np.array("full")}
    for part, each in (("train", 9), ("test", 6), ("more", 2)):
        label = np.repeat(np.arange(10), each)
        arrays[f"{part}_image"] = generator.integers(0, 256, (len(label), 28, 28)).astype(np.uint8)
        arrays[f"{part}_sound"] = generator.normal(size=(len(label), 20, 20)).astype(np.float32)
        arrays[f"{part}_label"], arrays[f"{part}_speaker"] = label, np.tile(np.arange(3), len(label))[: len(label)]
    file = tmp_path_factory.mktemp("digits") / "avmnist.npz"
    write_avmnist(file, arrays)
    return file


@pytest.fixture
def run(digits: Path) -> Callable[..., ConfigWorkflow]:
    """`run(*configs, **entries)`: what `python -m monai.bundle run` does."""

    def make(*names: str, **entries: Any) -> ConfigWorkflow:
        files = [str(BUNDLE / "configs" / f"{name}.json") for name in names]
        defaults: dict[str, Any] = {"bundle_root": str(BUNDLE), "dataset_dir": str(digits), "audio_rate": 0.5}
        found = ConfigWorkflow(files, logging_file=False, **defaults | entries)
        found.initialize()
        found.run()
        return found

    return make


@pytest.mark.parametrize("method", ["dropout", "smil", "shaspec", "lckd", "mckd", "mmanet"])
def test_a_method_trains_is_evaluated_and_predicts(method: str, tmp_path: Path, run: Callable[..., ConfigWorkflow]):
    trained = run("train", **TINY, method=method, output_dir=str(tmp_path / "run"))
    assert trained.check_properties() == []
    entries = {name: value for name, value in TINY.items() if name not in ("epochs", "val_interval", "quiet")}
    entries |= {"method": method, "weights": str(tmp_path / "run" / "models" / "model.pt")}
    run("train", "evaluate", **entries, output_dir=str(tmp_path / "evaluation"))
    rows = dict(csv.reader((tmp_path / "evaluation" / "metrics.csv").open(), delimiter=","))
    subsets = {"image", "image+sound"} | (set() if method == "smil" else {"sound"})
    assert {name for name in rows if name.startswith("accuracy_")} == {f"accuracy_{subset}" for subset in subsets}
    for modalities, subset in (("image", "image"), ("all", "image+sound")):
        run("inference", **entries, modalities=modalities, output_dir=str(tmp_path / modalities))
        with open(tmp_path / modalities / "predictions.csv", newline="") as file:
            lines = list(csv.DictReader(file))
        assert [int(line["sample"]) for line in lines] == list(range(60))
        right = np.mean([line["label"] == line["class"] for line in lines])
        assert float(rows[f"accuracy_{subset}"]) == pytest.approx(right)


def test_sounds_are_standardised_as_in_training_whatever_rate_is_given(tmp_path: Path, run: Callable):
    run("train", **TINY, method="dropout", output_dir=str(tmp_path / "run"))
    own = {name: TINY[name] for name in ("device::name", "held_out_per_digit", "how::channels", "how::hidden")}
    own |= {"method": "dropout", "weights": str(tmp_path / "run" / "models" / "model.pt"), "modalities": "sound"}
    for rate in (0.5, 0.1):
        run("inference", **own, audio_rate=rate, output_dir=str(tmp_path / str(rate)))
    first, second = ((tmp_path / str(rate) / "predictions.csv").read_text() for rate in (0.5, 0.1))
    assert first == second
    file = tmp_path / "run" / "models" / "sounds.json"
    scale = json.loads(file.read_text())
    file.write_text(json.dumps(scale | {"sd": [10 * value for value in scale["sd"]]}))
    run("inference", **own, output_dir=str(tmp_path / "other"))
    assert (tmp_path / "other" / "predictions.csv").read_text() != first
    file.write_text(json.dumps({"mean": scale["mean"][:3], "sd": scale["sd"]}))
    with pytest.raises(RuntimeError) as refused:
        run("inference", **own, output_dir=str(tmp_path / "none"))
    assert isinstance(cause_of(refused.value, (CaseError,)), CaseError)


def test_a_refused_training_leaves_what_belongs_to_the_weights(tmp_path: Path, run: Callable):
    run("train", **TINY, method="dropout", output_dir=str(tmp_path / "run"))
    before = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    for resume in (False, True):
        with pytest.raises(RuntimeError) as refused:
            run(
                "train", **TINY | {"audio_rate": 0.9}, method="dropout", output_dir=str(tmp_path / "run"), resume=resume
            )
        assert "sounds.json: found a file of an earlier run" in str(cause_of(refused.value, (CaseError,)))
    assert {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()} == before


def test_verify_net_in_out_passes(check_net_in_out: Callable[[Path], None]):
    check_net_in_out(BUNDLE / "configs")


def test_version_licence_and_model_card():
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]
    assert (BUNDLE / "LICENSE").is_file()
    assert "not for clinical" in (BUNDLE / "docs" / "README.md").read_text()


@pytest.mark.parametrize("epochs", [None, 3])
def test_the_epochs_are_those_of_the_recipe_and_of_a_teacher_too(epochs: int | None):
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "train.json"))
    if epochs is not None:
        parser["epochs"] = epochs
    how = AvMnist() if epochs is None else AvMnist(Recipe(epochs=epochs))
    assert parser.get_parsed_content("how") == how
    assert parser.get_parsed_content("setup").recipe == how.recipe
