"""The task loss against its formula in float64."""

import numpy as np
import pytest
import torch

from medmiss.losses import RegionLoss


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and regions `(3, 3, 4, 5, 6)`; one sample has no ET at all."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(3, 3, 4, 5, 6, generator=generator)
    label = (torch.rand(3, 3, 4, 5, 6, generator=generator) < 0.3).float()
    label[1, 0] = 0
    return logits, label


def by_hand(
    logits: np.ndarray, label: np.ndarray, dice_weight: float, bce_weight: float, smooth_nr: float = 1.0
) -> float:
    """Per sample and region 1 - (2 sum py + smooth_nr) / (sum p + sum y + 1), and -[y log p + (1-y) log(1-p)]."""
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    total = 0.0
    for p_regions, y_regions in zip(probability, label, strict=True):
        dice, bce = [], []
        for p, y in zip(p_regions.ravel().reshape(3, -1), y_regions.ravel().reshape(3, -1), strict=True):
            overlap = sum(pi * yi for pi, yi in zip(p, y, strict=True))
            dice.append(1 - (2 * overlap + smooth_nr) / (p.sum() + y.sum() + 1))
            bce.append(np.mean([-np.log(pi) if yi else -np.log(1 - pi) for pi, yi in zip(p, y, strict=True)]))
        total += dice_weight * np.mean(dice) + bce_weight * np.sum(bce)
    return total / len(label)


@pytest.mark.parametrize(("dice_weight", "bce_weight"), [(1.0, 1.0), (0.3, 0.0), (0.0, 2.0)])
def test_dice_is_averaged_and_cross_entropy_summed_over_the_regions(dice_weight, bce_weight):
    logits, label = batch()
    loss = RegionLoss(dice_weight, bce_weight)(logits, label)
    assert loss.item() == pytest.approx(by_hand(logits.numpy(), label.numpy(), dice_weight, bce_weight), abs=1e-6)


def test_in_the_published_code_an_empty_region_costs_one_whatever_is_predicted():
    logits, label = batch()
    loss = RegionLoss(smooth_nr=0.0)(logits, label)
    assert loss.item() == pytest.approx(by_hand(logits.numpy(), label.numpy(), 1.0, 1.0, smooth_nr=0.0), abs=1e-6)
    dice = RegionLoss(bce_weight=0.0, smooth_nr=0.0)
    logits.requires_grad_()
    dice(logits, label).backward()
    assert logits.grad is not None
    assert [bool(region.any()) for region in logits.grad[1]] == [False, True, True]  # sample 1 has no ET
    assert dice(torch.full_like(label, -100.0), torch.zeros_like(label)).item() == 1


def test_the_parts_average_to_the_whole_batch():
    logits, label = batch()
    loss = RegionLoss()
    parts = [loss(logits[i : i + 1], label[i : i + 1]).item() for i in range(3)]
    assert loss(logits, label).item() == pytest.approx(np.mean(parts), abs=1e-6)


def test_a_sure_and_right_prediction_costs_nothing_even_where_a_region_is_empty():
    _, label = batch()
    assert RegionLoss()(200 * label - 100, label).item() == pytest.approx(0, abs=1e-6)


def test_sure_and_wrong_is_finite_with_finite_gradients():
    _, label = batch()
    logits = (1e4 * (1 - 2 * label)).requires_grad_()
    RegionLoss()(logits, label).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_half_precision_logits_and_boolean_regions_are_computed_in_float32():
    logits, label = batch()
    loss = RegionLoss()(logits.bfloat16(), label.bool())
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, RegionLoss()(logits.bfloat16().float(), label))


def test_another_shape_is_an_error():
    logits, label = batch()
    with pytest.raises(ValueError, match="size"):
        RegionLoss()(logits, label[:, :2])
