"""What is marked where there is no tumour, as a table."""

import json
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
                {"case": name, "modalities_used": ["flair", "t2"], "volumes_ml": dict(zip(REGIONS, ml, strict=True))}
                for name, ml in VOLUMES.items()
            ]
            report = Path(str(words[-1]))
            report.parent.mkdir(parents=True, exist_ok=True)
            report.write_text(json.dumps({"cases": cases}))

    monkeypatch.setattr(running, "medmiss", medmiss)
    return seen


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
    assert capsys.readouterr().out.splitlines()[-1].split() == ["phantoms", "0.25", "2.0", "5.0"]
    assert [words[0] for words in predicted] == ["phantom", "predict", "predict"]
    assert predicted[0][-2:] == ("--tissues", "a")
    assert "--healthy" in predicted[0]


def test_nothing_to_predict_is_wrong_usage(tmp_path: Path, script: Callable[..., int], predicted: list):
    assert script(false_positives, "--out", tmp_path) == 2
    assert not predicted


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
    files = {file.name.split(".")[0].rpartition("_")[2]: file for file in folder.rglob("*.nii.gz")}
    assert set(files) == {"flair", "t1", "t2"}
    for modality, offset in (("flair", 0), ("t1", 1), ("t2", 2)):
        image = nib.load(files[modality])
        assert np.array_equal(image.get_fdata(), ((head + offset) * (tissues > 0))[..., 0])
        assert np.array_equal(image.affine, affine)
