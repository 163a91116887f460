"""Recipes are compared on held-out samples alone."""

import sys
from pathlib import Path

import numpy as np
import pytest

import tune_avmnist
from medmiss.classification import AvMnist
from medmiss.classification.fitting import Recipe

QUICK = AvMnist(Recipe(epochs=1), channels=8, hidden=8)


@pytest.fixture
def arrays(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """200 samples to train on, and what MNIST has besides."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (300, 28, 28)).astype(np.uint8)
    labels = (np.arange(300) % 10).astype(np.uint8)
    monkeypatch.setattr(tune_avmnist, "read_mnist", lambda folder, part: (images, labels))
    found: dict[str, np.ndarray] = {}
    for part, rows in (("train", slice(200)), ("test", slice(200, 250)), ("more", slice(250, 300))):
        found[f"{part}_image"], found[f"{part}_label"] = images[rows], labels[rows].astype(np.int64)
        if part != "more":
            found[f"{part}_sound"] = generator.normal(size=(len(images[rows]), 20, 20)).astype(np.float32)
            found[f"{part}_speaker"] = np.arange(len(images[rows])) % 3
    return found


def test_the_test_set_is_taken_away_and_no_image_is_met_twice(arrays: dict[str, np.ndarray]):
    found = tune_avmnist.without_test(arrays, Path("mnist"))
    assert [len(found[f"test_{what}"]) for what in ("image", "sound", "label", "speaker")] == [0, 0, 0, 0]
    trained = {image.tobytes() for image in found["train_image"]}
    assert len(found["more_image"]) == 100
    assert trained.isdisjoint(image.tobytes() for image in found["more_image"])


def test_a_system_is_measured_on_other_images_and_on_a_fold(arrays: dict[str, np.ndarray]):
    run = {"audio_rate": 0.5, "image_rate": 1.0, "seed": 0, "how": QUICK}
    found = tune_avmnist.held_out_accuracies(tune_avmnist.without_test(arrays, Path("mnist")), "mckd", run)
    assert set(found) == {"other_image", "held_out_image", "held_out_sound", "held_out_both"}
    assert all(0 <= value <= 1 for value in found.values())


def test_settings_change_the_recipe():
    settings = ["channels=64", "drop=none", "recipe.weight_decay=0.003", "smil.passes=0", "smil.inner_steps=2"]
    how = tune_avmnist.changed(AvMnist(), settings)
    assert (how.channels, how.drop, how.recipe.weight_decay) == (64, "none", 0.003)
    assert how.recipe.epochs == AvMnist().recipe.epochs
    assert how.smil == {**AvMnist().smil, "passes": 0, "inner_steps": 2}
    with pytest.raises(AttributeError, match="chanels"):
        tune_avmnist.changed(AvMnist(), ["chanels=64"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--set", "chanels=64"], "--set: 'AvMnist' object has no attribute 'chanels'"),
        (["--set", "recipe.epochs=abc"], "--set: recipe.epochs=abc: expected a number"),
        (["--set", "channels"], "--set: channels: expected NAME=VALUE"),
        (["--set", "channels=wide"], "--set: channels=wide: expected a number"),
        (["--set", "foo.bar=1"], "--set: 'AvMnist' object has no attribute 'foo'"),
        (["--set", "smil.pases=0"], "unexpected keyword argument 'pases'"),
        (["--set", "mmanet.alfa=0"], "unexpected keyword argument 'alfa'"),
        (["--audio-rate", "0"], "expected a share above 0"),
        (["--seeds", "0"], "expected a number above 0"),
    ],
)
def test_wrong_usage_is_said(more: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tune_avmnist.py", "--data", "d", "--mnist", "m", "--system", "lower", *more])
    with pytest.raises(SystemExit, match="2"):
        tune_avmnist.main()
    assert message in capsys.readouterr().err


def test_a_wrong_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "data.npz").write_text("no data")
    words = ["--data", tmp_path / "data.npz", "--mnist", tmp_path, "--system", "lower"]
    monkeypatch.setattr(sys, "argv", ["tune_avmnist.py", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        tune_avmnist.main()
    assert stop.value.code == 2
    assert "expected a file of tools/prepare_avmnist.py" in capsys.readouterr().err
