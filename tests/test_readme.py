"""What the README tells a newcomer to type is there and runs."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from medmiss.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
LINES = [
    line.split("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for line in block.splitlines()
]
SCRIPTS = [shlex.split(line)[1] for line in LINES if line.startswith("bash ")]


def test_the_two_commands_are_named():
    assert SCRIPTS == ["tools/demo.sh", "tools/test.sh"]


@pytest.mark.parametrize("script", [*SCRIPTS, ".ci/run"])
def test_a_script_is_executable_and_parses(script: str):
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True)


def test_every_medmiss_command_exists():
    commands = {shlex.split(line)[1] for line in LINES if line.startswith("medmiss ")}
    assert commands
    assert commands <= COMMANDS.keys()


def test_every_link_leads_somewhere():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
