"""The plain network: absent modalities have no influence, and stand-ins are what they are said to be."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from medmiss.losses import RegionLoss
from medmiss.methods import ModalityDropout, iterations_of
from medmiss.networks import MISSING, LightUNet, ModalityFeatures, completed


def network(**options: object) -> ModalityDropout:
    torch.manual_seed(0)
    return ModalityDropout(LightUNet((4, 8)), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize("missing_skips", MISSING)
def test_an_absent_modality_changes_neither_output_nor_loss_nor_gradient(
    missing: str, missing_skips: str, image: Tensor, present: Tensor, label: Tensor
):
    results = []
    for content in (0.0, torch.nan):
        method = network(missing=missing, missing_skips=missing_skips)
        filled = image.clone()
        filled[~present] = content
        terms = method.loss_terms(filled, present, label, torch.ones_like(present))
        terms["task"].backward()
        results.append((method(filled, present), terms["task"], [p.grad for p in method.parameters()]))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)


def test_the_task_loss_is_the_only_term(image: Tensor, present: Tensor, label: Tensor):
    method = network()
    terms = method.loss_terms(image, present, label, present)
    assert terms.keys() == {"task"}
    torch.testing.assert_close(terms["task"], RegionLoss()(method(image, present), label))


def test_the_stand_ins():
    present = torch.tensor([[False, True, True], [True, False, False]])
    sample, modality = present.nonzero().unbind(1)
    features = ModalityFeatures(torch.tensor([[1.0], [3.0], [5.0]]), sample, modality, present)
    expected = {
        "mean": [[2.0, 1.0, 3.0], [5.0, 5.0, 5.0]],
        "first": [[1.0, 1, 3], [5, 5, 5]],
        "zero": [[0.0, 1, 3], [5, 0, 0]],
    }
    assert {missing: completed(features, missing).squeeze(-1).tolist() for missing in MISSING} == expected


def test_every_level_has_its_stand_in(image: Tensor, present: Tensor):
    method = network(missing="mean", missing_skips="zero")
    levels = method.encode(image, present)
    inputs: list[Any] = []
    method.decoder.register_forward_pre_hook(lambda _, args: inputs.extend(args))
    method(image, present)
    assert torch.equal(inputs[0], completed(levels[-1], "mean"))
    assert all(torch.equal(skip, completed(level, "zero")) for skip, level in zip(inputs[1], levels, strict=False))
    assert not inputs[1][0][~present].any()


@pytest.mark.parametrize("option", ["missing", "missing_skips"])
def test_an_unknown_stand_in_is_refused(option: str):
    with pytest.raises(ValueError, match=f"ModalityDropout: {option} is 'median', expected one of mean, first, zero"):
        network(**{option: "median"})


def test_torchscript_is_the_same(image: Tensor, present: Tensor):
    method = network().eval()
    torch.testing.assert_close(torch.jit.script(method)(image, present), method(image, present))


@pytest.mark.parametrize(("amount", "expected"), [(7, 7), (0, 0), (0.25, 30), (1.0, 120), (0.0001, 1)])
def test_intervals(amount: float, expected: int):
    trainer = SimpleNamespace(state=SimpleNamespace(max_epochs=12, epoch_length=10))
    assert iterations_of(amount, trainer) == expected


@pytest.mark.parametrize("amount", [-1, 0.0, 1.5, -0.5])
def test_impossible_intervals(amount: float):
    with pytest.raises(ValueError, match="an interval of"):
        iterations_of(amount, None)
