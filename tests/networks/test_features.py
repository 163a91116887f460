"""Selecting what exists and completing what does not, against plain loops."""

import numpy as np
import pytest
import torch
from torch import Tensor

from medmiss.networks import (
    ModalityFeatures,
    complete,
    dense,
    first_available,
    mean_available,
    modality_inputs,
    presence_of,
)

PRESENT = torch.tensor(
    [[True, True, True, True], [False, False, True, False], [True, False, False, True], [False, True, True, True]]
)
SHAPES = [(5,), (3, 2, 4, 3)]  # of one embedding: of a classifier, of a segmentation network


def features_of(shape: tuple[int, ...], garbage: float = 0.0) -> tuple[np.ndarray, ModalityFeatures]:
    """Random features `(B, N, *shape)`, `garbage` where the modality is missing, and their rows."""
    laid_out = np.random.default_rng(0).standard_normal((*PRESENT.shape, *shape)).astype(np.float32)
    laid_out[~PRESENT.numpy()] = garbage
    sample, modality = PRESENT.nonzero().unbind(1)
    return laid_out, ModalityFeatures(torch.from_numpy(laid_out)[sample, modality], sample, modality, PRESENT)


@pytest.mark.parametrize("shape", SHAPES)
def test_dense_puts_every_row_in_its_place_and_zero_elsewhere(shape):
    laid_out, features = features_of(shape)
    assert torch.equal(dense(features), torch.from_numpy(laid_out))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_mean_is_over_the_available_modalities_alone(shape):
    laid_out, features = features_of(shape, garbage=np.nan)
    for sample, mean in enumerate(mean_available(features).numpy()):
        available = [laid_out[sample, i].astype(np.float64) for i in range(4) if PRESENT[sample, i]]
        np.testing.assert_allclose(mean, sum(available) / len(available), atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_first_is_the_first_available_in_channel_order(shape):
    laid_out, features = features_of(shape)
    first = first_available(features)
    for sample, modality in enumerate([0, 2, 0, 1]):
        assert torch.equal(first[sample], torch.from_numpy(laid_out[sample, modality]))


@pytest.mark.parametrize("shape", SHAPES)
def test_complete_keeps_what_exists_and_fills_in_the_rest(shape):
    laid_out, features = features_of(shape)
    generated = torch.randn(4, *shape)
    completed = complete(features, generated)
    for sample in range(4):
        for modality in range(4):
            existing = torch.from_numpy(laid_out[sample, modality])
            expected = existing if PRESENT[sample, modality] else generated[sample]
            assert torch.equal(completed[sample, modality], expected)


def test_inputs_are_the_existing_channels_ordered_by_sample_then_modality():
    image = torch.randn(4, 4, 3, 2, 2)
    inputs = modality_inputs(image, PRESENT)
    pairs = [(b, n) for b in range(4) for n in range(4) if PRESENT[b, n]]
    assert list(zip(inputs.sample.tolist(), inputs.modality.tolist(), strict=True)) == pairs
    assert inputs.values.shape == (len(pairs), 1, 3, 2, 2)
    for row, (sample, modality) in zip(inputs.values, pairs, strict=True):
        assert torch.equal(row[0], image[sample, modality])


def test_a_sample_without_any_modality_is_an_error():
    present = torch.tensor([[True, False], [False, False]])
    with pytest.raises(ValueError, match="without any modality"):
        modality_inputs(torch.randn(2, 2, 4, 4, 4), present)


@pytest.mark.parametrize("value", [1.0, -1e-30, float("nan"), float("-inf")])
def test_one_voxel_that_is_not_zero_makes_a_channel_present(value):
    image = torch.zeros(2, 4, 3, 3, 3)
    image[0, 1, 2, 0, 1] = value
    image[1, :3, 1, 1, 1] = value
    expected = [[False, True, False, False], [True, True, True, False]]
    assert presence_of(image).tolist() == expected


def test_a_sample_without_content_counts_as_complete():
    image = torch.zeros(2, 4, 3, 3, 3)
    image[1, 2] = 1
    assert presence_of(image).tolist() == [[True] * 4, [False, False, True, False]]


@pytest.mark.parametrize("generate", [mean_available, first_available])
def test_gradients_reach_the_rows_they_come_from(generate):
    values: Tensor = torch.randn(10, 2, requires_grad=True)
    sample, modality = PRESENT.nonzero().unbind(1)
    generate(ModalityFeatures(values, sample, modality, PRESENT)).sum().backward()
    each = {
        mean_available: [0.25] * 4 + [1.0] + [0.5] * 2 + [1 / 3] * 3,
        first_available: [1, 0, 0, 0, 1, 1, 0, 1, 0, 0],
    }
    assert values.grad is not None
    torch.testing.assert_close(values.grad, torch.tensor(each[generate]).float()[:, None].expand(10, 2))
