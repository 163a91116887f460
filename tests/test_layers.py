"""The layers of medmiss: a module imports its own room and the rooms of lower layers, nothing else."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "medmiss"

LAYERS = (
    {"cli", "bundles"},
    {"classification"},
    {"training", "inference", "evaluation", "submission", "slicer", "phantom"},
    {"methods"},
    {"networks", "losses"},
    {"transforms", "postprocessing"},
    {"cases"},
    {"modalities"},
)
DEPTH = {room: depth for depth, rooms in enumerate(LAYERS) for room in rooms}


def room_of(module: str) -> str | None:
    """The room a dotted name lies in; None for the bare package, which anyone may ask for its version."""
    return module.split(".")[1] if "." in module else None


def imported_modules(tree: ast.AST, module: str) -> list[tuple[int, str]]:
    """Every (line, dotted name) of medmiss that a syntax tree imports, at any depth."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # `module` names a file, never a package, so one dot is its parent
                base = ".".join([*module.split(".")[: -node.level], *filter(None, [base])])
            if base == "medmiss":
                found += [(node.lineno, f"medmiss.{alias.name}") for alias in node.names if alias.name != "__version__"]
            else:
                found.append((node.lineno, base))
    return [(line, name) for line, name in found if name.split(".")[0] == "medmiss"]


def violations(source: str, module: str) -> list[str]:
    """One line for each import of `source`, the text of `module`, that goes up or across."""
    room = room_of(module)
    if room is None or room == "__init__":
        return [f"{module}:{line} imports {name}" for line, name in imported_modules(ast.parse(source), module)]
    return [
        f"{module}:{line} imports {name}"
        for line, name in imported_modules(ast.parse(source), module)
        if (target := room_of(name)) is not None and target != room and DEPTH[target] <= DEPTH[room]
    ]


def modules() -> dict[str, str]:
    files = sorted(PACKAGE.rglob("*.py"))
    return {".".join(["medmiss", *file.relative_to(PACKAGE).with_suffix("").parts]): file.read_text() for file in files}


def test_every_room_has_a_layer():
    rooms = {room_of(module) for module in modules()} - {"__init__"}
    assert rooms <= DEPTH.keys(), f"not in the table of layers: {rooms - DEPTH.keys()}"


def test_no_module_imports_upwards_or_across():
    assert [line for module, source in modules().items() for line in violations(source, module)] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("medmiss.cases.case", "import medmiss.transforms"),
        ("medmiss.cases.case", "def late():\n    from medmiss.cli import main"),
        ("medmiss.inference.predictor", "from medmiss.training.trainer import Trainer"),
        ("medmiss.methods.shaspec", "from medmiss import inference"),
        ("medmiss.networks.unet", "from ..losses import dice"),
        ("medmiss.__init__", "from medmiss.modalities import MODALITIES"),
    ],
)
def test_a_violation_is_found(module: str, source: str):
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("medmiss.cli.predict", "def run():\n    from medmiss.inference.bundle import load_bundle"),
        ("medmiss.cases.case", "from medmiss.modalities import MODALITIES\nfrom medmiss.cases.errors import CaseError"),
        ("medmiss.networks.unet", "from .blocks import Block\nfrom ..cases import Case"),
        ("medmiss.inference.report", "from medmiss import __version__\nimport torch"),
    ],
)
def test_the_way_down_is_free(module: str, source: str):
    assert violations(source, module) == []
