"""The tool that puts weights into a bundle."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

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
