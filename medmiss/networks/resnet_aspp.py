"""The backbone of the published ShaSpec, LCKD and MCKD code: a 3-D ResNet-50 with ASPP and a decoder with skips.

The published code's (D, H, W) is (Z, X, Y) here: along Z the stem and the last up-sampling do not change the grid.
Wherever convolutions are followed by a norm they have no bias; the transposed ones and the last one have none either.
"""

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution
from monai.networks.nets.resnet import ResNetBlock, ResNetBottleneck
from torch import Tensor, nn

from medmiss.networks.light_unet import ACTIVATION, NORM
from medmiss.networks.sizes import check_size


class StandardizedConv3d(nn.Conv3d):
    """A convolution whose kernel has mean 0 and variance 1 for each output channel.

    Qiao, Wang, Liu, Shen, Yuille: "Micro-Batch Training with Batch-Channel Normalization and Weight
    Standardization", arXiv:1903.10520. As in the published ShaSpec code, the variance is the unbiased one with 1e-12
    added, and nothing scales with the fan-in. What is stored and trained is the kernel before that.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `(P, C, X, Y, Z)`."""
        variance, mean = torch.var_mean(self.weight, dim=[1, 2, 3, 4], correction=1, keepdim=True)
        return self._conv_forward(x, (self.weight - mean) * (variance + 1e-12).rsqrt(), self.bias)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1x1, three dilated 3x3x3 and a global-pool branch, concatenated and merged.

    The global-pool branch has no say: what it adds is the same everywhere, and the instance norm after the merge takes
    away what is the same everywhere, so it gets no gradient either. It is here so that the network is the published
    one, parameter by parameter. There, its 1x1x1 map goes through an instance norm, which current torch refuses (and
    which would leave nothing but its bias); a group norm of one group has the same parameters and runs.

    Args:
        channels: of the input and of the output.
        dilations: of the 3x3x3 branches.
    """

    def __init__(self, channels: int, dilations: Sequence[int] = (2, 4, 8)) -> None:
        super().__init__()
        self.branches = nn.ModuleList([_conv(channels, channels, kernel_size=1)])
        for dilation in dilations:
            self.branches.append(_conv(channels, channels, kernel_size=3, dilation=dilation))
        self.pooled = _conv(channels, channels, kernel_size=1, norm=("group", {"num_groups": 1}))
        self.merge = _conv((2 + len(dilations)) * channels, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(P, C, X, Y, Z)` to the same shape."""
        features: list[Tensor] = []
        for branch in self.branches:
            features.append(branch(x))
        features.append(self.pooled(x.mean(dim=[2, 3, 4], keepdim=True)).expand_as(x))
        return self.merge(torch.cat(features, dim=1))


class ResNetASPPEncoder(nn.Module):
    """Encoder of one modality: stem, four stages of bottleneck blocks, reduction to the embedding's channels, ASPP.

    Args:
        planes: inner channels of each stage's blocks; the blocks' output has four times as many.
        blocks: number of blocks of each stage.
        channels: channels of the embedding.
        with_skips: whether the levels are those that the decoder needs, or those that a specific encoder is asked for.
    """

    def __init__(self, planes: Sequence[int], blocks: Sequence[int], channels: int, with_skips: bool) -> None:
        super().__init__()
        self.stem = Convolution(
            3, 1, planes[0], kernel_size=7, strides=(2, 2, 1), bias=False, act=ACTIVATION, norm=NORM
        )
        self.stages = nn.ModuleList()
        width = planes[0]
        for stage, (inner, number) in enumerate(zip(planes, blocks, strict=True)):
            layers: list[nn.Module] = [] if stage > 0 else [nn.MaxPool3d(kernel_size=3, stride=2, padding=1)]
            layers.append(_bottleneck(width, inner, stride=2 if stage > 0 else 1, projected=True))
            width = inner * ResNetBottleneck.expansion
            layers += [_bottleneck(width, inner) for _ in range(number - 1)]
            self.stages.append(nn.Sequential(*layers))
        self.reduce = _conv(width, channels, kernel_size=1)
        self.aspp = ASPP(channels)
        self.with_skips = with_skips
        _standardize(self)
        _initialize(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Encode `(P, 1, X, Y, Z)`.

        Returns:
            With skips the stem's, `(P, C0, X/2, Y/2, Z)`, those of the first three stages, `(P, C, X/4, Y/4, Z/2)`
            and on, and the embedding, `(P, C, X/32, Y/32, Z/16)`. Without, what enters the ASPP and the embedding.
        """
        levels: list[Tensor] = []
        x = self.stem(x)
        for stage in self.stages:
            if self.with_skips:
                levels.append(x)
            x = stage(x)
        x = self.reduce(x)
        if not self.with_skips:
            levels.append(x)
        levels.append(self.aspp(x))
        return levels


class ResNetASPPDecoder(nn.Module):
    """Decoder on the concatenated embeddings of all modalities.

    At each level a transposed convolution doubles the grid, one skip is added, a 1x1x1 convolution of all modalities'
    features, and one residual block follows. The logits of the stem's grid are up-sampled trilinearly along X and Y.

    Args:
        modalities: N, the number of modalities whose embeddings are concatenated.
        channels: channels of the embeddings.
        skips: channels of the skips, finest first.
        widths: channels of the decoder's levels, finest first.
        out_channels: number of regions.
    """

    def __init__(
        self, modalities: int, channels: int, skips: Sequence[int], widths: Sequence[int], out_channels: int
    ) -> None:
        super().__init__()
        self.up = nn.ModuleList()
        self.skip = nn.ModuleList()
        self.block = nn.ModuleList()
        incoming = [*widths[1:], modalities * channels]
        for coarse, width, skip in reversed(list(zip(incoming, widths, skips, strict=True))):
            self.up.append(nn.ConvTranspose3d(coarse, width, kernel_size=2, stride=2, bias=False))
            self.skip.append(_conv(modalities * skip, width, kernel_size=1))
            self.block.append(ResNetBlock(width, width, act=ACTIVATION, norm=NORM))
        _standardize(self)
        self.head = nn.Sequential(
            nn.Conv3d(widths[0], out_channels, kernel_size=1, bias=False),
            nn.Upsample(scale_factor=(2, 2, 1), mode="trilinear", align_corners=False),
        )
        _initialize(self)

    def forward(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        """Decode to logits `(B, out_channels, X, Y, Z)`.

        Args:
            bottleneck: `(B, N, C, ...)`, one embedding a modality.
            skips: the finer levels, finest first, each `(B, N, C, ...)`.
        """
        x = bottleneck.flatten(1, 2)
        level = len(skips)
        for up, skip, block in zip(self.up, self.skip, self.block):  # noqa: B905 (TorchScript knows no strict)
            level -= 1
            x = block(up(x) + skip(skips[level].flatten(1, 2)))
        return self.head(x)


class ResNetASPP:
    """The published profile: what a method builds its encoders and its decoder from.

    Crops and windows must be multiples of `stride`, and along one axis at least twice it, so that instance norm
    never sees a 1x1x1 map (`check_size`). The published crop is 160 x 160 x 80 voxels. The defaults are the published
    widths.

    Args:
        planes: inner channels of the four stages' bottleneck blocks; the decoder's widths follow from them.
        blocks: number of blocks of each stage.
        channels: channels C of the embeddings.
        out_channels: number of regions.
    """

    def __init__(
        self,
        planes: Sequence[int] = (64, 128, 256, 320),
        blocks: Sequence[int] = (3, 4, 6, 3),
        channels: int = 256,
        out_channels: int = 3,
    ) -> None:
        self.planes = tuple(planes)
        self.blocks = tuple(blocks)
        self.channels = channels
        self.out_channels = out_channels

    @property
    def stride(self) -> tuple[int, int, int]:
        """Voxels of the input a voxel of the bottleneck stands for, along X, Y and Z."""
        return 32, 32, 16

    def check_size(self, size: int | Sequence[int]) -> None:
        """Refuse a crop or window that the network cannot take; see `medmiss.networks.check_size`.

        Raises:
            ValueError: when it does not fit.
        """
        check_size(type(self).__name__, size, self.stride)

    @property
    def bottleneck_channels(self) -> int:
        """Channels C of the embeddings."""
        return self.channels

    def shared_encoder(self) -> ResNetASPPEncoder:
        """An encoder that serves all modalities; its levels feed the decoder's skips."""
        return ResNetASPPEncoder(self.planes, self.blocks, self.channels, with_skips=True)

    def specific_encoder(self, modality: int) -> ResNetASPPEncoder:
        """A second such encoder, of one modality; its levels are what enters the ASPP and what leaves it."""
        return ResNetASPPEncoder(self.planes, self.blocks, self.channels, with_skips=False)

    def fusion(self) -> nn.Module:
        """ShaSpec's projection `f_proj`: 2C -> C, linear; torch's own initialisation, as published."""
        return StandardizedConv3d(2 * self.channels, self.channels, kernel_size=3, padding=1, bias=False)

    def decoder(self, modalities: int) -> ResNetASPPDecoder:
        """The decoder of N embeddings."""
        stem, *coarser = self.planes[0], *self.planes[:-1]
        skips = [stem, *(ResNetBottleneck.expansion * inner for inner in coarser)]
        return ResNetASPPDecoder(modalities, self.channels, skips, [stem // 2, *coarser], self.out_channels)


def _conv(in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1, norm: tuple = NORM) -> Convolution:
    return Convolution(
        3, in_channels, out_channels, kernel_size=kernel_size, dilation=dilation, bias=False, act=ACTIVATION, norm=norm
    )


def _bottleneck(in_channels: int, planes: int, stride: int = 1, projected: bool = False) -> ResNetBottleneck:
    """A residual block; its 3x3x3 convolution has the stride. `projected`: the shortcut is a convolution with norm."""
    out_channels = planes * ResNetBottleneck.expansion
    shortcut = None
    if projected:
        shortcut = Convolution(
            3, in_channels, out_channels, kernel_size=1, strides=stride, bias=False, act=None, norm=NORM
        )
    return ResNetBottleneck(in_channels, planes, stride=stride, downsample=shortcut, act=ACTIVATION, norm=NORM)


def _standardize(network: nn.Module) -> None:
    """Turn every convolution inside `network`, but for transposed ones, into a standardised one, in place."""
    for name, child in network.named_children():
        if type(child) is nn.Conv3d:
            options = {key: getattr(child, key) for key in ("kernel_size", "stride", "padding", "dilation")}
            conv = StandardizedConv3d(child.in_channels, child.out_channels, bias=False, device="meta", **options)
            conv.weight = child.weight
            setattr(network, name, conv)
        else:
            _standardize(child)


def _initialize(network: nn.Module) -> None:
    """He's normal initialisation by the fan-out, as published: of a standardised kernel it sets how fast it turns."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
