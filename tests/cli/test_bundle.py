"""`medmiss bundle`: a bundle's name becomes the paths that MONAI's tool wants."""

import argparse
import inspect
import json
from pathlib import Path

import monai.bundle.__main__ as tool
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
    words = command.monai_words("run", root, "train", ["--dataset_dir", "D"])
    assert words == [
        *("--dataset_dir", "D", "--meta_file", config(root, "metadata")),
        *("--config_file", config(root, "train"), "--bundle_root", str(root)),
    ]


def test_several_configs_become_a_list(root: Path):
    words = command.monai_words("run", root, "train,evaluate", [])
    assert words[words.index("--config_file") + 1] == str([config(root, "train"), config(root, "evaluate")])


def test_a_logging_file_serves_run_alone(root: Path):
    (root / "configs" / "logging.conf").write_text("")
    assert "--logging_file" in command.monai_words("run", root, "train", [])
    assert "--logging_file" not in command.monai_words("ckpt_export", root, "train", [])


@pytest.mark.parametrize("given", [["--meta_file", "mine.json"], ["--meta_file=mine.json"]])
def test_what_the_user_gives_wins(root: Path, given: list[str]):
    words = command.monai_words("run", root, "train", given)
    assert config(root, "metadata") not in words
    assert words[: len(given)] == given


def test_verify_metadata_takes_no_override(root: Path):
    assert command.monai_words("verify_metadata", root, None, []) == ["--meta_file", config(root, "metadata")]


def test_an_unknown_config_is_named_with_those_there_are(root: Path):
    with pytest.raises(argparse.ArgumentError, match=r"no config 'trian': it has evaluate, inference, metadata, train"):
        command.monai_words("run", root, "trian", [])


def test_the_commands_are_those_of_monai():
    assert set(command.COMMANDS) == {name for name, member in vars(tool).items() if inspect.isfunction(member)}


def test_an_unknown_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        main(["bundle", "rum"])
    assert end.value.code == 2
    assert "invalid choice: 'rum'" in capsys.readouterr().err.splitlines()[-1]


def test_a_failure_is_one_sentence(root: Path, capsys: pytest.CaptureFixture[str]):
    part = {"_target_": "medmiss.cases.find_cases", "path": "@dataset_dir"}
    (root / "configs" / "train.json").write_text(json.dumps({"dataset_dir": None, "part": part, "run": ["@part"]}))
    words = ["bundle", "run", "--bundle", str(root), "--config", "train", "--dataset_dir", str(root / "nowhere")]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("medmiss: error: case nowhere")
    assert "Traceback" not in error


def test_a_bug_keeps_its_traceback(root: Path):
    (root / "configs" / "train.json").write_text(json.dumps({"run": ["$None.nothing"]}))
    with pytest.raises(RuntimeError):
        main(["bundle", "run", "--bundle", str(root), "--config", "train"])


def test_monai_runs_the_bundle(root: Path, tmp_path: Path):
    (root / "configs" / "train.json").write_text(
        json.dumps({"run": ["$open(@target, 'w').write(@bundle_root)"], "target": "?"})
    )
    target = tmp_path / "ran"
    assert main(["bundle", "run", "--bundle", str(root), "--config", "train", "--target", str(target)]) == 0
    assert target.read_text() == str(root)
