"""`medmiss predict` as a user meets it, the leak rule first."""

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from medmiss.cases import CONVENTIONS
from medmiss.cli import predict
from medmiss.cli.main import main
from medmiss.postprocessing import PRESETS

REPOSITORY = Path(__file__).parents[2]
FILES = {"flair": "A_flair.nii.gz", "t1": "A_t1.nii.gz", "t1c": "A_t1ce.nii.gz", "t2": "A_t2.nii.gz"}


@pytest.fixture
def medmiss(tiny_bundle: Path) -> Callable[..., int]:
    """`medmiss predict` with the tiny bundle on the CPU; its exit status."""
    return lambda *words: main(["predict", "--bundle", str(tiny_bundle), "--device", "cpu", *map(str, words)])


def nan(path: Path) -> None:
    image = nib.Nifti1Image.from_filename(path)
    nib.save(nib.Nifti1Image(np.full(image.shape, np.nan, np.float32), image.affine), path)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def elsewhere(path: Path) -> None:
    """Another shape, another affine: the geometry of an unused file has no influence either."""
    nib.save(nib.Nifti1Image(np.ones((5, 6, 7), np.float32), np.diag([3.0, 3, 3, 1])), path)


def deleted(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("subset", [("flair",), ("t2",), ("flair", "t2"), ("t1", "t1c"), ("t1", "t1c", "t2")])
def test_an_unused_modality_has_no_influence(
    tmp_path: Path, medmiss: Callable, write_case: Callable, subset: tuple[str, ...]
):
    case = write_case(tmp_path / "cases", "A")
    options = ("--modalities", ",".join(subset), "--probabilities")
    assert medmiss(tmp_path / "cases", tmp_path / "whole", *options) == 0
    mask = (tmp_path / "whole" / "A.nii.gz").read_bytes()
    probabilities = (tmp_path / "whole" / "A_probabilities.nii.gz").read_bytes()
    assert np.any(nib.Nifti1Image.from_filename(tmp_path / "whole" / "A.nii.gz").dataobj)
    for damage in (nan, truncated, elsewhere, deleted):
        for modality in sorted(set(FILES) - set(subset)):
            damage(case / FILES[modality])
        output = tmp_path / damage.__name__
        assert medmiss(tmp_path / "cases", output, *options) == 0
        assert (output / "A.nii.gz").read_bytes() == mask, damage.__name__
        assert (output / "A_probabilities.nii.gz").read_bytes() == probabilities, damage.__name__
    # The files are gone now: without --modalities the same subset is all there is.
    assert medmiss(tmp_path / "cases", tmp_path / "alone") == 0
    assert (tmp_path / "alone" / "A.nii.gz").read_bytes() == mask


def test_a_used_modality_has_influence(tmp_path: Path, medmiss: Callable, write_case: Callable):
    write_case(tmp_path / "cases", "A")
    masks = []
    for subset in ("flair", "t2", "flair,t2", "all"):
        assert medmiss(tmp_path / "cases", tmp_path / subset, "--modalities", subset) == 0
        masks.append((tmp_path / subset / "A.nii.gz").read_bytes())
    assert len(set(masks)) == len(masks)


def test_files_one_by_one(tmp_path: Path, medmiss: Callable, write_case: Callable):
    case = write_case(tmp_path / "cases", "A", ["flair", "t2"])
    assert medmiss("--flair", case / FILES["flair"], "--t2", case / FILES["t2"], tmp_path / "files") == 0
    assert medmiss(case, tmp_path / "folder") == 0
    (mask,) = (tmp_path / "files").glob("*.nii.gz")
    assert mask.read_bytes() == (tmp_path / "folder" / "A.nii.gz").read_bytes()


def test_the_options_reach_the_mask(tmp_path: Path, medmiss: Callable, write_case: Callable):
    write_case(tmp_path / "cases", "A")
    report = tmp_path / "run.json"
    options = ("--labels", "brats2023", "--postprocess", "none", "--tta", "--amp", "--report", report)
    assert medmiss(tmp_path / "cases", tmp_path / "masks", *options) == 0
    settings = json.loads(report.read_text())["cases"][0]["settings"]
    assert (settings["labels"], settings["tta"], settings["amp"]) == ("brats2023", True, True)
    assert (settings["postprocessing"]["min_volume"], settings["postprocessing"]["et_rule"]) == (0, "off")
    mask = nib.Nifti1Image.from_filename(tmp_path / "masks" / "A.nii.gz")
    assert set(np.unique(np.asarray(mask.dataobj)).tolist()) <= {0, 1, 2, 3}


def test_modalities_on_two_grids_need_resample(tmp_path: Path, medmiss: Callable, write_case: Callable):
    case = write_case(tmp_path / "cases", "A", ["flair", "t2"])
    image = nib.Nifti1Image.from_filename(case / FILES["t2"])
    affine = image.affine.copy()
    affine[0, 3] += 3
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), case / FILES["t2"])
    assert medmiss(tmp_path / "cases", tmp_path / "masks") == 1
    assert medmiss(tmp_path / "cases", tmp_path / "masks", "--resample") == 0


def test_a_bad_case_fails_and_the_rest_go_on(tmp_path: Path, medmiss: Callable, write_case: Callable):
    for name in "ABC":
        write_case(tmp_path / "cases", name)
    truncated(tmp_path / "cases" / "B" / "B_t1.nii.gz")
    assert medmiss(tmp_path / "cases", tmp_path / "masks") == 1
    assert sorted(path.name for path in (tmp_path / "masks").glob("*.nii.gz")) == ["A.nii.gz", "C.nii.gz"]


def test_a_case_without_any_modality_is_an_error(tmp_path: Path, medmiss: Callable, write_case: Callable):
    write_case(tmp_path / "cases", "A", ["t1"])
    assert medmiss(tmp_path / "cases", tmp_path / "masks", "--modalities", "flair,t2") == 1
    assert not list((tmp_path / "masks").glob("*.nii.gz"))


def test_a_bundle_without_weights_writes_nothing(
    tmp_path: Path, tiny_bundle: Path, write_case: Callable, caplog: pytest.LogCaptureFixture
):
    bundle = tmp_path / "untrained"
    (bundle / "configs").mkdir(parents=True)
    for path in (tiny_bundle / "configs").iterdir():
        (bundle / "configs" / path.name).write_bytes(path.read_bytes())
    write_case(tmp_path / "cases", "A")
    assert main(["predict", "--bundle", str(bundle), str(tmp_path / "cases"), str(tmp_path / "masks")]) == 1
    assert "untrained network must not predict" in caplog.text
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["cases"],
        ["cases", "masks", "more"],
        ["--flair", "f.nii.gz", "cases", "masks"],
        ["cases", "masks", "--modalities", "flair,ct"],
        ["cases", "masks", "--labels", "brats1999"],
        ["cases", "masks", "--device", "abacus"],
    ],
)
def test_wrong_usage_ends_with_status_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cases").mkdir()
    with pytest.raises(SystemExit) as end:
        main(["predict", *words])
    assert end.value.code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "masks"], "INPUT: no such file or folder: nowhere"),
        (["--flair", "f.nii", "--t2", "t2.nii", "masks"], "--t2: no such file: t2.nii"),
        (["--flair", "f.nii", "--t2", ".", "masks"], "--t2: no such file: ."),
        (["empty", "masks"], "found no images"),
    ],
)
def test_a_wrong_input_is_told_without_waiting_for_torch(tmp_path: Path, words: list[str], message: str):
    (tmp_path / "f.nii").touch()
    (tmp_path / "empty").mkdir()
    code = (
        "import sys; sys.modules['torch'] = sys.modules['monai'] = None\n"  # importing either raises ImportError
        "from medmiss.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    end = subprocess.run(
        [sys.executable, "-c", code, "predict", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert message in end.stderr
    assert end.returncode == (1 if "empty" in words else 2)


def test_the_help_names_what_there_is():
    assert set(predict.LABELS) == set(CONVENTIONS)
    assert set(predict.POSTPROCESSING) == set(PRESETS)
    parser = argparse.ArgumentParser()
    predict.add_arguments(parser)
    assert "--overwrite" in parser.format_help()
    lines = predict.EXAMPLES.splitlines()
    for name in PRESETS:
        assert sum(line.startswith(f"  {name} ") for line in lines) == 1


def test_help_takes_little_time():
    command = [sys.executable, "-m", "medmiss.cli.main", "predict", "--help"]
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True, cwd=REPOSITORY)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.3


def test_a_killed_run_leaves_nothing_half_written_and_goes_on(tmp_path: Path, tiny_bundle: Path, write_case: Callable):
    names = [f"C{index:02}" for index in range(12)]
    for name in names:
        write_case(tmp_path / "cases", name)
    masks = tmp_path / "masks"
    words = ["predict", "--bundle", str(tiny_bundle), "--device", "cpu", str(tmp_path / "cases"), str(masks)]
    process = subprocess.Popen(
        [sys.executable, "-m", "medmiss.cli.main", *words],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not list(masks.glob("*.nii.gz")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path.name: path.read_bytes() for path in masks.glob("[!.]*.nii.gz")}
    assert finished
    for name in finished:
        assert nib.Nifti1Image.from_filename(masks / name).get_fdata().shape == (26, 22, 24)
    assert main(words) == 0
    assert sorted(path.name for path in masks.glob("*.nii.gz")) == [f"{name}.nii.gz" for name in names]
    for name, content in finished.items():
        assert (masks / name).read_bytes() == content
    assert not list(masks.glob(".*.tmp"))


def test_two_parts_write_every_case_once(tmp_path: Path, medmiss: Callable, write_case: Callable):
    for name in ("A", "B", "C"):
        write_case(tmp_path / "cases", name, ["flair"])
    out = tmp_path / "masks"
    for part, names in (("1/2", ["A", "C"]), ("2/2", ["B"]), ("4/4", [])):
        assert medmiss(tmp_path / "cases", out, "--part", part, "--report", tmp_path / "run.json") == 0
        report = json.loads((tmp_path / f"run.{part.replace('/', 'of')}.json").read_text())
        assert [(case["case"], case["status"]) for case in report["cases"]] == [(name, "done") for name in names]
    assert {file.name for file in out.glob("*.nii.gz")} == {"A.nii.gz", "B.nii.gz", "C.nii.gz"}


def test_processes_of_torchrun_part_the_cases(tmp_path: Path, tiny_bundle: Path, write_case: Callable):
    for name in ("A", "B", "C"):
        write_case(tmp_path / "cases", name, ["flair"])
    words = ["predict", "--bundle", str(tiny_bundle), "--device", "cpu", "cases", "masks", "--report", "run.json"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [*torchrun, "-m", "medmiss.cli.main", *words]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    reports = [json.loads((tmp_path / f"run.{part}of2.json").read_text())["cases"] for part in (1, 2)]
    assert [[case["case"] for case in cases] for cases in reports] == [["A", "C"], ["B"]]
    assert len(list((tmp_path / "masks").glob("*.nii.gz"))) == 3


def test_bundles_predict_together(tmp_path: Path, tiny_bundle: Path, write_case: Callable):
    """The mean of two networks, each of which alone says something else."""
    write_case(tmp_path / "cases", "A", ["flair", "t2"])
    other = tmp_path / "other"
    shutil.copytree(tiny_bundle, other)
    state = torch.load(other / "models" / "model.pt", weights_only=True)
    torch.save({name: -value for name, value in state.items()}, other / "models" / "model.pt")
    words = ["predict", str(tmp_path / "cases"), "--device", "cpu", "--probabilities", "--quiet"]
    found = {}
    for name, bundles in (("one", [tiny_bundle]), ("two", [other]), ("both", [tiny_bundle, other])):
        options = [word for bundle in bundles for word in ("--bundle", str(bundle))]
        assert main([*words, str(tmp_path / name), *options, "--report", str(tmp_path / f"{name}.json")]) == 0
        found[name] = nib.Nifti1Image.from_filename(tmp_path / name / "A_probabilities.nii.gz").get_fdata()
    # Where windows overlap, logits are blended: there the mean is not exact.
    error = np.abs(found["both"] - (found["one"] + found["two"]) / 2)
    assert error.mean() < 0.002 and error.max() < 0.05
    assert np.abs(found["one"] - found["two"]).max() > 0.1
    assert json.loads((tmp_path / "both.json").read_text())["bundle"]["name"] == "tiny + other"


def test_bundles_for_other_modalities_do_not_predict_together(tmp_path: Path, tiny_bundle: Path, capsys):
    other = tmp_path / "other"
    shutil.copytree(tiny_bundle, other)
    config = json.loads((other / "configs" / "inference.json").read_text())
    (other / "configs" / "inference.json").write_text(json.dumps({**config, "modalities": "t1"}))
    (tmp_path / "cases").mkdir()
    words = ["predict", "--flair", __file__, str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--bundle", str(tiny_bundle), "--bundle", str(other)])
    assert "made for different modalities (None, t1)" in capsys.readouterr().err
