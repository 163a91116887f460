"""Write what the bundles share: each stands alone, and none drifts from the others.

    python tools/render_bundles.py [--check]

`tools/bundle_template/` holds the configurations that all bundles have, the part that all cards (docs/README.md) have
between the lines `<!-- shared -->` and `<!-- end of shared -->`, and one file a bundle with what is its
own: `metadata` entries, the `network_def` of training, the `deployed_def` of inference where that is another
network, and entries by configuration id for each configuration file (`train`, `published`, ...). A configuration
named in `ONLY_WHERE_NAMED` is rendered for the bundles that have entries for it. What is measured on a bundle's
weights (`eval_metrics` in its metadata, the rest of its card, its models) belongs to the bundle and is left as it is.

`--check` writes nothing, names the files that differ and exits with 1.
"""

import argparse
import copy
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "tools" / "bundle_template"
BUNDLES = ROOT / "bundles"
ONLY_WHERE_NAMED = ("published",)
CARD = "docs/README.md"
BEGIN, END = "<!-- shared -->\n", "<!-- end of shared -->\n"


def main() -> int:
    """Render all bundles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, say which files differ")
    check = parser.parse_args().check
    different = []
    for own in sorted(TEMPLATE.glob("*.json")):
        for path, text in render(own.stem).items():
            file = BUNDLES / own.stem / path
            if not file.is_file() or file.read_text(encoding="utf-8") != text:
                different.append(file.relative_to(ROOT))
                if not check:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_text(text, encoding="utf-8")
    for file in different:
        print(f"{file}: {'differs from the template' if check else 'written'}")
    return 1 if check and different else 0


def render(name: str) -> dict[str, str]:
    """The rendered files of a bundle: path in the bundle to content."""
    own = json.loads((TEMPLATE / f"{name}.json").read_text(encoding="utf-8"))
    files = {"LICENSE": (ROOT / "LICENSE").read_text(encoding="utf-8"), CARD: card(name)}
    for source in sorted((TEMPLATE / "configs").iterdir()):
        part, text = source.stem, source.read_text(encoding="utf-8")
        if part in ONLY_WHERE_NAMED and part not in own:
            continue
        if source.suffix == ".json":
            text = json.dumps(configuration(part, json.loads(text), own, name), indent=4) + "\n"
        files[f"configs/{source.name}"] = text
    return files


def card(name: str) -> str:
    """A bundle's card with the part that all cards have."""
    before, _, rest = (BUNDLES / name / CARD).read_text(encoding="utf-8").partition(BEGIN)
    shared = (TEMPLATE / CARD).read_text(encoding="utf-8").replace("{name}", name)
    return f"{before}{BEGIN}{shared}{END}{rest.partition(END)[2]}"


def configuration(part: str, config: dict[str, Any], own: dict[str, Any], name: str) -> dict[str, Any]:
    """One configuration file of a bundle: the template's with what is the bundle's own."""
    if part == "metadata":
        file = BUNDLES / name / "configs" / "metadata.json"
        measured = json.loads(file.read_text(encoding="utf-8")).get("eval_metrics") if file.is_file() else None
        schema, *rest = config.items()
        return dict([schema, *own["metadata"].items(), *rest, *([("eval_metrics", measured)] if measured else [])])
    if part == "train":
        config["network_def"] = own["network_def"]
        if "deployed_def" in own:
            config["deployed_def"] = own["deployed_def"]
    if part == "inference":
        config["network_def"] = own.get("deployed_def", own["network_def"])
    for identifier, value in own.get(part, {}).items():
        place(config, identifier, value)
    return config


def place(config: dict[str, Any], identifier: str, value: Any) -> None:
    """Set the entry of a configuration id such as `train::optimizer::lr`; an overlay names what it does not hold."""
    *parents, last = identifier.split("::")
    inner: Any = config
    for parent in parents:
        inner = inner.get(parent) if isinstance(inner, dict) else None
    if isinstance(inner, dict) and identifier not in config:
        inner[last] = copy.deepcopy(value)
    else:
        config[identifier] = copy.deepcopy(value)


if __name__ == "__main__":
    sys.exit(main())
