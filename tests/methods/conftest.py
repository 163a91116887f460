"""A network of two levels, and a batch in which every sample lacks other modalities."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from medmiss.methods import ShaSpec
from medmiss.networks import LightUNet


@pytest.fixture
def shaspec() -> Callable[..., ShaSpec]:
    """`shaspec(alignment="kl", ...)`: a ShaSpec of a few thousand parameters, always the same ones."""

    def make(**options: Any) -> ShaSpec:
        torch.manual_seed(0)
        return ShaSpec(LightUNet((4, 8)), **options)

    return make


@pytest.fixture
def present() -> Tensor:
    """One, two, three and four modalities, `(5, 4)`; no sample like another, no modality always there."""
    sizes = ["0010", "1001", "0101", "1101", "1111"]
    return torch.tensor([[flag == "1" for flag in flags] for flags in sizes])


@pytest.fixture
def image() -> Tensor:
    return torch.randn(5, 4, 8, 12, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def label() -> Tensor:
    return (torch.rand(5, 3, 8, 12, 8, generator=torch.Generator().manual_seed(2)) < 0.2).float()
