"""From a case to a mask: the sliding window, the predictor, and the evaluator a bundle runs.

The names load on first use, so that the command line can look for a bundle without waiting for torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "BundleError": "bundle",
    "CaseDataset": "dataset",
    "CasePredictor": "predictor",
    "CaseReader": "reading",
    "CasesFailed": "evaluator",
    "MeanOfNetworks": "weights",
    "ModalitySlidingWindowInferer": "inferer",
    "Prediction": "predictor",
    "PredictionEvaluator": "evaluator",
    "bundle_network": "bundle",
    "load_bundle": "bundle",
    "load_network": "weights",
    "mean_of_bundles": "bundle",
    "resolve_bundle": "bundle",
    "select_device": "weights",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import the module that defines `name` (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
