"""The environment of demo.sh and test.sh: installed once, again when its inputs change, and nowhere else."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Stands for every Python: notes its arguments beside itself, and makes an environment out of itself.
STUB = """#!/bin/bash
echo "$*" >> "{log}"
[[ "$1 $2" != "-m venv" ]] || {{ mkdir -p "${{@: -1}}/bin" && cp "$0" "${{@: -1}}/bin/python"; }}
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a space in its path, and a stub beside it that plays Python."""
    folder = tmp_path / "a checkout"
    folder.mkdir()
    shutil.copytree(ROOT / "tools", folder / "tools")
    for name in ("setup.cfg", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    stub = tmp_path / "python"
    stub.write_text(STUB.format(log=tmp_path / "log"))
    stub.chmod(0o755)
    return folder


def install(checkout: Path, extras: str = "", **environment: str) -> list[str]:
    """Run `install_medmiss` and return what the stub was asked to do, less the mere look whether it is there."""
    log = checkout.parent / "log"
    log.unlink(missing_ok=True)
    script = 'set -euo pipefail; source "$1/tools/environment.sh"; install_medmiss "$2"'
    subprocess.run(
        ["bash", "-c", script, "bash", str(checkout), extras],
        env={"PATH": "/usr/bin:/bin", "MEDMISS_PYTHON": str(checkout.parent / "python"), **environment},
        cwd=checkout.parent,
        check=True,
        capture_output=True,
    )
    return [line for line in log.read_text().splitlines() if line.startswith("-m ")]


def test_the_pins_hold_for_everything_installed(checkout: Path):
    made, backend, package = install(checkout, "[test]")
    assert made == f"-m venv {checkout}/.venv"
    assert f"-c {checkout}/constraints.txt" in backend
    assert package.endswith(f"-c {checkout}/constraints.txt --no-build-isolation -e {checkout}[test]")


def test_a_second_run_installs_nothing(checkout: Path):
    install(checkout)
    assert install(checkout) == []
    assert install(checkout, "[test]") != []
    assert install(checkout, "[test]") == install(checkout) == []


@pytest.mark.parametrize("name", ["setup.cfg", "constraints.txt"])
def test_a_change_is_installed(checkout: Path, name: str):
    install(checkout)
    with (checkout / name).open("a") as file:
        file.write("# changed\n")
    assert len(install(checkout)) == 2


def test_the_environment_may_be_elsewhere(checkout: Path):
    assert install(checkout, MEDMISS_VENV="here")[0] == f"-m venv {checkout.parent}/here"
    assert not (checkout / ".venv").exists()


def test_only_an_environment_is_emptied(checkout: Path):
    target = checkout.parent / "target"
    target.mkdir()
    assert install(checkout, MEDMISS_VENV=str(target))[0] == f"-m venv {target}"
    (target / "bin" / "python").unlink()
    (target / "pyvenv.cfg").touch()
    assert install(checkout, MEDMISS_VENV=str(target))[0] == f"-m venv --clear {target}"
