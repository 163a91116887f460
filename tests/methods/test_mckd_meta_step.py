"""The meta step of MCKD: its gradient and its step, what it changes, when it is made, records, processes, resuming."""

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

from medmiss.methods import MCKD, MetaStep
from medmiss.methods import mckd as module

NAMES = ("FLAIR", "T1", "T1c", "T2")
NORMALIZATIONS = ["softmax", "sigmoid", "relu"]
IMPORTANCE = [0.3, -0.2, 1.1, 0.4]


@pytest.fixture
def batch(image: Tensor, present: Tensor, label: Tensor) -> dict[str, Tensor]:
    return {"image": image, "present": present, "label": label}


def test_the_gradient_is_that_of_finite_differences(mckd: Callable[..., MCKD], batch: dict[str, Tensor]):
    method = mckd(task_loss=nn.BCEWithLogitsLoss()).double()
    doubles = {**batch, "image": batch["image"].double(), "label": batch["label"].double()}
    variable = torch.tensor(IMPORTANCE, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(method.meta_loss(**doubles, importance=variable), variable)
    for i in range(4):
        change = 1e-5 * torch.eye(4, dtype=torch.float64)[i]
        up, down = (method.meta_loss(**doubles, importance=variable.detach() + c) for c in (change, -change))
        assert gradient[i].item() == pytest.approx((up - down).item() / 2e-5, rel=1e-4, abs=1e-10)
    assert gradient.any()


def test_a_step_is_adams(mckd: Callable[..., MCKD], batch: dict[str, Tensor]):
    """Three steps in float64 from the gradients: Kingma and Ba, with the decay added to the gradient."""
    method = mckd(IMPORTANCE)
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


def test_the_published_settings_are_the_default(mckd: Callable[..., MCKD]):
    group = MetaStep(mckd(), []).optimizer.param_groups[0]
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
def test_when_meta_steps_are_made(
    mckd: Callable[..., MCKD], batch: dict[str, Tensor], interval: float, expected: list[int]
):
    meta = MetaStep(mckd(), [batch], interval=interval)
    trainer = Engine(lambda engine, batch: len(meta.history.rows))
    trainer.state.rank = 0  # type: ignore[attr-defined]
    meta.attach(trainer)
    outputs: list[int] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: outputs.append(engine.state.output))
    trainer.run(range(6), max_epochs=4)
    assert [row[0] for row in meta.history.rows] == expected
    # Before the iteration, so that the first one has learned weights: Algorithm 1.
    assert outputs == [sum(done <= iteration for done in expected) for iteration in range(24)]


def test_each_meta_step_draws_batches_of_its_own_whatever_came_before(
    mckd: Callable[..., MCKD], random_batches: Callable[..., DataLoader]
):
    def drawn(iterations: list[int], batches: int = 1) -> list[list[Tensor]]:
        seen: list[list[Tensor]] = []
        meta = MetaStep(mckd(), random_batches(seed=5), interval=4, batches=batches)
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


def test_the_weights_are_recorded_and_reported(mckd: Callable[..., MCKD], batch: dict[str, Tensor], tmp_path: Path):
    method = mckd()
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


def test_a_meta_step_that_is_not_finite_stops_the_run(mckd: Callable[..., MCKD], batch: dict[str, Tensor]):
    method = mckd()
    batch["image"] = batch["image"] * torch.nan
    with pytest.raises(FloatingPointError, match="the meta step is not finite"):
        MetaStep(method, []).update(batch)
    assert method.importance.tolist() == [1.0] * 4


def test_there_must_be_a_held_out_case(mckd: Callable[..., MCKD]):
    with pytest.raises(ValueError, match="no held-out case to learn the importance on"):
        MetaStep(mckd(), []).step(running(1, 1))


def test_two_processes_take_the_step_of_one_with_both_batches(
    mckd: Callable[..., MCKD], batch: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
):
    """The gradients and losses of the processes are averaged; each of them is told the others' sum."""
    halves = [{name: value[half] for name, value in batch.items()} for half in (slice(0, 2), slice(2, 4))]
    outcomes: list[Tensor] = []
    for half in halves:
        method = mckd(IMPORTANCE)
        variable = method.importance.clone().requires_grad_()
        loss = method.meta_loss(**half, importance=variable)
        outcomes.append(torch.cat([torch.autograd.grad(loss, variable)[0], loss.detach()[None]]))
    one = mckd(IMPORTANCE)
    joint = MetaStep(one, []).update({name: value[:4] for name, value in batch.items()})
    for own, half in enumerate(halves):
        monkeypatch.setattr(module, "processes", lambda: 2)
        monkeypatch.setattr(distributed, "all_reduce", lambda value, own=own: value.add_(outcomes[1 - own]))
        method = mckd(IMPORTANCE)
        assert MetaStep(method, []).update(half) == pytest.approx(joint, rel=1e-5)
        torch.testing.assert_close(method.importance, one.importance, rtol=1e-5, atol=1e-6)


def test_a_stopped_and_resumed_run_is_the_unbroken_one(
    mckd: Callable[..., MCKD], tmp_path: Path, random_batches: Callable[..., DataLoader], train: Callable[..., Any]
):
    """Stopped after the meta steps before iterations 1, 3, 5 and 7, with a checkpoint that knows the first three."""

    def run(folder: Path, **options: Any) -> dict[str, Any]:
        method = mckd()
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
