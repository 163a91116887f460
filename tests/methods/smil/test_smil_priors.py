"""SMIL's priors: centres of complete samples' features, when they are fitted and what a new fit keeps."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.utils.data import DataLoader

from medmiss.methods import KMeansPriors
from medmiss.methods.smil_priors import cluster_centres


@pytest.fixture
def blobs(smil: Callable[..., Any], image: Tensor) -> tuple[Any, Tensor, Tensor]:
    """A SMIL whose second modality's features are the numbers themselves, and four narrow blobs of those."""
    method = smil(fitted=False, double=False)
    corners = torch.tensor([[0.0, 0, 0, 0], [5, 0, 0, 0], [0, 5, 0, 0], [0, 0, 5, 5]])
    image = image.float().repeat(8, 1, 1)
    image[:, 1, :4] = corners[torch.arange(56) % 4] + 0.1 * image[:, 1, :4]

    class Same(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            return [nn.functional.pad(x[:, 0, :4], (0, 1))]

    method.network.encoders[1] = Same()
    return method, image, image[:, 1, :4]


def loaded(image: Tensor, available: Tensor) -> list[dict[str, Tensor]]:
    """Batches of five."""
    pairs = zip(image.split(5), available.split(5), strict=True)
    return [{"image": images, "available": rows} for images, rows in pairs]


def test_priors_are_the_centres_of_the_complete_samples_features(blobs, available):
    method, image, points = blobs
    available = available.repeat(8, 1)
    image[~available] = float("nan")
    method.train()
    state = torch.get_rng_state()
    batches: Any = loaded(image, available)
    KMeansPriors(method, DataLoader(batches, batch_size=None)).fit()
    assert torch.equal(torch.get_rng_state(), state)
    assert method.training and method.network.training
    reconstruction = method.network.reconstructions[0]
    assert bool(reconstruction.fitted)
    for blob in range(4):
        own = (torch.arange(56) % 4 == blob) & available[:, 1]
        centre = nn.functional.pad(points[own].mean(dim=0), (0, 1))
        assert (reconstruction.priors - centre).abs().amax(dim=1).min() < 1e-5


def test_priors_are_fitted_without_dropout_and_leave_batch_norm_alone(blobs):
    method, image, _ = blobs
    method.network.encoders[1] = nn.Sequential(method.network.encoders[1], Thinned())
    everything = torch.ones(56, 2, dtype=torch.bool)
    KMeansPriors(method.train(), loaded(image, everything)).fit()
    assert method.network.encoders[1][1].norm.num_batches_tracked == 0
    assert method.network.reconstructions[0].priors.amax() == pytest.approx(5, abs=0.2)


class Thinned(nn.Module):
    """Dropout and batch norm that show when they are on."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.9)
        self.norm = nn.BatchNorm1d(5)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [self.norm(self.dropout(features[-1]))]


def test_priors_are_the_same_for_the_same_seed():
    points = np.random.default_rng(0).normal(size=(200, 6))
    first = cluster_centres(points, 10, seed=0)
    assert np.array_equal(first, cluster_centres(points, 10, seed=0))
    assert not np.allclose(first, cluster_centres(points, 10, seed=1))


def test_a_start_that_merges_clusters_is_not_the_last_word():
    corners = 10 * np.random.default_rng(0).normal(size=(12, 3))
    points = (corners[:, None] + 0.1 * np.random.default_rng(1).normal(size=(12, 15, 3))).reshape(-1, 3)
    for seed in range(10):
        distances = np.linalg.norm(cluster_centres(points, 12, seed)[:, None] - corners, axis=2)
        assert distances.min(axis=0).max() < 0.2


def test_a_new_fit_keeps_the_order_of_the_priors(blobs):
    method, image, _ = blobs
    batches = loaded(image, torch.ones(56, 2, dtype=torch.bool))
    reconstruction = method.network.reconstructions[0]
    KMeansPriors(method, batches, seed=0).fit()
    before = reconstruction.priors.clone()
    for seed in range(1, 6):
        KMeansPriors(method, batches, seed=seed).fit()
        torch.testing.assert_close(reconstruction.priors, before)


def test_too_few_complete_samples_are_an_error_that_says_how_many(smil, image, available):
    available[3:] = torch.tensor([True, False])
    with pytest.raises(ValueError, match="1 complete samples in the data loader, expected at least the 4 priors"):
        KMeansPriors(smil(), [{"image": image, "available": available}]).fit()


@pytest.mark.parametrize(("interval", "expected"), [(0, [1]), (4, [1, 5, 9]), (0.5, [1, 7])])
def test_priors_are_fitted_before_the_first_iteration_and_at_intervals(
    smil, monkeypatch: pytest.MonkeyPatch, interval: float, expected: list[int]
):
    handler = KMeansPriors(smil(), [], interval=interval)
    events: list[str] = []
    monkeypatch.setattr(handler, "fit", lambda: events.append("fit"))
    process: Callable[[Any, Any], None] = lambda engine, batch: events.append("step")  # noqa: E731
    engine = Engine(process)
    handler.attach(engine)
    engine.run(range(4), max_epochs=3)
    fitted = [events[: place + 1].count("step") + 1 for place, event in enumerate(events) if event == "fit"]
    assert fitted == expected
