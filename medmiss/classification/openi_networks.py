"""Networks of OpenI: an encoder of images, one of texts, and what lets any method work on what they give."""

from collections.abc import Sequence

import torch
from monai.networks.nets import resnet50
from torch import Tensor, nn

from medmiss.classification.lenet import Classifier, Encoder
from medmiss.classification.openi_sets import LENGTH, PADDING, SIDE
from medmiss.methods import Method
from medmiss.networks import SpecificEncoders, dense, presence_of

CLASSES = 2
"""Normal, and any problem."""


class TextEncoder(nn.Module):
    """An LSTM on embedded words; the published one has 128 hidden numbers.

    Args:
        tokens: of the vocabulary.
        hidden: numbers of the state, and of the feature.
        length: of a text.
        dropout: of the embedded words.
        pooling: the feature: the `"last"` state, or the `"max"` of all states.

    Raises:
        ValueError: when `pooling` has no such value.
    """

    def __init__(
        self, tokens: int, hidden: int = 128, length: int = LENGTH, dropout: float = 0.5, pooling: str = "max"
    ) -> None:
        super().__init__()
        if pooling not in ("last", "max"):
            raise ValueError(f"pooling is {pooling!r}, expected last or max")
        self.embedding = nn.Embedding(tokens, hidden, padding_idx=PADDING)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(hidden, hidden, batch_first=True)
        self.length = length
        self.pooling = pooling

    def forward(self, x: Tensor) -> list[Tensor]:
        """Encode `(P, 1, L)`, tokens in front; one level, `(P, hidden)`."""
        tokens = x[:, 0, : self.length].long()
        inside = tokens != PADDING
        longest = max(1, int(inside.sum(dim=1).max()))
        inside = inside[:, :longest, None]
        # What comes after the end of a text does not reach the states before it.
        states, _ = self.lstm(self.dropout(self.embedding(tokens[:, :longest])))
        if self.pooling == "max":
            return [states.masked_fill(~inside, -torch.inf).amax(dim=1)]
        states = states.masked_fill(~inside, 0)
        return [states[torch.arange(len(states), device=states.device), inside[..., 0].sum(dim=1) - 1]]


class ImageEncoder(nn.Module):
    """ResNet50 of one grey image, from random weights.

    Args:
        channels: of the feature.
        side: of the image, in pixels.
    """

    def __init__(self, channels: int = 128, side: int = SIDE) -> None:
        super().__init__()
        self.network = resnet50(
            spatial_dims=2, n_input_channels=1, num_classes=channels, conv1_t_stride=2, bias_downsample=False
        )
        self.side = side

    def forward(self, x: Tensor) -> list[Tensor]:
        """Encode `(P, 1, L)`, pixels in front; one level, `(P, channels)`."""
        return [self.network(x[:, :, : self.side**2].unflatten(2, (self.side, self.side)))]


class Encoded(Method):
    """A method on the features that one encoder a modality gives, all of one width.

    Images and texts have no encoder in common: the method's shared encoder works on their features. The encoders are
    trained with it, through it.

    Args:
        encoders: one a modality; each maps `(P, 1, L)` to a list whose last is `(P, C)`.
        method: on features `(B, N, C)`, with a backbone such as `LinearBackbone`.
    """

    def __init__(self, encoders: Sequence[nn.Module], method: Method) -> None:
        super().__init__(method.task_loss)
        self.encoders = SpecificEncoders(list(encoders))
        self.method = method

    def forward(self, image: Tensor, present: Tensor | None = None) -> Tensor:
        """Predict from the modalities of `image` `(B, N, L)` that are present; see `Method.forward`."""
        if present is None:
            present = presence_of(image)
        return self.method(self.encode(image, present), present)

    def loss_terms(self, image: Tensor, present: Tensor, label: Tensor, available: Tensor) -> dict[str, Tensor]:
        """Those of the method; all that is available is encoded, as teachers may see more than `present`."""
        return self.method.loss_terms(self.encode(image, available), present, label, available)

    def encode(self, image: Tensor, present: Tensor) -> Tensor:
        """Features `(B, N, C)` of the modalities that are present, zero elsewhere."""
        (features,) = self.encoders(image, present)
        return dense(features)


class LinearBackbone:
    """Linear encoders of features, and a classifier: what methods are built from where others extract the features.

    Args:
        channels: C, of the features and of the embeddings.
        hidden: features of the classifier's hidden layer.
        dropout: of the classifier.
    """

    def __init__(self, channels: int = 128, hidden: int = 64, dropout: float = 0.5) -> None:
        self.bottleneck_channels = channels
        self.hidden = hidden
        self.dropout = dropout

    def shared_encoder(self) -> Encoder:
        """`(P, 1, C)` to `(P, C)`, for both modalities."""
        return Encoder(nn.Flatten(), nn.Linear(self.bottleneck_channels, self.bottleneck_channels))

    def specific_encoder(self, modality: int) -> Encoder:
        """`(P, 1, C)` to `(P, C)`, for one modality."""
        return self.shared_encoder()

    def fusion(self) -> nn.Module:
        """ShaSpec's projection `f_proj`: 2C -> C, linear."""
        return nn.Linear(2 * self.bottleneck_channels, self.bottleneck_channels, bias=False)

    def decoder(self, modalities: int) -> Classifier:
        """The classifier of the concatenated embeddings."""
        return Classifier(modalities, self.bottleneck_channels, self.hidden, self.dropout, CLASSES)
