"""`medmiss info`: the facts of the package and of one bundle, for a reader and for a script."""

import json
from pathlib import Path

import pytest

from medmiss import __version__
from medmiss.cli.main import main

METADATA = {
    "version": "0.0.7",
    "task": "a test",
    "description": "A test's bundle.",
    "intended_use": "tests only",
    "eval_metrics": {"mean_dice": 0.5, "Dice on two cases": {"FLAIR+T2": {"ET": 0.25, "TC": 0.5, "WT": 0.75}}},
    "network_data_format": {
        "inputs": {"image": {"channel_def": {"1": "T1", "0": "FLAIR"}}},
        "outputs": {"pred": {"channel_def": {"0": "ET", "1": "TC", "2": "WT"}}},
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle whose network is a linear layer, of two sizes."""
    configs = tmp_path / "tiny" / "configs"
    configs.mkdir(parents=True)
    (configs / "metadata.json").write_text(json.dumps(METADATA))
    for name, size in (("inference", 1000), ("published", 2000)):
        network = {"_target_": "torch.nn.Linear", "in_features": size, "out_features": 3}
        (configs / f"{name}.json").write_text(json.dumps({"network_def": network}))
    return tmp_path / "tiny"


def facts(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main(["info", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_facts_of_a_bundle(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "models").mkdir()
    (folder / "models" / "model.pt").write_bytes(bytes(12))
    assert facts(capsys, str(folder)) == {
        "medmiss": __version__,
        "bundle": "tiny",
        "version": "0.0.7",
        "task": "a test",
        "folder": str(folder),
        "description": "A test's bundle.",
        "profile": None,
        "parameters": 3003,
        "weights_bytes": 12,
        "modalities": ["FLAIR", "T1"],
        "labels": ["ET", "TC", "WT"],
        "accuracy": METADATA["eval_metrics"],
        "intended_use": "tests only",
    }


def test_a_profile_is_counted_on_its_own(folder: Path, capsys: pytest.CaptureFixture[str]):
    found = facts(capsys, str(folder), "--profile", "published")
    assert found["parameters"] == 6003
    assert not found["accuracy"]  # measured on the weights of the light one


@pytest.mark.parametrize(
    ("bundle", "parameters"), [("brats_shaspec", 187_708_132), ("brats_lckd", 43_656_672), ("brats_mckd", 43_656_676)]
)
def test_the_published_networks_have_the_published_size(
    bundle: str, parameters: int, capsys: pytest.CaptureFixture[str]
):
    """Counted on the papers' code; of MCKD's 43,719,676 there, 63,000 belong to an attention that nothing calls."""
    assert facts(capsys, bundle, "--profile", "published")["parameters"] == parameters


def test_the_text_for_a_reader(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["info", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "description: A test's bundle." in lines
    assert "parameters: 3,003" in lines
    assert "modalities: FLAIR, T1" in lines
    assert "mean_dice: 0.5" in lines
    assert lines[lines.index("Dice on two cases:") + 1] == "  FLAIR+T2  ET 0.250  TC 0.500  WT 0.750"


def test_a_broken_bundle_still_tells_what_it_can(
    folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    (folder / "configs" / "inference.json").write_text('{"network_def": {"_target_": "torch.nn.NoSuchLayer"}}')
    told = facts(capsys, str(folder))
    assert told["parameters"] is None
    assert told["modalities"] == ["FLAIR", "T1"]
    assert "the network cannot be built" in caplog.text


def test_all_bundles_are_listed(capsys: pytest.CaptureFixture[str]):
    told = facts(capsys)
    assert told["medmiss"] == __version__
    assert "brats_shaspec" in {bundle["bundle"] for bundle in told["bundles"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--profile", "light"], "name the bundle too"), (["no_such_bundle"], "no_such_bundle")],
)
def test_wrong_usage(words: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        main(["info", *words])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_a_bundle_of_one_size_has_no_profile(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "configs" / "published.json").unlink()
    with pytest.raises(SystemExit) as end:
        main(["info", str(folder), "--profile", "published"])
    assert end.value.code == 2
    assert "has no published profile" in capsys.readouterr().err
