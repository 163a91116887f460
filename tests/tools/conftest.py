"""The tools as modules, as they import each other: from the folder they lie in."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

TINY = ("network_def::backbone::channels=[8,16]", "crop_size=[32,32,32]", "device::name=cpu", "workers=0")
"""Entries of train.json: a network of a few thousand parameters on crops of 32 voxels."""
SHAPE = "48,48,32"
"""Of the phantoms."""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`script(tool, "--out", folder)` runs the `main` of a tool and returns its exit status, 2 for wrong usage."""

    def run(tool: Any, *words: object) -> int:
        monkeypatch.setattr(sys, "argv", [tool.__name__, *map(str, words)])
        try:
            return tool.main()
        except SystemExit as stop:
            return int(stop.code or 0)

    return run


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """The settings of a tiny training, as words of a command line."""
    return [word for entry in TINY for word in ("--set", entry)]


@pytest.fixture(scope="session")
def shape() -> str:
    """Of phantoms to train on in a test."""
    return SHAPE
