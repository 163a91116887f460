"""`medmiss info`: what is installed, and what a bundle is made of."""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from medmiss import __version__
from medmiss.cli import DEFAULT_BUNDLE
from medmiss.cli.train import PROFILES

SUMMARY = "show version, bundles and what each is made of"

EXAMPLES = """\
examples:
  medmiss info                          version and installed bundles
  medmiss info brats_shaspec            parameters, modalities, labels, measured accuracy
  medmiss info brats_lckd --profile published   the size of the published network
  medmiss info ./my_bundle --json       the same of a bundle's folder, for a script"""

logger = logging.getLogger(__name__)

Facts = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLES
    parser.add_argument("bundle", nargs="?", metavar="BUNDLE", help="name or folder of a bundle (default: list them)")
    parser.add_argument(
        "--profile", choices=PROFILES, help="the network of this profile of training, where the bundle has it"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print what was asked for."""
    from medmiss.inference.bundle import bundle_folders, resolve_bundle

    if args.bundle is None and args.profile is not None:
        raise argparse.ArgumentError(None, "argument --profile: name the bundle too, as in: medmiss info BUNDLE ...")
    if args.bundle is None:
        facts = {"medmiss": __version__, "bundles": [_summary(folder) for folder in bundle_folders()]}
    else:
        facts = {"medmiss": __version__, **_details(resolve_bundle(args.bundle), args.profile)}
    print(json.dumps(facts, indent=2) if args.json else "\n".join(_text(facts)))
    return 0


def _metadata(folder: Path) -> Facts:
    """A bundle's metadata; empty, with a warning, where it cannot be read."""
    from medmiss.inference.bundle import METADATA

    try:
        return json.loads((folder / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        logger.warning("%s: no readable metadata (%s)", folder / METADATA, error)
        return {}


def _summary(folder: Path) -> Facts:
    metadata = _metadata(folder)
    weights = folder / "models" / "model.pt"
    return {
        "bundle": folder.name,
        "version": metadata.get("version"),
        "task": metadata.get("task"),
        "weights_bytes": weights.stat().st_size if weights.is_file() else None,
        "folder": str(folder),
    }


def _details(folder: Path, profile: str | None) -> Facts:
    metadata = _metadata(folder)
    data_format = metadata.get("network_data_format", {})
    light = profile in (None, "light")  # the weights are those of the light profile
    summary = _summary(folder)
    return {
        **summary,
        "description": metadata.get("description"),
        "profile": profile,
        "parameters": _count_parameters(folder, profile),
        "weights_bytes": summary["weights_bytes"] if light else None,
        "modalities": _channels(data_format, "inputs", "image"),
        "labels": _channels(data_format, "outputs", "pred"),
        "accuracy": metadata.get("eval_metrics", {}) if light else {},
        "intended_use": metadata.get("intended_use"),
    }


def _channels(data_format: Facts, side: str, name: str) -> list[str]:
    """Names of the channels of a network's input or output, in order."""
    channels = data_format.get(side, {}).get(name, {}).get("channel_def", {})
    return [channels[number] for number in sorted(channels, key=int)]


def _count_parameters(folder: Path, profile: str | None) -> int | None:
    """Number of parameters of the network that predicts; None, with a warning, where it cannot be built.

    Raises:
        argparse.ArgumentError: when the bundle has no such profile.
    """
    from medmiss.inference.bundle import load_bundle

    config = load_bundle(folder)
    if profile not in (None, "light"):
        overlay = folder / "configs" / f"{profile}.json"
        if not overlay.is_file():
            raise argparse.ArgumentError(None, f"argument --profile: bundle {folder.name} has no {profile} profile")
        config.update({"network_def": json.loads(overlay.read_text(encoding="utf-8"))["network_def"]})
    try:
        network = config.get_parsed_content("network_def")
    except Exception as error:  # a configuration is a program: anything may go wrong in it
        logger.warning("%s: the network cannot be built (%s)", folder.name, error)
        return None
    return sum(parameter.numel() for parameter in network.parameters())


def _text(facts: Facts) -> list[str]:
    """The facts as lines for a reader."""
    lines = []
    for name, value in facts.items():
        title = name.replace("_", " ")
        if name == "bundles":
            lines.append("bundles:" if value else "bundles: none")
            lines += [
                f"  {item['bundle']} {item['version']}: {item['task']}{_remark(item)} ({item['folder']})"
                for item in value
            ]
        elif name == "accuracy":
            lines += [line for measure, table in value.items() for line in _accuracy(measure, table)]
        elif name == "weights_bytes":
            lines.append(f"weights: {'none, to be trained first' if value is None else f'{value:,} bytes'}")
        elif isinstance(value, list):
            lines.append(f"{title}: {', '.join(value)}")
        elif isinstance(value, int):
            lines.append(f"{title}: {value:,}")
        elif value is not None:
            lines.append(f"{title}: {value}")
    return lines


def _remark(summary: Facts) -> str:
    """What a list says of a bundle besides its task."""
    if summary["weights_bytes"] is None:
        return "; without weights, to be trained first"
    return "; with weights" + (", the default" if summary["bundle"] == DEFAULT_BUNDLE else "")


def _accuracy(measure: str, table: Any) -> list[str]:
    """One measure: a number, or a table of subset to region to number."""
    if not isinstance(table, dict):
        return [f"{measure}: {table}"]
    width = max(map(len, table), default=0)
    rows = [
        f"  {subset:<{width}}  " + "  ".join(f"{region} {value:.3f}" for region, value in regions.items())
        for subset, regions in table.items()
    ]
    return [f"{measure}:", *rows]
