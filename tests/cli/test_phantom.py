"""`medmiss phantom` as a user meets it."""

from pathlib import Path

import pytest

from medmiss.cases import LAYOUTS, find_cases, read_case
from medmiss.cli import phantom
from medmiss.cli.main import main
from medmiss.phantom.tissues import FULL_SHAPE


def test_cases_of_the_layout_and_shape_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    words = [str(tmp_path / "set"), "--cases", "2", "--layout", "brats2023", "--shape", "40,42,32", "--seed", "4"]
    assert main(["phantom", *words]) == 0
    cases = find_cases(tmp_path / "set")
    assert {case.layout for case in cases} == {"brats2023"}
    assert [case.name for case in cases] == ["BraTS-GLI-90001-000", "BraTS-GLI-90002-000"]
    assert read_case(cases[0]).grid.shape == (40, 42, 32)
    assert "2 cases in" in caplog.text
    assert "already" not in caplog.text
    words[words.index("--cases") + 1] = "3"
    assert main(["phantom", *words]) == 0
    assert "2 of 3 synthetic cases were there already" in caplog.text
    assert main(["phantom", *words, "--missing", "random"]) == 1  # other cases of that name


def test_random_modalities_are_missing(tmp_path: Path):
    assert main(["phantom", str(tmp_path), "--cases", "3", "--missing", "random", "--shape", "32,32,32"]) == 0
    assert all(len(case.available) < 4 for case in find_cases(tmp_path))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--cases", "0"],
        ["--cases", "two"],
        ["--cases", "1", "--layout", "brats1999"],
        ["--cases", "1", "--shape", "64,64"],
        ["--cases", "1", "--shape", "64,64,8"],
        ["--cases", "1", "--layout", "msd", "--missing", "random"],
    ],
)
def test_wrong_usage_ends_with_2(tmp_path: Path, words: list[str]):
    with pytest.raises(SystemExit) as end:
        main(["phantom", str(tmp_path / "out"), *words])
    assert end.value.code == 2
    assert not (tmp_path / "out").exists()


def test_an_absent_tissue_map_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = [str(tmp_path / "out"), "--cases", "1", "--shape", "32,32,32", "--tissues", str(tmp_path / "none.nii.gz")]
    assert main(["phantom", *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("medmiss: error: ")
    assert "none.nii.gz" in error


def test_the_help_names_what_there_is():
    assert set(phantom.LAYOUTS) <= set(LAYOUTS)
    assert phantom.FULL_SHAPE == FULL_SHAPE
