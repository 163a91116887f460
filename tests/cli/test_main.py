"""The frame of the command line: help at once, exit statuses, errors as one line."""

import argparse
import json
import logging
import os
import subprocess
import sys
from importlib import import_module, util
from types import SimpleNamespace

import pytest

from medmiss import __version__
from medmiss.cases.errors import CaseError
from medmiss.cli import main as cli
from medmiss.inference.bundle import BundleError

HEAVY = {"torch", "monai", "numpy", "nibabel", "SimpleITK", "pandas", "scipy", "matplotlib"}
WRITTEN = [name for name in cli.COMMANDS if util.find_spec(f"medmiss.cli.{name}")]


def cpu_seconds(*words: str) -> float:
    """User and system time of one `medmiss WORDS`."""
    process = subprocess.Popen([sys.executable, "-m", "medmiss.cli.main", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("words", [["--help"], ["--version"], *([name, "--help"] for name in WRITTEN)])
def test_help_answers_in_under_0_3_s_of_cpu(words: list[str]):
    assert min(cpu_seconds(*words) for _ in range(3)) < 0.3  # the best of three: the machine may be busy


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in WRITTEN)])
def test_help_imports_nothing_heavy(words: list[str]):
    probe = f"""
import atexit, json, sys
from medmiss.cli.main import main
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
main({words!r})
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert HEAVY.isdisjoint(json.loads(done.stderr))


@pytest.mark.parametrize("name", WRITTEN)
def test_a_command_describes_itself(name: str, capsys: pytest.CaptureFixture[str]):
    assert cli.COMMANDS[name] == import_module(f"medmiss.cli.{name}").SUMMARY
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert "--quiet" in text


def test_every_command_has_a_module():
    assert set(cli.COMMANDS) == set(WRITTEN)


def test_top_level_help_lists_every_command(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert all(f"  {name} " in text and summary in text for name, summary in cli.COMMANDS.items())


def test_version(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"medmiss {__version__}\n"


@pytest.mark.parametrize(
    "words", [["segment"], ["--nonsense"], ["info", "--nonsense"], ["info", "--js"], ["info", "a", "b"]]
)
def test_wrong_usage_ends_with_2(words: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2
    assert "medmiss" in capsys.readouterr().err


def test_no_command_shows_the_help_and_ends_with_2(capsys: pytest.CaptureFixture[str]):
    assert cli.main([]) == 2
    assert "commands:" in capsys.readouterr().err


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A command of the test's own in place of `info`."""
    module = SimpleNamespace(SUMMARY="of the test", add_arguments=lambda parser: None, run=lambda args: 0)
    monkeypatch.setattr(cli, "import_module", {"medmiss.cli.info": module}.__getitem__)
    return module


@pytest.mark.parametrize("status", [0, 1])
def test_the_command_says_how_it_ended(command: SimpleNamespace, status: int):
    command.run = lambda args: status
    assert cli.main(["info"]) == status


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (CaseError("P1", "no image", "one of flair, t1, t1c, t2", "name the files"), "case P1"),
        (PermissionError(13, "Permission denied", "out"), "Permission denied"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_a_failure_is_one_line_and_ends_with_1(
    command: SimpleNamespace, error: BaseException, words: str, capsys: pytest.CaptureFixture[str]
):
    def run(args: argparse.Namespace) -> int:
        raise error

    command.run = run
    assert cli.main(["info"]) == 1
    text = capsys.readouterr().err
    assert text.startswith("medmiss: error: ")
    assert words in text
    assert text.count("\n") == 1


@pytest.mark.parametrize("error", [argparse.ArgumentError(None, "not both"), BundleError("no such bundle")])
def test_arguments_only_the_command_can_judge_end_with_2(
    command: SimpleNamespace, error: Exception, capsys: pytest.CaptureFixture[str]
):
    def run(args: argparse.Namespace) -> int:
        raise error

    command.run = run
    with pytest.raises(SystemExit) as end:
        cli.main(["info"])
    assert end.value.code == 2
    assert f"medmiss info: error: {error}" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "shown"), [(["info"], True), (["info", "--quiet"], False)])
def test_quiet_hides_progress_but_no_warning(
    command: SimpleNamespace, words: list[str], shown: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logging, "basicConfig", lambda **options: None)
    logger = logging.getLogger("medmiss.of_the_test")
    levels = []

    def run(args: argparse.Namespace) -> int:
        levels.append([logger.isEnabledFor(level) for level in (logging.INFO, logging.WARNING)])
        return 0

    command.run = run
    cli.main(words)
    assert levels == [[shown, True]]


def test_a_command_may_pass_on_what_it_does_not_know(command: SimpleNamespace):
    seen = []

    def run(args: argparse.Namespace) -> int:
        seen.append(args.passed_on)
        return 0

    command.add_arguments = lambda parser: parser.set_defaults(passed_on=[])
    command.run = run
    assert cli.main(["info", "net", "--p", "3", "--quiet"]) == 0
    assert seen == [["net", "--p", "3"]]
