"""`medmiss submit` and `medmiss check` as a user meets them, on a small grid."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medmiss.cases import CONVENTIONS, LAYOUTS, Grid, write_case, write_volume
from medmiss.cli import check, submit
from medmiss.cli.main import main
from medmiss.submission import CHALLENGES

NAME = "BraTS2021_00001"
CHALLENGE = ["--challenge", "brats2021"]


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A folder of masks with records, in the labels of 2023, and one of cases, of 2021."""
    for name, row in CHALLENGES.items():
        monkeypatch.setitem(CHALLENGES, name, replace(row, shape=(24, 22, 20)))
    challenge = CHALLENGES["brats2021"]
    grid = Grid(challenge.shape, challenge.affine)
    brain = np.zeros(challenge.shape, dtype=np.int16)
    brain[4:20, 4:18, 4:16] = 100
    brain[5, 5, 5] = 101
    write_case(tmp_path / "cases", LAYOUTS["brats2021"], NAME, {"t2": brain}, grid, label=None)
    labels = np.zeros(challenge.shape, dtype=np.uint8)
    labels[8:14, 8:14, 8:12] = 2
    labels[10:12, 10:12, 9:11] = 3
    write_volume(tmp_path / "masks" / f"{NAME}.nii.gz", labels, grid)
    (tmp_path / "masks" / ".medmiss").mkdir()
    (tmp_path / "masks" / ".medmiss" / f"{NAME}.json").write_text(json.dumps({"settings": {"labels": "brats2023"}}))
    return tmp_path / "masks", tmp_path / "cases"


def test_submit_and_check(
    folders: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    masks, cases = map(str, folders)
    assert main(["check", masks, *CHALLENGE, "--cases", cases]) == 1
    assert "error [labels] BraTS2021_00001.nii.gz: found labels of brats2023" in capsys.readouterr().out

    assert "a folder was checked as it would be packed" in caplog.text

    archive = tmp_path / "out" / "submission.zip"
    words = ["submit", masks, *CHALLENGE, "--cases", cases, "--out", str(archive)]
    assert main(words) == 0
    assert "submission.zip: 1 mask, no findings" in caplog.text
    assert main(["check", str(archive), *CHALLENGE, "--cases", cases]) == 0
    assert capsys.readouterr().out == ""
    before = archive.read_bytes()
    with pytest.raises(SystemExit):
        main(words)
    assert main([*words, "--overwrite"]) == 0
    assert archive.read_bytes() == before

    assert main(["check", str(archive), *CHALLENGE]) == 1  # 219 masks are expected
    assert main(["check", str(archive), *CHALLENGE, "--allow-warnings"]) == 0
    assert main(["check", str(archive), *CHALLENGE, "--partial"]) == 0
    capsys.readouterr()
    assert main(["check", str(archive), "--challenge", "brats2018", "--allow-warnings"]) == 1
    assert capsys.readouterr().out.startswith("error [name] BraTS2021_00001.nii.gz: found ")
    assert "a missing case is not seen" not in caplog.text
    main(["check", str(archive), "--challenge", "brats2023-gli"])
    assert "a missing case is not seen" in caplog.text


def test_with_errors_there_is_no_archive(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    masks, cases = folders
    (cases / NAME).rename(cases / "BraTS2021_00002")
    archive = tmp_path / "submission.tar.gz"
    words = ["submit", str(masks), *CHALLENGE, "--cases", str(cases), "--out", str(archive)]
    assert main(words) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"error [unknown-case] {NAME}.nii.gz",
        "error [missing-case] BraTS2021_00002",
    ]
    assert not archive.exists()


def test_a_convention_that_is_not_known_is_one_line(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    masks, cases = folders
    (masks / ".medmiss" / f"{NAME}.json").unlink()
    words = ["submit", str(masks), *CHALLENGE, "--cases", str(cases), "--out", str(tmp_path / "s.zip")]
    assert main(words) == 1
    assert "name the convention the masks follow (--labels)" in capsys.readouterr().err
    assert main([*words, "--labels", "brats2023"]) == 0


@pytest.mark.parametrize(
    "words",
    [
        ["check", "MASKS"],
        ["check", "nowhere", *CHALLENGE],
        ["check", "MASKS", "--challenge", "brats1999"],
        ["submit", "MASKS", *CHALLENGE, "--cases", "CASES"],
        ["submit", "MASKS", *CHALLENGE, "--cases", "nowhere", "--out", "s.zip"],
        ["submit", "MASKS", *CHALLENGE, "--cases", "CASES", "--out", "s.rar"],
        ["submit", "MASKS", "--challenge", "brats2018", "--cases", "CASES", "--out", "s.tar.gz"],
    ],
)
def test_wrong_usage_ends_with_2(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
):
    monkeypatch.chdir(tmp_path)
    places = {"MASKS": str(folders[0]), "CASES": str(folders[1])}
    with pytest.raises(SystemExit) as end:
        main([places.get(word, word) for word in words])
    assert end.value.code == 2


def test_the_help_names_what_there_is():
    assert tuple(CHALLENGES) == check.CHALLENGES
    assert set(submit.LABELS) == set(CONVENTIONS)
    for name in CHALLENGES:
        assert name in check.CHALLENGE_TABLE
    assert set(submit.FORMS.values()) == {form for row in CHALLENGES.values() for form in row.archives}
