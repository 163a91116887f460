"""The plain modality-dropout network: what the papers' methods add to is measured against it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from medmiss.losses import RegionLoss
from medmiss.methods.method import Method
from medmiss.networks import MISSING, ModalityFeatures, SharedEncoder, completed, completed_skips, presence_of


class ModalityDropout(Method):
    """One shared encoder, features of missing modalities completed at every level, one decoder, the task loss alone.

    It learns to do without modalities only from being trained with random subsets of them. LCKD, MCKD and
    MMANet are this network with the terms that their papers add, so that a comparison isolates what a paper adds.

    Args:
        backbone: makes the encoder and the decoder, such as `medmiss.networks.LightUNet`.
        modalities: N.
        missing: what stands for a missing modality at the bottleneck: the `"mean"` or the `"first"` of the available
            ones, or `"zero"`.
        missing_skips: the same of the finer levels' features, where the papers are silent. Zero lets the decoder see
            which modalities it was given (see docs/comparison.md).
        task_loss: loss of the output against the label; `RegionLoss` when left out.

    Raises:
        ValueError: when `missing` or `missing_skips` has no such value.
    """

    def __init__(
        self,
        backbone: Any,
        modalities: int = 4,
        missing: str = "zero",
        missing_skips: str = "zero",
        task_loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(task_loss or RegionLoss())
        self.check_option("missing", missing, MISSING)
        self.check_option("missing_skips", missing_skips, MISSING)
        self.shared = SharedEncoder(backbone.shared_encoder())
        self.decoder = backbone.decoder(modalities)
        self.missing = missing
        self.missing_skips = missing_skips

    def forward(self, image: Tensor, present: Tensor | None = None) -> Tensor:
        """Predict from the modalities that are present; see `Method.forward`."""
        if present is None:
            present = presence_of(image)
        return self.decode(self.encode(image, present))

    @torch.jit.unused
    def loss_terms(self, image: Tensor, present: Tensor, label: Tensor, available: Tensor) -> dict[str, Tensor]:
        """`task` alone; see `Method.loss_terms`."""
        return {"task": self.task_loss(self(image, present), label)}

    def encode(self, image: Tensor, present: Tensor) -> list[ModalityFeatures]:
        """Features of the modalities that are present, level by level, finest first; the last is the bottleneck."""
        return self.shared(image, present)

    def decode(self, levels: list[ModalityFeatures]) -> Tensor:
        """Complete every level and decode to logits `(B, regions, X, Y, Z)`."""
        return self.decoder(completed(levels[-1], self.missing), self.skips(levels))

    def skips(self, levels: list[ModalityFeatures]) -> list[Tensor]:
        """The completed finer levels, finest first, each `(B, N, C, ...)`."""
        return completed_skips(levels, self.missing_skips)
