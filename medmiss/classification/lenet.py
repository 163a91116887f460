"""LeNets of one image or one sound: what the methods build their classifiers of digits from."""

import torch
from torch import Tensor, nn

from medmiss.classification.avmnist import DIGITS, FRAMES
from medmiss.classification.pairs import SIDE

IMAGE_FEATURES, SOUND_FEATURES = 160, 320
"""Of SMIL's encoders: 10 channels of 4 x 4, and 20 of 4 x 4."""
IMAGE_DROPOUT, SOUND_DROPOUT = 0.5, 0.25
"""Of single values, within them."""


def image_layers(channels: int = 1, dropout: float = IMAGE_DROPOUT) -> list[nn.Module]:
    """SMIL's LeNet: convolutions of 5 x 5 to 5 and 10 channels; `(P, channels, 28, 28)` to `(P, 160)`."""
    return [
        nn.Conv2d(channels, 5, kernel_size=5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(5, 10, kernel_size=5),
        nn.Dropout(dropout),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
    ]


def sound_layers() -> list[nn.Module]:
    """SMIL's network of sounds: convolutions of 2 x 2 to 32, 48 and 20 channels; `(P, 1, 28, 28)` to `(P, 320)`.

    It looks at the 20 x 20 coefficients alone, not at what they were padded with.
    """
    layers: list[nn.Module] = [nn.ZeroPad2d((0, FRAMES - SIDE, 0, FRAMES - SIDE))]
    for before, after in ((1, 32), (32, 48), (48, 20)):
        layers += [nn.Conv2d(before, after, kernel_size=2), nn.BatchNorm2d(after), nn.ReLU()]
    return [*layers, nn.MaxPool2d(2, stride=4), nn.Dropout(SOUND_DROPOUT), nn.Flatten()]


class Encoder(nn.Module):
    """Layers as an encoder of one level.

    Args:
        layers: from what a modality is, such as `(P, 1, 28, 28)`, to `(P, C)`.
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Encode `(P, ...)`; one level, `(P, C)`."""
        return [self.layers(x)]


class Classifier(nn.Module):
    """Two linear layers on the concatenated embeddings.

    Args:
        modalities: N.
        channels: of an embedding.
        hidden: features of the hidden layer.
        dropout: after it.
        classes: number of logits.
    """

    def __init__(self, modalities: int, channels: int, hidden: int, dropout: float, classes: int = DIGITS) -> None:
        super().__init__()
        self.bottom = nn.Sequential(nn.Linear(modalities * channels, hidden), nn.ReLU())
        self.out = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, classes))

    def forward(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        """Logits `(B, classes)` of `bottleneck` `(B, N, C)`; there are no skips."""
        return self.out(self.bottom(torch.relu(bottleneck).flatten(1)))


class LeNets:
    """The backbone of ShaSpec, LCKD, MCKD, MMANet and the plain network.

    Where the papers are silent: one LeNet serves images and sounds, the latter padded to 28 x 28, and every encoder
    ends in a linear projection to one common width, so that averages and distances of features are defined.

    Args:
        channels: C, the common width.
        hidden: features of the classifier's hidden layer.
        dropout: of the classifier.
        sound: what a sound's own encoder is, where a method has one: a `"lenet"` too, or `"smil"`'s three
            convolutions of 2 x 2.

    Raises:
        ValueError: when `sound` has no such value.
    """

    def __init__(
        self,
        channels: int = 64,
        hidden: int = 64,
        dropout: float = 0.5,
        sound: str = "lenet",
    ) -> None:
        if sound not in ("lenet", "smil"):
            raise ValueError(f"sound is {sound!r}, expected one of lenet, smil")
        self.bottleneck_channels = channels
        self.hidden = hidden
        self.dropout = dropout
        self.sound = sound

    def shared_encoder(self) -> Encoder:
        """An encoder that serves both modalities."""
        return Encoder(*image_layers(), nn.Linear(IMAGE_FEATURES, self.bottleneck_channels))

    def specific_encoder(self, modality: int) -> Encoder:
        """An encoder of one modality: 0 the image, 1 the sound."""
        if modality == 0 or self.sound == "lenet":
            return self.shared_encoder()
        return Encoder(*sound_layers(), nn.Linear(SOUND_FEATURES, self.bottleneck_channels))

    def fusion(self) -> nn.Module:
        """ShaSpec's projection `f_proj`: 2C -> C, linear."""
        return nn.Linear(2 * self.bottleneck_channels, self.bottleneck_channels, bias=False)

    def decoder(self, modalities: int) -> Classifier:
        """The classifier of N embeddings; its submodule `bottom` gives the fused feature."""
        return Classifier(modalities, self.bottleneck_channels, self.hidden, self.dropout)


class SmilLeNets:
    """The backbone of SMIL as published: its two encoders, and two linear layers on their 480 features.

    Args:
        hidden: features of the first linear layer.
        dropout: before the second.
    """

    feature_channels = (IMAGE_FEATURES, SOUND_FEATURES)

    def __init__(self, hidden: int = 64, dropout: float = 0.5) -> None:
        self.hidden_channels = (hidden,)
        self.dropout = dropout

    def specific_encoder(self, modality: int) -> Encoder:
        """An encoder of one modality: 0 the image, 1 the sound."""
        return Encoder(*(image_layers(), sound_layers())[modality])

    def head(self) -> list[nn.Module]:
        """The layers on the concatenated features."""
        (hidden,) = self.hidden_channels
        first = nn.Sequential(nn.Linear(sum(self.feature_channels), hidden), nn.ReLU())
        return [first, nn.Sequential(nn.Dropout(self.dropout), nn.Linear(hidden, DIGITS))]
