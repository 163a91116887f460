"""What is marked where there is no tumour, as a table."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

import false_positives
import running

REGIONS = ("ET", "TC", "WT")
VOLUMES = {"A": (0.0, 1.0, 4.0), "B": (0.5, 3.0, 6.0)}


@pytest.fixture
def predicted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands that are run; a prediction reports `VOLUMES`."""
    seen: list[tuple[str, ...]] = []

    def medmiss(*words: object) -> None:
        seen.append(tuple(map(str, words)))
        if words[0] == "predict":
            cases = [
                {
                    "case": name,
                    "status": status,
                    "modalities_used": ["flair", "t2"],
                    "volumes_ml": dict(zip(REGIONS, ml, strict=True)),
                }
                for (name, ml), status in zip(VOLUMES.items(), ("done", "skipped"), strict=True)
            ]
            report = Path(str(words[-1]))
            report.parent.mkdir(parents=True, exist_ok=True)
            report.write_text(json.dumps({"cases": cases}))

    monkeypatch.setattr(running, "medmiss", medmiss)
    return seen


def test_each_subset_is_predicted_and_told(
    tmp_path: Path, script: Callable[..., int], predicted: list, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "ms").mkdir()
    words = ("--out", tmp_path / "out", "--cases", tmp_path / "ms", "--modalities", "all", "flair")
    assert script(false_positives, *words) == 0
    table = pd.read_csv(tmp_path / "out" / "false_positives.csv")
    assert table["asked"].tolist() == ["all", "all", "flair", "flair"]
    asked = [words[words.index("--modalities") + 1] if "--modalities" in words else "all" for words in predicted]
    assert asked == ["all", "flair"]
    assert len({words[2] for words in predicted}) == 2  # masks of one subset do not stand in the way of another's
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[-2:]] == [
        ["ms", "all"],
        ["flair", "0.25"],
    ]


def test_every_group_is_predicted_and_told_with_its_median(
    tmp_path: Path, script: Callable[..., int], predicted: list, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "ms").mkdir()
    words = ("--out", tmp_path / "out", "--cases", tmp_path / "ms", "--phantoms", 2, "--bundle", "b", "--tissues", "a")
    assert script(false_positives, *words) == 0
    table = pd.read_csv(tmp_path / "out" / "false_positives.csv")
    assert table["group"].tolist() == ["ms", "ms", "phantoms", "phantoms"]
    assert table["modalities"].unique().tolist() == ["flair+t2"]
    assert table["tc_ml"].tolist() == [1, 3, 1, 3]
    assert capsys.readouterr().out.splitlines()[-1].split() == ["phantoms", "all", "0.25", "2.0", "5.0"]
    assert [words[0] for words in predicted] == ["phantom", "predict", "predict"]
    assert predicted[0][-2:] == ("--tissues", "a")
    assert "--healthy" in predicted[0]


def test_what_fails_is_named_and_the_others_are_told(
    tmp_path: Path, script: Callable[..., int], predicted: list, monkeypatch: pytest.MonkeyPatch, capsys
):
    works = running.medmiss

    def medmiss(*words: object) -> None:
        """Phantoms cannot be made; of `bad` the case A fails; for `none` there is not even a report."""
        if words[0] == "phantom":
            raise subprocess.CalledProcessError(1, "medmiss")
        report = Path(str(words[-1]))
        if report.parent.name != "none":
            works(*words)
        if report.parent.name == "bad":
            cases = json.loads(report.read_text())["cases"]
            cases[0] = {"case": "A", "status": "failed", "error": "found nothing"}
            report.write_text(json.dumps({"cases": cases}))
        if report.parent.name != "good":
            raise subprocess.CalledProcessError(1, "medmiss")

    out = tmp_path / "out"
    (out / "masks" / "all" / "none").mkdir(parents=True)
    (out / "masks" / "all" / "none" / "run.json").write_text('{"cases": [{"case": "of an earlier run"}]}')
    monkeypatch.setattr(running, "medmiss", medmiss)
    folders = [tmp_path / name for name in ("good", "bad", "none")]
    words = ("--out", out, "--cases", *folders, "--phantoms", 2, "--sri24", tmp_path / "no_atlas")
    assert script(false_positives, *words) == 1
    table = pd.read_csv(out / "false_positives.csv")
    assert list(zip(table["group"], table["case"], strict=True)) == [("good", "A"), ("good", "B"), ("bad", "B")]
    said = capsys.readouterr()
    assert said.out.splitlines()[-1].split() == ["bad", "all", "0.50", "3.0", "6.0"]
    assert said.err.splitlines()[-4:] == [
        "bad from all: not all cases predicted (A failed), see above",
        "none from all: not all cases predicted, see above",
        "sri24 from all: not made, see above",
        "phantoms from all: not made, see above",
    ]
    assert "case sri24, file" in said.err


@pytest.mark.parametrize(
    ("folders", "more"), [(("a/ms", "b/ms"), ()), (("phantoms",), ("--phantoms", 1)), (("sri24",), ("--sri24", "x"))]
)
def test_groups_of_one_name_are_wrong_usage(
    folders: tuple[str, ...], more: tuple, tmp_path: Path, script: Callable[..., int], predicted: list, capsys
):
    cases = [tmp_path / folder for folder in folders]
    assert script(false_positives, "--out", tmp_path / "out", "--cases", *cases, *more) == 2
    assert f"several groups are named {cases[0].name}," in capsys.readouterr().err
    assert not predicted and not (tmp_path / "out").exists()


def test_nothing_to_predict_is_wrong_usage(tmp_path: Path, script: Callable[..., int], predicted: list):
    assert script(false_positives, "--out", tmp_path) == 2
    assert not predicted


def test_a_file_as_the_atlas_is_wrong_usage(tmp_path: Path, script: Callable[..., int], predicted: list, capsys):
    (tmp_path / "tissues.nii.gz").touch()
    assert script(false_positives, "--out", tmp_path / "out", "--sri24", tmp_path / "tissues.nii.gz") == 2
    assert "is a file, expected the folder of the atlas" in capsys.readouterr().err
    assert not predicted and not (tmp_path / "out").exists()


def test_the_atlas_is_cut_to_its_tissues(tmp_path: Path):
    atlas = tmp_path / "atlas"
    atlas.mkdir()
    rng = np.random.default_rng(0)
    tissues = np.zeros((6, 5, 4, 1), np.uint8)
    tissues[1:4, 1:4, 1:3] = rng.integers(1, 4, (3, 3, 2, 1))
    head = rng.integers(1, 900, tissues.shape).astype(np.int16)
    affine = np.diag([-1.0, 1, 1, 1])
    for name, array in (("tissues", tissues), ("erly", head), ("spgr", head + 1), ("late", head + 2)):
        nib.save(nib.Nifti1Image(array, affine), atlas / f"{name}.nii.gz")
    folder = false_positives.atlas_case(atlas, tmp_path / "case")
    assert folder is not None
    files = {file.name.split(".")[0].rpartition("_")[2]: file for file in folder.rglob("*.nii.gz")}
    assert set(files) == {"flair", "t1", "t2"}
    for modality, offset in (("flair", 0), ("t1", 1), ("t2", 2)):
        image = nib.load(files[modality])
        assert np.array_equal(image.get_fdata(), ((head + offset) * (tissues > 0))[..., 0])
        assert np.array_equal(image.affine, affine)
