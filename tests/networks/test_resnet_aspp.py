"""The published profile: its counts, its grids, and its order of operations against plain functions."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from medmiss.methods import LCKD, MCKD, Method, ModalityDropout, ShaSpec
from medmiss.networks import ResNetASPP, ResNetASPPEncoder
from medmiss.networks.resnet_aspp import ASPP, StandardizedConv3d

METHODS = [ShaSpec, ModalityDropout]


def small() -> ResNetASPP:
    """The same network with a few thousand parameters."""
    return ResNetASPP(planes=(4, 4, 6, 8), blocks=(1, 2, 1, 1), channels=8)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("method", "count"),
    # MCKD's four are the importance weights. (The 63,000 more of the published code are an attention it never uses.)
    [(ShaSpec, 187_708_132), (ModalityDropout, 43_656_672), (LCKD, 43_656_672), (MCKD, 43_656_672 + 4)],
)
def test_the_published_numbers_of_parameters(method: Callable[[ResNetASPP], Method], count: int):
    with torch.device("meta"):
        assert parameters(method(ResNetASPP())) == count


def test_along_z_the_grid_is_halved_four_times_and_along_x_and_y_five_times():
    image = torch.randn(2, 1, 64, 96, 48)
    shapes = [tuple(level.shape) for level in small().shared_encoder()(image)]
    assert shapes == [
        (2, 4, 32, 48, 48),
        (2, 16, 16, 24, 24),
        (2, 16, 8, 12, 12),
        (2, 24, 4, 6, 6),
        (2, 8, 2, 3, 3),
    ]
    assert [tuple(level.shape) for level in small().specific_encoder(0)(image)] == [(2, 8, 2, 3, 3)] * 2
    assert tuple(size // step for size, step in zip(image.shape[2:], small().stride, strict=True)) == (2, 3, 3)


@pytest.mark.parametrize("modalities", [2, 4])
def test_the_decoder_brings_the_embeddings_of_all_modalities_back_to_the_full_grid(modalities: int):
    torch.manual_seed(0)
    decoder = small().decoder(modalities).eval()
    bottleneck = torch.randn(1, modalities, 8, 1, 2, 2)
    skips = [
        torch.randn(1, modalities, channels, 16 // step, 32 // step, 32 // step)
        for channels, step in [(4, 1), (16, 2), (16, 4), (24, 8)]
    ]
    logits = decoder(bottleneck, skips)
    assert logits.shape == (1, 3, 32, 64, 32)
    # Every embedding and every skip of every modality has a say.
    for level in (bottleneck, *skips):
        for modality in range(modalities):
            kept = level[:, modality].clone()
            level[:, modality] += torch.randn_like(kept)
            assert not torch.allclose(decoder(bottleneck, skips), logits, atol=1e-4)
            level[:, modality] = kept
    assert torch.equal(decoder(bottleneck, skips), logits)


def test_a_kernel_has_mean_0_and_unbiased_variance_1_for_each_output_channel():
    torch.manual_seed(0)
    conv = StandardizedConv3d(3, 5, kernel_size=3, stride=(2, 1, 1), padding=1, bias=False)
    kernel = conv.weight.detach().double().numpy()
    expected = [(each - each.mean()) / np.sqrt(each.var(ddof=1) + 1e-12) for each in kernel]
    x = torch.randn(2, 3, 6, 4, 4)
    plain = functional.conv3d(x.double(), torch.from_numpy(np.stack(expected)), stride=(2, 1, 1), padding=1)
    torch.testing.assert_close(conv(x), plain.float(), rtol=1e-5, atol=1e-4)


def test_every_convolution_is_standardised_but_the_transposed_ones_and_the_last():
    method = ShaSpec(small())
    convolutions = {name: module for name, module in method.named_modules() if isinstance(module, nn.Conv3d)}
    plain = [name for name, module in convolutions.items() if not isinstance(module, StandardizedConv3d)]
    assert plain == ["decoder.head.0"]
    assert not any(name.endswith("bias") and f"{name[:-5]}" in convolutions for name, _ in method.named_parameters())


class Plain:
    """The encoder as the paper's code does it, with functions alone, in float64: parameters in their order of use."""

    def __init__(self, encoder: ResNetASPPEncoder) -> None:
        self.state = {name: value.detach().double() for name, value in encoder.state_dict().items()}

    def conv(self, x: Tensor, name: str, stride: int | tuple[int, int, int] = 1, dilation: int = 1) -> Tensor:
        kernel = self.state[f"{name}.weight"]
        flat = kernel.flatten(1)
        kernel = (kernel - flat.mean(1).reshape(-1, 1, 1, 1, 1)) / flat.std(1).reshape(-1, 1, 1, 1, 1)
        padding = dilation * (kernel.shape[-1] // 2)
        return functional.conv3d(x, kernel, stride=stride, padding=padding, dilation=dilation)

    def norm(self, x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(dim=(2, 3, 4), keepdim=True)
        scaled = centred / (centred.square().mean(dim=(2, 3, 4), keepdim=True) + 1e-5).sqrt()
        return self.affine(scaled, name)

    def affine(self, x: Tensor, name: str) -> Tensor:
        weight, bias = (self.state[f"{name}.{part}"].reshape(-1, 1, 1, 1) for part in ("weight", "bias"))
        return x * weight + bias

    def act(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.01 * x)

    def layer(self, x: Tensor, name: str, dilation: int = 1) -> Tensor:
        return self.act(self.norm(self.conv(x, f"{name}.conv", dilation=dilation), f"{name}.adn.N"))

    def block(self, x: Tensor, name: str, stride: int) -> Tensor:
        out = self.act(self.norm(self.conv(x, f"{name}.conv1"), f"{name}.bn1"))
        out = self.act(self.norm(self.conv(out, f"{name}.conv2", stride), f"{name}.bn2"))
        out = self.norm(self.conv(out, f"{name}.conv3"), f"{name}.bn3")
        if f"{name}.downsample.conv.weight" in self.state:
            x = self.norm(self.conv(x, f"{name}.downsample.conv", stride), f"{name}.downsample.adn.N")
        return self.act(out + x)

    def aspp(self, x: Tensor) -> Tensor:
        branches = [self.layer(x, f"aspp.branches.{i}", dilation) for i, dilation in enumerate((1, 2, 4, 8))]
        branches.append(self.pooled(x).expand_as(x))
        return self.layer(torch.cat(branches, dim=1), "aspp.merge")

    def pooled(self, x: Tensor) -> Tensor:
        pooled = self.conv(x.mean(dim=(2, 3, 4), keepdim=True), "aspp.pooled.conv")
        centred = pooled - pooled.mean(dim=1, keepdim=True)
        scaled = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
        return self.act(self.affine(scaled, "aspp.pooled.adn.N"))

    def __call__(self, x: Tensor, blocks: tuple[int, ...]) -> tuple[list[Tensor], Tensor, Tensor]:
        """The skips, what enters the ASPP, and the embedding."""
        x = self.act(self.norm(self.conv(x, "stem.conv", (2, 2, 1)), "stem.adn.N"))
        levels = [x]
        x = functional.max_pool3d(x, 3, stride=2, padding=1)
        for stage, number in enumerate(blocks):
            for block in range(number):
                name = f"stages.{stage}.{block + (stage == 0)}"  # the pooling is the first stage's number 0
                x = self.block(x, name, stride=2 if stage > 0 and block == 0 else 1)
            levels.append(x)
        entry = self.layer(levels.pop(), "reduce")
        return levels, entry, self.aspp(entry)


def shake(module: nn.Module) -> None:
    """Scales and offsets of the norms away from 1 and 0, so that they are told apart."""
    for name, parameter in module.named_parameters():
        if parameter.dim() == 1 and not name.startswith("domain"):
            nn.init.normal_(parameter, 1.0 if name.endswith("weight") else 0.0, 0.3)


@pytest.mark.parametrize("with_skips", [True, False])
def test_the_encoder_against_plain_functions(with_skips: bool):
    torch.manual_seed(0)
    backbone = small()
    encoder = backbone.shared_encoder() if with_skips else backbone.specific_encoder(2)
    shake(encoder)
    image = torch.randn(2, 1, 64, 64, 64)
    skips, entry, embedding = Plain(encoder)(image.double(), backbone.blocks)
    expected = [*skips, embedding] if with_skips else [entry, embedding]
    for level, plain in zip(encoder(image), expected, strict=True):
        torch.testing.assert_close(level.double(), plain, rtol=1e-3, atol=1e-3)


def test_aspp_on_a_map_larger_than_its_dilations():
    torch.manual_seed(0)
    encoder = small().shared_encoder()
    shake(encoder)
    x = torch.randn(2, 8, 12, 11, 10)
    seen: list[Tensor] = []
    encoder.aspp.pooled.register_forward_hook(lambda _, __, out: seen.append(out))
    torch.testing.assert_close(encoder.aspp(x).double(), Plain(encoder).aspp(x.double()), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(seen[0].double(), Plain(encoder).pooled(x.double()), rtol=1e-4, atol=1e-4)


def test_the_global_pool_branch_has_no_say():
    torch.manual_seed(0)
    aspp = ASPP(8).double()
    x = torch.randn(1, 8, 3, 4, 2, dtype=torch.float64)
    before = aspp(x)
    aspp.pooled.register_forward_hook(lambda _, __, out: torch.randn_like(out))
    torch.testing.assert_close(aspp(x), before, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("modality", range(4))
def test_one_modality_trains_and_what_the_others_hold_does_not_matter(method: Callable[..., Method], modality: int):
    present = torch.arange(4)[None] == modality
    results = []
    for filling in (0.0, float("nan")):
        torch.manual_seed(0)
        network = method(small())
        image, label = torch.randn(1, 4, 64, 32, 16), (torch.rand(1, 3, 64, 32, 16) < 0.2).float()
        image[~present] = filling
        terms = network.loss_terms(image, present, label, present)
        torch.stack(list(terms.values())).sum().backward()
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        results.append([*terms.values(), *gradients])
        for name, parameter in network.named_parameters():
            of_another = name.startswith("specific") and not name.startswith(f"specific.encoders.{modality}.")
            assert (parameter.grad is None) == of_another, name
    for clean, spoilt in zip(*results, strict=True):
        assert torch.equal(clean, spoilt)
        assert clean.isfinite().all()


def test_every_kernel_but_the_global_pool_branchs_learns_when_all_modalities_are_there():
    torch.manual_seed(0)
    network = ShaSpec(small(), domain_level=-2)
    present = torch.ones(1, 4, dtype=torch.bool)
    label = (torch.rand(1, 3, 64, 64, 32) < 0.2).float()
    terms = network.loss_terms(torch.randn(1, 4, 64, 64, 32), present, label, present)
    torch.stack(list(terms.values())).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if parameter.dim() > 1:  # a norm's offset may cancel in the next norm
            assert (float(parameter.grad.abs().max()) > 1e-7) == (".aspp.pooled." not in name), name


def test_twice_the_stride_along_one_axis_is_the_smallest_crop():
    backbone = small()
    network = ModalityDropout(backbone)
    present = torch.tensor([[False, True, False, False]])
    for size in ((64, 32, 16), (32, 32, 32)):
        assert network(torch.randn(1, 4, *size), present).shape == (1, 3, *size)
        backbone.check_size(size)
    with pytest.raises(ValueError, match="spatial element"):
        network(torch.randn(1, 4, 32, 32, 16), present)
    with pytest.raises(RuntimeError, match="size of tensor"):
        network(torch.randn(1, 4, 64, 32, 24), present)
    for size, other in (((32, 32, 16), "64, 64, 32"), ((64, 32, 24), "64, 32, 32")):
        with pytest.raises(ValueError, match=rf"multiples of 32 x 32 x 16 voxels, .*\[{other}\]"):
            backbone.check_size(size)


@pytest.mark.parametrize("method", METHODS)
def test_torchscript_equals_eager(method: Callable[..., Method]):
    torch.manual_seed(0)
    network = method(small(), modalities=2).eval()
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(network), buffer)
    buffer.seek(0)
    exported = torch.jit.load(buffer)
    image = torch.randn(2, 2, 64, 32, 32)
    present = torch.tensor([[True, True], [False, True]])
    with torch.no_grad():
        torch.testing.assert_close(exported(image, present), network(image, present), rtol=1e-4, atol=1e-4)
        image[~present] = 0
        torch.testing.assert_close(exported(image), network(image), rtol=1e-4, atol=1e-4)


def test_the_published_network_takes_a_step():
    """At full width, one modality and the smallest crop: some 2 GB."""
    torch.manual_seed(0)
    network = ShaSpec(ResNetASPP(), domain_level=-2)
    present = torch.tensor([[False, False, True, False]])
    label = (torch.rand(1, 3, 64, 32, 16) < 0.2).float()
    terms = network.loss_terms(torch.randn(1, 4, 64, 32, 16), present, label, present)
    torch.stack(list(terms.values())).sum().backward()
    for part in (network.shared, network.specific.encoders[2], network.fusion, network.decoder):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            assert parameter.grad.any() or ".aspp.pooled." in f".{name}", name  # see `ASPP`
