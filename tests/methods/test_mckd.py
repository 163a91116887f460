"""MCKD: its distillation loss against loops in float64, what must hold of it, and the meta step."""

import copy
import csv
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader
from torch import Tensor, distributed, nn

from medmiss.losses import RegionLoss
from medmiss.methods import MCKD, MetaStep, ModalityDropout
from medmiss.methods import mckd as module
from medmiss.networks import LightUNet, ModalityFeatures, ResNetASPP
from medmiss.training import WeightAverage

NAMES = ("FLAIR", "T1", "T1c", "T2")
NORMALIZATIONS = ["softmax", "sigmoid", "relu"]
IMPORTANCE = [0.3, -0.2, 1.1, 0.4]


def network(importance: list[float] | None = None, **options: Any) -> MCKD:
    torch.manual_seed(0)
    method = MCKD(LightUNet((4, 8)), **options)
    if importance is not None:
        method.importance.copy_(torch.tensor(importance))
    return method


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
def test_distillation(present: Tensor, distance: str, normalization: str):
    method, rows = network(IMPORTANCE, distance=distance, normalization=normalization), features(present)
    w = weights_by_hand(IMPORTANCE, normalization)
    assert method.weights().tolist() == pytest.approx(w, rel=1e-6)
    expected = by_hand(rows, w, distance, smallest=0.01 if normalization == "relu" else 0.0)
    assert method.distillation_loss(rows).item() == pytest.approx(expected, rel=1e-6)


def test_distillation_is_zero_exactly_when_there_is_nothing_to_learn(present: Tensor):
    method, rows = network(IMPORTANCE), features(present)
    equal = torch.randn(5, 8, 3, 2, 2)[rows.sample]
    assert method.distillation_loss(rows._replace(values=equal)).item() == 0
    assert method.distillation_loss(features(torch.eye(4, dtype=torch.bool))).item() == 0  # one modality each
    for row, number in enumerate(present.sum(1)[rows.sample].tolist()):
        changed = equal.clone()
        changed[row] += 0.1
        assert (method.distillation_loss(rows._replace(values=changed)).item() > 0) == (number > 1)


def test_the_important_one_teaches():
    """Of two modalities the student j of a pair moves by w_i / w_j, its teacher i not at all."""
    rows = features(torch.tensor([[True, False, True, False]]))
    method = network(IMPORTANCE)
    method.distillation_loss(rows).backward()
    w = method.weights()
    assert rows.values.grad is not None
    signs = torch.sign(rows.values.detach() - rows.values.detach()[[1, 0]])
    ratios = torch.stack([w[2] / w[0], w[0] / w[2]]).reshape(2, 1, 1, 1, 1)
    torch.testing.assert_close(rows.values.grad, ratios * signs / rows.values[0].numel())
    assert rows.values.grad[0].abs().sum() > 2 * rows.values.grad[1].abs().sum()  # FLAIR learns from T1c
    assert method.importance.grad is None


def test_without_detaching_both_sides_move_alike():
    rows = features(torch.tensor([[True, False, True, False]]))
    network(IMPORTANCE, detach_teacher=False).distillation_loss(rows).backward()
    assert rows.values.grad is not None and rows.values.grad.any()
    torch.testing.assert_close(rows.values.grad[0], -rows.values.grad[1])


def test_only_the_differences_of_the_importance_matter_to_softmax(present: Tensor):
    rows = features(present)
    moved = network([number + 3 for number in IMPORTANCE])
    torch.testing.assert_close(moved.distillation_loss(rows), network(IMPORTANCE).distillation_loss(rows))


@pytest.mark.parametrize(("distance", "power"), [("l1", 1), ("mse", 2)])
def test_the_loss_scales_with_the_features(present: Tensor, distance: str, power: int):
    method, rows = network(IMPORTANCE, distance=distance), features(present)
    torch.testing.assert_close(
        method.distillation_loss(rows._replace(values=3 * rows.values)), 3**power * method.distillation_loss(rows)
    )


def test_the_order_of_the_modalities_does_not_matter(present: Tensor):
    rows, order = features(present), torch.tensor([2, 0, 3, 1])
    laid_out = torch.zeros(5, 4, 8, 3, 2, 2)
    laid_out[rows.sample, rows.modality] = rows.values.detach()
    moved = present[:, order]
    sample, modality = moved.nonzero().unbind(1)
    permuted = ModalityFeatures(laid_out[:, order][sample, modality], sample, modality, moved)
    importance = [IMPORTANCE[i] for i in order.tolist()]
    torch.testing.assert_close(
        network(importance).distillation_loss(permuted), network(IMPORTANCE).distillation_loss(rows)
    )


def test_a_relu_weight_of_zero_gives_a_finite_ratio():
    ratios = network([-1.0, 0.0, 2.0, 0.5], normalization="relu").ratios()
    assert ratios[2].tolist() == pytest.approx([200, 200, 1, 4])
    assert not ratios[:2].any()


def test_parts_of_a_batch_average_to_the_whole(image: Tensor, present: Tensor, label: Tensor):
    method = network(IMPORTANCE)
    whole = method.loss_terms(image[:4], present[:4], label[:4], present[:4])
    halves = [method.loss_terms(image[h], present[h], label[h], present[h]) for h in (slice(0, 2), slice(2, 4))]
    for name, term in whole.items():
        torch.testing.assert_close((halves[0][name] + halves[1][name]) / 2, term, rtol=1e-5, atol=1e-6)


def test_the_sum_of_eq_4(image: Tensor, present: Tensor, label: Tensor):
    method = network(IMPORTANCE)
    terms = {name: term.item() for name, term in method.loss_terms(image, present, label, present).items()}
    expected = 0.1 * by_hand(method.encode(image, present)[-1], weights_by_hand(IMPORTANCE, "softmax"))
    assert terms == {
        "task": pytest.approx(RegionLoss()(method(image, present), label).item(), abs=1e-6),
        "distillation": pytest.approx(expected, abs=1e-6),
    }
    assert (method.distance, method.normalization) == ("l1", "softmax")


def test_absent_channels_have_no_influence(image: Tensor, present: Tensor, label: Tensor):
    results = []
    for content in (0.0, torch.nan):
        method = network(IMPORTANCE)
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


def test_the_weights_take_no_part_in_the_prediction(image: Tensor, present: Tensor):
    assert torch.equal(network(IMPORTANCE)(image, present), network()(image, present))


def test_torchscript_is_the_same(image: Tensor, present: Tensor):
    method = network(IMPORTANCE).eval()
    torch.testing.assert_close(torch.jit.script(method)(image, present), method(image, present))


def test_half_precision_stays_near_the_terms_of_float32(image: Tensor, present: Tensor, label: Tensor):
    method = network(IMPORTANCE)
    terms = method.loss_terms(image, present, label, present)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = method.loss_terms(image, present, label, present)
    for name, term in terms.items():
        assert half[name].dtype == torch.float32
        torch.testing.assert_close(half[name], term, rtol=0.05, atol=1e-3)


def test_the_importance_is_four_parameters_that_the_networks_optimiser_leaves_alone(
    image: Tensor, present: Tensor, label: Tensor
):
    method, plain = network(IMPORTANCE), ModalityDropout(LightUNet((4, 8)))
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


def test_the_start_is_equal_or_random_as_in_the_published_code():
    assert network().weights().tolist() == [0.25] * 4
    importance = network(initial="random").importance
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


# The meta step.


@pytest.fixture
def batch(image: Tensor, present: Tensor, label: Tensor) -> dict[str, Tensor]:
    return {"image": image, "present": present, "label": label}


@pytest.mark.parametrize("missing", ["mean", "zero"])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_the_decoder_sees_weighted_bottlenecks_and_plain_skips(
    batch: dict[str, Tensor], normalization: str, missing: str
):
    method = network(normalization=normalization, missing=missing)
    seen: list[Any] = []
    method.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    loss = method.meta_loss(**batch, importance=torch.tensor(IMPORTANCE))
    logits = method(batch["image"], batch["present"])
    (weighted, weighted_skips), (plain, plain_skips) = seen
    w = weights_by_hand(IMPORTANCE, normalization)
    for i in range(4):  # the generated features of missing modalities too
        np.testing.assert_allclose(
            weighted[:, i].detach().double().numpy(), w[i] * plain[:, i].detach().double().numpy(), rtol=1e-6
        )
    torch.testing.assert_close(weighted_skips, plain_skips, rtol=0, atol=0)
    expected = method.task_loss(method.decoder(weighted, weighted_skips), batch["label"])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert not torch.equal(method.decoder(weighted, weighted_skips), logits)


def test_the_gradient_is_that_of_finite_differences(batch: dict[str, Tensor]):
    method = network(task_loss=nn.BCEWithLogitsLoss()).double()
    doubles = {**batch, "image": batch["image"].double(), "label": batch["label"].double()}
    variable = torch.tensor(IMPORTANCE, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(method.meta_loss(**doubles, importance=variable), variable)
    for i in range(4):
        change = 1e-5 * torch.eye(4, dtype=torch.float64)[i]
        up, down = (method.meta_loss(**doubles, importance=variable.detach() + c) for c in (change, -change))
        assert gradient[i].item() == pytest.approx((up - down).item() / 2e-5, rel=1e-4, abs=1e-10)
    assert gradient.any()


def test_a_step_is_adams(batch: dict[str, Tensor]):
    """Three steps in float64 from the gradients: Kingma and Ba, with the decay added to the gradient."""
    method = network(IMPORTANCE)
    meta = MetaStep(method, [], learning_rate=0.01, weight_decay=0.3)
    x, m, v = np.array(IMPORTANCE), np.zeros(4), np.zeros(4)
    for t in range(1, 4):
        variable = torch.tensor(x, dtype=torch.float32, requires_grad=True)
        (gradient,) = torch.autograd.grad(method.meta_loss(**batch, importance=variable), variable)
        g = gradient.double().numpy() + 0.3 * x
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        x = x - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        meta.update(batch)
        np.testing.assert_allclose(method.importance.double().numpy(), x, atol=1e-6)


def test_the_published_settings_are_the_default():
    group = MetaStep(network(), []).optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"], group["betas"]) == (1e-2, 5e-5, (0.9, 0.999))


class Adding:
    """A backbone whose logits are the sum of the embeddings, which are the channels."""

    class Encoder(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            return [x.flatten(1)]

    class Decoder(nn.Module):
        def forward(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
            return bottleneck.sum(dim=1)

    def shared_encoder(self) -> nn.Module:
        return self.Encoder()

    def decoder(self, modalities: int) -> nn.Module:
        return self.Decoder()


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("telling", range(4))
def test_the_weights_move_to_the_modality_that_lowers_the_held_out_loss(telling: int, normalization: str):
    """One modality is the label, the others are noise."""
    generator = torch.Generator().manual_seed(telling)
    image = torch.randn(16, 4, 50, generator=generator)
    label = (image[:, telling] > 0).float()
    batch = {"image": image, "present": torch.ones(16, 4, dtype=torch.bool), "label": label}
    method = MCKD(Adding(), normalization=normalization, task_loss=nn.BCEWithLogitsLoss())
    meta = MetaStep(method, [])
    losses = [meta.update(batch) for _ in range(100)]
    others = [i for i in range(4) if i != telling]
    assert method.weights()[telling] > 1.3 * method.weights()[others].max()
    assert losses[-1] < losses[0] - 0.01
    assert method.ratios()[telling, others].min() > 1.3 > 1 > method.ratios()[others, telling].max()


class Moody:
    """A backbone with batch norm and dropout, which a step in training mode would move and draw from."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Linear(10, 6), nn.BatchNorm1d(6), nn.Dropout(0.5))

        def forward(self, x: Tensor) -> list[Tensor]:
            return [self.block(x.flatten(1))]

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Linear(24, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))

        def forward(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
            return self.block(bottleneck.flatten(1))

    def shared_encoder(self) -> nn.Module:
        return self.Encoder()

    def decoder(self, modalities: int) -> nn.Module:
        return self.Decoder()


def running(interval: float, iteration: int = 1, rank: int = 0) -> SimpleNamespace:
    """A trainer at an iteration of 4 x 6."""
    return SimpleNamespace(
        state=SimpleNamespace(rank=rank, iteration=iteration, max_epochs=4, epoch_length=6, metrics={})
    )


def test_a_meta_step_changes_the_importance_and_nothing_else():
    torch.manual_seed(0)
    method = MCKD(Moody(), task_loss=nn.CrossEntropyLoss())
    method.train()
    for parameter in method.parameters():
        parameter.grad = torch.full_like(parameter, 7.0) if parameter.requires_grad else None
    names = ("image", "present", "label")
    data = list(zip(torch.randn(6, 4, 10), torch.ones(6, 4).bool(), torch.arange(6) % 3, strict=True))
    items: Any = [dict(zip(names, item, strict=True)) for item in data]
    loader = DataLoader(items, batch_size=3, shuffle=True)
    before, randomness = copy.deepcopy(method.state_dict()), torch.get_rng_state()
    MetaStep(method, loader, interval=1).step(running(1))
    assert torch.equal(torch.get_rng_state(), randomness)
    after = method.state_dict()
    assert not torch.equal(after.pop("importance"), before.pop("importance"))
    for name, value in before.items():
        assert torch.equal(after[name], value), name
    assert all(child.training for child in method.modules())
    for parameter in method.parameters():
        assert parameter.grad is None or parameter.grad.eq(7).all()


@pytest.mark.parametrize(
    ("interval", "expected"), [(8, [0, 8, 16]), (0.25, [0, 6, 12, 18]), (10, [0, 10, 20]), (0, [])]
)
def test_when_meta_steps_are_made(batch: dict[str, Tensor], interval: float, expected: list[int]):
    meta = MetaStep(network(), [batch], interval=interval)
    trainer = Engine(lambda engine, batch: len(meta.history.rows))
    trainer.state.rank = 0  # type: ignore[attr-defined]
    meta.attach(trainer)
    outputs: list[int] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: outputs.append(engine.state.output))
    trainer.run(range(6), max_epochs=4)
    assert [row[0] for row in meta.history.rows] == expected
    # Before the iteration, so that the first one has learned weights: Algorithm 1.
    assert outputs == [sum(done <= iteration for done in expected) for iteration in range(24)]


def test_each_meta_step_draws_batches_of_its_own_whatever_came_before(random_batches: Callable[..., DataLoader]):
    def drawn(iterations: list[int], batches: int = 1) -> list[list[Tensor]]:
        seen: list[list[Tensor]] = []
        meta = MetaStep(network(), random_batches(seed=5), interval=4, batches=batches)
        meta.update = lambda batch: seen[-1].append(batch["image"]) or 0.0  # type: ignore[func-returns-value,method-assign]
        for iteration in iterations:
            seen.append([])
            meta.step(running(4, iteration))
        return seen

    first, none, second, third = drawn([1, 3, 5, 9])
    assert none == [] and not torch.equal(first[0], second[0]) and not torch.equal(second[0], third[0])
    assert torch.equal(drawn([9])[0][0], third[0])
    assert len(drawn([1], batches=2)[0]) == 2
    assert len(drawn([1], batches=20)[0]) == 3  # all there are


def test_the_weights_are_recorded_and_reported(batch: dict[str, Tensor], tmp_path: Path):
    method = network()
    meta = MetaStep(method, [batch], interval=2, record=tmp_path / "weights.csv")
    trainer = running(2)
    expected = []
    for iteration in (1, 2, 3):
        trainer.state.iteration = iteration
        loss = method.meta_loss(**batch, importance=method.importance).item()
        meta.step(trainer)
        if iteration != 2:
            expected.append([iteration - 1, pytest.approx(loss, rel=1e-5), *method.weights().tolist()])
    meta.report(trainer)
    assert trainer.state.metrics == {f"weight_{n}": w for n, w in zip(NAMES, method.weights().tolist(), strict=True)}
    meta.history.write(running(2, rank=1))
    assert not list(tmp_path.iterdir())
    meta.history.write(trainer)
    header, *rows = csv.reader((tmp_path / "weights.csv").open())
    assert header == ["iteration", "loss", *NAMES]
    assert [[int(row[0]), *map(float, row[1:])] for row in rows] == expected


def test_a_meta_step_that_is_not_finite_stops_the_run(batch: dict[str, Tensor]):
    method = network()
    batch["image"] = batch["image"] * torch.nan
    with pytest.raises(FloatingPointError, match="the meta step is not finite"):
        MetaStep(method, []).update(batch)
    assert method.importance.tolist() == [1.0] * 4


def test_two_processes_take_the_step_of_one_with_both_batches(
    batch: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
):
    """The gradients and losses of the processes are averaged; each of them is told the others' sum."""
    halves = [{name: value[half] for name, value in batch.items()} for half in (slice(0, 2), slice(2, 4))]
    outcomes: list[Tensor] = []
    for half in halves:
        method = network(IMPORTANCE)
        variable = method.importance.clone().requires_grad_()
        loss = method.meta_loss(**half, importance=variable)
        outcomes.append(torch.cat([torch.autograd.grad(loss, variable)[0], loss.detach()[None]]))
    one = network(IMPORTANCE)
    joint = MetaStep(one, []).update({name: value[:4] for name, value in batch.items()})
    for own, half in enumerate(halves):
        monkeypatch.setattr(module, "processes", lambda: 2)
        monkeypatch.setattr(distributed, "all_reduce", lambda value, own=own: value.add_(outcomes[1 - own]))
        method = network(IMPORTANCE)
        assert MetaStep(method, []).update(half) == pytest.approx(joint, rel=1e-5)
        torch.testing.assert_close(method.importance, one.importance, rtol=1e-5, atol=1e-6)


def test_a_stopped_and_resumed_run_is_the_unbroken_one(
    tmp_path: Path, random_batches: Callable[..., DataLoader], train: Callable[..., Any]
):
    """Stopped after the meta steps before iterations 1, 3, 5 and 7, with a checkpoint that knows the first three."""

    def run(folder: Path, **options: Any) -> dict[str, Any]:
        method = network()
        meta = MetaStep(method, random_batches(seed=7), interval=2, record=folder / "weights.csv")
        return train(folder, method, [meta], **options)

    unbroken = run(tmp_path / "unbroken")
    run(tmp_path / "stopped", stop=8)
    stopped = (tmp_path / "stopped" / "weights.csv").read_text()
    resumed = run(tmp_path / "stopped", resume=True)
    (meta,), (expected,) = resumed["between_steps"], unbroken["between_steps"]
    assert meta["history"] == expected["history"] and len(meta["history"]) == 6
    torch.testing.assert_close(meta["optimizer"]["state"], expected["optimizer"]["state"], rtol=0, atol=0)
    torch.testing.assert_close(resumed["network"], unbroken["network"], rtol=0, atol=0)
    torch.testing.assert_close(resumed["average"]["weights"], unbroken["average"]["weights"], rtol=0, atol=0)
    final = (tmp_path / "stopped" / "weights.csv").read_text()
    assert final == (tmp_path / "unbroken" / "weights.csv").read_text() and final.startswith(stopped)
