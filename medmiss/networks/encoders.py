"""Running single-modality encoders on the modalities that exist."""

from collections.abc import Sequence

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
    """One encoder a modality.

    Args:
        encoders: one a modality, in channel order; each maps `(P, 1, ...)` to a list of features.
        levels: which of that list are used.
    """

    def __init__(self, encoders: list[nn.Module], levels: Sequence[int] = (-1,)) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.levels = list(levels)

    def forward(self, image: Tensor, present: Tensor) -> list[ModalityFeatures]:
        """Encode each existing modality of `image` `(B, N, ...)` with its own encoder; the features of `levels`."""
        inputs = modality_inputs(image, present)
        values: list[list[Tensor]] = []
        rows: list[Tensor] = []
        for index, encoder in enumerate(self.encoders):
            own = (inputs.modality == index).nonzero().flatten()
            if own.numel() > 0:
                features = encoder(inputs.values[own])
                values.append([features[level] for level in self.levels])
                rows.append(own)
        order = torch.cat(rows).argsort()
        used: list[ModalityFeatures] = []
        for position in range(len(self.levels)):
            ordered = torch.cat([each[position] for each in values])[order]
            used.append(ModalityFeatures(ordered, inputs.sample, inputs.modality, present))
        return used
