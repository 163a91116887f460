"""MCKD: its distillation loss against loops in float64, what must hold of it, and what the decoder sees."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medmiss.losses import RegionLoss
from medmiss.methods import MCKD, MetaStep, ModalityDropout
from medmiss.networks import LightUNet, ModalityFeatures, ResNetASPP
from medmiss.training import WeightAverage

NORMALIZATIONS = ["softmax", "sigmoid", "relu"]
IMPORTANCE = [0.3, -0.2, 1.1, 0.4]


def features(present: Tensor, seed: int = 0) -> ModalityFeatures:
    """Random bottleneck features `(P, 8, 3, 2, 2)`."""
    sample, modality = present.nonzero().unbind(1)
    values = 2 * torch.randn(len(sample), 8, 3, 2, 2, generator=torch.Generator().manual_seed(seed))
    return ModalityFeatures(values.requires_grad_(), sample, modality, present)


def weights_by_hand(importance: list[float], normalization: str) -> list[float]:
    """Eq. 6 and the ablations, from float32 numbers."""
    numbers = [float(np.float32(number)) for number in importance]
    if normalization == "softmax":
        return [float(np.exp(x) / sum(np.exp(y) for y in numbers)) for x in numbers]
    return [float(1 / (1 + np.exp(-x))) if normalization == "sigmoid" else max(x, 0.0) for x in numbers]


def by_hand(rows: ModalityFeatures, w: list[float], distance: str = "l1", smallest: float = 0.0) -> float:
    """The sum of Eqs. 4 and 5."""
    samples: list[dict[int, np.ndarray]] = [{} for _ in rows.present]
    for value, sample, modality in zip(rows.values, rows.sample.tolist(), rows.modality.tolist(), strict=True):
        samples[sample][modality] = value.detach().double().numpy().ravel()
    total = 0.0
    for f in samples:
        for i in f:
            for j in f:
                if i != j:
                    differences = [abs(a - b) for a, b in zip(f[i], f[j], strict=True)]
                    mean = sum(d if distance == "l1" else d * d for d in differences) / len(differences)
                    total += w[i] / max(w[j], smallest) * mean
    return total / len(samples)


@pytest.mark.parametrize("distance", ["l1", "mse"])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_distillation(mckd: Callable[..., MCKD], present: Tensor, distance: str, normalization: str):
    method, rows = mckd(IMPORTANCE, distance=distance, normalization=normalization), features(present)
    w = weights_by_hand(IMPORTANCE, normalization)
    assert method.weights().tolist() == pytest.approx(w, rel=1e-6)
    expected = by_hand(rows, w, distance, smallest=0.01 if normalization == "relu" else 0.0)
    assert method.distillation_loss(rows).item() == pytest.approx(expected, rel=1e-6)


def test_distillation_is_zero_exactly_when_there_is_nothing_to_learn(mckd: Callable[..., MCKD], present: Tensor):
    method, rows = mckd(IMPORTANCE), features(present)
    equal = torch.randn(5, 8, 3, 2, 2)[rows.sample]
    assert method.distillation_loss(rows._replace(values=equal)).item() == 0
    assert method.distillation_loss(features(torch.eye(4, dtype=torch.bool))).item() == 0  # one modality each
    for row, number in enumerate(present.sum(1)[rows.sample].tolist()):
        changed = equal.clone()
        changed[row] += 0.1
        assert (method.distillation_loss(rows._replace(values=changed)).item() > 0) == (number > 1)


def test_the_important_one_teaches(mckd: Callable[..., MCKD]):
    """Of two modalities the student j of a pair moves by w_i / w_j, its teacher i not at all."""
    rows = features(torch.tensor([[True, False, True, False]]))
    method = mckd(IMPORTANCE)
    method.distillation_loss(rows).backward()
    w = method.weights()
    assert rows.values.grad is not None
    signs = torch.sign(rows.values.detach() - rows.values.detach()[[1, 0]])
    ratios = torch.stack([w[2] / w[0], w[0] / w[2]]).reshape(2, 1, 1, 1, 1)
    torch.testing.assert_close(rows.values.grad, ratios * signs / rows.values[0].numel())
    assert rows.values.grad[0].abs().sum() > 2 * rows.values.grad[1].abs().sum()  # FLAIR learns from T1c
    assert method.importance.grad is None


def test_without_detaching_both_sides_move_alike(mckd: Callable[..., MCKD]):
    rows = features(torch.tensor([[True, False, True, False]]))
    mckd(IMPORTANCE, detach_teacher=False).distillation_loss(rows).backward()
    assert rows.values.grad is not None and rows.values.grad.any()
    torch.testing.assert_close(rows.values.grad[0], -rows.values.grad[1])


def test_only_the_differences_of_the_importance_matter_to_softmax(mckd: Callable[..., MCKD], present: Tensor):
    rows = features(present)
    moved = mckd([number + 3 for number in IMPORTANCE])
    torch.testing.assert_close(moved.distillation_loss(rows), mckd(IMPORTANCE).distillation_loss(rows))


@pytest.mark.parametrize(("distance", "power"), [("l1", 1), ("mse", 2)])
def test_the_loss_scales_with_the_features(mckd: Callable[..., MCKD], present: Tensor, distance: str, power: int):
    method, rows = mckd(IMPORTANCE, distance=distance), features(present)
    torch.testing.assert_close(
        method.distillation_loss(rows._replace(values=3 * rows.values)), 3**power * method.distillation_loss(rows)
    )


def test_the_order_of_the_modalities_does_not_matter(mckd: Callable[..., MCKD], present: Tensor):
    rows, order = features(present), torch.tensor([2, 0, 3, 1])
    laid_out = torch.zeros(5, 4, 8, 3, 2, 2)
    laid_out[rows.sample, rows.modality] = rows.values.detach()
    moved = present[:, order]
    sample, modality = moved.nonzero().unbind(1)
    permuted = ModalityFeatures(laid_out[:, order][sample, modality], sample, modality, moved)
    importance = [IMPORTANCE[i] for i in order.tolist()]
    torch.testing.assert_close(mckd(importance).distillation_loss(permuted), mckd(IMPORTANCE).distillation_loss(rows))


def test_a_relu_weight_of_zero_gives_a_finite_ratio(mckd: Callable[..., MCKD]):
    ratios = mckd([-1.0, 0.0, 2.0, 0.5], normalization="relu").ratios()
    assert ratios[2].tolist() == pytest.approx([200, 200, 1, 4])
    assert not ratios[:2].any()


def test_parts_of_a_batch_average_to_the_whole(
    mckd: Callable[..., MCKD], image: Tensor, present: Tensor, label: Tensor
):
    method = mckd(IMPORTANCE)
    whole = method.loss_terms(image[:4], present[:4], label[:4], present[:4])
    halves = [method.loss_terms(image[h], present[h], label[h], present[h]) for h in (slice(0, 2), slice(2, 4))]
    for name, term in whole.items():
        torch.testing.assert_close((halves[0][name] + halves[1][name]) / 2, term, rtol=1e-5, atol=1e-6)


def test_the_sum_of_eq_4(mckd: Callable[..., MCKD], image: Tensor, present: Tensor, label: Tensor):
    method = mckd(IMPORTANCE)
    terms = {name: term.item() for name, term in method.loss_terms(image, present, label, present).items()}
    expected = 0.1 * by_hand(method.encode(image, present)[-1], weights_by_hand(IMPORTANCE, "softmax"))
    assert terms == {
        "task": pytest.approx(RegionLoss()(method(image, present), label).item(), abs=1e-6),
        "distillation": pytest.approx(expected, abs=1e-6),
    }
    assert (method.distance, method.normalization) == ("l1", "softmax")


def test_absent_channels_have_no_influence(mckd: Callable[..., MCKD], image: Tensor, present: Tensor, label: Tensor):
    results = []
    for content in (0.0, torch.nan):
        method = mckd(IMPORTANCE)
        filled = image.clone()
        filled[~present] = content
        terms = method.loss_terms(filled, present, label, torch.ones_like(present))
        torch.stack(list(terms.values())).sum().backward()
        gradients = [parameter.grad for parameter in method.parameters() if parameter.requires_grad]
        results.append([method(filled, present), *terms.values(), *gradients])
        MetaStep(method, []).update({"image": filled, "present": present, "label": label})
        results[-1].append(method.importance)
    for clean, spoilt in zip(*results, strict=True):
        assert torch.equal(clean, spoilt) and clean.isfinite().all()


def test_the_weights_take_no_part_in_the_prediction(mckd: Callable[..., MCKD], image: Tensor, present: Tensor):
    assert torch.equal(mckd(IMPORTANCE)(image, present), mckd()(image, present))


def test_torchscript_is_the_same(mckd: Callable[..., MCKD], image: Tensor, present: Tensor):
    method = mckd(IMPORTANCE).eval()
    torch.testing.assert_close(torch.jit.script(method)(image, present), method(image, present))


def test_half_precision_stays_near_the_terms_of_float32(
    mckd: Callable[..., MCKD], image: Tensor, present: Tensor, label: Tensor
):
    method = mckd(IMPORTANCE)
    terms = method.loss_terms(image, present, label, present)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = method.loss_terms(image, present, label, present)
    for name, term in terms.items():
        assert half[name].dtype == torch.float32
        torch.testing.assert_close(half[name], term, rtol=0.05, atol=1e-3)


def test_the_importance_is_four_parameters_that_the_networks_optimiser_leaves_alone(
    mckd: Callable[..., MCKD], image: Tensor, present: Tensor, label: Tensor
):
    method, plain = mckd(IMPORTANCE), ModalityDropout(LightUNet((4, 8)))
    assert sum(p.numel() for p in method.parameters()) == sum(p.numel() for p in plain.parameters()) + 4
    optimizer = torch.optim.AdamW(method.parameters(), lr=0.1, weight_decay=0.5)
    average = WeightAverage(method, decay=0.5)
    for _ in range(2):
        torch.stack(list(method.loss_terms(image, present, label, present).values())).sum().backward()
        optimizer.step()
        average.update()
    assert torch.equal(method.importance, torch.tensor(IMPORTANCE))
    torch.testing.assert_close(average.weights["importance"], torch.tensor(IMPORTANCE))


def test_the_published_profile_has_the_published_parameters():
    """Those of the published code without its attention, which is unused there."""
    with torch.device("meta"):
        method = MCKD(ResNetASPP())
    assert sum(parameter.numel() for parameter in method.parameters()) == 43_656_672 + 4 == 43_719_676 - 63_000


def test_the_start_is_equal_or_random_as_in_the_published_code(mckd: Callable[..., MCKD]):
    assert mckd().weights().tolist() == [0.25] * 4
    importance = mckd(initial="random").importance
    assert len(importance.unique()) == 4 and importance.min() >= 0 and importance.max() < 1


@pytest.mark.parametrize("option", ["distance", "normalization", "initial", "missing"])
def test_an_unknown_option_is_an_error_that_names_it(option: str):
    with pytest.raises(ValueError, match=f"MCKD: {option} is 'median', expected one of"):
        MCKD(LightUNet((4, 8)), **{option: "median"})  # type: ignore[arg-type]


def test_the_same_class_serves_a_classifier_of_two_modalities(digits: Any):
    method = MCKD(digits, modalities=2, task_loss=nn.CrossEntropyLoss())
    present = torch.tensor([[True, False], [True, True], [False, True]])
    batch = {"image": torch.randn(3, 2, 10), "present": present, "label": torch.tensor([0, 2, 1])}
    terms = method.loss_terms(batch["image"], present, batch["label"], present)
    assert all(term.item() > 0 for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in method.parameters() if p.requires_grad)
    meta = MetaStep(method, [], names=("image", "sound"), weight_decay=1e-2)
    meta.update(batch)
    assert method.weights().unique().numel() == 2


@pytest.mark.parametrize("missing", ["mean", "zero"])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_the_decoder_sees_weighted_bottlenecks_and_plain_skips(
    mckd: Callable[..., MCKD], image: Tensor, present: Tensor, label: Tensor, normalization: str, missing: str
):
    method = mckd(normalization=normalization, missing=missing)
    seen: list[Any] = []
    method.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    loss = method.meta_loss(image, present, label, importance=torch.tensor(IMPORTANCE))
    logits = method(image, present)
    (weighted, weighted_skips), (plain, plain_skips) = seen
    w = weights_by_hand(IMPORTANCE, normalization)
    for i in range(4):  # the generated features of missing modalities too
        np.testing.assert_allclose(
            weighted[:, i].detach().double().numpy(), w[i] * plain[:, i].detach().double().numpy(), rtol=1e-6
        )
    torch.testing.assert_close(weighted_skips, plain_skips, rtol=0, atol=0)
    expected = method.task_loss(method.decoder(weighted, weighted_skips), label)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert not torch.equal(method.decoder(weighted, weighted_skips), logits)
