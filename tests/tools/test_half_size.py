"""Cases at half their size."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import half_size
from medmiss.cases import CONVENTIONS, find_cases
from medmiss.phantom import write_cases
from medmiss.transforms import LoadCased


def test_a_case_of_half_the_size_has_the_same_means_and_an_eighth_of_the_tumour(
    tmp_path: Path, script: Callable[..., int], shape: str
):
    x, y, z = (int(n) for n in shape.split(","))
    write_cases(tmp_path / "whole", 2, shape=(x, y, z), layout="brats2021")
    assert script(half_size, tmp_path / "whole", "--out", tmp_path / "half") == 0
    load = LoadCased(label=True)
    whole, half = ([load({"case": case}) for case in find_cases(tmp_path / name)] for name in ("whole", "half"))
    assert [item["name"] for item in half] == [item["name"] for item in whole]
    for large, small in zip(whole, half, strict=True):
        assert small["image"].shape == (4, x // 2, y // 2, z // 2)
        assert small["grid"].spacing == (1, 1, 1)
        np.testing.assert_allclose(small["image"].mean((1, 2, 3)), large["image"].mean((1, 2, 3)), rtol=1e-4)
        blocks = large["label"].unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
        expected = blocks.mean(dim=(2, 4, 6)) > 0.5
        assert expected[2].any()
        assert (small["label"].bool() == expected).all()


def test_no_case_replaces_another(tmp_path: Path, script: Callable[..., int], shape: str, capsys):
    x, y, z = (int(n) for n in shape.split(","))
    for folder, cases in (("one", 1), ("two", 2)):
        write_cases(tmp_path / folder, cases, shape=(x, y, z), layout="plain")
    first, second = (case.name for case in find_cases(tmp_path / "two"))
    out = tmp_path / "half"
    assert script(half_size, tmp_path / "one", tmp_path / "two", "--out", out) == 2
    assert f"several cases are named {first};" in capsys.readouterr().err
    assert not out.exists()

    assert script(half_size, tmp_path / "one", "--out", out) == 0
    before = {file: file.stat().st_mtime_ns for file in (out / first).iterdir()}
    assert script(half_size, tmp_path / "two", "--out", out) == 1
    assert f"case {first}, folder {out / first}: found one that is there" in capsys.readouterr().err
    assert {file: file.stat().st_mtime_ns for file in (out / first).iterdir()} == before
    assert [case.name for case in find_cases(out)] == [first, second]


def test_a_case_without_labels_is_reported_and_the_others_are_written(
    tmp_path: Path, script: Callable[..., int], shape: str, capsys: pytest.CaptureFixture[str]
):
    x, y, z = (int(n) for n in shape.split(","))
    write_cases(tmp_path / "whole", 2, shape=(x, y, z))
    cases = find_cases(tmp_path / "whole")
    label = cases[0].label
    assert label is not None
    label.path.unlink()
    assert script(half_size, tmp_path / "whole", "--out", tmp_path / "half") == 1
    assert cases[0].name in capsys.readouterr().err
    assert [case.name for case in find_cases(tmp_path / "half")] == [cases[1].name]
    assert CONVENTIONS[cases[1].convention].et == 4
