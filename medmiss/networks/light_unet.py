"""The light 3-D U-Net: small enough to train and to run on two CPU cores.

Its first convolution has stride 2, so that all features live on a grid of 2 mm or coarser, and a
sub-pixel head brings the region logits back to the full grid: an eighth of the cost of a U-Net
that starts at full resolution, with the sub-voxel detail kept in the channels.
"""

from collections.abc import Sequence
from itertools import pairwise

from monai.networks.blocks import Convolution, SubpixelUpsample
from torch import Tensor, nn

from medmiss.networks.sizes import check_size

ACTIVATION = ("leakyrelu", {"negative_slope": 0.01, "inplace": True})
NORM = ("instance", {"affine": True})


class LightEncoder(nn.Module):
    """Encoder of one modality: every level halves the grid.

    The finest level is a single convolution: encoders run once a modality, the decoder's fine level once.

    Args:
        channels: output channels of each level, finest (stride 2) first.
        out_channels: channels of the last level, reached by a 1x1x1 convolution when they differ from `channels[-1]`.
    """

    def __init__(self, channels: Sequence[int], out_channels: int | None = None) -> None:
        super().__init__()
        self.levels = nn.ModuleList([_block(1, channels[0], strides=2)])
        for previous, width in pairwise(channels):
            self.levels.append(nn.Sequential(_block(previous, width, strides=2), _block(width, width)))
        self.out: nn.Module = nn.Identity()
        if out_channels is not None and out_channels != channels[-1]:
            self.out = nn.Conv3d(channels[-1], out_channels, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Encode `(P, 1, X, Y, Z)`; the levels' features, finest first, `(P, C, X/2, Y/2, Z/2)` and on."""
        features: list[Tensor] = []
        for level in self.levels:
            x = level(x)
            features.append(x)
        features[-1] = self.out(features[-1])
        return features


class LightDecoder(nn.Module):
    """Decoder on the concatenated embeddings of all modalities.

    At each level one skip is added, a 1x1x1 convolution of all modalities' features, before two
    convolutions: the form of the published ShaSpec decoder at a fraction of its size.

    Args:
        modalities: N, the number of modalities whose embeddings are concatenated.
        channels: the encoder's channels of each level, finest first.
        out_channels: number of regions.
    """

    def __init__(self, modalities: int, channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.bottom = _fusion(modalities * channels[-1], channels[-1])
        self.up = nn.ModuleList()
        self.skip = nn.ModuleList()
        self.block = nn.ModuleList()
        for fine, coarse in reversed(list(pairwise(channels))):
            self.up.append(nn.ConvTranspose3d(coarse, fine, kernel_size=2, stride=2))
            self.skip.append(_fusion(modalities * fine, fine))
            self.block.append(nn.Sequential(_block(fine, fine), _block(fine, fine)))
        self.head = SubpixelUpsample(3, channels[0], out_channels, scale_factor=2, apply_pad_pool=False)

    def forward(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        """Decode to logits `(B, out_channels, X, Y, Z)`.

        Args:
            bottleneck: `(B, N, C, ...)`, one embedding a modality.
            skips: the finer levels, finest first, each `(B, N, C, ...)`.
        """
        x = self.bottom(bottleneck.flatten(1, 2))
        level = len(skips)
        for up, skip, block in zip(self.up, self.skip, self.block):  # noqa: B905 (TorchScript knows no strict)
            level -= 1
            x = block(up(x) + skip(skips[level].flatten(1, 2)))
        return self.head(x)


class LightUNet:
    """The light profile: what a method builds its encoders and its decoder from.

    Crops and windows must be multiples of `stride`, and along one axis at least twice it, so that instance norm
    never sees a 1x1x1 map (`check_size`).

    Args:
        channels: channels of the shared encoder's levels, finest (stride 2) first.
        specific_share: width of a modality-specific encoder relative to the shared one.
        out_channels: number of regions.
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64, 96, 128),
        specific_share: float = 0.5,
        out_channels: int = 3,
    ) -> None:
        self.channels = tuple(channels)
        self.specific_share = specific_share
        self.out_channels = out_channels

    @property
    def stride(self) -> int:
        """Voxels of the input a voxel of the bottleneck stands for, along each axis."""
        return 2 ** len(self.channels)

    def check_size(self, size: int | Sequence[int]) -> None:
        """Refuse a crop or window that the network cannot take; see `medmiss.networks.check_size`.

        Raises:
            ValueError: when it does not fit.
        """
        check_size(type(self).__name__, size, self.stride)

    @property
    def bottleneck_channels(self) -> int:
        """Channels C of the embeddings."""
        return self.channels[-1]

    def shared_encoder(self) -> LightEncoder:
        """An encoder that serves all modalities; its levels feed the decoder's skips."""
        return LightEncoder(self.channels)

    def specific_encoder(self, modality: int) -> LightEncoder:
        """A narrower encoder of one modality, ending in the same number of channels; alike for all modalities."""
        narrow = [max(4, int(width * self.specific_share)) for width in self.channels]
        return LightEncoder(narrow, self.bottleneck_channels)

    def fusion(self) -> nn.Module:
        """ShaSpec's projection `f_proj`: 2C -> C, linear."""
        return nn.Conv3d(2 * self.bottleneck_channels, self.bottleneck_channels, kernel_size=1, bias=False)

    def decoder(self, modalities: int) -> LightDecoder:
        """The decoder of N embeddings."""
        return LightDecoder(modalities, self.channels, self.out_channels)


def _block(in_channels: int, out_channels: int, strides: int = 1) -> Convolution:
    return Convolution(3, in_channels, out_channels, strides=strides, kernel_size=3, act=ACTIVATION, norm=NORM)


def _fusion(in_channels: int, out_channels: int) -> Convolution:
    return Convolution(3, in_channels, out_channels, kernel_size=1, act=ACTIVATION, norm=NORM)
