"""Weights and devices: what turns a network's definition into a network that may predict."""

import os
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from medmiss.inference.bundle import BundleError
from medmiss.networks.files import read_tensors


def select_device(name: str = "auto") -> torch.device:
    """The device to compute on.

    Args:
        name: `"auto"` (a GPU when torch sees one; under `torchrun` each process its own), `"cpu"`, `"cuda"` or
            `"cuda:1"`.

    Raises:
        BundleError: when a GPU is asked for that torch does not see, or the name is unknown.
    """
    if name == "auto":
        gpus = torch.cuda.device_count()
        name = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % gpus}" if gpus else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BundleError(f"device {name!r} is unknown: expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BundleError(
            f"device {name!r}: torch {torch.__version__} sees {torch.cuda.device_count()} GPUs; "
            "use --device cpu, or a torch built for your GPU"
        )
    return device


def load_network(network: nn.Module, weights: str | Path, device: str | torch.device = "cpu") -> nn.Module:
    """Put a bundle's weights into its network, ready to predict.

    Args:
        network: as the configuration defines it, untrained.
        weights: file of its state dict; read with `weights_only=True`, so that it cannot run code.
        device: where the network goes.

    Returns:
        The same network, in evaluation mode.

    Raises:
        BundleError: when the file is missing, unreadable or of another network. An untrained network never
            predicts, since its mask would look like a result.
    """
    path = Path(weights)
    if not path.is_file():
        raise BundleError(
            f"{path}: the bundle has no weights, and an untrained network must not predict; "
            "train it, copy its model.pt there, or give the bundle's own folder as bundle_root"
        )
    try:
        state = read_tensors(path)
    except ValueError as error:
        raise BundleError(str(error)) from error
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{path}: these weights do not fit the network of the configuration ({_shortened(error)}); "
            "use the model.pt that belongs to this bundle"
        ) from error
    return network.to(device).eval()


class MeanOfNetworks(nn.Module):
    """Several networks as one: the logits of the mean of their probabilities.

    Args:
        networks: each maps `(image, present)` to region logits of one shape.
    """

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, image: Tensor, present: Tensor) -> Tensor:
        """Logits `(B, 3, X, Y, Z)` of the mean probability, from `image` `(B, 4, X, Y, Z)`, `present` `(B, 4)`."""
        probabilities = [network(image, present).float().sigmoid() for network in self.networks]
        return torch.stack(probabilities).mean(dim=0).logit(eps=1e-6)


def _shortened(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."
