"""The tools that put weights, and what was measured of them, into a bundle."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from medmiss.cases.files import sha256_of
from medmiss.inference.trust import trust_in

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


def bundle_of(folder: Path, metadata: str = "{}", card: str = "<!-- scores -->\n<!-- end of scores -->\n") -> Path:
    """A bundle with weights, metadata and a card."""
    for part in ("configs", "docs", "models"):
        (folder / part).mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text(metadata)
    (folder / "docs" / "README.md").write_text(card)
    (folder / "models" / "model.pt").write_bytes(b"weights")
    return folder


def scores_of(folder: Path, bundle: Path, missing: tuple[str, str] = ("", "")) -> Path:
    """Two cases, two subsets; Dice of ET, TC and WT 0.2, 0.4, 0.6 and, of the other case, 0.2 more.

    Of the weights of `bundle`, without the lines of the case and subset `missing`.
    """
    lines = ["case,subset,region,dice,dice_postprocessed,hd95"]
    for shift, case in enumerate(("a", "b")):
        for subset in ("FLAIR", "FLAIR+T2"):
            if (case, subset) == missing:
                continue
            for place, region in enumerate(("ET", "TC", "WT")):
                dice = 0.2 * (1 + place) + 0.2 * shift
                lines.append(f"{case},{subset},{region},{dice:.3f},{dice + 0.01:.3f},3.0")
    folder.mkdir()
    (folder / "subsets.csv").write_text("\n".join(lines) + "\n")
    settings = {"weights": sha256_of(bundle / "models" / "model.pt")}
    (folder / "settings.json").write_text(json.dumps({"settings": settings}))
    return folder


def test_scores_go_into_metadata_and_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    words = "mean Dice on two cases"
    before = "# Mine\n<!-- scores -->\nold\n<!-- end of scores -->\nmore\n"
    bundle = bundle_of(tmp_path / "bundle", '{"name": "mine", "eval_metrics": {"old": 1}}', before)
    scores = scores_of(tmp_path / "scores", bundle)
    for _ in range(2):  # the second time replaces the first
        run("record_scores.py", scores, bundle, "--what", words, monkeypatch=monkeypatch)
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["name"] == "mine"
    assert metadata["eval_metrics"][words]["FLAIR+T2"] == {"ET": 0.31, "TC": 0.51, "WT": 0.71}
    weights = sha256_of(bundle / "models" / "model.pt")
    assert "from FLAIR, expect about ET 0.31 (a guess)" in str(trust_in(metadata, "FLAIR", weights))
    card = (bundle / "docs" / "README.md").read_text()
    assert card.startswith("# Mine\n") and card.endswith("\nmore\n") and "old" not in card
    assert "| FLAIR | 30.0 | 50.0 | 70.0 | 31.0 | 51.0 | 71.0 |" in card
    assert "| **mean** | 30.0 | 50.0 | 70.0 | 31.0 | 51.0 | 71.0 |" in card
    assert "| FLAIR+T2 | 21/41/61 | 41/61/81 |" in card
    assert "| ET | FLAIR, FLAIR+T2 | - |" in card
    assert "| TC | - | FLAIR, FLAIR+T2 |" in card
    assert "| WT | - | - |" in card


def test_a_case_that_lacks_a_modality_has_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bundle = bundle_of(tmp_path / "bundle")
    scores = scores_of(tmp_path / "scores", bundle, missing=("b", "FLAIR+T2"))
    run("record_scores.py", scores, bundle, "--what", "x", monkeypatch=monkeypatch)
    card = (bundle / "docs" / "README.md").read_text()
    assert "| FLAIR | 21/41/61 | 41/61/81 |" in card
    assert "| FLAIR+T2 | 21/41/61 | - |" in card
    assert json.loads((bundle / "configs" / "metadata.json").read_text())["eval_metrics"]["x"]["FLAIR+T2"]["ET"] == 0.21


REFUSALS = {
    "no place for scores": "lacks the lines",
    "scores of other weights": "has scores of",
    "settings of another tool": "has other files than medmiss subsets writes",
}


@pytest.mark.parametrize("refused", REFUSALS)
def test_a_card_that_the_scores_do_not_fit_is_left_alone(
    refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    bundle = bundle_of(tmp_path / "bundle", **({"card": "# Mine\n"} if refused == "no place for scores" else {}))
    card = (bundle / "docs" / "README.md").read_text()
    words = ["record_scores.py", scores_of(tmp_path / "scores", bundle), bundle, "--what", "x"]
    if refused == "scores of other weights":
        (bundle / "models" / "model.pt").write_bytes(b"better weights")
    if refused == "settings of another tool":
        (tmp_path / "scores" / "settings.json").write_text("[]")
    monkeypatch.setattr(sys, "argv", [*map(str, words)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(TOOLS / "record_scores.py"), run_name="__main__")
    assert stop.value.code == 2
    assert REFUSALS[refused] in capsys.readouterr().err
    assert (bundle / "docs" / "README.md").read_text() == card
    assert (bundle / "configs" / "metadata.json").read_text() == "{}"


@pytest.mark.parametrize("tool", ["pack_weights.py", "record_scores.py"])
def test_a_folder_of_something_else_is_refused(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "empty").mkdir()
    more = ["--what", "x"] if tool == "record_scores.py" else []
    monkeypatch.setattr(sys, "argv", [tool, str(tmp_path / "empty"), str(tmp_path), *more])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(TOOLS / tool), run_name="__main__")
    assert stop.value.code == 2
    assert str(tmp_path / "empty") in capsys.readouterr().err.splitlines()[-1]
