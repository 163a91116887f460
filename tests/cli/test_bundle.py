"""`medmiss bundle`: a bundle's name becomes the paths that MONAI's tool wants."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from medmiss.cli import bundle as command
from medmiss.cli.main import main


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A bundle with three configs and no network."""
    folder = tmp_path / "my_bundle"
    (folder / "configs").mkdir(parents=True)
    for name in ("metadata", "inference", "train", "evaluate"):
        (folder / "configs" / f"{name}.json").write_text(json.dumps({"initialize": [], "run": [], "version": "1"}))
    return folder


def config(root: Path, name: str) -> str:
    return str(root / "configs" / f"{name}.json")


def test_paths_are_filled_in(root: Path):
    words = command.monai_command("run", root, "train", ["--dataset_dir", "D"])
    assert words == [
        *("run", "--dataset_dir", "D", "--meta_file", config(root, "metadata")),
        *("--config_file", config(root, "train"), "--bundle_root", str(root)),
    ]


def test_several_configs_become_a_list(root: Path):
    words = command.monai_command("run", root, "train,evaluate", [])
    assert words[words.index("--config_file") + 1] == str([config(root, "train"), config(root, "evaluate")])


def test_a_logging_file_serves_run_alone(root: Path):
    (root / "configs" / "logging.conf").write_text("")
    assert "--logging_file" in command.monai_command("run", root, "train", [])
    assert "--logging_file" not in command.monai_command("ckpt_export", root, "train", [])


@pytest.mark.parametrize("given", [["--meta_file", "mine.json"], ["--meta_file=mine.json"]])
def test_what_the_user_gives_wins(root: Path, given: list[str]):
    words = command.monai_command("run", root, "train", given)
    assert config(root, "metadata") not in words
    assert words[1 : 1 + len(given)] == given


def test_verify_metadata_takes_no_override(root: Path):
    assert command.monai_command("verify_metadata", root, None, []) == [
        *("verify_metadata", "--meta_file", config(root, "metadata"))
    ]


def test_an_unknown_config_is_named_with_those_there_are(root: Path):
    with pytest.raises(argparse.ArgumentError, match=r"no config 'trian': it has evaluate, inference, metadata, train"):
        command.monai_command("run", root, "trian", [])


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (1, 1), (2, 2), (-9, 1), (137, 1)])
def test_the_exit_status_is_that_of_monai(root: Path, status: int, expected: int, monkeypatch: pytest.MonkeyPatch):
    lines = []

    def run(words: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        lines.append(words)
        return subprocess.CompletedProcess(words, status)

    monkeypatch.setattr(command.subprocess, "run", run)
    assert main(["bundle", "run", "--bundle", str(root), "--config", "train", "--dataset_dir", "D"]) == expected
    assert lines[0][:5] == [sys.executable, "-m", "monai.bundle", "run", "--dataset_dir"]


def test_monai_runs_the_bundle(root: Path, tmp_path: Path):
    (root / "configs" / "train.json").write_text(
        json.dumps({"run": ["$open(@target, 'w').write(@bundle_root)"], "target": "?"})
    )
    target = tmp_path / "ran"
    assert main(["bundle", "run", "--bundle", str(root), "--config", "train", "--target", str(target)]) == 0
    assert target.read_text() == str(root)
