"""The weights that a training begins with."""

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from medmiss.networks.files import read_tensors

logger = logging.getLogger(__name__)


def started(network: nn.Module, weights: str | Path | None, device: str | torch.device = "cpu") -> nn.Module:
    """The network on its device, begun with another's weights where the two are alike.

    Every tensor of `weights` that has the name and the shape of one of the network's is taken. The methods share
    their encoders and decoder by name, so ShaSpec, LCKD, MCKD or MMANet can go on from the plain network.

    Args:
        network: as the configuration defines it.
        weights: file of a state dict, read with `weights_only=True`; None leaves the random start.
        device: where the network goes.

    Raises:
        ValueError: when the file cannot be read, or no tensor fits: that would be a random start under another name.
    """
    if weights is None:
        return network.to(device)
    own = network.state_dict()
    state = read_tensors(weights)
    named = {name: value for name, value in state.items() if name in own and isinstance(value, Tensor)}
    fitting = {name: value for name, value in named.items() if own[name].shape == value.shape}
    if not fitting:
        raise ValueError(f"{weights}: none of its tensors fits the network; start from weights of the same backbone")
    network.load_state_dict(fitting, strict=False)
    fresh = sorted({name.partition(".")[0] for name in own.keys() - fitting.keys()})
    rest = f"; new: {', '.join(fresh)}" if fresh else ""
    logger.info("%d of %d tensors start from given weights%s", len(fitting), len(own), rest)
    if len(fitting) < len(named):
        unlike = len(named) - len(fitting)
        logger.warning("%s: %d tensors have another shape and were not taken: another width?", weights, unlike)
    return network.to(device)
