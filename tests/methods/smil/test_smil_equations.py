"""SMIL: Eqs. 2, 3 and 6, and the noise of the published code, against loops in float64."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medmiss.methods.smil_network import divergence_from_unit

PRIORS = 4  # of the SMIL in conftest.py


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def linear(layer: nn.Module, x: np.ndarray) -> np.ndarray:
    weight, bias = (value.detach().numpy() for value in layer.parameters())
    return np.array([sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)])


def kl(shift: np.ndarray, log_variance: np.ndarray) -> float:
    """KL of N(m + shift, s^2) from N(m, 1) from its textbook form, number by number."""
    total = 0.0
    for d, v in zip(shift, log_variance, strict=True):
        sigma = math.exp(v / 2)
        total += math.log(1 / sigma) + (sigma**2 + d**2) / 2 - 0.5
    return total


def by_hand(
    method: Any, sample: np.ndarray, second: bool, draws: list[np.ndarray], add: bool = True
) -> tuple[np.ndarray, float, float]:
    """Logits and both KL of one sample; `draws`: for the weights of the priors and for each regularised layer."""
    network = method.network
    first = np.tanh(linear(network.encoders[0].linear, sample[0]))
    kl_weights = 0.0
    if second:
        other = np.tanh(linear(network.encoders[1].linear, sample[1, :4]))
    else:  # Eq. 2
        log_variance = linear(network.reconstructions[0].predictor, first)
        other = np.zeros(5)
        for k in range(PRIORS):
            weight = 1 + math.exp(log_variance[k] / 2) * draws[0][k]
            other = other + weight * network.reconstructions[0].priors[k].numpy()
        kl_weights = kl(np.zeros(PRIORS), log_variance)
    previous, current, kl_regularisation = first, np.concatenate([first, other]), 0.0
    for level, layer in enumerate([network.head[0][0], network.head[1]]):  # Eq. 3
        mean, log_variance = np.split(linear(network.regularisations[level].predictor, previous), 2)
        kl_regularisation += kl(mean, log_variance)
        for c in range(len(current)):
            r = mean[c] + math.exp(log_variance[c] / 2) * draws[1 + level][c]
            current[c] = current[c] + softplus(r) if add else current[c] * softplus(r)
        previous = current
        current = linear(layer, current)
        if level == 0:
            current = np.tanh(current)
    return current, kl_weights, kl_regularisation


def still() -> list[np.ndarray]:
    return [np.zeros(PRIORS), np.zeros(8), np.zeros(4)]


@pytest.mark.parametrize("operation", ["add", "multiply"])
def test_a_prediction_uses_the_means_of_the_weights_and_of_the_regularisation(smil, image, available, operation):
    method = smil(operation=operation).eval()
    logits = method(image, available).detach().numpy()
    for b in range(7):
        expected, _, _ = by_hand(method, image[b].numpy(), bool(available[b, 1]), still(), operation == "add")
        np.testing.assert_allclose(logits[b], expected, atol=1e-9)


def test_stochastic_passes_are_averaged(smil, image, available):
    method = smil(passes=5).eval()
    network = method.network
    parts = [network.reconstructions[0], *network.regularisations]
    draws = [part.noise.draws.numpy() for part in parts]
    assert all(np.abs(a[0] - a[1]).min() > 0 for a in draws)
    logits = method(image, available).detach().numpy()
    for b in range(7):
        each = [
            by_hand(method, image[b].numpy(), bool(available[b, 1]), [d[number] for d in draws])[0]
            for number in range(5)
        ]
        np.testing.assert_allclose(logits[b], np.mean(each, axis=0), atol=1e-9)


def test_kl_is_zero_at_the_prior_alone():
    generator = torch.Generator().manual_seed(0)
    shift, log_variance = torch.randn(2, 6, 9, dtype=torch.float64, generator=generator)
    found = divergence_from_unit(shift, log_variance).numpy()
    np.testing.assert_allclose(found, [kl(m, v) for m, v in zip(shift.numpy(), log_variance.numpy(), strict=True)])
    assert (found > 0).all()
    zeros = torch.zeros(1, 9)
    assert divergence_from_unit(zeros, zeros).item() == 0


def test_kl_is_the_integral_that_defines_it():
    places = np.linspace(-15, 15, 200_001)
    m, s = 1.7, 0.6
    q = np.exp(-((places - m) ** 2) / (2 * s**2)) / (s * math.sqrt(2 * math.pi))
    log_ratio = -((places - m) ** 2) / (2 * s**2) - math.log(s) + (places - 1) ** 2 / 2  # the prior is N(1, 1)
    integral = np.trapezoid(q * log_ratio, places)
    found = divergence_from_unit(torch.tensor([[m - 1]]), torch.tensor([[2 * math.log(s)]]))
    assert found.item() == pytest.approx(integral, abs=1e-6)


@pytest.mark.parametrize("operation", ["add", "multiply"])
def test_loss_terms_with_the_inner_step_undone(smil, seeded, image, available, label, operation):
    """At inner rate 0 theta* is theta, so that every term follows from `by_hand` and the draws in their order."""
    method = smil(operation=operation, inner_rate=0, inner_weight=0.3, kl_weight=0.2).train()
    terms = seeded(method, image, available, label, available)
    torch.manual_seed(7)
    incomplete, complete = [1, 2, 5], [0, 3, 4, 6]
    drawn = {1: [torch.randn(3, n, dtype=torch.float64).numpy() for n in (PRIORS, 8, 4)]}
    drawn[0] = [np.zeros((4, PRIORS)), *(torch.randn(4, n, dtype=torch.float64).numpy() for n in (8, 4))]
    losses: dict[int, list[float]] = {0: [], 1: []}
    weights, regularisation = [], []
    for kind, samples in ((1, incomplete), (0, complete)):
        for row, b in enumerate(samples):
            draws = [d[row] for d in drawn[kind]]
            logits, kl_weights, kl_r = by_hand(method, image[b].numpy(), kind == 0, draws, operation == "add")
            losses[kind].append(-logits[label[b]] + math.log(sum(math.exp(z) for z in logits)))
            regularisation.append(kl_r)
            if kind == 1:
                weights.append(kl_weights)
    assert {name: term.item() for name, term in terms.items()} == {
        "task": pytest.approx(np.sum(losses[0]) / 7, abs=1e-9),
        "inner": pytest.approx(0.3 * np.sum(losses[1]) / 7, abs=1e-9),
        "kl_reconstruction": pytest.approx(0.2 * np.sum(weights) / 7, abs=1e-9),
        "kl_regularisation": pytest.approx(0.2 * np.mean(regularisation), abs=1e-9),
    }


def test_the_noise_of_the_published_code(smil, seeded, image, available, label):
    method = smil(noise="unit").train()
    assert set(seeded(method, image, available, label, available)) == {"task", "inner"}
    network = method.network
    source = torch.randn(6, 3, dtype=torch.float64)
    rebuilt, divergence = network.reconstructions[0](source, 0)
    assert not divergence.any()
    for b in range(6):
        scores = [softplus(z) for z in linear(network.reconstructions[0].predictor, source[b].numpy())]
        priors = network.reconstructions[0].priors.numpy()
        expected = sum(s / sum(scores) * prior for s, prior in zip(scores, priors, strict=True))
        np.testing.assert_allclose(rebuilt[b].detach().numpy(), expected, atol=1e-9)
    torch.manual_seed(3)
    regularised, _ = network.regularisations[1](torch.zeros(6, 8).double(), torch.zeros(6, 4).double(), 0)
    torch.manual_seed(3)
    r = network.regularisations[1].predictor.bias + torch.randn(6, 4, dtype=torch.float64)
    torch.testing.assert_close(regularised, r.exp().log1p())
