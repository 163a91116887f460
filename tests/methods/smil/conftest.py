"""A small SMIL in float64, always the same one, and a batch in which some samples lack the second modality."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medmiss.methods import SMIL

PRIORS = 4


class Tiny:
    """A smooth backbone of two modalities of 6 numbers, of which the second fills 4; features of 3 and 5."""

    feature_channels = (3, 5)
    hidden_channels = (4,)

    class Encoder(nn.Module):
        def __init__(self, used: int, channels: int) -> None:
            super().__init__()
            self.used = used
            self.linear = nn.Linear(used, channels)

        def forward(self, x: Tensor) -> list[Tensor]:
            return [self.linear(x[:, 0, : self.used]).tanh().unsqueeze(2)]  # a map of one place

    def specific_encoder(self, modality: int) -> nn.Module:
        return self.Encoder((6, 4)[modality], self.feature_channels[modality])

    def head(self) -> list[nn.Module]:
        return [nn.Sequential(nn.Linear(8, 4), nn.Tanh()), nn.Linear(4, 3)]


def inside(method: SMIL) -> Any:
    """The network, whose parts the type checker does not know."""
    return method.network


@pytest.fixture
def smil() -> Callable[..., Any]:
    """`smil(double=True, fitted=True, ...)`: always the same small SMIL, with priors at random places."""

    def make(double: bool = True, fitted: bool = True, **options: Any) -> Any:
        torch.manual_seed(0)
        method = SMIL(Tiny(), priors=PRIORS, **options)
        for parameter in method.parameters():
            nn.init.normal_(parameter, std=0.4)
        for reconstruction in inside(method).reconstructions:
            if fitted:
                reconstruction.priors.normal_()
                reconstruction.fitted.fill_(True)
        return method.double() if double else method

    return make


@pytest.fixture
def available() -> Tensor:
    """Seven samples, three of them without the second modality."""
    available = torch.ones(7, 2, dtype=torch.bool)
    available[[1, 2, 5], 1] = False
    return available


@pytest.fixture
def image() -> Tensor:
    return torch.randn(7, 2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def label() -> Tensor:
    return torch.tensor([0, 1, 2, 0, 2, 1, 1])


@pytest.fixture
def seeded() -> Callable[..., dict[str, Tensor]]:
    """`seeded(method, *batch)`: loss terms with always the same draws."""

    def loss_terms(method: Any, *batch: Tensor) -> dict[str, Tensor]:
        torch.manual_seed(7)
        return method.loss_terms(*batch)

    return loss_terms
