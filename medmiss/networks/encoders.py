"""Running single-modality encoders on the modalities that exist."""

import torch
from torch import Tensor, nn

from medmiss.networks.features import ModalityFeatures, modality_inputs


class SharedEncoder(nn.Module):
    """One encoder for all modalities.

    Args:
        encoder: maps `(P, 1, ...)` to the list of its levels' features, finest first.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor, present: Tensor) -> list[ModalityFeatures]:
        """Encode the existing modalities of `image` `(B, N, ...)`; the features of every level, finest first."""
        inputs = modality_inputs(image, present)
        levels: list[ModalityFeatures] = []
        for values in self.encoder(inputs.values):
            levels.append(ModalityFeatures(values, inputs.sample, inputs.modality, present))
        return levels


class SpecificEncoders(nn.Module):
    """One encoder a modality, of which the last level's features are used.

    Args:
        encoders: one a modality, in channel order; each maps `(P, 1, ...)` to a list of features.
    """

    def __init__(self, encoders: list[nn.Module]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)

    def forward(self, image: Tensor, present: Tensor) -> ModalityFeatures:
        """Encode each existing modality of `image` `(B, N, ...)` with its own encoder."""
        inputs = modality_inputs(image, present)
        values: list[Tensor] = []
        rows: list[Tensor] = []
        for index, encoder in enumerate(self.encoders):
            own = (inputs.modality == index).nonzero().flatten()
            if own.numel() > 0:
                values.append(encoder(inputs.values[own])[-1])
                rows.append(own)
        ordered = torch.cat(values)[torch.cat(rows).argsort()]
        return ModalityFeatures(ordered, inputs.sample, inputs.modality, present)
