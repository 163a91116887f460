"""`medmiss subsets` as a user meets it, with the tiny bundle on small phantoms."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medmiss.cases import CONVENTIONS, find_cases, read_label, read_mask
from medmiss.cli.main import main
from medmiss.evaluation import evaluate_regions
from medmiss.modalities import SUBSETS, parse_subset, subset_name
from medmiss.phantom import write_cases

REPOSITORY = Path(__file__).parents[2]
FOUR = ["all", "flair,t2", "t1c", "t1"]
NAMES = ["T1", "T1c", "FLAIR+T2", "FLAIR+T1+T1c+T2"]


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cases; the second has neither T1 nor T2."""
    root = tmp_path_factory.mktemp("phantoms")
    write_cases(root, 3, shape=(32, 32, 32), seed=1)
    case = sorted(root.glob("Brats*"))[1]
    for word in ("t1", "t2"):
        (case / f"{case.name}_{word}.nii.gz").unlink()
    return root


@pytest.fixture
def subsets(tiny_bundle: Path) -> Callable[..., int]:
    """`medmiss subsets` with the tiny bundle on the CPU; its exit status."""
    options = ["--bundle", str(tiny_bundle), "--device", "cpu", "--quiet"]
    return lambda *words: main(["subsets", *options, *map(str, words)])


@pytest.fixture(scope="session")
def cases(phantoms: Path) -> list[str]:
    return sorted(path.name for path in phantoms.glob("Brats*"))


def scores_of(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "subsets.csv")


def test_every_case_takes_part_in_the_subsets_it_has(
    tmp_path: Path, phantoms: Path, cases: list[str], subsets: Callable, capsys: pytest.CaptureFixture[str]
):
    assert subsets(phantoms, "--out", tmp_path / "out") == 0
    table = scores_of(tmp_path / "out")
    by_case = {name: rows["subset"].drop_duplicates().tolist() for name, rows in table.groupby("case")}
    everything = [subset_name(subset) for subset in SUBSETS]
    assert by_case == {cases[0]: everything, cases[1]: ["FLAIR", "T1c", "FLAIR+T1c"], cases[2]: everything}
    assert table["region"].tolist() == ["ET", "TC", "WT"] * (len(table) // 3)
    assert table["dice"].between(0, 1).all() and table["dice_postprocessed"].between(0, 1).all()
    counts = pd.read_csv(tmp_path / "out" / "table.csv").query("kind == 'measured'").set_index("subset")["cases"]
    assert counts["FLAIR+T1c"] == 3 and counts["FLAIR+T2"] == 2
    for name in ("table.md", "report.html", "figures/heat_map.png", "figures/box_plots.png", "figures/montage.png"):
        assert (tmp_path / "out" / name).stat().st_size > 0, name
    shown = capsys.readouterr().out
    assert "FLAIR+T1+T2" in shown and str(tmp_path / "out" / "report.html") in shown
    for path in (tmp_path / "out").rglob("*"):
        if path.suffix in (".html", ".md", ".csv", ".json"):
            assert str(tmp_path) not in path.read_text() and str(phantoms) not in path.read_text()


def test_the_scores_are_those_of_the_masks_that_predict_writes(
    tmp_path: Path, phantoms: Path, cases: list[str], tiny_bundle: Path, subsets: Callable
):
    assert subsets(phantoms / cases[0], "--out", tmp_path / "out") == 0
    table = {(line["subset"], line["region"]): line for line in scores_of(tmp_path / "out").to_dict("records")}
    (case,) = find_cases(phantoms / cases[0])
    convention = CONVENTIONS[case.convention]
    reference = read_label(case)
    for subset in ("t1", "flair,t2", "t1,t1c,t2"):
        for rules, column in (("none", "dice"), ("default", "dice_postprocessed")):
            words = ["--modalities", subset, "--postprocess", rules, "--bundle", str(tiny_bundle), "--device", "cpu"]
            masks = tmp_path / f"{subset} {rules}"
            assert main(["predict", "--quiet", str(phantoms / cases[0]), str(masks), *words]) == 0
            regions = convention.regions(read_mask(masks / f"{case.name}.nii.gz", case.name).array)
            scores = evaluate_regions(regions, convention.regions(reference.array), reference.grid, "literature")
            for region, values in scores.items():
                line = table[subset_name(parse_subset(subset)), region]
                assert line[column] == pytest.approx(values["dice"], abs=1e-6)
                if column == "dice_postprocessed":
                    assert line["hd95"] == pytest.approx(values["hd95"], abs=1e-4)


def test_a_second_run_measures_nothing_and_adds_what_is_new(
    tmp_path: Path, phantoms: Path, cases: list[str], subsets: Callable, monkeypatch: pytest.MonkeyPatch
):
    from medmiss.inference import CasePredictor

    asked: list[str] = []
    predict = CasePredictor.predict

    def counted(self: CasePredictor, item: dict[str, Any]) -> Any:
        asked.append(item["name"])
        return predict(self, item)

    monkeypatch.setattr(CasePredictor, "predict", counted)
    out = tmp_path / "out"
    assert subsets(phantoms / cases[0], "--out", out, "--subsets", "t1c", "all") == 0
    assert asked == [cases[0]] * 2
    first = (out / "subsets.csv").read_bytes()
    assert subsets(phantoms / cases[0], "--out", out, "--subsets", "t1c", "all") == 0
    assert len(asked) == 2 and (out / "subsets.csv").read_bytes() == first
    assert subsets(phantoms, "--out", out, "--subsets", *FOUR) == 0
    assert asked[2:] == [cases[0], cases[0], cases[1], *[cases[2]] * 4]
    assert set(json.loads((out / "settings.json").read_text())["cases"]) == set(cases)
    assert scores_of(out)["subset"].drop_duplicates().tolist() == NAMES


def test_other_settings_are_refused(
    tmp_path: Path, phantoms: Path, cases: list[str], subsets: Callable, capsys: pytest.CaptureFixture[str]
):
    words = (phantoms / cases[0], "--out", tmp_path / "out", "--subsets", "t1c")
    assert subsets(*words) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as end:
        subsets(*words, "--tta")
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "holds scores made with other settings (tta False, now True)" in said and "--overwrite" in said
    assert {path: path.read_bytes() for path in before} == before
    assert subsets(*words, "--tta", "--overwrite") == 0
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["settings"]["tta"] is True
    (tmp_path / "out" / "settings.json").unlink()
    with pytest.raises(SystemExit):
        subsets(*words, "--tta")
    assert "no settings.json" in capsys.readouterr().err


def test_one_run_is_set_beside_another(tmp_path: Path, phantoms: Path, cases: list[str], subsets: Callable):
    assert subsets(phantoms / cases[0], "--out", tmp_path / "plain", "--subsets", *FOUR) == 0
    words = ("--out", tmp_path / "flips", "--subsets", *FOUR, "--tta", "--compare", tmp_path / "plain")
    assert subsets(phantoms / cases[0], *words) == 0
    report = (tmp_path / "flips" / "report.html").read_text()
    assert "Against other runs" in report and "plain (tiny 0.1.0" in report
    table = pd.read_csv(tmp_path / "flips" / "table.csv")
    compared = table[table["kind"] == "compared"].set_index("subset")["dice_wt"]
    plain = scores_of(tmp_path / "plain").query("region == 'WT'").set_index("subset")["dice"]
    assert compared.drop("mean").to_dict() == pytest.approx((100 * plain).to_dict(), abs=1e-3)


def test_bad_cases_are_told_and_the_rest_go_on(
    tmp_path: Path, phantoms: Path, cases: list[str], subsets: Callable, caplog: pytest.LogCaptureFixture
):
    data = tmp_path / "data"
    for number, case in enumerate(cases):
        for path in (phantoms / case).iterdir():
            target = data / case / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        if number == 0:
            (data / case / f"{case}_t1.nii.gz").write_bytes(b"no image")
        if number == 1:
            (data / case / f"{case}_seg.nii.gz").unlink()
    (data / "odd").mkdir()
    (data / "odd" / "scan.nii.gz").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    again = tmp_path / "again" / cases[2]
    again.mkdir(parents=True)
    for path in (phantoms / cases[2]).iterdir():
        (again / path.name).write_bytes(path.read_bytes())
    words = (data, tmp_path / "empty", again, data / cases[2], "--out", tmp_path / "out", "--subsets", *FOUR)
    assert subsets(*words) == 1
    counts = scores_of(tmp_path / "out").groupby("case")["subset"].nunique().to_dict()
    assert counts == {cases[0]: 2, cases[2]: 4}
    report = (tmp_path / "out" / "report.html").read_text()
    for said in ("unreadable file", "(Subsets: T1, FLAIR+T1+T1c+T2.)", "no label file", "no image of a known name"):
        assert said in report, said
    for said in ("folder empty: found no images", "a second case of this name"):
        assert said in report and said.split(": ")[-1] in caplog.text, said
    assert caplog.text.count("unreadable file") == 1  # two subsets, one cause
    assert str(tmp_path) not in report


def test_what_looks_odd_about_a_case_is_said_once(
    tmp_path: Path, write_case: Callable[..., Path], subsets: Callable, caplog: pytest.LogCaptureFixture
):
    folder = write_case(tmp_path / "cases", "A")
    image = nib.Nifti1Image.from_filename(folder / "A_t2.nii.gz")
    moved = np.roll(np.asarray(image.dataobj), 6, axis=1)
    nib.save(nib.Nifti1Image(moved, image.affine), folder / "A_t2.nii.gz")
    label = np.zeros(moved.shape, dtype=np.uint8)
    label[8:12, 8:12, 8:12] = 1
    nib.save(nib.Nifti1Image(label, image.affine), folder / "A_seg.nii.gz")
    assert subsets(tmp_path / "cases", "--out", tmp_path / "out", "--subsets", "flair,t2", "flair,t1,t2", "t2") == 0
    assert caplog.text.count("FLAIR and T2 look not co-registered") == 1


def test_nothing_measured_is_a_failure(tmp_path: Path, phantoms: Path, cases: list[str], subsets: Callable):
    assert subsets(phantoms / cases[1], "--out", tmp_path / "out", "--subsets", "t1") == 1
    assert not (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "--out", "out"], "DATA: no such file or folder: nowhere"),
        (["."], "--out"),
        ([".", "--out", "out", "--subsets", "flair,ct"], "unknown modality 'ct'"),
        ([".", "--out", "out", "--compare", "."], "no OUT of 'medmiss subsets'"),
        ([".", "--out", "old", "--compare", "old"], "is OUT itself"),
        ([".", "--out", "out", "--compare", "old", "other/old"], "two runs of one name"),
        ([".", "--out", "out", "--bundle", "none"], "neither a folder"),
    ],
)
def test_wrong_usage_ends_with_status_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
):
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / "old", tmp_path / "other" / "old"):
        folder.mkdir(parents=True)
        for name in ("subsets.csv", "settings.json"):
            (folder / name).touch()
    with pytest.raises(SystemExit) as end:
        main(["subsets", *words])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_a_bundle_without_weights_measures_nothing(
    tmp_path: Path, phantoms: Path, tiny_bundle: Path, caplog: pytest.LogCaptureFixture
):
    bundle = tmp_path / "untrained"
    (bundle / "configs").mkdir(parents=True)
    for path in (tiny_bundle / "configs").iterdir():
        (bundle / "configs" / path.name).write_bytes(path.read_bytes())
    assert main(["subsets", str(phantoms), "--bundle", str(bundle), "--out", str(tmp_path / "out")]) == 1
    assert "untrained network must not predict" in caplog.text and not (tmp_path / "out").exists()


def test_a_killed_run_goes_on_where_it_was(
    tmp_path: Path, phantoms: Path, cases: list[str], tiny_bundle: Path, subsets: Callable
):
    words = ["subsets", str(phantoms), "--bundle", str(tiny_bundle), "--device", "cpu", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-m", "medmiss.cli.main", *words],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    table = tmp_path / "out" / "subsets.csv"
    deadline = time.monotonic() + 240
    while not table.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = scores_of(tmp_path / "out")
    assert 3 <= len(kept) < 99 and len(kept) % 3 == 0
    assert subsets(phantoms, "--out", tmp_path / "out") == 0
    whole = scores_of(tmp_path / "out")
    assert len(whole) == 99
    pd.testing.assert_frame_equal(whole.head(len(kept)), kept)


def test_overwriting_with_nothing_to_measure_keeps_the_results(
    tmp_path: Path, phantoms: Path, subsets: Callable, caplog: pytest.LogCaptureFixture
):
    assert subsets(phantoms, "--out", tmp_path / "out", "--subsets", "t1c") == 0
    before = (tmp_path / "out" / "subsets.csv").read_bytes()
    (tmp_path / "empty").mkdir()
    subsets(tmp_path / "empty", "--out", tmp_path / "out", "--subsets", "t1c", "--overwrite")
    assert (tmp_path / "out" / "subsets.csv").read_bytes() == before
