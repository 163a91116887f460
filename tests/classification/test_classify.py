"""`medmiss classify avmnist` as a user meets it: from downloads to tables, resumed, refused."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import wavfile

from medmiss.classification import read_avmnist
from medmiss.classification.experiment import RECIPE
from medmiss.cli import classify
from medmiss.cli.main import main


def words(data: Path, out: Path, *more: str) -> list[str]:
    some = ["--method", "lower", "gan", "--audio-rate", "0.5", "1", "--seeds", "2", "--jobs", "1", "--epochs", "1"]
    return ["classify", "avmnist", "--data", str(data), "--out", str(out), "--quiet", *some, *more]


def test_from_prepared_data_to_tables_and_on_again(mnist, fsdd, tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "out"
    data = classify.prepared(_folder(mnist, fsdd, tmp_path), out, "full")
    assert main(words(data, out)) == 0
    with open(out / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(row["method"], float(row["audio_rate"]), int(row["seed"]), row["test"]) for row in rows}
    lower = {("lower", 0.05, seed, test) for seed in (0, 1) for test in ("image", "more")}
    tests = ("image", "sound", "both", "more")
    gan = {("gan", rate, seed, test) for rate in (0.5, 1.0) for seed in (0, 1) for test in tests}
    assert found == lower | gan
    printed = capsys.readouterr().out
    assert printed.strip() == (out / "table.md").read_text().strip()
    assert f"90 pairs to train on, 60 to test on; MFCC full, recipe {RECIPE}, epochs: 1 **in place of" in printed
    assert "published" not in printed  # it is of other pairs
    # Another seed is added, and what is there is not done again.
    text = (out / "results.csv").read_text().replace(",0,image,", ",0,image,0.123456#", 1)
    (out / "results.csv").write_text("\n".join(line.partition("#")[0] for line in text.splitlines()) + "\n")
    assert main(words(data, out, "--seeds", "3")) == 0
    again = (out / "results.csv").read_text()
    assert "0.123456" in again
    assert len(again.splitlines()) == 1 + 3 * 2 + 2 * 3 * 4
    # Tables of what is there, without a training of what is not.
    assert main(words(data, out, "--seeds", "9", "--tables", "--method", "lower", "mckd")) == 0
    assert (out / "results.csv").read_text() == again
    assert "| lower | gan |" in capsys.readouterr().out  # those that there are results of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medmiss.classification.runs.run_all", lambda *others: [])  # as if none of it could be done
        assert main(words(data, out, "--seeds", "1", "--audio-rate", "0.05", "--method", "mckd")) == 0
    assert "| lower | gan | mckd |" in capsys.readouterr().out  # and those that were asked for
    (out / "table.md").unlink()
    assert main(words(data, out, "--audio-rate", "0.05", "--seeds", "1", "--method", "lower")) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("|") and "±" in line]
    # All seeds of the bound, none of the GAN at this rate; and the rate that there is.
    cells = [(row[1].strip(), row[4].strip() == "-") for row in rows[:2]]
    assert cells == [("5%", True), ("50%", False)]
    without_first = [line for line in again.splitlines() if not (line.startswith("gan") and ",0," in line)]
    (out / "results.csv").write_text("\n".join(without_first) + "\n")  # as if the first seed had failed
    assert main(words(data, out, "--seeds", "9", "--tables", "--method", "lower")) == 0
    assert "| lower | gan |" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(words(data, out, "--epochs", "2"))
    assert "results made with other settings (recipe.recipe.epochs 1, now 2)" in capsys.readouterr().err


def test_a_table_has_the_methods_of_its_own_experiment(mnist, fsdd, tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "out"
    data = classify.prepared(_folder(mnist, fsdd, tmp_path), out, "full")
    command = [
        "classify",
        "avmnist",
        "--data",
        str(data),
        "--out",
        str(out),
        "--quiet",
        "--epochs",
        "1",
        "--seeds",
        "1",
    ]
    assert main([*command, "--jobs", "1", "--method", "lower", "dropout", "--audio-rate", "1"]) == 0
    capsys.readouterr()
    assert main([*command, "--experiment", "both-missing", "--tables"]) == 0
    printed = capsys.readouterr().out
    assert "| audio | images | dropout |\n" in printed
    assert (out / "table-both-missing.md").read_text().strip() == printed.strip()


def _folder(mnist: Path, fsdd: Path, tmp_path: Path) -> Path:
    """One folder with all downloads, as a user has it."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    for file in mnist.iterdir():
        (folder / file.name).symlink_to(file)
    for file in fsdd.rglob("*.wav"):
        (folder / file.name).symlink_to(file)
    return folder


def test_a_folder_of_downloads_is_prepared_once(mnist, fsdd, tmp_path: Path):
    folder = _folder(mnist, fsdd, tmp_path)
    file = classify.prepared(folder, tmp_path / "out", "smil")
    assert file.parent == tmp_path / "out"
    assert len(read_avmnist(file)["train_label"]) == 90
    written = file.stat().st_mtime_ns
    assert classify.prepared(folder, tmp_path / "out", "smil").stat().st_mtime_ns == written
    assert classify.prepared(file, tmp_path / "other", "full") == file


def test_other_downloads_in_their_place_are_other_data(mnist, fsdd, tmp_path: Path, capsys: pytest.CaptureFixture):
    folder = _folder(mnist, fsdd, tmp_path)
    out = folder / "results"  # of which nothing counts as a download
    assert main(words(folder, out, "--seeds", "1")) == 0
    (folder / "notes.txt").write_text("a file that was not there")
    assert main(words(folder, out, "--seeds", "1")) == 0
    assert len(list(out.glob("*.npz"))) == 1
    sound = folder / "0_ann_0.wav"
    content = sound.read_bytes()
    sound.unlink()
    wavfile.write(sound, 8000, np.zeros(999, dtype=np.int16))
    with pytest.raises(SystemExit, match="2"):
        main(words(folder, out, "--tables"))
    assert "results made with other settings (data" in capsys.readouterr().err
    sound.write_bytes(content)
    assert main(words(folder, out, "--tables")) == 0
    file = classify.prepared(folder, out, "full").rename(tmp_path / "prepared.npz")
    arrays: dict[str, Any] = dict(read_avmnist(file))
    for pack in (np.savez, np.savez_compressed):  # the results go on with a prepared file, however it is packed
        pack(file, **arrays)
        assert main(words(file, out, "--tables")) == 0
    (folder / "fashion").mkdir()
    (folder / "fashion" / "train-images-idx3-ubyte.gz").touch()
    assert main(words(folder, out, "--tables")) == 1
    assert f"MNIST in {folder}, {folder / 'fashion'}, but expected one folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(words(tmp_path / "empty", out, "--tables")) == 1
    assert "no MNIST" in capsys.readouterr().err


def test_results_whose_settings_are_gone_are_not_gone_on_from(mnist, fsdd, tmp_path: Path, capsys, caplog):
    folder, out = _folder(mnist, fsdd, tmp_path), tmp_path / "out"
    with pytest.raises(SystemExit, match="2"):
        main(words(folder, out, "--tables"))
    assert f"--tables: there is no {out / 'results.csv'}" in capsys.readouterr().err
    assert not (out / "settings.json").exists()
    assert main(words(folder, out, "--seeds", "1", "--method", "lower")) == 0
    assert json.loads((out / "settings.json").read_text())["recipe"]["number"] == RECIPE
    assert "and less" not in (out / "table.md").read_text()  # than itself
    (out / "table.md").unlink()
    (out / "results.csv").write_text("method,audio_rate,image_rate,seed,test,accuracy\n")
    assert main(words(folder, out, "--tables")) == 1
    assert "no result of what was asked for" in caplog.text
    assert not (out / "table.md").exists()
    (out / "settings.json").unlink()
    with pytest.raises(SystemExit, match="2"):
        main(words(folder, out, "--tables"))
    assert "has results.csv without settings.json" in capsys.readouterr().err


def test_a_folder_without_downloads_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(words(tmp_path, tmp_path / "out")) == 1
    assert "no MNIST" in capsys.readouterr().err


def test_a_wrong_file_is_not_remembered(tmp_path: Path, capsys: pytest.CaptureFixture):
    file, out = tmp_path / "wrong.npz", tmp_path / "out"
    file.write_bytes(b"neither")
    assert main(words(file, out)) == 1
    assert "something else" in capsys.readouterr().err
    assert not (out / "settings.json").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--audio-rate", "0"], "expected a share above 0"),
        (["--method", "everything"], "expected all, or some of lower"),
        (["--data", "nowhere"], "no such file or folder: nowhere"),
        (["--device", "cpu", "--text-rate", "1"], "--text-rate, --device: of openi alone, not of avmnist"),
        (["--experiment", "both-missing", "--method", "lower"], "cannot be tested on both (both-missing)"),
        (["--image-rate", "0.5", "--audio-rate", "1", "--method", "smil"], "cannot be tested on image"),
    ],
)
def test_wrong_usage_is_said(more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit, match="2"):
        main(words(tmp_path, tmp_path / "out", *more))
    assert message in capsys.readouterr().err


def test_a_prepared_file_takes_no_variant(tmp_path: Path, capsys: pytest.CaptureFixture):
    file, out = tmp_path / "prepared.npz", tmp_path / "out"
    file.touch()
    with pytest.raises(SystemExit, match="2"):
        main(words(file, out, "--variant", "smil"))
    assert f"--variant: {file} is a prepared file" in capsys.readouterr().err
    assert not out.exists()


def test_the_help_names_what_there_is():
    from medmiss.classification import avmnist, openi_experiment
    from medmiss.classification.experiments import EXPERIMENTS
    from medmiss.classification.systems import SYSTEMS

    assert set(classify.METHODS) == set(SYSTEMS)
    assert set(classify.EXPERIMENTS) == set(EXPERIMENTS)
    assert classify.VARIANTS == avmnist.VARIANTS
    assert classify.KNOWN["openi"] == openi_experiment.METHODS
