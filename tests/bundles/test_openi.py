"""The bundle of chest X-rays: it trains, is evaluated and predicts; it passes MONAI's own checks."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.bundle import ConfigWorkflow
from PIL import Image

BUNDLE = Path(__file__).parents[2] / "bundles" / "openi"
COUNT = 40
TINY = {"device::name": "cpu", "how::channels": 8, "how::hidden": 8, "side": 32}
SHORT = {"epochs": 2, "quiet": True}
REPORT = """<eCitation><uId id="CXR{0}"/><AbstractText Label="FINDINGS">{1} lungs</AbstractText>
<MeSH><major>{2}</major></MeSH><parentImage id="CXR{0}_IM-0001-1001"/></eCitation>"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reports 1 to 40, and images of noise of all but five."""
    folder = tmp_path_factory.mktemp("openi")
    generator = np.random.default_rng(0)
    for number in range(1, COUNT + 1):
        words = ("opaque", "Opacity") if number % 2 else ("clear", "normal")
        (folder / f"{number}.xml").write_text(REPORT.format(number, *words))
        if number > 5:
            image = Image.fromarray(generator.integers(0, 256, (32, 32)).astype(np.uint8))
            image.save(folder / f"CXR{number}_IM-0001-1001.png")
    return folder


@pytest.fixture
def run(data: Path) -> Callable[..., ConfigWorkflow]:
    """`run(*configs, **entries)`: what `python -m monai.bundle run` does."""

    def make(*names: str, **entries: Any) -> ConfigWorkflow:
        files = [str(BUNDLE / "configs" / f"{name}.json") for name in names]
        found = ConfigWorkflow(files, logging_file=False, bundle_root=str(BUNDLE), dataset_dir=str(data), **entries)
        found.initialize()
        found.run()
        return found

    return make


@pytest.mark.parametrize(("method", "modalities"), [("text", ["text"]), ("shaspec", ["text", "all"])])
def test_a_method_trains_is_evaluated_and_predicts(
    method: str, modalities: list[str], tmp_path: Path, data: Path, run: Callable[..., ConfigWorkflow]
):
    entries: dict[str, Any] = TINY | {"method": method}
    if method != "text":
        entries |= {"images_dir": str(data)}
    rates = {"image_rate": 0.6} if method != "text" else {}
    trained = run("train", **entries, **rates, **SHORT, output_dir=str(tmp_path / "run"))
    assert trained.check_properties() == []
    entries |= {"weights": str(tmp_path / "run" / "models" / "model.pt")}
    run("train", "evaluate", **entries, **rates, output_dir=str(tmp_path / "evaluation"))
    rows = dict(csv.reader((tmp_path / "evaluation" / "metrics.csv").open(), delimiter=","))
    expected = {"auc_text"} | ({"auc_image+text"} if method != "text" else set())
    assert {name for name in rows if name.startswith("auc_")} == expected
    for wanted in modalities:
        run("inference", **entries, modalities=wanted, output_dir=str(tmp_path / wanted))
        with open(tmp_path / wanted / "predictions.csv", newline="") as file:
            lines = list(csv.DictReader(file))
        first = 1 if wanted == "text" else 6
        assert [int(line["sample"]) for line in lines] == list(range(first, COUNT + 1))
        assert [int(line["label"]) for line in lines] == [number % 2 for number in range(first, COUNT + 1)]


def test_version_licence_and_model_card():
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]
    assert (BUNDLE / "LICENSE").is_file()
    assert "not for clinical" in (BUNDLE / "docs" / "README.md").read_text()
