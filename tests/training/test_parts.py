"""Schedule, average, Dice: each against a calculation by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from medmiss.training import ClassAccuracy, RegionDice, WarmupDecay, WeightAverage
from medmiss.training.precision import autocast


def rates(steps: int, **options) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = WarmupDecay(optimizer, steps, **options)
    found = []
    for _ in range(steps + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_poly_decay_after_a_linear_warm_up():
    found = rates(10, warmup=0.2, power=0.9)
    expected = [2 / 3, 4 / 3] + [2 * (1 - t / 8) ** 0.9 for t in range(9)]
    assert found == pytest.approx(expected)


def test_cosine_and_constant():
    assert rates(4, shape="cosine") == pytest.approx([1 + math.cos(math.pi * t / 4) for t in range(5)])
    assert rates(4, shape="constant") == [2.0] * 5


@pytest.mark.parametrize("options", [{"shape": "step"}, {"warmup": 1.0}, {"steps": 0}])
def test_a_wrong_schedule_is_an_error(options: dict):
    with pytest.raises(ValueError, match="expected"):
        rates(**{"steps": 4, **options})


def test_a_schedule_goes_on_from_its_state_with_the_new_length():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    first = WarmupDecay(optimizer, steps=4)
    optimizer.step()
    first.step()
    longer = WarmupDecay(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0), steps=8)
    longer.load_state_dict(first.state_dict())
    assert longer.get_lr() == pytest.approx([(1 - 1 / 8) ** 0.9])


def test_the_average_follows_the_weights_and_leaves_them_alone():
    network = nn.Linear(1, 1)
    nn.init.constant_(network.weight, 1.0)
    average = WeightAverage(network, decay=0.15)
    nn.init.constant_(network.weight, 2.0)
    average.update()  # decay min(0.15, 1/10)
    average.update()  # decay min(0.15, 2/11)
    value = (1 * 0.1 + 2 * 0.9) * 0.15 + 2 * 0.85
    assert average.weights["weight"].item() == pytest.approx(value)
    with average.applied():
        assert network.weight.item() == pytest.approx(value)
    assert network.weight.item() == 2.0


def test_what_is_outside_the_state_dict_is_not_averaged():
    class Student(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1)
            self.teacher = (nn.Linear(1, 1),)  # a tuple keeps it out of the state dict

    assert set(WeightAverage(Student()).weights) == {"layer.weight", "layer.bias"}


def test_class_accuracy_by_hand():
    metric = ClassAccuracy(["image", "sound", "both"])
    metric.update((torch.tensor([1, 2, 3]), torch.tensor([1, 2, 0]), torch.tensor([[0, 0], [1, 0], [2, 0]])))
    metric.update((torch.tensor([4, 5]), torch.tensor([4, 4]), torch.tensor([[3, 1], [4, 1]])))
    metric.update((torch.tensor([1]), torch.tensor([1]), torch.tensor([[0, 0]])))  # a row seen twice counts once
    assert metric.table()[:, 0].tolist() == pytest.approx([2 / 3, 1 / 2, math.nan], nan_ok=True)
    engine = SimpleNamespace(state=SimpleNamespace(metrics={}))
    metric.completed(engine, "val_accuracy")
    expected = {"val_accuracy": 7 / 12, "accuracy_image": 2 / 3, "accuracy_sound": 1 / 2, "accuracy_both": math.nan}
    assert engine.state.metrics == pytest.approx(expected, nan_ok=True)


def test_region_dice_by_hand():
    metric = RegionDice(["all", "T1", "T2"])
    label = torch.zeros(1, 3, 2, 2, 2, dtype=torch.bool)
    label[0, 1:, 0] = True
    half = label.clone()
    half[0, 1:, 0, 0] = False  # Dice 2*2/(2+4)
    metric.update((label, label, torch.tensor([[0, 0]])))  # 1, 1, 1: ET empty in both
    metric.update((half, label, torch.tensor([[1, 1]])))  # 1, 2/3, 2/3
    metric.update((~label, label, torch.tensor([[2, 1]])))  # 0, 0, 0
    metric.update((label, label, torch.tensor([[0, 0]])))  # a row seen twice counts once
    engine = SimpleNamespace(state=SimpleNamespace(metrics={}))
    metric.completed(engine, "mean")
    t1 = (1 + 2 / 3 + 2 / 3) / 3 / 2
    expected = {
        "mean": (1 + t1) / 2,
        "dice_ET": (1 + 0.5) / 2,
        "dice_TC": (1 + 1 / 3) / 2,
        "dice_WT": (1 + 1 / 3) / 2,
        "dice_all": 1.0,
        "dice_T1": t1,
        "dice_T2": math.nan,  # no case has it
    }
    assert engine.state.metrics == pytest.approx(expected, nan_ok=True)


def test_an_empty_region_says_nothing_where_it_is_ignored():
    """As in an election: a modality that marks nothing in a case without a tumour has shown nothing."""
    metric = RegionDice(["T1", "T2"], ignore_empty=True)
    healthy, tumour = torch.zeros(2, 1, 3, 2, 2, 2, dtype=torch.bool)
    tumour[0, 1:, 0] = True  # no ET
    silent, everything = torch.zeros_like(tumour), torch.ones_like(tumour)
    for row, (label, (first, second)) in enumerate(((healthy, (silent, everything)), (tumour, (silent, tumour)))):
        metric.update((first, label, torch.tensor([[2 * row, 0]])))
        metric.update((second, label, torch.tensor([[2 * row + 1, 1]])))
    expected = torch.tensor([[math.nan, 0, 0], [math.nan, 1, 1]], dtype=torch.float64)
    torch.testing.assert_close(metric.table(), expected, equal_nan=True)


def test_precisions():
    cpu = torch.device("cpu")
    with autocast(cpu, "bfloat16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    with autocast(cpu, "float32"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    for precision in ("float16", "half"):
        with pytest.raises(ValueError, match=precision):
            autocast(cpu, precision)
