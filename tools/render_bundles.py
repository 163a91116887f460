"""Write what the bundles share: each stands alone, and none drifts from the others.

    python tools/render_bundles.py [--check]

`tools/bundle_template/` has a folder a task, with the configurations that all bundles of the task have, the part that
all their cards (docs/README.md) have between the lines `<!-- shared -->` and `<!-- end of shared -->`, and one file a
bundle with what is its own: entries by configuration id for each configuration file (`metadata`, `train`,
`published`, ...), the `network_def` of training, and the `deployed_def` of inference where that is another network.
An entry that is null in the template is each bundle's own. A configuration named in `ONLY_WHERE_NAMED` is rendered for
the bundles that have entries for it. What is measured on a bundle's weights (`eval_metrics` in its metadata, the rest
of its card, its models) belongs to the bundle and is left as it is.

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
FIRST = ("schema", "dataset_dir")
"""Entries that a bundle's own settings stand behind."""
CARD = "docs/README.md"
BEGIN, END = "<!-- shared -->\n", "<!-- end of shared -->\n"


def main() -> int:
    """Render all bundles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, say which files differ")
    check = parser.parse_args().check
    different = []
    for own in sorted(TEMPLATE.glob("*/*.json")):
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
    (file,) = TEMPLATE.glob(f"*/{name}.json")
    own = json.loads(file.read_text(encoding="utf-8"))
    files = {"LICENSE": (ROOT / "LICENSE").read_text(encoding="utf-8")}
    files["configs/logging.conf"] = (TEMPLATE / "logging.conf").read_text(encoding="utf-8")
    if (file.parent / CARD).is_file():
        files[CARD] = card(name, (file.parent / CARD).read_text(encoding="utf-8").replace("{name}", name))
    for source in sorted((file.parent / "configs").iterdir()):
        part, config = source.stem, json.loads(source.read_text(encoding="utf-8"))
        if part not in ONLY_WHERE_NAMED or part in own:
            files[f"configs/{source.name}"] = json.dumps(configuration(part, config, own, name), indent=4) + "\n"
    return files


def card(name: str, shared: str) -> str:
    """A bundle's card, begun where there is none, with the part that all cards have."""
    file = BUNDLES / name / CARD
    begun = f"# {name}\n\n**Research use only, not for clinical decisions.**\n\n"
    before, _, rest = (file.read_text(encoding="utf-8") if file.is_file() else begun).partition(BEGIN)
    return f"{before}{BEGIN}{shared}{END}{rest.partition(END)[2]}"


def configuration(part: str, config: dict[str, Any], own: dict[str, Any], name: str) -> dict[str, Any]:
    """One configuration file of a bundle: the template's with what is the bundle's own."""
    entries: dict[str, Any] = {}
    if part == "train":
        entries = {key: own[key] for key in ("network_def", "deployed_def") if key in own}
    if part == "inference" and "network_def" in own:
        entries = {"network_def": own.get("deployed_def", own["network_def"])}
    entries |= own.get(part, {})
    places = [place for place, key in enumerate(config, start=1) if key in FIRST]
    if places:
        settings = [key for key, value in entries.items() if part == "metadata" or not isinstance(value, dict)]
        items, added = list(config.items()), [(key, None) for key in settings if "::" not in key and key not in config]
        config = dict([*items[: places[-1]], *added, *items[places[-1] :]])
    for identifier, value in entries.items():
        put(config, identifier, copy.deepcopy(value))
    if part == "metadata":
        file = BUNDLES / name / "configs" / "metadata.json"
        measured = json.loads(file.read_text(encoding="utf-8")).get("eval_metrics") if file.is_file() else None
        config |= {"eval_metrics": measured} if measured else {}
    return config


def put(config: dict[str, Any], identifier: str, value: Any) -> None:
    """Set the entry of a configuration id such as `train::handlers::0`; an overlay names what it does not hold."""
    *parents, last = identifier.split("::")
    inner: Any = config
    for parent in parents:
        if isinstance(inner, list):
            inner = inner[int(parent)]
        else:
            inner = inner.get(parent) if isinstance(inner, dict) else None
    if isinstance(inner, list):
        inner[int(last)] = value
    elif isinstance(inner, dict) and identifier not in config:
        inner[last] = value
    else:
        config[identifier] = value


if __name__ == "__main__":
    sys.exit(main())
