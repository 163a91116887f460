"""Finding a MONAI bundle and reading its configuration.

A bundle's configuration can run code (`_target_`, `$` expressions): use only bundles you trust.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import medmiss
from medmiss.cases.files import read_record

if TYPE_CHECKING:
    import torch
    from monai.bundle import ConfigParser
    from torch import nn

INFERENCE_CONFIG = Path("configs") / "inference.json"
METADATA = Path("configs") / "metadata.json"


class BundleError(Exception):
    """A bundle that cannot be used; `str()` is one sentence that says what to do."""


def bundle_folders() -> list[Path]:
    """The bundles that come with the installed package or stand in its checkout, by name."""
    package = Path(medmiss.__file__).resolve().parent
    found: dict[str, Path] = {}
    for shelf in (package / "bundles", package.parent / "bundles"):
        for config in sorted(shelf.glob(f"*/{INFERENCE_CONFIG}")):
            folder = config.parent.parent
            found.setdefault(folder.name, folder)
    return [found[name] for name in sorted(found)]


def resolve_bundle(bundle: str | Path) -> Path:
    """The folder of a bundle, from its name or its folder.

    Args:
        bundle: a folder that holds `configs/inference.json`, or the name of an installed bundle.

    Raises:
        BundleError: when there is no such bundle.
    """
    if (Path(bundle) / INFERENCE_CONFIG).is_file():
        return Path(bundle).resolve()
    installed = {folder.name: folder for folder in bundle_folders()}
    if str(bundle) in installed:
        return installed[str(bundle)]
    names = ", ".join(installed) or "none"
    raise BundleError(
        f"bundle {str(bundle)!r}: neither a folder with {INFERENCE_CONFIG} nor an installed bundle "
        f"(installed: {names}); name one of these or a bundle's folder"
    )


def segmentation_bundle(bundle: str | Path) -> Path:
    """The folder of a bundle that segments, see `resolve_bundle`.

    Raises:
        BundleError: when there is no such bundle, or it has another task.
    """
    folder = resolve_bundle(bundle)
    config = read_record(folder / INFERENCE_CONFIG)
    if config is not None and "predictor" not in config:  # what cannot be read is said where it is loaded
        raise BundleError(
            f"bundle {folder.name} does not segment ({INFERENCE_CONFIG} has no predictor); name one that does, such as "
            "brats_dropout; those that classify run with medmiss classify or medmiss bundle run"
        )
    return folder


def load_bundle(bundle: str | Path, overrides: Mapping[str, Any] | None = None) -> ConfigParser:
    """Read a bundle's inference configuration, with its metadata, ready to build its parts.

    `load_bundle(b, {"dataset_dir": d, "output_dir": o}).get_parsed_content("evaluator").run()` does what
    `python -m monai.bundle run --config_file b/configs/inference.json --bundle_root b ...` does.

    Args:
        bundle: a name or a folder.
        overrides: configuration id, such as `"inferer::overlap"`, to its new value.

    Raises:
        BundleError: when there is no such bundle, or its configuration cannot be read.
    """
    from monai.bundle import ConfigParser

    root = resolve_bundle(bundle)
    parser = ConfigParser()
    for file, read in ((INFERENCE_CONFIG, parser.read_config), (METADATA, parser.read_meta)):
        try:
            read(str(root / file))
        except (OSError, ValueError) as error:
            raise BundleError(f"bundle {root.name}: {root / file} cannot be read ({error}); replace it") from error
    parser.update({"bundle_root": str(root), **(overrides or {})})
    return parser


def bundle_network(bundle: str | Path, device: torch.device) -> nn.Module:
    """A bundle's network with its weights, in evaluation mode.

    Args:
        bundle: a name or a folder.
        device: where it goes.

    Raises:
        BundleError: when there is no such bundle, or it has no weights that fit.
    """
    return load_bundle(bundle, {"device": device}).get_parsed_content("network")


def mean_of_bundles(bundles: Sequence[str | Path], device: torch.device) -> nn.Module:
    """The networks of several bundles, such as the folds of a cross-validation, as one: their mean probability.

    Args:
        bundles: names or folders.
        device: where they go.

    Raises:
        BundleError: as `bundle_network`.
    """
    from medmiss.inference.weights import MeanOfNetworks

    return MeanOfNetworks(bundle_network(bundle, device) for bundle in bundles).eval()


def together(bundles: Sequence[Path]) -> dict[str, Any]:
    """The entries that make the first bundle's inference configuration predict with the mean of all of them.

    Raises:
        BundleError: when they are made for different modalities.
    """
    if len(bundles) == 1:
        return {}
    configs = [load_bundle(bundle) for bundle in bundles]
    modalities = {str(config["modalities"]) for config in configs}
    if len(modalities) > 1:
        raise BundleError(
            f"bundles {', '.join(bundle.name for bundle in bundles)} are made for different modalities "
            f"({', '.join(sorted(modalities))}); give bundles that are made for the same ones"
        )
    folders = [str(bundle) for bundle in bundles]
    return {
        "network": {"_target_": "medmiss.inference.mean_of_bundles", "bundles": folders, "device": "@device"},
        "weights": [config.get_parsed_content("weights") for config in configs],
        "evaluator::bundle": folders,
    }
