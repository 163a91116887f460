"""The systems that the papers compare with on Audiovision-MNIST, each a small, standard version.

* AutoEncoder and GAN, as SMIL describes them (Ma et al., AAAI 2021): a network learns on the complete samples to
  make one modality from the other; what is missing in the data is filled in with it, in training and testing; then a
  classifier of both modalities is trained.
* Full2miss, "a method that distils multi-modality knowledge to train [a] missing modality model" (Wang et al., CVPR
  2023): a network of one modality learns from one that was trained on the complete samples.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medmiss.classification.lenet import IMAGE_FEATURES, Encoder, image_layers
from medmiss.classification.pairs import SIDE
from medmiss.methods import Method, ModalityDropout


class Translator(nn.Module):
    """Makes one modality from the other: a LeNet to a narrow code, and two linear layers back to 28 x 28.

    Args:
        code: features of the code.
        hidden: of the layer between code and output.
    """

    def __init__(self, code: int = 64, hidden: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *image_layers(dropout=0.0),
            nn.Linear(IMAGE_FEATURES, code),
            nn.ReLU(),
            nn.Linear(code, hidden),
            nn.ReLU(),
            nn.Linear(hidden, SIDE * SIDE),
        )

    def forward(self, source: Tensor) -> Tensor:
        """From `(B, 1, 28, 28)` to `(B, 1, 28, 28)`."""
        return self.layers(source).reshape(source.shape)


class AutoEncoder(Method):
    """Learns to make each modality from the other, on the complete samples of a batch, by the mean squared error."""

    def __init__(self) -> None:
        super().__init__(nn.MSELoss())
        self.translators = nn.ModuleList([Translator(), Translator()])

    def forward(self, image: Tensor, present: Tensor | None = None) -> Tensor:
        """`image` `(B, 2, 28, 28)` with what is missing filled in; `present` is needed."""
        assert present is not None
        filled = torch.where(present[:, :, None, None], image, image.new_zeros(()))
        for modality, translator in enumerate(self.translators):
            rows = (~present[:, modality]).nonzero().flatten()
            if len(rows):
                filled[rows, modality] = translator(filled[rows, 1 - modality].unsqueeze(1)).squeeze(1)
        return filled

    def loss_terms(self, image: Tensor, present: Tensor, label: Tensor, available: Tensor) -> dict[str, Tensor]:
        """`task`: what is made against what is there; see `Method.loss_terms`."""
        whole = image[available.all(dim=1)]
        return {"task": self.task_loss(self.made(whole), whole) if len(whole) else self._nothing()}

    def made(self, whole: Tensor) -> Tensor:
        """Both modalities of complete samples `(B, 2, 28, 28)`, each made from the other."""
        return torch.cat([each(whole[:, 1 - i : 2 - i]) for i, each in enumerate(self.translators)], dim=1)

    def _nothing(self) -> Tensor:
        """Zero, with a graph to go backward through."""
        return 0 * next(self.parameters()).sum()


class GAN(AutoEncoder):
    """An `AutoEncoder` whose results a discriminator has to tell from real pairs, as pix2pix (Isola et al., 2017).

    The discriminators sit behind a gradient reversal, so that one step moves both sides of the game.

    Args:
        weight: of the mean absolute error beside the game, published as 100.
    """

    def __init__(self, weight: float = 100.0) -> None:
        super().__init__()
        self.task_loss = nn.L1Loss()
        self.weight = weight
        self.discriminators = nn.ModuleList()
        for _ in range(2):
            self.discriminators.append(Encoder(*image_layers(channels=2, dropout=0.0), nn.Linear(IMAGE_FEATURES, 1)))

    def loss_terms(self, image: Tensor, present: Tensor, label: Tensor, available: Tensor) -> dict[str, Tensor]:
        """`task`, the weighted error, and `game`, what the discriminators lower and the translators raise."""
        whole = image[available.all(dim=1)]
        if len(whole) == 0:
            return {"task": self._nothing(), "game": self._nothing()}
        made = self.made(whole)
        game = image.new_zeros(())
        for modality, discriminator in enumerate(self.discriminators):
            fake = whole.clone()
            fake[:, modality] = _Reversal.apply(made[:, modality])
            for pairs, real in ((whole, 1.0), (fake, 0.0)):
                score = discriminator(pairs)[-1]
                game = game + functional.binary_cross_entropy_with_logits(score, torch.full_like(score, real)) / 4
        return {"task": self.weight * self.task_loss(made, whole), "game": game}


class _Reversal(torch.autograd.Function):
    """The identity, with the gradient turned round."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]


class Imputed(Method):
    """A network of all modalities that is given samples in which what is missing has been filled in.

    Args:
        imputer: fills in.
        network: what classifies, trained on such samples.
    """

    def __init__(self, imputer: AutoEncoder, network: Method) -> None:
        super().__init__(network.task_loss)
        self.imputer = imputer
        self.network = network

    def forward(self, image: Tensor, present: Tensor | None = None) -> Tensor:
        """Logits `(B, classes)`; `present` is needed."""
        assert present is not None
        return self.network(self.imputer(image, present), torch.ones_like(present))


class Full2Miss(ModalityDropout):
    """A network of one modality that learns from one of all modalities, where a sample has them all.

    The softened predictions are compared, as Hinton et al. (2015) do. The mean is over the whole batch, in which the
    other samples count as 0: where few are complete the teacher says little.

    Args:
        backbone: makes the encoder and the decoder.
        teacher: trained on complete samples. It is frozen, and no part of the state dict.
        modality: the one that is used, whatever else is there.
        temperature: of the predictions.
        weight: of the distillation.
        task_loss: see `Method`.
    """

    def __init__(
        self,
        backbone: Any,
        teacher: Method,
        modality: int = 0,
        temperature: float = 4.0,
        weight: float = 1.0,
        task_loss: nn.Module | None = None,
    ) -> None:
        super().__init__(backbone, 2, "zero", task_loss=task_loss or nn.CrossEntropyLoss())
        self._teacher = (teacher.eval().requires_grad_(False),)  # a tuple keeps it out of the state dict
        self.modality = modality
        self.temperature = temperature
        self.weight = weight

    def forward(self, image: Tensor, present: Tensor | None = None) -> Tensor:
        """Logits from the one modality, which every sample must have."""
        alone = torch.arange(2, device=image.device) == self.modality
        return super().forward(image, alone.expand(len(image), 2))

    def loss_terms(self, image: Tensor, present: Tensor, label: Tensor, available: Tensor) -> dict[str, Tensor]:
        """`task` + weight * `distillation`; see `Method.loss_terms`."""
        logits = self(image)
        whole = available.all(dim=1)
        distillation = logits.new_zeros(())
        if whole.any():
            with torch.no_grad():
                taught = self._teacher[0](image[whole], available[whole])
            learned, wanted = ((each / self.temperature).log_softmax(dim=1) for each in (logits[whole], taught))
            divergence = functional.kl_div(learned, wanted, reduction="none", log_target=True).sum(dim=1)
            distillation = self.temperature**2 * divergence.sum() / len(image)
        return {"task": self.task_loss(logits, label), "distillation": self.weight * distillation}
