"""What every missing-modality method offers the trainer, the inferer and the bundles."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn


class Method(nn.Module):
    """A network for any subset of modalities, with the loss terms that train it.

    A method works on per-modality features, so the same class serves 3-D segmentation and classification
    with other encoders and heads: its `backbone` makes them (`medmiss.networks.LightUNet` is one).
    What a method does between steps (such as the election of teachers) is an ignite handler in the method's own
    file, with the evaluator or the data handed in by the bundle's configuration; what it decides there is a
    buffer or a fixed parameter of the method, so that every checkpoint has it.

    Args:
        task_loss: loss of the output against the label, a scalar.
    """

    def __init__(self, task_loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.task_loss = task_loss

    def check_option(self, option: str, value: str, known: Sequence[str]) -> None:
        """Refuse a value that an option does not have.

        Raises:
            ValueError: when `value` is not among `known`.
        """
        if value not in known:
            raise ValueError(f"{type(self).__name__}: {option} is {value!r}, expected one of {', '.join(known)}")

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
        """The named, weighted terms whose sum is minimised; that of the task loss is named `task`.

        Args:
            image: `(B, N, X, Y, Z)`.
            present: `(B, N)` boolean, what the network may use in this step.
            label: what `task_loss` compares the output with, `(B, regions, X, Y, Z)`.
            available: `(B, N)` boolean, what exists: teachers may see more than `present`.
        """
        raise NotImplementedError

    def deployed(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The part of a state dict that prediction needs: all of it, unless the method has parts for training alone."""
        return dict(state)
