"""The encoders see the (sample, modality) pairs that exist, and nothing else."""

import pytest
import torch
from torch import Tensor, nn

from medmiss.networks import SharedEncoder, SpecificEncoders

PRESENT = torch.tensor([[True, False, True, False], [False, False, True, False], [True, False, True, True]])


class Scale(nn.Module):
    """An encoder of two levels, `factor * x` and `-factor * x`, that keeps what it was given."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> list[Tensor]:
        self.seen.append(x)
        return [self.factor * x, -self.factor * x]


def test_the_shared_encoder_runs_once_on_the_existing_pairs():
    image = torch.randn(3, 4, 2, 2, 2)
    encoder = Scale(2.0)
    levels = SharedEncoder(encoder)(image, PRESENT)
    assert len(encoder.seen) == 1
    assert torch.equal(encoder.seen[0], image[PRESENT][:, None])
    for level, factor in zip(levels, (2.0, -2.0), strict=True):
        assert torch.equal(level.values[:, 0], factor * image[PRESENT])
        assert torch.equal(level.present[level.sample, level.modality], torch.ones(6, dtype=torch.bool))
        assert torch.equal(level.present, PRESENT)


@pytest.mark.parametrize("levels", [(-1,), (-2, -1)])
def test_each_specific_encoder_runs_on_its_own_modality_or_not_at_all(levels):
    image = torch.randn(3, 4, 2, 2, 2)
    encoders = [Scale(float(index + 1)) for index in range(4)]
    found = SpecificEncoders(list(encoders), levels)(image, PRESENT)
    for index, encoder in enumerate(encoders):
        existing = image[PRESENT[:, index], index][:, None]
        assert len(encoder.seen) == (1 if len(existing) else 0)
        assert all(torch.equal(seen, existing) for seen in encoder.seen)
    # The rows of the levels asked for, back in the order of the pairs.
    pairs = PRESENT.nonzero().tolist()
    for features, level in zip(found, levels, strict=True):
        assert torch.stack([features.sample, features.modality], dim=1).tolist() == pairs
        for row, (sample, modality) in zip(features.values, pairs, strict=True):
            assert torch.equal(row[0], {-2: 1.0, -1: -1.0}[level] * (modality + 1.0) * image[sample, modality])
