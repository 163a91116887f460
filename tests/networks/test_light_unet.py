"""The light profile: its size, its grids, what its decoder sees."""

from itertools import product
from typing import Any

import pytest
import torch

from medmiss.methods import ModalityDropout, ShaSpec
from medmiss.networks import LightDecoder, LightEncoder, LightUNet


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_default_profile_has_some_four_million_parameters():
    assert parameters(ShaSpec(LightUNet())) == 3_958_364


def test_every_level_of_the_encoder_halves_the_grid():
    levels = LightEncoder((4, 6, 8))(torch.randn(2, 1, 16, 24, 32))
    assert [tuple(level.shape) for level in levels] == [(2, 4, 8, 12, 16), (2, 6, 4, 6, 8), (2, 8, 2, 3, 4)]


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_specific_encoders_are_narrower_and_end_in_the_same_channels(share):
    backbone = LightUNet((8, 16), specific_share=share)
    specific, shared = backbone.specific_encoder(0), backbone.shared_encoder()
    levels = specific(torch.randn(1, 1, 8, 8, 8))
    assert levels[0].shape[1] == max(4, 8 * share)
    assert levels[-1].shape[1] == shared(torch.randn(1, 1, 8, 8, 8))[-1].shape[1] == backbone.bottleneck_channels
    assert (parameters(specific) == parameters(shared)) == (share == 1.0)


@pytest.mark.parametrize("channels", [(4,), (4, 8), (4, 8, 12)])
def test_the_stride_is_the_factor_between_input_and_bottleneck(channels):
    backbone = LightUNet(channels)
    size = 2 * backbone.stride
    assert backbone.shared_encoder()(torch.randn(1, 1, size, size, size))[-1].shape[2:] == (2, 2, 2)


@pytest.mark.parametrize("modalities", [2, 4])
def test_the_decoder_brings_the_embeddings_of_all_modalities_back_to_the_full_grid(modalities):
    decoder = LightDecoder(modalities, (4, 6, 8), 3)
    bottleneck = torch.randn(2, modalities, 8, 2, 3, 2)
    skips = [torch.randn(2, modalities, 4, 8, 12, 8), torch.randn(2, modalities, 6, 4, 6, 4)]
    logits = decoder(bottleneck, skips)
    assert logits.shape == (2, 3, 16, 24, 16)
    # Every embedding and every skip of every modality has a say.
    for level in (bottleneck, *skips):
        for modality in range(modalities):
            kept = level[:, modality].clone()
            level[:, modality] += torch.randn_like(kept)
            assert not torch.allclose(decoder(bottleneck, skips), logits, atol=1e-4)
            level[:, modality] = kept
    assert torch.equal(decoder(bottleneck, skips), logits)


def test_twice_the_stride_is_the_smallest_crop():
    method = ShaSpec(LightUNet((4, 8, 8)))
    present = torch.tensor([[False, True, False, False]])
    assert method(torch.randn(1, 4, 16, 16, 16), present).shape == (1, 3, 16, 16, 16)
    with pytest.raises(ValueError, match="spatial element"):
        method(torch.randn(1, 4, 8, 8, 8), present)


def test_the_sizes_that_are_refused_are_those_that_the_network_cannot_take():
    backbone = LightUNet((4, 8))
    network = ModalityDropout(backbone, modalities=1)
    for size in product((3, 4, 6, 8), repeat=3):
        try:
            returned = network(torch.randn(1, 1, *size)).shape[2:] == size
        except (RuntimeError, ValueError):
            returned = False
        try:
            backbone.check_size(size)
        except ValueError as refusal:
            assert not returned and f"found {list(size)}, but LightUNet takes" in str(refusal)
        else:
            assert returned


@pytest.mark.parametrize("size", [[8, 8], [8, 8, 8.0], "8,8,8", 0, -8, True, None])
def test_a_size_is_one_whole_number_or_three(size: Any):
    LightUNet((4, 8)).check_size(8)
    with pytest.raises(ValueError, match="give one whole number or three"):
        LightUNet((4, 8)).check_size(size)


def test_the_number_of_regions_is_an_option():
    decoder = LightUNet((4, 8), out_channels=5).decoder(2)
    assert decoder(torch.randn(1, 2, 8, 2, 2, 2), [torch.randn(1, 2, 4, 4, 4, 4)]).shape == (1, 5, 8, 8, 8)
