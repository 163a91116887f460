"""The module that training calls, and that distributed training wraps."""

from torch import Tensor, nn

from medmiss.methods import Method


class LossTerms(nn.Module):
    """A method seen as a function from a batch to its loss terms.

    Gradients synchronise between processes only for what runs inside the wrapped module's `forward`;
    a method's own `forward` returns logits and knows no label, so this one is wrapped instead.

    Args:
        method: the method to train.
    """

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Named, weighted terms of one batch.

        Args:
            batch: `image` `(B, 4, X, Y, Z)`, `present` and `available` `(B, 4)` boolean,
                `label` `(B, 3, X, Y, Z)`.
        """
        return self.method.loss_terms(batch["image"], batch["present"], batch["label"], batch["available"])
