"""LeNets of one image or one sound: what the methods build their classifiers of digits from."""

import torch
from torch import Tensor, nn

from medmiss.classification.avmnist import DIGITS

FLAT = 160
"""Features of a LeNet before its projection: 10 channels of 4 x 4."""


class LeNetEncoder(nn.Module):
    """SMIL's LeNet: convolutions of 5 x 5 to 5 and 10 channels, and a linear projection.

    Args:
        channels: features that the projection gives.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 5, kernel_size=5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(5, 10, kernel_size=5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(FLAT, channels),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Encode `(P, 1, 28, 28)`; one level, `(P, channels)`."""
        return [self.layers(x)]


class Classifier(nn.Module):
    """Two linear layers on the concatenated embeddings.

    Args:
        modalities: N.
        channels: of an embedding.
        hidden: features of the hidden layer.
        dropout: after it.
    """

    def __init__(self, modalities: int, channels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.bottom = nn.Sequential(nn.Linear(modalities * channels, hidden), nn.ReLU())
        self.out = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, DIGITS))

    def forward(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        """Logits `(B, 10)` of `bottleneck` `(B, N, C)`; there are no skips."""
        return self.out(self.bottom(torch.relu(bottleneck).flatten(1)))


class LeNets:
    """The backbone of ShaSpec, LCKD, MCKD, MMANet and the plain network.

    Where the papers are silent: one LeNet serves images and sounds, the latter padded to 28 x 28, and every encoder
    ends in a linear projection to one common width, so that averages and distances of features are defined.

    Args:
        channels: C, the common width.
        hidden: features of the classifier's hidden layer.
        dropout: of the classifier.
    """

    def __init__(self, channels: int = 64, hidden: int = 64, dropout: float = 0.5) -> None:
        self.bottleneck_channels = channels
        self.hidden = hidden
        self.dropout = dropout

    def shared_encoder(self) -> LeNetEncoder:
        """An encoder that serves both modalities."""
        return LeNetEncoder(self.bottleneck_channels)

    def specific_encoder(self, modality: int) -> LeNetEncoder:
        """An encoder of one modality; alike for both."""
        return LeNetEncoder(self.bottleneck_channels)

    def fusion(self) -> nn.Module:
        """ShaSpec's projection `f_proj`: 2C -> C, linear."""
        return nn.Linear(2 * self.bottleneck_channels, self.bottleneck_channels, bias=False)

    def decoder(self, modalities: int) -> Classifier:
        """The classifier of N embeddings; its submodule `bottom` gives the fused feature."""
        return Classifier(modalities, self.bottleneck_channels, self.hidden, self.dropout)
