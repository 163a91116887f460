"""`medmiss slicer` as a user meets it."""

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import slicerio

from medmiss.cases import CONVENTIONS
from medmiss.cli import slicer
from medmiss.cli.main import main

AFFINE = np.diag([-1.0, -1, 1, 1])


def save(path: Path, values: Sequence[int]) -> Path:
    array = np.zeros((6, 5, 4), dtype=np.uint8)
    array.flat[7 : 7 + len(values)] = values
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    return path


def run(*words: object) -> int:
    return main(["slicer", *map(str, words)])


def segment_names(path: Path) -> dict[int, str]:
    segments = slicerio.read_segmentation(str(path), skip_voxels=True)["segments"]
    return {segment["labelValue"]: segment["id"] for segment in segments}


def test_a_folder_and_a_file(tmp_path: Path):
    save(tmp_path / "masks" / "A.nii.gz", [1, 2, 4, 4])
    one = save(tmp_path / "B_seg.nii.gz", [1, 2])
    out = tmp_path / "new" / "out"
    assert run(tmp_path / "masks", one, out, "--regions") == 0
    assert sorted(path.name for path in out.glob("[!.]*")) == [
        *("A.seg.nrrd", "A_regions.seg.nrrd", "B.seg.nrrd", "B_regions.seg.nrrd", "brats2018.ctbl", "volumes.csv"),
    ]
    assert (out / "volumes.csv").read_text().splitlines()[1:] == [
        "A,brats2018,0.002,0.003,0.004,0.001,0.001,,",
        "B,brats2018,0.000,0.001,0.002,0.001,0.001,,",
    ]
    regions = slicerio.read_segmentation(str(out / "A_regions.seg.nrrd"))
    assert [int(slicerio.segment_mask(regions, name).sum()) for name in ("ET", "TC", "WT")] == [2, 3, 4]


def test_what_the_values_mean(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "medmiss")
    masks, out = tmp_path / "masks", tmp_path / "out"
    save(masks / "recorded.nii.gz", [1, 2, 3])
    (masks / ".medmiss").mkdir()
    (masks / ".medmiss" / "recorded.json").write_text(json.dumps({"settings": {"labels": "msd"}}))
    save(masks / "BraTS-GLI-00005-101.nii.gz", [1, 2, 3, 4])
    save(masks / "named.nii.gz", [1, 2, 4])
    assert run(masks, out) == 0
    assert segment_names(out / "recorded.seg.nrrd") == {1: "ED", 2: "NCR", 3: "ET"}
    assert segment_names(out / "BraTS-GLI-00005-101.seg.nrrd") == {1: "NCR", 2: "ED", 3: "ET", 4: "RC"}
    assert segment_names(out / "named.seg.nrrd") == {1: "NCR", 2: "ED", 4: "ET"}
    assert "recorded: recorded.seg.nrrd (labels msd, as recorded)" in caplog.text
    assert "named: named.seg.nrrd (labels brats2018, guessed from its name; --labels says otherwise)" in caplog.text
    assert run(masks / "recorded.nii.gz", out, "--labels", "brats2023", "--overwrite") == 0
    assert segment_names(out / "recorded.seg.nrrd") == {1: "NCR", 2: "ED", 3: "ET"}


def test_a_bad_mask_fails_and_the_rest_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    masks, out = tmp_path / "masks", tmp_path / "out"
    save(masks / "A.nii.gz", [1, 2, 3])  # no 3 in brats2018
    (masks / "B.nii.gz").write_bytes(b"not an image")
    save(masks / "C.nii.gz", [1, 2, 4])
    assert run(masks, out) == 1
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [error.split(",")[0] for error in errors] == ["case A", "case B"]
    assert "label values 3" in errors[0]
    assert sorted(path.name for path in out.glob("[!.]*")) == ["C.seg.nrrd", "brats2018.ctbl", "volumes.csv"]


def test_an_edited_segmentation_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    mask = save(tmp_path / "A.nii.gz", [1, 2, 4])
    assert run(mask, tmp_path) == 0
    assert run(tmp_path, tmp_path) == 0  # the same again is no difference
    edited = tmp_path / "A.seg.nrrd"
    edited.write_bytes(b"hours of work")
    assert run(tmp_path, tmp_path) == 1
    assert "use --overwrite" in caplog.text
    assert edited.read_bytes() == b"hours of work"
    assert run(tmp_path, tmp_path, "--overwrite") == 0
    assert segment_names(edited) == {1: "NCR", 2: "ED", 4: "ET"}


def test_a_segmentation_of_slicer_is_no_mask(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert run(save(tmp_path / "A.nii.gz", [1, 2, 4]), tmp_path) == 0
    before = (tmp_path / "A.seg.nrrd").read_bytes()
    assert run(tmp_path / "A.seg.nrrd", tmp_path, "--overwrite") == 1
    assert "open it in Slicer as it is" in caplog.text
    assert (tmp_path / "A.seg.nrrd").read_bytes() == before


def test_two_masks_of_one_case(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for folder in ("one", "two"):
        save(tmp_path / folder / "A.nii.gz", [1])
    assert run(tmp_path / "one", tmp_path / "two", tmp_path / "out") == 1
    assert "two label maps" in caplog.text
    assert not (tmp_path / "out").exists()
    assert run(tmp_path / "one", tmp_path / "one" / "A.nii.gz", tmp_path / "out") == 0  # one, named twice


def test_labelled_cases(tmp_path: Path):
    for word, values in (("flair", [9, 8]), ("seg", [1, 2, 4])):
        save(tmp_path / "set" / "Brats18_X_1" / f"Brats18_X_1_{word}.nii.gz", values)
    assert run(tmp_path / "set", tmp_path / "out") == 0
    assert segment_names(tmp_path / "out" / "Brats18_X_1.seg.nrrd") == {1: "NCR", 2: "ED", 4: "ET"}


@pytest.mark.parametrize("words", [[], ["one"], ["nowhere", "out"], ["masks", "out", "--labels", "brats1999"]])
def test_wrong_usage_ends_with_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "masks" / "A.nii.gz", [1])
    with pytest.raises(SystemExit) as end:
        run(*words)
    assert end.value.code == 2
    assert not (tmp_path / "out").exists()


def test_without_slicerio_it_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("medmiss.slicer.exporter.find_spec", lambda name: None)
    assert run(save(tmp_path / "A.nii.gz", [1]), tmp_path / "out") == 1
    assert "pip install 'medmiss[slicer]'" in caplog.text
    assert not (tmp_path / "out").exists()


def test_the_help_names_what_there_is():
    for labels in CONVENTIONS:
        assert labels in slicer.EXAMPLES
