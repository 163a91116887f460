"""The facts of a run that its report states, and the settings that make a mask what it is."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from medmiss import __version__
from medmiss.cases.files import sha256_of
from medmiss.inference.bundle import METADATA

Files = str | Path | Sequence[str | Path]


def run_facts(bundle: Files, weights: Files, device: torch.device) -> dict[str, Any]:
    """Program, bundle, weights and device; names only, no paths. Several are joined by " + ".

    Args:
        bundle: the bundle's folder, or the folders of those that predict together.
        weights: the file that the network was loaded from, or one a bundle.
        device: where it runs.
    """
    roots = [Path(root).resolve() for root in _listed(bundle)]
    versions = [json.loads((root / METADATA).read_text(encoding="utf-8"))["version"] for root in roots]
    files = [Path(file) for file in _listed(weights)]
    return {
        "medmiss": __version__,
        "bundle": {"name": _joined(root.name for root in roots), "version": _joined(versions)},
        "weights": {"file": _joined(file.name for file in files), "sha256": _joined(map(sha256_of, files))},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def _listed(files: Files) -> Sequence[str | Path]:
    return [files] if isinstance(files, (str, Path)) else files


def _joined(names: Iterable[str]) -> str:
    return " + ".join(names)


def metadata_of(bundle: Files) -> dict[str, Any]:
    """A bundle's metadata; empty for several bundles together, of which nothing was measured."""
    roots = [Path(root) for root in _listed(bundle)]
    return json.loads((roots[0] / METADATA).read_text(encoding="utf-8")) if len(roots) == 1 else {}


def settings_of(predictor: Any, used: Sequence[str], labels: str, sha256: str) -> dict[str, Any]:
    """All that decides what a mask looks like, the device's rounding aside; plain JSON values.

    Args:
        predictor: a `CasePredictor`.
        used: the modalities it is to use.
        labels: the label convention's name.
        sha256: of the weights.
    """
    return {"modalities": list(used), "labels": labels, **network_settings(predictor, sha256)}


def network_settings(predictor: Any, sha256: str) -> dict[str, Any]:
    """What of `settings_of` holds for any modalities and labels.

    Args:
        predictor: a `CasePredictor`.
        sha256: of the weights.
    """
    inferer, postprocessing = predictor.inferer, predictor.postprocessing
    settings = {
        "weights": sha256,
        "roi_size": inferer.roi_size,
        "overlap": inferer.overlap,
        "blending": str(inferer.mode),
        "tta": inferer.tta,
        "amp": predictor.amp,
        "postprocessing": None if postprocessing is None else dataclasses.asdict(postprocessing),
    }
    return json.loads(json.dumps(settings))
