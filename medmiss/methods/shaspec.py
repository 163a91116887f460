"""ShaSpec: shared and specific features of each modality.

Wang, Chen, Ma, Avery, Hull, Carneiro: "Multi-modal Learning with Missing Modality via Shared-Specific
Feature Modelling", CVPR 2023. The equation numbers below are the paper's.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medmiss.losses import DISTANCES, Distance, RegionLoss, pair_distances
from medmiss.methods.method import Method
from medmiss.networks import (
    MISSING,
    ModalityFeatures,
    SharedEncoder,
    SpecificEncoders,
    complete,
    completed,
    completed_skips,
    generated,
    presence_of,
)


class ShaSpec(Method):
    """Shared encoder, one specific encoder a modality, residual fusion, and two auxiliary tasks.

    Args:
        backbone: makes encoders, fusion and decoder, such as `medmiss.networks.LightUNet`.
        modalities: N.
        alpha: weight of the distribution alignment (Eq. 9).
        beta: weight of the domain classification (Eq. 9).
        alignment: `"ce"` (Eq. 6), `"kl"` (Eq. 7), `"l1"` or `"mse"` (Eq. 8; l1 is the published choice).
        pairs: which pairs the alignment of Eqs. 7-8 runs over: `"all"` pairs, averaged and scaled to N
            pairs, or the `"ring"` 0-1, 1-2, ..., (N-1)-0 of the published code.
        missing: what stands for a missing modality at the bottleneck: the `"mean"` of the available ones (Eq. 4) or
            the `"first"` of them, as in the published code.
        missing_skips: the same of the finer levels' features, `"zero"` too, where the paper is silent. The published
            code encodes the missing modality's zeros there, from which the decoder can tell that it is missing.
        align_missing: let the generated features of missing modalities take part in the alignment, as in
            the published code. The paper omits them. (There is no specific feature of a missing modality,
            so that the domain classification is always over the available ones.)
        projection_channels: channels that Eq. 7 projects the shared feature onto.
        domain_level: which of the specific encoder's levels the domain classifier looks at: -1 is s(i) itself
            (Eq. 5). The published code looks at what enters the ASPP, which is -2 of `medmiss.networks.ResNetASPP`.
            The level must have as many channels as s(i).
        task_loss: loss of the output against the label.

    Raises:
        ValueError: when an option has no such value.
    """

    def __init__(
        self,
        backbone: Any,
        modalities: int = 4,
        alpha: float = 0.1,
        beta: float = 0.02,
        alignment: str = "l1",
        pairs: str = "all",
        missing: str = "mean",
        missing_skips: str = "zero",
        align_missing: bool = False,
        projection_channels: int = 16,
        domain_level: int = -1,
        task_loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(task_loss or RegionLoss())
        self.check_option("alignment", alignment, ("ce", "kl", "l1", "mse"))
        self.check_option("pairs", pairs, ("all", "ring"))
        self.check_option("missing", missing, ("mean", "first"))
        self.check_option("missing_skips", missing_skips, MISSING)
        channels = backbone.bottleneck_channels
        self.shared = SharedEncoder(backbone.shared_encoder())
        self.specific = SpecificEncoders(
            [backbone.specific_encoder(index) for index in range(modalities)], levels=(domain_level, -1)
        )
        self.fusion = backbone.fusion()
        self.decoder = backbone.decoder(modalities)
        self.domain_classifier = nn.Linear(channels, modalities)
        # Only the variants that classify or project the shared feature have a layer of their own.
        aligned_channels = {"ce": modalities, "kl": projection_channels}.get(alignment)
        self.aligner: nn.Module = nn.Linear(channels, aligned_channels) if aligned_channels else nn.Identity()
        self.alpha = alpha
        self.beta = beta
        self.alignment = alignment
        self.pairs = pairs
        self.missing = missing
        self.missing_skips = missing_skips
        self.align_missing = align_missing

    def forward(self, image: Tensor, present: Tensor | None = None) -> Tensor:
        """Predict from the modalities that are present; see `Method.forward`."""
        if present is None:
            present = presence_of(image)
        return self._decode(self.shared(image, present), self.specific(image, present)[-1])

    @torch.jit.unused
    def loss_terms(self, image: Tensor, present: Tensor, label: Tensor, available: Tensor) -> dict[str, Tensor]:
        """`task` + alpha * `alignment` + beta * `domain` (Eq. 9); see `Method.loss_terms`."""
        shared = self.shared(image, present)
        specific = self.specific(image, present)
        return {
            "task": self.task_loss(self._decode(shared, specific[-1]), label),
            "alignment": self.alpha * self.alignment_loss(shared[-1]),
            "domain": self.beta * self.domain_loss(specific[0]),
        }

    def fuse(self, shared: ModalityFeatures, specific: ModalityFeatures) -> ModalityFeatures:
        """f(i), from the bottleneck features r(i) and s(i) of the same pairs (Eq. 2)."""
        fused = shared.values + self.fusion(torch.cat([shared.values, specific.values], dim=1))
        return ModalityFeatures(fused, shared.sample, shared.modality, shared.present)

    def _decode(self, shared: list[ModalityFeatures], specific: ModalityFeatures) -> Tensor:
        """Fuse (Eq. 2), complete the missing (Eq. 4; the skips as `missing_skips` says) and decode (Eq. 3)."""
        bottom = shared[-1]
        embeddings = complete(self.fuse(bottom, specific), generated(bottom, self.missing))
        return self.decoder(embeddings, completed_skips(shared, self.missing_skips))

    @torch.jit.unused
    def domain_loss(self, specific: ModalityFeatures) -> Tensor:
        """Cross-entropy of the domain classifier on s(i) against i, available modalities only (Eq. 5)."""
        scores = self.domain_classifier(_pooled(specific.values).float())
        each = functional.cross_entropy(scores, specific.modality, reduction="none")
        return _mean_over_samples(each, specific)

    @torch.jit.unused
    def alignment_loss(self, shared: ModalityFeatures) -> Tensor:
        """Distribution alignment of the shared features r(i), in the variant asked for (Eqs. 6, 7 or 8)."""
        if self.align_missing:
            everything = torch.ones_like(shared.present)
            values = completed(shared, self.missing).flatten(0, 1)
            sample, modality = everything.nonzero().unbind(1)
            shared = ModalityFeatures(values, sample, modality, everything)
        if self.alignment == "ce":
            scores = self.aligner(_pooled(shared.values).float())
            # Cross-entropy against the uniform distribution 1/N.
            return _mean_over_samples(-scores.log_softmax(dim=1).mean(dim=1), shared)
        if self.alignment == "kl":
            projected = self.aligner(_pooled(shared.values).float())
            return self._pairwise(shared._replace(values=projected), _kl)
        return self._pairwise(shared, DISTANCES[self.alignment])

    def _pairwise(self, features: ModalityFeatures, distance: Distance) -> Tensor:
        """Distances of the pairs, per sample scaled to N pairs, mean over samples."""
        present = features.present
        same = torch.eye(present.shape[1], dtype=torch.bool, device=present.device)
        pairs = same.roll(1, dims=1) if self.pairs == "ring" else ~same
        total = pair_distances(features.values, present, distance, pairs).sum(dim=(1, 2))
        if self.pairs == "all":
            count = present.sum(dim=1)
            total = total * present.shape[1] / (count * (count - 1)).clamp(min=1)
        return total.mean()


def _pooled(values: Tensor) -> Tensor:
    """Global average over space, `(P, C)`."""
    return values if values.dim() == 2 else values.flatten(2).mean(dim=2)


def _mean_over_samples(values: Tensor, features: ModalityFeatures) -> Tensor:
    """Mean over each sample's modalities, then over samples: two half batches average to the whole one."""
    return (values / features.present.sum(dim=1)[features.sample]).sum() / features.present.shape[0]


def _kl(a: Tensor, b: Tensor) -> Tensor:
    """KL(softmax a || softmax b), a row each."""
    log_a, log_b = a.log_softmax(dim=1), b.log_softmax(dim=1)
    return (log_a.exp() * (log_a - log_b)).sum(dim=1)
