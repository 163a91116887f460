"""What every missing-modality method offers the trainer, the inferer and the bundles."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn


class Method(nn.Module):
    """A network for any subset of modalities, with the loss terms that train it.

    A method works on per-modality features, so the same class serves 3-D segmentation and classification
    with other encoders and heads: its `backbone` makes them (`medmiss.networks.LightUNet` is one).

    Args:
        task_loss: loss of the output against the label, a scalar.
    """

    def __init__(self, task_loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.task_loss = task_loss

    def forward(self, image: Tensor, present: Tensor | None = None) -> Tensor:
        """Predict from the modalities that are present.

        Args:
            image: `(B, N, X, Y, Z)`; what the channel of an absent modality holds has no influence.
            present: `(B, N)` boolean, at least one a sample. When left out, a channel that is all
                zero counts as absent.

        Returns:
            Logits `(B, regions, X, Y, Z)`.
        """
        raise NotImplementedError

    def loss_terms(self, image: Tensor, present: Tensor, label: Tensor, available: Tensor) -> dict[str, Tensor]:
        """The named, weighted terms whose sum is minimised.

        Args:
            image: `(B, N, X, Y, Z)`.
            present: `(B, N)` boolean, what the network may use in this step.
            label: what `task_loss` compares the output with, `(B, regions, X, Y, Z)`.
            available: `(B, N)` boolean, what exists: teachers may see more than `present`.
        """
        raise NotImplementedError

    def handlers(self) -> Sequence[Any]:
        """Ignite handlers for what the method does between steps; none unless the paper defines some."""
        return ()
