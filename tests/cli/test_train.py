"""What `medmiss train` says of a run. (Training itself: tests/bundles and tests/training.)"""

import json
from pathlib import Path

import pytest

from medmiss.cli.main import main

INTERRUPT = "$(_ for _ in ()).throw(KeyboardInterrupt)"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle whose training consists of the user's interrupt."""
    configs = tmp_path / "idle" / "configs"
    configs.mkdir(parents=True)
    (configs / "metadata.json").write_text('{"task": "a test"}')
    (configs / "inference.json").write_text(
        '{"inferer": {}, "predictor": {}, "preprocessing": {"transforms": ["load"]}}'
    )
    train = {"epochs": 14, "val_interval": 5, "network_def": {}, "crop_size": [8, 8, 8], "device": {"name": "cpu"}}
    train |= {"preparation": {"transforms": ["load with labels", "normalise"]}, "start_from": None, "splits": None}
    train |= {"modalities": "all", "modality_drop": "uniform_size", "val_subsets": ["all"]}
    train |= {"resume": False, "quiet": False, "dataset_dir": None, "initialize": [], "run": [INTERRUPT]}
    train |= {"learning_rate": 0.01, "cache_dir": "$@output_dir + '/cache'"}
    (configs / "train.json").write_text(json.dumps(train))
    (configs / "train_phantom.json").write_text('{"phantoms": 1}')
    return tmp_path / "idle"


def test_an_interrupt_names_the_way_on(tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "my run"
    assert main(["train", "--bundle", str(bundle), "--data", str(tmp_path), "--out", str(out)]) == 1
    assert "interrupted before the first checkpoint" in capsys.readouterr().err.splitlines()[-1]
    (out / "checkpoints").mkdir(exist_ok=True)
    (out / "checkpoints" / "last.pt").touch()
    assert main(["train", "--bundle", str(bundle), "--out", str(out), "--resume"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"medmiss train --out '{out}' --resume")


@pytest.mark.parametrize(
    ("words", "expected", "absent"),
    [
        (["--data", "."], "14 epochs; validation after every 5 epochs and the last", "synthetic"),
        (["--phantoms", "3"], "made in the first epoch", "no validation"),
    ],
)
def test_the_start_says_what_is_going_to_happen(
    words: list[str], expected: str, absent: str, tmp_path: Path, bundle: Path, caplog: pytest.LogCaptureFixture
):
    assert main(["train", "--bundle", str(bundle), "--out", str(tmp_path / "run"), *words]) == 1
    (line,) = [message for message in caplog.messages if message.startswith("run in")]
    assert expected in line
    assert absent not in line


@pytest.mark.parametrize("words", [["--start-from"], ["--bundle", "brats_mmanet", "--teacher"]])
def test_a_bundle_without_weights_to_take_is_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    empty = tmp_path / "empty"
    (empty / "configs").mkdir(parents=True)
    (empty / "configs" / "inference.json").write_text("{}")
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--phantoms", "2", "--out", str(tmp_path / "run"), *words, str(empty)])
    assert f"{words[-1]}: empty has no weights" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "network_def::alhpa=1"], "network_def::alhpa: medmiss.methods.ModalityDropout takes backbone"),
        (["--set", "learning_rat=1"], "has no entry learning_rat"),
        (["--set", "crop_size::x=1"], "has no entry crop_size::x"),
        (["--set", "crop_size=[50,50,50]"], "found [50, 50, 50], but LightUNet takes multiples of 32 x 32 x 32 voxels"),
        (["--bundle", "brats_lckd", "--set", "crop_size=32"], "at least twice that along one axis; give [64, 64, 64]"),
        (["--set", "network_def::backbone::channels=[8,8,8,8,8,8]"], "found [96, 96, 96], but LightUNet takes"),
        (["--set", "crop_size=96,96,96"], "crop_size: found 96,96,96, but"),
        (
            ["--bundle", "brats_lckd", "--profile", "published", "--set", "crop_size=[160,160,72]"],
            "crop_size: found [160, 160, 72], but ResNetASPP takes multiples of 32 x 32 x 16 voxels",
        ),
        (["--teacher", "brats_shaspec"], "--teacher: bundle brats_dropout learns from none"),
    ],
)
def test_what_cannot_be_set_is_refused_before_anything_is_written(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "run"
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--bundle", "brats_dropout", "--phantoms", "2", "--out", str(out), *words])
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_arguments_that_a_configuration_leaves_out_can_be_set(tmp_path: Path, bundle: Path):
    config = bundle / "configs" / "train.json"
    content = json.loads(config.read_text())
    content["network_def"] = {"_target_": "medmiss.methods.ModalityDropout"}
    config.write_text(json.dumps(content))
    words = ["--bundle", str(bundle), "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    assert main(["train", *words, "--set", "network_def::missing=zero"]) == 1  # the interrupt
    written = json.loads((tmp_path / "run" / "configs" / "train.json").read_text())
    assert written["network_def"]["missing"] == "zero"


def test_resuming_needs_a_run_and_its_method(tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "run"
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--out", str(out), "--resume"])
    assert "--resume: there is no run in" in capsys.readouterr().err
    assert main(["train", "--bundle", str(bundle), "--data", str(tmp_path), "--out", str(out)]) == 1
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--bundle", "brats_lckd", "--out", str(out), "--resume"])
    assert "trains None, not medmiss.methods.LCKD" in capsys.readouterr().err


def test_what_a_resumption_changes_holds_for_the_next(tmp_path: Path, bundle: Path):
    out = tmp_path / "run"
    assert main(["train", "--bundle", str(bundle), "--data", str(tmp_path), "--out", str(out)]) == 1
    assert main(["train", "--out", str(out), "--resume", "--epochs", "30"]) == 1
    written = json.loads((out / "configs" / "train.json").read_text())
    assert (written["epochs"], written["resume"], written["dataset_dir"]) == (30, False, None)
    assert json.loads((out / "checkpoints" / "inputs.json").read_text())["dataset_dir"] == str(tmp_path)


def test_a_run_goes_on_where_it_was_and_with_what_its_checkpoint_fixes(
    tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "run"
    words = ["--out", str(out), "--set", "learning_rate=0.5"]
    begun = ["train", "--bundle", str(bundle), "--data", str(tmp_path), "--device", "cuda:1", *words]
    assert main(begun) == 1
    (out / "checkpoints" / "last.pt").touch()
    assert main(["train", *words, "--resume"]) == 1  # the same value is none that changes
    assert json.loads((out / "configs" / "train.json").read_text())["device"]["name"] == "cuda:1"
    (tmp_path / "new.json").write_text("{}")
    for change in (["--set", "learning_rate=0.1"], ["--splits", str(tmp_path / "new.json")]):
        with pytest.raises(SystemExit, match="2"):
            main(["train", "--out", str(out), "--resume", *change])
        assert "since its checkpoint fixes it" in capsys.readouterr().err
    assert json.loads((out / "configs" / "train.json").read_text())["learning_rate"] == 0.5


def test_a_run_that_is_passed_on_tells_no_path(tmp_path: Path, bundle: Path):
    written = run_of(bundle, tmp_path / "run", "--data", tmp_path, "--set", f"cache_dir={tmp_path / 'mine'}")["train"]
    assert (written["cache_dir"], written["dataset_dir"]) == ("$@output_dir + '/cache'", None)
    inputs = json.loads((tmp_path / "run" / "checkpoints" / "inputs.json").read_text())
    assert (inputs["cache_dir"], inputs["dataset_dir"]) == (str(tmp_path / "mine"), str(tmp_path))


def run_of(bundle: Path, out: Path, *words: object) -> dict[str, dict]:
    """What a run that is interrupted at once leaves of its configurations."""
    assert main(["train", "--bundle", str(bundle), "--out", str(out), *map(str, words)]) == 1
    return {name: json.loads((out / "configs" / f"{name}.json").read_text()) for name in ("train", "inference")}


def test_a_run_predicts_as_it_was_trained(tmp_path: Path, bundle: Path):
    config = bundle / "configs" / "train.json"
    content = json.loads(config.read_text())
    content["network_def"] = {"_target_": "medmiss.methods.MMANet"}
    content["deployed_def"] = {"_target_": "medmiss.methods.ModalityDropout"}
    config.write_text(json.dumps(content))
    inference = bundle / "configs" / "inference.json"
    content = {"inferer": {"roi_size": [16, 16, 16]}, "predictor": {}, "preprocessing": {"transforms": ["load"]}}
    inference.write_text(json.dumps(content))

    found = run_of(bundle, tmp_path / "as_it_is", "--data", tmp_path)["inference"]
    assert found["network_def"] == {"_target_": "medmiss.methods.ModalityDropout"}
    assert found["preprocessing"]["transforms"] == ["load", "normalise"]
    assert found["inferer"]["roi_size"] == [16, 16, 16]  # the bundle's own choice for its crops

    words = ("--set", "network_def::missing=mean", "--set", "crop_size=[4,4,4]", "--subset", "flair,t2")
    changed = run_of(bundle, tmp_path / "changed", "--data", tmp_path, *words)["inference"]
    assert changed["network_def"] == {"_target_": "medmiss.methods.ModalityDropout", "missing": "mean"}
    assert changed["inferer"]["roi_size"] == [4, 4, 4]
    assert changed["modalities"] == "flair,t2"


def test_what_a_resumption_changes_holds_for_prediction_too(tmp_path: Path, bundle: Path):
    out = tmp_path / "run"
    run_of(bundle, out, "--data", tmp_path)
    assert main(["train", "--out", str(out), "--resume", "--set", "crop_size=[4,4,4]"]) == 1
    assert json.loads((out / "configs" / "inference.json").read_text())["inferer"]["roi_size"] == [4, 4, 4]


def test_a_resumption_leaves_the_modalities_of_dedicated_training(tmp_path: Path, bundle: Path):
    out = tmp_path / "run"
    assert run_of(bundle, out, "--data", tmp_path, "--subset", "flair,t2")["inference"]["modalities"] == "flair,t2"
    for asked, expected in (("flair", "flair"), ("all", None)):
        assert main(["train", "--out", str(out), "--resume", "--set", f"modalities={asked}"]) == 1
        assert json.loads((out / "configs" / "train.json").read_text())["modalities"] == asked
        assert json.loads((out / "configs" / "inference.json").read_text())["modalities"] == expected


def test_a_resumption_refuses_a_crop_that_the_network_cannot_take(
    tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
):
    config = bundle / "configs" / "train.json"
    content = json.loads(config.read_text())
    backbone = {"_target_": "medmiss.networks.LightUNet", "channels": [4, 8]}
    content["network_def"] = {"_target_": "medmiss.methods.ModalityDropout", "backbone": backbone}
    config.write_text(json.dumps(content))
    before = run_of(bundle, tmp_path / "run", "--data", tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--out", str(tmp_path / "run"), "--resume", "--set", "crop_size=[8,8,9]"])
    assert "give [8, 8, 12]" in capsys.readouterr().err
    files = (tmp_path / "run" / "configs" / f"{name}.json" for name in before)
    assert [json.loads(file.read_text()) for file in files] == list(before.values())


def test_a_run_killed_before_its_first_checkpoint_begins_as_it_did(tmp_path: Path, bundle: Path):
    weights = tmp_path / "start" / "models" / "model.pt"
    weights.parent.mkdir(parents=True)
    weights.touch()
    (tmp_path / "start" / "configs").mkdir()
    (tmp_path / "start" / "configs" / "inference.json").write_text("{}")
    splits = tmp_path / "splits.json"
    splits.write_text("{}")
    out = tmp_path / "run"
    run_of(bundle, out, "--data", tmp_path, "--start-from", weights.parents[1], "--splits", splits)
    config = json.loads((bundle / "configs" / "train.json").read_text())
    config["run"] = ["$open(@output_dir + '/seen.txt', 'w').write(@start_from + ' ' + @splits)", INTERRUPT]
    written = json.loads((out / "configs" / "train.json").read_text())
    assert written["start_from"] is written["splits"] is None  # the user's own paths
    (out / "configs" / "train.json").write_text(json.dumps(written | {"run": config["run"]}))
    assert main(["train", "--out", str(out), "--resume"]) == 1
    assert (out / "seen.txt").read_text() == f"{weights} {splits}"


def test_a_run_on_synthetic_cases_takes_no_others(tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "run"
    run_of(bundle, out, "--phantoms", 1)
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--bundle", str(out), "--data", str(tmp_path), "--out", str(tmp_path / "other")])
    assert f"train its bundle with --start-from {out}" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_run_on_synthetic_cases_keeps_them(tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "run"
    file = bundle / "configs" / "train_phantom.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"phantom_healthy": 0.0}))
    run_of(bundle, out, "--phantoms", 1)
    (out / "checkpoints" / "last.pt").touch()
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--out", str(out), "--resume", "--set", "phantom_healthy=0.5"])
    assert "phantom_healthy is 0.0 in the run" in capsys.readouterr().err
    assert json.loads((out / "configs" / "train.json").read_text())["phantom_healthy"] == 0.0


def test_a_run_keeps_its_profile(tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]):
    run_of(bundle, tmp_path / "run", "--data", tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--out", str(tmp_path / "run"), "--resume", "--profile", "published"])
    assert "--profile: the run in" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["predict", "subsets", "train"])
@pytest.mark.parametrize("name", ["avmnist", "openi"])
def test_a_bundle_that_classifies_is_refused(
    command: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "cases").mkdir()
    words = {
        "predict": [str(tmp_path / "cases"), str(tmp_path / "out")],
        "subsets": [str(tmp_path / "cases"), "--out", str(tmp_path / "out")],
        "train": ["--data", str(tmp_path / "cases"), "--out", str(tmp_path / "out")],
    }
    with pytest.raises(SystemExit, match="2"):
        main([command, "--bundle", name, *words[command]])
    assert f"bundle {name} does not segment" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_is_evaluated_with_the_windows_that_it_predicts_with(tmp_path: Path):
    from monai.bundle import ConfigParser

    from medmiss.inference.bundle import resolve_bundle
    from medmiss.training.bundle import write_run_bundle

    source = resolve_bundle("brats_lckd")
    parser = ConfigParser()
    parser.read_config([str(source / "configs" / f"{name}.json") for name in ("train", "published")])
    write_run_bundle(source, parser.get(), tmp_path)
    predicts, evaluates = (
        json.loads((tmp_path / "configs" / f"{n}.json").read_text()) for n in ("inference", "evaluate")
    )
    for entry in ("roi_size", "overlap"):
        assert evaluates[f"validate::inferer::{entry}"] == predicts["inferer"][entry]
    assert predicts["inferer"]["overlap"] != 0.5
