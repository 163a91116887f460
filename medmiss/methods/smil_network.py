"""SMIL's networks: the main one, and those that reconstruct and regularise its features. Equations as in `smil.py`."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from medmiss.networks import modality_inputs


class Prediction(NamedTuple):
    """What `SmilNetwork` returns.

    Attributes:
        logits: `(B, classes)`.
        kl_weights: `(B,)`, KL of the priors' weights from N(1, I); 0 for a sample that lacks nothing.
        kl_regularisation: `(B,)`, KL of the regularisation from N(0, I), summed over the layers.
    """

    logits: Tensor
    kl_weights: Tensor
    kl_regularisation: Tensor


class SmilNetwork(nn.Module):
    """The main network f_theta, and within it the networks phi_c and phi_r that reconstruct and regularise.

    It is one module, so that the inner step can call it with other parameters.

    Args:
        backbone: see `SMIL`, as are `missing`, `priors`, `passes` and `seed`.
        missing: see there.
        priors: see there.
        learned: whether the noise is.
        add: whether regularisation is added; else it multiplies.
        passes: see there.
        seed: see there.
    """

    missing: list[int]

    def __init__(
        self, backbone: Any, missing: Sequence[int], priors: int, learned: bool, add: bool, passes: int, seed: int
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.widths = [int(width) for width in backbone.feature_channels]
        self.missing = list(missing)
        self.passes = passes
        self.encoders = nn.ModuleList([backbone.specific_encoder(modality) for modality in (0, 1)])
        self.head = nn.ModuleList(backbone.head())
        self.reconstructions = nn.ModuleList()
        for modality in missing:
            noise = Noise(priors, passes, generator)
            self.reconstructions.append(
                Reconstruction(self.widths[1 - modality], self.widths[modality], learned, noise)
            )
        self.regularisations = nn.ModuleList()
        previous = self.widths[0]
        for width in (sum(self.widths), *backbone.hidden_channels):
            noise = Noise(width, passes, generator)
            self.regularisations.append(Regularisation(previous, width, learned, add, noise))
            previous = width

    def forward(self, image: Tensor, present: Tensor) -> Prediction:
        """Classify from what is present: one draw in training; at prediction the mean over the passes."""
        for modality in range(2):
            if modality not in self.missing and not bool(present[:, modality].all()):
                raise ValueError(f"modality {modality} is missing, and this SMIL has been told to count on it")
        encoded = self.encode(image, present)
        prediction = self._classify(encoded, present, 0)
        if self.training or self.passes == 0:
            return prediction
        logits = prediction.logits
        for number in range(1, self.passes):
            logits = logits + self._classify(encoded, present, number).logits
        return Prediction(logits / self.passes, prediction.kl_weights, prediction.kl_regularisation)

    def encode(self, image: Tensor, present: Tensor) -> list[Tensor]:
        """Features of each modality by its own encoder, `(B, C_i)`; rows of zeros where it is missing."""
        inputs = modality_inputs(image, present)
        encoded: list[Tensor] = []
        for index, encoder in enumerate(self.encoders):
            own = (inputs.modality == index).nonzero().flatten()
            features = torch.zeros([present.shape[0], self.widths[index]], dtype=image.dtype, device=image.device)
            if own.numel() > 0:
                values = encoder(inputs.values[own])[-1].flatten(1)
                features = features.to(values.dtype).index_copy(0, inputs.sample[own], values)
            encoded.append(features)
        return encoded

    def _classify(self, encoded: list[Tensor], present: Tensor, number: int) -> Prediction:
        """Reconstruct what is missing, then regularise and apply layer after layer; pass `number`."""
        features = [encoded[0], encoded[1]]
        kl_weights = torch.zeros([present.shape[0]], device=present.device)
        for index, reconstruction in enumerate(self.reconstructions):
            modality = self.missing[index]
            lost = (~present[:, modality]).nonzero().flatten()
            if lost.numel() > 0:
                values, divergence = reconstruction(encoded[1 - modality][lost], number)
                features[modality] = features[modality].to(values.dtype).index_copy(0, lost, values)
                kl_weights = kl_weights.to(divergence.dtype).index_copy(0, lost, divergence)
        previous = features[0]
        current = torch.cat(features, dim=1)
        kl_regularisation = torch.zeros_like(kl_weights)
        for regularisation, layer in zip(self.regularisations, self.head):  # noqa: B905 (TorchScript knows no strict)
            current, divergence = regularisation(previous, current, number)
            kl_regularisation = kl_regularisation + divergence
            previous = current
            current = layer(current)
        return Prediction(current, kl_weights, kl_regularisation)


class Noise(nn.Module):
    """Standard normal numbers: new ones in training, at prediction always the same, or zeros.

    At prediction all samples share a pass's numbers, drawn once from a seed: what is predicted for one
    depends neither on the others of its batch nor on how often the network was called.

    Args:
        width: how many numbers.
        passes: stochastic passes at prediction; with 0 the numbers are zeros there.
        generator: of the numbers at prediction.
    """

    draws: Tensor

    def __init__(self, width: int, passes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("draws", torch.randn(passes, width, generator=generator), persistent=False)

    def forward(self, like: Tensor, number: int) -> Tensor:
        """Numbers of pass `number`, shaped as `like` `(B, width)`."""
        if self.training:
            return torch.randn_like(like)
        if self.draws.shape[0] == 0:
            return torch.zeros_like(like)
        return self.draws[number].to(like.dtype).expand_as(like)


class Reconstruction(nn.Module):
    """A missing modality's features as a weighted sum of its priors (Eq. 2), by the network phi_c.

    Args:
        source_channels: features of the modality that is there.
        channels: features of the missing one.
        learned: see `SMIL`, `noise`.
        noise: of the weights; as many as there are priors.
    """

    priors: Tensor
    fitted: Tensor

    def __init__(self, source_channels: int, channels: int, learned: bool, noise: Noise) -> None:
        super().__init__()
        count = noise.draws.shape[1]
        self.learned = learned
        self.noise = noise
        self.predictor = nn.Linear(source_channels, count)
        self.register_buffer("priors", torch.zeros(count, channels))
        self.register_buffer("fitted", torch.tensor(False))

    def forward(self, source: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Reconstruct from `source` `(P, C)`: features `(P, C')`, and the weights' KL from N(1, I), `(P,)`."""
        if not bool(self.fitted):
            raise ValueError(
                "a modality is missing, and SMIL has no priors to rebuild it from: let KMeansPriors fit them, "
                "or load weights that have some"
            )
        predicted = self.predictor(source).to(self.priors.dtype)
        if self.learned:
            weights = 1 + (predicted / 2).exp() * self.noise(predicted, number)
            divergence = divergence_from_unit(torch.zeros_like(predicted), predicted)
        else:
            positive = functional.softplus(predicted)
            weights = positive / positive.sum(dim=1, keepdim=True)
            divergence = torch.zeros_like(predicted[:, 0])
        return weights @ self.priors, divergence


class Regularisation(nn.Module):
    """A layer's features, to or by which softplus(r) is added or multiplied (Eq. 3), by the network phi_r.

    Args:
        previous_channels: features of the layer before, from which mu and the logarithm of sigma are predicted.
        channels: features of the layer.
        learned: see `SMIL`, `noise`.
        add: added, else multiplied.
        noise: of r; as many as `channels`.
    """

    def __init__(self, previous_channels: int, channels: int, learned: bool, add: bool, noise: Noise) -> None:
        super().__init__()
        self.learned = learned
        self.add = add
        self.noise = noise
        self.predictor = nn.Linear(previous_channels, 2 * channels if learned else channels)

    def forward(self, previous: Tensor, features: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Regularise `features` `(B, C)` of a layer: the result, and the KL of r from N(0, I), `(B,)`."""
        predicted = self.predictor(previous).to(self.predictor.weight.dtype)
        mean = predicted[:, : features.shape[1]]
        noise = self.noise(mean, number)
        divergence = torch.zeros_like(mean[:, 0])
        if self.learned:
            log_variance = predicted[:, features.shape[1] :]
            noise = noise * (log_variance / 2).exp()
            divergence = divergence_from_unit(mean, log_variance)
        factor = functional.softplus(mean + noise)
        return (features + factor if self.add else features * factor), divergence


def divergence_from_unit(shift: Tensor, log_variance: Tensor) -> Tensor:
    """KL of N(m + shift, diag(exp(log_variance))) from N(m, I), whatever m (Eq. 6): `(B, D)` to `(B,)`."""
    return (shift.square() + log_variance.exp() - 1 - log_variance).sum(dim=1) / 2
