"""A run over several cases: failures, what is finished, what is never replaced, and the report."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medmiss.cases import CaseError, recorded_labels
from medmiss.cases.files import sha256_of
from medmiss.inference import CasesFailed, load_bundle
from medmiss.inference.records import Records

WriteCase = Callable[..., Path]


@pytest.fixture
def cases(tmp_path: Path, write_case: WriteCase) -> Path:
    """Two cases, the second with FLAIR and T2 only."""
    write_case(tmp_path / "cases", "A")
    write_case(tmp_path / "cases", "B", ["flair", "t2"], seed=1)
    return tmp_path / "cases"


@pytest.fixture
def predict(tmp_path: Path, tiny_bundle: Path, cases: Path) -> Callable[..., dict[str, Any]]:
    """Run the bundle on `cases`; the report."""

    def run(**overrides: Any) -> dict[str, Any]:
        report = tmp_path / "run.json"
        settings = {"dataset_dir": str(cases), "output_dir": str(tmp_path / "masks"), "report": str(report)}
        evaluator = load_bundle(tiny_bundle, {**settings, "device::name": "cpu", **overrides}).get_parsed_content(
            "evaluator"
        )
        try:
            evaluator.run()
        except CasesFailed as error:
            return {**json.loads(report.read_text()), "failure": str(error)}
        return json.loads(report.read_text())

    return run


def statuses(report: dict[str, Any]) -> dict[str, str]:
    return {case["case"]: case["status"] for case in report["cases"]}


def test_a_mask_has_the_grid_of_its_case(tmp_path: Path, predict: Callable, cases: Path):
    report = predict()
    assert statuses(report) == {"A": "done", "B": "done"}
    image, mask = (
        nib.Nifti1Image.from_filename(cases / "A" / "A_flair.nii.gz"),
        nib.Nifti1Image.from_filename(tmp_path / "masks" / "A.nii.gz"),
    )
    assert mask.shape == image.shape
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(mask.affine, image.affine)
    values = set(np.unique(mask.dataobj).tolist())
    assert values <= {0, 1, 2, 4}
    assert len(values) > 1  # random weights claim something: the tests here compare real masks
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == [".medmiss", "A.nii.gz", "B.nii.gz"]


def test_the_report_says_what_was_done(tmp_path: Path, predict: Callable):
    report = predict(modalities="flair,t1")
    assert report["bundle"] == {"name": "tiny", "version": "0.1.0"}
    assert len(report["weights"]["sha256"]) == 64
    assert report["device"] == "cpu"
    case = report["cases"][1]
    assert case["modalities_available"] == ["flair", "t2"]
    assert case["modalities_used"] == ["flair"]
    assert case["outputs"] == ["B.nii.gz"]
    mask = np.asarray(nib.Nifti1Image.from_filename(tmp_path / "masks" / "B.nii.gz").dataobj)
    assert case["volumes_ml"]["WT"] == pytest.approx(np.count_nonzero(mask) / 1000, abs=1e-3)
    assert str(tmp_path) not in json.dumps(report)


def test_labels_are_those_asked_for(tmp_path: Path, predict: Callable):
    predict()
    brats2018 = np.asarray(nib.Nifti1Image.from_filename(tmp_path / "masks" / "A.nii.gz").dataobj)
    predict(labels="msd", overwrite=True)
    msd = np.asarray(nib.Nifti1Image.from_filename(tmp_path / "masks" / "A.nii.gz").dataobj)
    np.testing.assert_array_equal(msd, np.array([0, 2, 1, 0, 3])[brats2018])


def test_the_log_tells_start_and_result(predict: Callable, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "medmiss")
    volumes = predict()["cases"][1]["volumes_ml"]
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("B: ")]
    assert lines[0] == "B: predicting from FLAIR+T2 on cpu"
    described = ", ".join(f"{region} {volumes[region]:.2f} ml" for region in ("ET", "TC", "WT"))
    assert lines[-1].startswith(f"B: B.nii.gz from FLAIR+T2: {described}; ")


def test_the_et_rule_is_a_warning_and_in_the_report(predict: Callable, caplog: pytest.LogCaptureFixture):
    changes = {"min_volume": 0, "et_min_volume": 1e9}
    report = predict(**{f"postprocessing::{name}": value for name, value in changes.items()})
    (line,) = report["cases"][0]["postprocessing"]
    assert line.startswith("ET rule fired")
    assert [record.levelname for record in caplog.records if record.getMessage() == f"A: {line}"] == ["WARNING"]


def test_one_bad_case_fails_alone(
    tmp_path: Path, predict: Callable, cases: Path, write_case: WriteCase, caplog: pytest.LogCaptureFixture
):
    (cases / "A" / "A_t1.nii.gz").write_bytes(b"not an image")
    report = predict()
    assert report["failure"] == "1 of 2 cases failed: A"
    assert statuses(report) == {"A": "failed", "B": "done"}
    assert "A_t1.nii.gz" in report["cases"][0]["error"]
    assert str(tmp_path) not in json.dumps(report)
    assert not (tmp_path / "masks" / "A.nii.gz").exists()
    assert next(record.message for record in caplog.records if record.levelname == "ERROR").startswith("case A, file ")
    record = Records(tmp_path / "masks").read("A")
    assert record is not None
    assert (record["status"], record["error"]) == ("failed", report["cases"][0]["error"])


def test_a_failed_case_is_tried_again(tmp_path: Path, predict: Callable, cases: Path):
    path = cases / "A" / "A_t1.nii.gz"
    image = path.read_bytes()
    path.write_bytes(b"not an image")
    predict()
    assert statuses(predict()) == {"A": "failed", "B": "skipped"}
    path.write_bytes(image)
    assert statuses(predict()) == {"A": "done", "B": "skipped"}
    record = Records(tmp_path / "masks").read("A")
    assert record is not None and record["status"] == "done" and "error" not in record


def test_a_failure_before_the_start_leaves_a_finished_record(tmp_path: Path, predict: Callable):
    predict()
    before = Records(tmp_path / "masks").read("A")
    predict(labels="msd")
    assert Records(tmp_path / "masks").read("A") == before


def test_a_second_run_skips_what_is_finished(tmp_path: Path, predict: Callable, cases: Path, write_case: WriteCase):
    predict()
    before = (tmp_path / "masks" / "A.nii.gz").stat()
    write_case(cases, "C", seed=2)
    report = predict()
    assert statuses(report) == {"A": "skipped", "B": "skipped", "C": "done"}
    after = (tmp_path / "masks" / "A.nii.gz").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert report["cases"][0]["volumes_ml"]


@pytest.mark.parametrize(
    "change",
    [{"modalities": "flair"}, {"labels": "msd"}, {"inferer::overlap": 0.5}, {"postprocessing::et_rule": "off"}],
)
def test_a_mask_made_with_other_settings_is_kept_and_not_taken_for_finished(
    tmp_path: Path, predict: Callable, change: dict[str, Any]
):
    predict()
    before = (tmp_path / "masks" / "A.nii.gz").read_bytes()
    report = predict(**change)
    assert statuses(report) == {"A": "failed", "B": "failed"}
    assert "made with other settings" in report["cases"][0]["error"]
    assert (tmp_path / "masks" / "A.nii.gz").read_bytes() == before
    assert statuses(predict(**change, overwrite=True)) == {"A": "done", "B": "done"}


def test_a_mask_of_unknown_origin_is_never_replaced(tmp_path: Path, predict: Callable):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "A.nii.gz").write_bytes(b"an expert's work")
    report = predict()
    assert statuses(report) == {"A": "failed", "B": "done"}
    assert "unknown origin" in report["cases"][0]["error"]
    assert (tmp_path / "masks" / "A.nii.gz").read_bytes() == b"an expert's work"


def test_a_case_killed_midway_is_predicted_again(tmp_path: Path, predict: Callable):
    predict()
    masks = tmp_path / "masks"
    wanted = (masks / "A.nii.gz").read_bytes()
    records = Records(masks)
    record = records.read("A")
    assert record is not None
    records.write("A", {**record, "status": "started"})  # as SIGKILL leaves it, with a mask from before
    (masks / "A.nii.gz").write_bytes(b"older")
    (masks / ".A.nii.gz.123.tmp").write_bytes(b"half")
    assert statuses(predict()) == {"A": "done", "B": "skipped"}
    assert (masks / "A.nii.gz").read_bytes() == wanted
    assert not (masks / ".A.nii.gz.123.tmp").exists()


def test_probabilities_agree_with_the_mask(tmp_path: Path, predict: Callable):
    predict()
    mask = (tmp_path / "masks" / "A.nii.gz").read_bytes()
    report = predict(probabilities=True, postprocessing=None, overwrite=True)
    assert report["cases"][0]["outputs"] == ["A.nii.gz", "A_probabilities.nii.gz"]
    image = nib.Nifti1Image.from_filename(tmp_path / "masks" / "A_probabilities.nii.gz")
    assert image.shape == (26, 22, 24, 3)
    assert image.get_data_dtype() == np.float32
    whole = np.asarray(image.dataobj).max(axis=-1) > 0.5
    np.testing.assert_array_equal(
        whole, np.asarray(nib.Nifti1Image.from_filename(tmp_path / "masks" / "A.nii.gz").dataobj) > 0
    )
    assert (tmp_path / "masks" / "A.nii.gz").read_bytes() != mask or report["cases"][0]["postprocessing"] == []


def test_probabilities_asked_for_later_are_added(tmp_path: Path, predict: Callable):
    predict()
    assert statuses(predict(probabilities=True)) == {"A": "done", "B": "done"}
    assert (tmp_path / "masks" / "B_probabilities.nii.gz").is_file()


def test_probabilities_of_an_earlier_mask_go_with_it(tmp_path: Path, predict: Callable):
    stale = tmp_path / "masks" / "A_probabilities.nii.gz"
    predict(probabilities=True)
    predict()  # skipped: the probabilities are still those of the mask
    assert stale.is_file()
    records = Records(tmp_path / "masks")
    predict(overwrite=True)
    assert not stale.exists()
    record = records.read("A")
    assert record is not None and record["outputs"] == ["A.nii.gz"]

    predict(probabilities=True)
    records.start("A", {"status": "started", "settings": {}, "outputs": ["A.nii.gz"]})  # and killed
    predict()
    assert not stale.exists()


def test_probabilities_of_unknown_origin_are_kept(tmp_path: Path, predict: Callable, cases: Path):
    (tmp_path / "masks").mkdir()
    other = tmp_path / "masks" / "A_probabilities.nii.gz"
    other.write_bytes(b"an expert's work")
    path = cases / "A" / "A_t1.nii.gz"
    image = path.read_bytes()
    path.write_bytes(b"not an image")
    predict(probabilities=True)  # fails before it writes anything
    path.write_bytes(image)
    predict()
    predict(overwrite=True)
    assert other.read_bytes() == b"an expert's work"


def test_an_unknown_convention_is_refused(predict: Callable):
    with pytest.raises(RuntimeError) as error:
        predict(labels="brats1999")
    assert "brats1999" in str(error.value.__cause__)


def test_what_was_measured_for_the_modalities_is_told_once_a_run(
    predict: Callable, tiny_bundle: Path, write_case: WriteCase, cases: Path, caplog: pytest.LogCaptureFixture
):
    write_case(cases, "C", ["flair", "t2"], seed=2)
    file = tiny_bundle / "configs" / "metadata.json"
    weights = sha256_of(tiny_bundle / "models" / "model.pt")
    table = {"weights_sha256": weights, "mean Dice": {"FLAIR+T2": {"ET": 0.2, "WT": 0.9}}}
    file.write_text(json.dumps({**json.loads(file.read_text()), "eval_metrics": table}))
    caplog.set_level(logging.INFO)
    report = predict()
    (sentence,) = [message for message in caplog.messages if "expect" in message]
    assert sentence.startswith("from FLAIR+T2, expect about ET 0.20 (a guess), WT 0.90 (mean Dice")
    assert [case["trust"] for case in report["cases"]] == [None, sentence, sentence]


def test_a_failed_repetition_leaves_what_the_mask_says(tmp_path: Path, predict: Callable, cases: Path):
    predict(labels="brats2018")
    (cases / "A" / "A_flair.nii.gz").write_bytes(b"not an image")
    assert statuses(predict(labels="brats2024", overwrite=True))["A"] == "failed"
    assert recorded_labels(tmp_path / "masks" / "A.nii.gz", "A") == "brats2018"
    assert recorded_labels(tmp_path / "masks" / "B.nii.gz", "B") == "brats2024"
    (tmp_path / "masks" / "C.nii.gz").write_bytes(b"an expert's work")
    Records(tmp_path / "masks").start("C", {"outputs": ["C.nii.gz"], "settings": {"labels": "msd"}})
    assert recorded_labels(tmp_path / "masks" / "C.nii.gz", "C") is None


def test_a_mask_that_was_edited_is_not_replaced_without_being_asked(tmp_path: Path, predict: Callable):
    predict()
    mask = tmp_path / "masks" / "A.nii.gz"
    mask.write_bytes(b"hours of work")
    report = predict(probabilities=True)
    assert statuses(report) == {"A": "failed", "B": "done"}
    assert "changed after medmiss wrote it" in report["cases"][0]["error"]
    assert mask.read_bytes() == b"hours of work"
    assert statuses(predict(probabilities=True, overwrite=True))["A"] == "done"
    assert mask.read_bytes() != b"hours of work"


def test_an_edited_file_of_an_earlier_mask_stays(tmp_path: Path, predict: Callable, caplog: pytest.LogCaptureFixture):
    predict(probabilities=True)
    (tmp_path / "masks" / "A_probabilities.nii.gz").write_bytes(b"hours of work")
    predict(overwrite=True)
    assert (tmp_path / "masks" / "A_probabilities.nii.gz").read_bytes() == b"hours of work"
    assert not (tmp_path / "masks" / "B_probabilities.nii.gz").exists()
    assert "A: A_probabilities.nii.gz is of an earlier mask; it was changed by hand, so it stays" in caplog.messages


def test_a_report_that_cannot_be_written_stops_no_case(
    tmp_path: Path, predict: Callable, monkeypatch: pytest.MonkeyPatch
):
    written: list[int] = []

    def full(path: Path, content: dict[str, Any]) -> None:
        written.append(len(content["cases"]))
        if content["cases"]:
            raise OSError(28, "No space left on device", str(path))
        path.write_text("{}")

    monkeypatch.setattr("medmiss.inference.evaluator.write_json", full)
    report = predict()
    assert written == [0, 1, 2]
    assert "run.json could not be written: [Errno 28] No space left" in report["failure"]
    assert (tmp_path / "masks" / "B.nii.gz").is_file()


def test_where_only_a_file_beside_the_mask_fails_the_mask_says_what_it_is(tmp_path: Path, predict: Callable):
    predict(labels="brats2018")

    class Failing:
        def files(self, case: str) -> list[str]:
            return [f"{case}.txt"]

        def __call__(self, case: str, *_: Any) -> None:
            raise CaseError(case, "an edited file", "none", "use another output")

    assert (
        statuses(predict(labels="brats2023", overwrite=True, **{"evaluator::exporters": [Failing()]}))["A"] == "failed"
    )
    assert recorded_labels(tmp_path / "masks" / "A.nii.gz", "A") == "brats2023"
