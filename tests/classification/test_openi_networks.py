"""Encoders of texts and images, and methods on their features."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from medmiss.classification.openi_networks import Encoded, ImageEncoder, LinearBackbone, TextEncoder
from medmiss.methods import LCKD, MCKD, Method, ModalityDropout, ShaSpec

TOKENS, LENGTH, SIDE, WIDTH = 12, 10, 32, 8


def encoded(method: Callable[..., Method]) -> Encoded:
    torch.manual_seed(0)
    encoders = [ImageEncoder(WIDTH, SIDE), TextEncoder(TOKENS, WIDTH, LENGTH)]
    return Encoded(encoders, method(LinearBackbone(WIDTH, 6), 2, task_loss=nn.CrossEntropyLoss())).eval()


@pytest.fixture
def batch() -> dict[str, Tensor]:
    """Four samples, one without image, one without text."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(4, 2, SIDE**2, generator=generator) * 2 - 1
    image[:, 1] = 0
    image[:, 1, :5] = torch.randint(1, TOKENS, (4, 5), generator=generator).float()
    available = torch.tensor([[True, True], [True, True], [False, True], [True, False]])
    return {"image": image, "available": available, "label": torch.tensor([0, 1, 1, 0])}


@pytest.mark.parametrize("pooling", ["last", "max"])
def test_a_text_is_read_to_its_end_and_no_further(pooling: str):
    torch.manual_seed(0)
    encoder = TextEncoder(TOKENS, WIDTH, LENGTH, pooling=pooling).eval()
    texts = torch.zeros(3, 1, 14)
    texts[0, 0, :3] = torch.tensor([1, 4, 7])
    texts[1, 0, :9] = torch.tensor([1, 4, 7, 3, 3, 5, 6, 9, 2])
    texts[2, 0, :1] = 1
    (features,) = encoder(texts)
    states, _ = encoder.lstm(encoder.embedding(torch.tensor([[1, 4, 7]])))
    expected = {"last": states[0, -1], "max": states[0].amax(dim=0)}[pooling]
    assert torch.allclose(features[0], expected, atol=1e-6)
    (alone,) = encoder(texts[2:])
    assert torch.allclose(alone[0], features[2], atol=1e-6)
    beyond = texts.clone()
    beyond[:, :, LENGTH:] = 5
    assert torch.equal(encoder(beyond)[0], features)


def test_published_sizes():
    assert sum(p.numel() for p in TextEncoder(100).lstm.parameters()) == 4 * 128 * (128 + 128 + 2)
    network = ImageEncoder().network
    assert network.conv1.weight.shape == (64, 1, 7, 7)
    # ResNet50 as published, of one channel, and its layer of 2048 x 128.
    fully_connected = 2048 * 128 + 128
    assert sum(p.numel() for p in network.parameters()) - fully_connected == 25557032 - 2049000 - 2 * 64 * 49


@pytest.mark.parametrize("method", [ModalityDropout, ShaSpec, LCKD, MCKD])
def test_what_is_absent_has_no_influence(method: Callable[..., Method], batch: dict[str, Tensor]):
    network = encoded(method)
    filled = batch["image"].clone()
    filled[~batch["available"]] = float("nan")
    with torch.no_grad():
        logits = network(batch["image"], batch["available"])
        assert logits.shape == (4, 2)
        assert torch.equal(network(filled, batch["available"]), logits)
        own = batch["image"].where(batch["available"][:, :, None], torch.zeros(()))
        assert torch.equal(network(own), logits)


def test_both_encoders_learn_through_shaspec(batch: dict[str, Tensor]):
    network = encoded(ShaSpec)
    present = torch.tensor([[True, True], [True, False], [False, True], [True, False]])
    terms = network.loss_terms(batch["image"], present, batch["label"], batch["available"])
    assert set(terms) == {"task", "alignment", "domain"}
    torch.stack(list(terms.values())).sum().backward()
    encoders = network.encoders.encoders
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoders[1].parameters())
    assert sum(float(p.grad.abs().sum()) for p in encoders[0].parameters() if p.grad is not None) > 0


def test_the_methods_terms_are_those_of_the_features(batch: dict[str, Tensor]):
    network = encoded(ShaSpec)
    available = batch["available"]
    features = network.encode(batch["image"], available)
    assert features.shape == (4, 2, WIDTH)
    assert not features[~available].any()
    expected = network.method.loss_terms(features, available, batch["label"], available)
    found = network.loss_terms(batch["image"], available, batch["label"], available)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_an_unknown_pooling():
    with pytest.raises(ValueError, match="expected last or max"):
        TextEncoder(5, pooling="sum")
