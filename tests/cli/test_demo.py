"""`medmiss demo` as a user meets it; the weights here are random, so the scores mean nothing."""

import csv
import shutil
import sys
from pathlib import Path

import nibabel as nib
import pytest

from medmiss.cases import CONVENTIONS, ImageSource, find_cases, read_label
from medmiss.cli import demo
from medmiss.cli.main import main
from medmiss.evaluation import region_dice

NAMES = ["Brats18_PHANTOM_001", "Brats18_PHANTOM_002"]


def words(out: Path, bundle: Path) -> list[str]:
    return ["demo", str(out), "--bundle", str(bundle), "--shape", "40,40,32", "--device", "cpu"]


@pytest.fixture(scope="module")
def shown(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished demo's folder."""
    out = tmp_path_factory.mktemp("demo")
    assert main(words(out, tiny_bundle)) == 0
    return out


def test_masks_scores_and_a_picture_are_there(shown: Path):
    for subset in ("all", "flair+t2", "t1c"):
        for name in NAMES:
            mask = nib.Nifti1Image.from_filename(shown / subset / f"{name}.nii.gz")
            assert mask.shape == (40, 40, 32)
    assert (shown / "demo.png").read_bytes().startswith(b"\x89PNG")
    with open(shown / "dice.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * 3
    case = find_cases(shown / "cases")[1]
    convention = CONVENTIONS[case.convention]
    predicted = nib.Nifti1Image.from_filename(shown / "flair+t2" / f"{case.name}.nii.gz").get_fdata()
    scores = region_dice(convention.regions(predicted), convention.regions(read_label(case).array))
    for row in rows:
        if (row["case"], row["subset"]) == (case.name, "FLAIR+T2"):
            assert float(row["dice"]) == pytest.approx(scores.pop(row["region"]), abs=1e-4)
    assert not scores


def test_the_masks_are_those_of_predict(shown: Path, tiny_bundle: Path, tmp_path: Path):
    out = tmp_path / "masks"
    options = ["--bundle", str(tiny_bundle), "--device", "cpu", "--modalities", "t1c"]
    assert main(["predict", str(shown / "cases"), str(out), *options]) == 0
    for name in NAMES:
        assert (out / f"{name}.nii.gz").read_bytes() == (shown / "t1c" / f"{name}.nii.gz").read_bytes()


def test_a_second_run_skips_what_is_finished_and_says_the_same(
    shown: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    inputs = [path for path in shown.rglob("*.nii.gz")]
    before = {path: path.stat().st_mtime_ns for path in inputs}
    scores = (shown / "dice.csv").read_bytes()
    assert main(words(shown, tiny_bundle)) == 0
    assert {path: path.stat().st_mtime_ns for path in inputs} == before
    assert (shown / "dice.csv").read_bytes() == scores
    text = capsys.readouterr().out
    assert "synthetic" in text
    assert "3D Slicer" in text
    assert "README" in text
    with open(shown / "dice.csv", newline="") as file:
        named = {(row["case"], row["subset"]) for row in csv.DictReader(file)}
    assert named == {(name, subset) for name in NAMES for subset in ("FLAIR+T1+T1c+T2", "FLAIR+T2", "T1c")}
    assert all(f"{name}  {subset} " in text for name, subset in named)
    assert [message[:3] for message in caplog.messages if message[1:3] == "/5"] == ["1/5", "2/5", "3/5", "4/5", "5/5"]


def test_it_says_where_the_command_is(shown: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(sys, "argv", ["some where/bin/medmiss", "demo"])
    assert main(words(shown, tiny_bundle)) == 0
    assert f"'{Path.cwd()}/some where/bin/medmiss' predict CASES MASKS" in capsys.readouterr().out


def test_without_weights_it_says_so_and_makes_nothing(
    tmp_path: Path, tiny_bundle: Path, caplog: pytest.LogCaptureFixture
):
    bundle = tmp_path / "untrained"
    shutil.copytree(tiny_bundle / "configs", bundle / "configs")
    assert main(words(tmp_path / "out", bundle)) == 1
    assert "has no weights" in caplog.text
    assert not (tmp_path / "out").exists()


def test_an_unknown_bundle_is_wrong_usage(tmp_path: Path):
    with pytest.raises(SystemExit) as end:
        main(words(tmp_path / "out", tmp_path / "nowhere"))
    assert end.value.code == 2


def test_a_perfect_mask_scores_1(shown: Path, tmp_path: Path):
    (case, _) = find_cases(shown / "cases")
    assert isinstance(case.label, ImageSource)
    (tmp_path / "all").mkdir()
    shutil.copy(case.label.path, tmp_path / "all" / f"{case.name}.nii.gz")
    assert demo.score_of(case, demo.SUBSETS[0], tmp_path).dice == {"ET": 1, "TC": 1, "WT": 1}
