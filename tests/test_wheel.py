"""The wheel holds what the checkout holds, and works from a foreign folder."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SKIPPED = shutil.ignore_patterns("__pycache__", ".*")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built in a copy so that nothing of an earlier build gets in."""
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("medmiss", "bundles"):
        shutil.copytree(ROOT / name, source / name, ignore=SKIPPED)
    pip(source, "wheel", "--no-build-isolation", "--wheel-dir", "dist", ".")
    (built,) = (source / "dist").glob("medmiss-*.whl")
    return built


def pip(folder: Path, *words: str) -> None:
    command = [sys.executable, "-m", "pip", *words, "--no-deps", "--no-index", "--quiet"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def files(top: Path) -> set[str]:
    """Files below a folder, less caches and hidden ones."""
    found = (path.relative_to(top) for path in top.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if not any(p == "__pycache__" or p[0] == "." for p in path.parts)}


def test_the_wheel_holds_every_module_and_every_bundle_file(wheel: Path):
    packed = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"medmiss/{name}" for name in files(ROOT / "medmiss")}
    expected |= {f"medmiss/bundles/{name}" for name in files(ROOT / "bundles")}
    assert expected - packed == set()
    assert [name for name in packed - expected if ".dist-info/" not in name] == []


def test_an_installed_wheel_finds_its_bundles_from_anywhere(wheel: Path, tmp_path: Path):
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip(elsewhere, "install", "--target", str(site), str(wheel))
    done = subprocess.run(
        [sys.executable, "-m", "medmiss.cli.main", "info", "--json"],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    folders = [Path(bundle["folder"]) for bundle in json.loads(done.stdout)["bundles"]]
    assert {folder.name for folder in folders} == {
        path.parent.parent.name for path in ROOT.glob("bundles/*/configs/inference.json")
    }
    assert all(folder.parent == site / "medmiss" / "bundles" for folder in folders)
