"""What `tools/plot_run.py` makes of a run: curves that are the log's, tables and figures, a sentence for the rest."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

import medmiss.evaluation.feature_plots as feature_plots
import plot_run
from medmiss.cases import find_cases
from medmiss.cli.main import main

PNG = b"\x89PNG\r\n\x1a\n"
TEACHERS = "iteration,modality,task,score,best,teaches\n" + "".join(
    f"{i},{name},{task},0.{i},{int(name == 'T1c')},{int(name == 'T1c')}\n"
    for i in (1, 2)
    for name in ("FLAIR", "T1", "T1c", "T2")
    for task in ("ET", "TC", "WT")
)
WEIGHTS = "iteration,loss,FLAIR,T1,T1c,T2\n0,1.0,0.25,0.25,0.25,0.25\n9,0.5,0.2,0.2,0.4,0.2\n"
COMBINATIONS = "iteration,left_out,divergence\n" + "".join(f"4,{index},0.0{index + 1}\n" for index in range(4))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny: list[str], shape: str) -> Path:
    """A ShaSpec run of two epochs of two iterations, validated after each."""
    out = tmp_path_factory.mktemp("runs") / "run"
    words = ["train", "--bundle", "brats_shaspec", "--phantoms", "4", "--out", str(out), "--epochs", "2", *tiny]
    words += ["--set", f"phantom_shape=[{shape}]"]
    words += ["--set", "val_interval=1", "--set", 'val_subsets=["all","t1"]', "--set", "val_fraction=0.25"]
    assert main(words) == 0
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, without figures."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory, shape: str) -> Path:
    """Two unlabelled cases; the second has FLAIR and T2 alone."""
    root = tmp_path_factory.mktemp("cases")
    assert main(["phantom", str(root), "--cases", "2", "--shape", shape, "--quiet"]) == 0
    one, two = find_cases(root)
    for case, gone in ((one, []), (two, ["t1", "t1c"])):
        assert case.label is not None
        for path in (case.label.path, *(case.images[name].path for name in gone)):
            path.unlink()
    return root


def test_the_curves_are_the_log_s(trained: Path):
    losses, dice = plot_run.curves(trained / "tensorboard")
    assert list(losses.index) == list(dice.index) == [1, 2]
    assert set(losses) == {"loss", "task", "alignment", "domain"}
    terms = losses.drop(columns="loss").sum(axis=1)
    assert terms.tolist() == pytest.approx(losses["loss"].tolist(), rel=1e-5)
    assert list(dice) == ["ET", "TC", "WT", "mean", "all", "T1"]
    # An epoch is the mean of its two iterations, which have a tag of their own.
    log = EventAccumulator(str(trained / "tensorboard"), size_guidance={"scalars": 0})
    log.Reload()
    each = {event.step: event.value for event in log.Scalars("iteration/loss")}
    assert list(each) == [1, 2, 3, 4]
    assert losses["loss"].tolist() == pytest.approx([(each[1] + each[2]) / 2, (each[3] + each[4]) / 2], rel=1e-5)


def test_of_an_epoch_that_was_repeated_the_last_counts(tmp_path: Path):
    for values in ((4.0, 3.0), (2.5, 2.0)):  # killed in the third epoch, resumed after the first
        with SummaryWriter(str(tmp_path)) as writer:
            for step, value in enumerate(values, start=1 if values[0] == 4 else 2):
                writer.add_scalar("loss", value, step)
                writer.add_scalar("iteration/loss", value, 10 * step)
    losses, dice = plot_run.curves(tmp_path)
    assert losses["loss"].to_dict() == {1: 4.0, 2: 2.5, 3: 2.0}
    assert dice.empty


def test_figures_and_tables_of_logs_and_features(run: Path, cases: Path, script: Callable, tmp_path: Path):
    for name, text in (("teachers", TEACHERS), ("modality_weights", WEIGHTS), ("combinations", COMBINATIONS)):
        (run / f"{name}.csv").write_text(text)
    out = tmp_path / "figures"
    assert script(plot_run, run, "--cases", cases, "--out", out, "--device", "cpu") == 0
    of_logs = {"training", "teachers", "modality_weights", "combinations"}
    assert {path.stem for path in out.glob("*.png")} == of_logs | {"generated_fused", "generated_shared", "tsne"}
    assert all(path.read_bytes().startswith(PNG) for path in out.glob("*.png"))
    assert not (run / "figures").exists()

    table = pd.read_csv(out / "generated_features.csv")
    one, two = (case.name for case in find_cases(cases))
    assert table.groupby("case").size().to_dict() == {one: 2 * 28, two: 2 * 2}
    assert set(table[table["case"] == two]["available"]) == {"FLAIR", "T2"}
    assert table["cosine"].between(-1, 1).all() and (table["l1"] >= 0).all() and (table["windows"] >= 1).all()
    points = pd.read_csv(out / "tsne.csv")
    assert set(points["kind"]) == {"shared", "specific"}
    windows = table.drop_duplicates("case").set_index("case")["windows"]
    assert len(points) == 2 * (4 * windows[one] + 2 * windows[two])


def test_one_bad_case_leaves_the_others(run: Path, cases: Path, script: Callable, tmp_path: Path, capsys):
    mixed = Path(shutil.copytree(cases, tmp_path / "mixed"))
    one, two = find_cases(mixed)
    one.images["t1"].path.write_bytes(b"nothing")
    assert script(plot_run, run, "--cases", mixed, "--device", "cpu") == 1
    assert f"case {one.name}, file" in capsys.readouterr().err
    assert set(pd.read_csv(run / "figures" / "generated_features.csv")["case"]) == {two.name}


def test_zeros_for_missing_modalities_are_not_compared(run: Path, cases: Path, script: Callable, capsys):
    file = run / "configs" / "inference.json"
    config = json.loads(file.read_text())
    config["network_def"] = {
        "_target_": "medmiss.methods.ModalityDropout",
        "backbone": config["network_def"]["backbone"],
        "missing": "zero",
    }
    config["network"] = "$@network_def.eval()"
    file.write_text(json.dumps(config))
    assert script(plot_run, run, "--cases", cases, "--device", "cpu") == 0
    assert "puts zeros for a missing modality" in capsys.readouterr().out
    assert {path.name for path in (run / "figures").iterdir()} == {"training.png", "tsne.csv", "tsne.png"}


def test_a_run_that_logged_nothing_says_so(run: Path, script: Callable, capsys):
    shutil.rmtree(run / "tensorboard")
    (run / "teachers.csv").write_text(TEACHERS.splitlines()[0] + "\n")
    assert script(plot_run, run) == 0
    said = capsys.readouterr().out
    assert "has no tensorboard/" in said and "teachers.csv is empty" in said
    assert not (run / "figures").exists()


@pytest.mark.parametrize("missing", ["tensorboard", "sklearn"])
def test_a_package_that_is_not_there_is_named(
    run: Path, cases: Path, script: Callable, capsys, monkeypatch: pytest.MonkeyPatch, missing: str
):
    module = plot_run if missing == "tensorboard" else feature_plots
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert script(plot_run, run, "--cases", cases, "--device", "cpu") == 1
    extra = {"tensorboard": "tensorboard", "sklearn": "insight"}[missing]
    assert f"which is not installed: pip install 'medmiss[{extra}]'" in capsys.readouterr().err
    assert (run / "figures" / "generated_fused.png").is_file()  # the rest is drawn
    assert (run / "figures" / "training.png").is_file() is (missing != "tensorboard")
    assert (run / "figures" / "tsne.png").is_file() is (missing != "sklearn")


def test_what_is_no_run_and_what_is_not_there_is_wrong_usage(run: Path, script: Callable, tmp_path: Path, capsys):
    assert script(plot_run, tmp_path) == 2
    assert "is no output folder of medmiss train" in capsys.readouterr().err
    assert script(plot_run, run, "--cases", tmp_path / "nowhere") == 2
    assert "no such file or folder" in capsys.readouterr().err
    (run / "models" / "model.pt").unlink()
    (tmp_path / "empty").mkdir()
    assert script(plot_run, run, "--cases", tmp_path / "empty") == 1
    assert "the bundle has no weights" in capsys.readouterr().err
