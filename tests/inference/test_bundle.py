"""Finding bundles by name and folder, from any working directory."""

import shutil
from pathlib import Path

import pytest

from medmiss.inference import BundleError, load_bundle, resolve_bundle
from medmiss.inference.bundle import bundle_folders


def test_a_name_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    root = resolve_bundle("brats_shaspec")
    assert root.name == "brats_shaspec"
    assert root.is_absolute()
    assert root in bundle_folders()


def test_a_folder_wins_over_a_name(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tiny_bundle.parent)
    assert resolve_bundle("tiny") == tiny_bundle


def test_an_unknown_bundle_is_named_with_those_that_exist():
    with pytest.raises(BundleError, match=r"'nope'.*brats_shaspec"):
        resolve_bundle("nope")


def test_overrides_reach_the_parts(tiny_bundle: Path):
    parser = load_bundle(tiny_bundle, {"inferer::overlap": 0.1, "tta": True})
    inferer = parser.get_parsed_content("inferer")
    assert (inferer.overlap, inferer.tta) == (0.1, True)
    assert parser["bundle_root"] == str(tiny_bundle)
    assert parser["_meta_::version"] == "0.1.0"


@pytest.mark.parametrize("name", ["inference", "metadata"])
def test_a_broken_configuration_is_named(tmp_path: Path, tiny_bundle: Path, name: str):
    broken = shutil.copytree(tiny_bundle, tmp_path / "broken")
    (broken / "configs" / f"{name}.json").write_text('{"a":')
    with pytest.raises(BundleError, match=rf"bundle broken: .*{name}\.json cannot be read"):
        load_bundle(broken)
