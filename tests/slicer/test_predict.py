"""`medmiss predict --slicer`: the segmentation beside the mask, and what a second run makes of it."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import slicerio

from medmiss.cases import find_masks
from medmiss.cli.main import main
from medmiss.inference.records import Records


@pytest.fixture
def predict(tmp_path: Path, tiny_bundle: Path, write_case: Callable) -> Callable[..., int]:
    """Predict the case A, with further words; its exit status."""
    write_case(tmp_path / "cases", "A", ["flair", "t2"])
    words = ["predict", "--bundle", str(tiny_bundle), "--device", "cpu", str(tmp_path / "cases")]
    return lambda *more: main([*words, str(tmp_path / "masks"), "--report", str(tmp_path / "run.json"), *more])


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """Where `predict` writes."""
    return tmp_path / "masks"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".medmiss")


def status(folder: Path) -> str:
    return json.loads((folder.parent / "run.json").read_text())["cases"][0]["status"]


def test_the_segmentation_is_the_mask(masks: Path, predict: Callable):
    assert predict("--labels", "brats2023") == 0
    mask = (masks / "A.nii.gz").read_bytes()
    assert predict("--labels", "brats2023", "--slicer", "--overwrite") == 0
    assert (masks / "A.nii.gz").read_bytes() == mask  # the submission file stays as it is
    assert names(masks) == ["A.nii.gz", "A.seg.nrrd", "brats2023.ctbl", "volumes.csv"]
    image = nib.Nifti1Image.from_filename(masks / "A.nii.gz")
    segmentation = slicerio.read_segmentation(str(masks / "A.seg.nrrd"))
    np.testing.assert_array_equal(segmentation["voxels"], np.asarray(image.dataobj))
    assert len(np.unique(segmentation["voxels"])) > 1
    np.testing.assert_allclose(segmentation["ijkToLPS"], np.diag([-1, -1, 1, 1]) @ image.affine)
    assert [segment["labelValue"] for segment in segmentation["segments"]] == [1, 2, 3]

    record = Records(masks).read("A")
    assert record is not None and record["outputs"] == ["A.nii.gz", "A.seg.nrrd"]
    with (masks / "volumes.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert {region: float(row[f"{region}_ml"]) for region in ("ET", "TC", "WT")} == record["volumes_ml"]
    assert find_masks(masks) == {"A": masks / "A.nii.gz"}  # of the folder, the mask alone is a mask


def test_it_is_added_when_asked_for_later_and_skipped_when_there(masks: Path, predict: Callable):
    assert predict() == 0
    assert predict("--slicer") == 0
    assert status(masks) == "done"
    assert predict("--slicer") == 0
    assert status(masks) == "skipped"
    (masks / "A.seg.nrrd").unlink()
    assert predict("--slicer") == 0
    assert (masks / "A.seg.nrrd").is_file()


def test_it_goes_with_its_mask(masks: Path, predict: Callable):
    assert predict("--slicer") == 0
    assert predict() == 0  # skipped: it is still that of the mask
    assert (masks / "A.seg.nrrd").is_file()
    assert predict("--overwrite", "--modalities", "flair") == 0
    assert not (masks / "A.seg.nrrd").exists()


def test_what_a_killed_run_left_half_written_is_removed(masks: Path, predict: Callable):
    assert predict("--slicer") == 0
    records = Records(masks)
    record = records.read("A")
    assert record is not None
    records.write("A", {**record, "status": "started"})
    (masks / ".A.seg.nrrd.123.tmp").write_bytes(b"half")
    assert predict("--slicer") == 0
    assert names(masks) == ["A.nii.gz", "A.seg.nrrd", "brats2018.ctbl", "volumes.csv"]


def test_an_edited_segmentation_is_not_replaced_without_being_asked(
    masks: Path, predict: Callable, caplog: pytest.LogCaptureFixture
):
    assert predict("--slicer") == 0
    (masks / "A.seg.nrrd").write_bytes(b"hours of work")
    assert predict("--slicer", "--probabilities") == 1  # predicts again, as the probabilities are not there
    assert "a segmentation that differs" in caplog.text
    assert (masks / "A.seg.nrrd").read_bytes() == b"hours of work"
    assert predict("--slicer", "--overwrite") == 0
    assert (masks / "A.seg.nrrd").read_bytes() != b"hours of work"


def test_without_slicerio_nothing_is_predicted(
    masks: Path, predict: Callable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    for name in [name for name in sys.modules if name.split(".")[0] == "slicerio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("medmiss.slicer.exporter.find_spec", lambda name: None)
    assert predict("--slicer") == 1
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "pip install 'medmiss[slicer]'" in line
    assert not masks.exists()
    assert predict() == 0  # without --slicer it is not needed
