"""The tools that put weights into a bundle and that measure a bundle by subset."""

import runpy
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from medmiss.modalities import SUBSETS, subset_name
from medmiss.phantom import write_cases

TOOLS = Path(__file__).parents[2] / "tools"


def run(tool: str, *words: str | Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a tool as a script in this process."""
    monkeypatch.setattr(sys, "argv", [tool, *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(TOOLS / tool), run_name="__main__")
    assert stop.value.code == 0


def test_packed_weights_are_the_run_s_in_half_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    weights = {"a": torch.randn(4, 3, 3, 3, 3).to(memory_format=torch.channels_last_3d), "b": torch.randn(1000)}
    (tmp_path / "run" / "models").mkdir(parents=True)
    torch.save(weights, tmp_path / "run" / "models" / "model.pt")
    run("pack_weights.py", tmp_path / "run", tmp_path / "bundle", monkeypatch=monkeypatch)
    packed = torch.load(tmp_path / "bundle" / "models" / "model.pt", weights_only=True)
    assert list(packed) == list(weights)
    for name, tensor in packed.items():
        assert tensor.dtype == torch.float16 and tensor.is_contiguous()
        torch.testing.assert_close(tensor.float(), weights[name].contiguous(), rtol=1e-3, atol=1e-6)


def test_dice_of_every_subset_a_case_has(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    write_cases(tmp_path / "cases", 1, shape=(32, 32, 32), seed=1)
    (name,) = (path.name for path in (tmp_path / "cases").glob("Brats*"))
    (tmp_path / "cases" / name / f"{name}_t1.nii.gz").unlink()
    out = tmp_path / "dice.csv"
    run("subset_dice.py", tmp_path / "cases", "--bundle", tiny_bundle, "--out", out, monkeypatch=monkeypatch)
    table = pd.read_csv(out)
    expected = [subset_name(subset) for subset in SUBSETS if "t1" not in subset]
    assert table["subset"].drop_duplicates().tolist() == expected
    assert table["region"].tolist() == ["ET", "TC", "WT"] * len(expected)
    assert table["dice"].between(0, 1).all() and table["dice_postprocessed"].between(0, 1).all()
    assert "(1 cases)" in capsys.readouterr().out
