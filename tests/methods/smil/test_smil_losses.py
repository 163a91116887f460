"""SMIL: the inner steps and the outer loss, what each loss term trains, and training itself."""

from copy import deepcopy

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from torch import Tensor, nn

from medmiss.methods import KMeansPriors
from medmiss.training import LossTerms, MethodTrainer


@pytest.mark.parametrize("steps", [1, 3])
def test_the_outer_loss_is_taken_where_the_inner_steps_lead(smil, seeded, image, available, label, steps):
    """Algorithm 1 with plain gradient steps on a copy."""
    rate = 0.5
    terms = seeded(smil(inner_rate=rate, inner_steps=steps).train(), image, available, label, available)
    copy = smil().train()
    theta = [*copy.network.encoders.parameters(), *copy.network.head.parameters()]
    whole = available.all(dim=1)
    torch.manual_seed(7)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(copy(image[~whole], available[~whole]), label[~whole])
        gradients = torch.autograd.grad(loss, theta, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(theta, gradients, strict=True):
                parameter.sub_(torch.zeros(()) if gradient is None else rate * gradient)
    expected = nn.functional.cross_entropy(copy(image[whole], available[whole]), label[whole]) * whole.double().mean()
    assert terms["task"].item() == pytest.approx(expected.item(), abs=1e-9)
    unmoved = seeded(smil(inner_rate=0).train(), image, available, label, available)
    assert abs(terms["task"].item() - unmoved["task"].item()) > 1e-3
    for name in ("inner", "kl_reconstruction"):  # taken at theta, whatever the number of steps
        assert torch.equal(terms[name], unmoved[name])


@pytest.mark.parametrize("options", [{}, {"noise": "unit"}, {"operation": "multiply", "inner_steps": 2}], ids=str)
def test_second_order_gradients_against_finite_differences(smil, seeded, image, available, label, options):
    method = smil(inner_rate=0.5, **options).train()
    parameters = dict(method.network.named_parameters())

    def task() -> Tensor:
        return seeded(method, image, available, label, available)["task"]

    gradients = dict(zip(parameters, torch.autograd.grad(task(), list(parameters.values())), strict=True))
    step = 1e-5
    with torch.no_grad():
        for name, parameter in parameters.items():
            flat = parameter.view(-1)
            for place in {0, flat.numel() // 2, flat.numel() - 1}:
                value = flat[place].item()
                ends = []
                for moved in (value + step, value - step):
                    flat[place] = moved
                    with torch.enable_grad():
                        ends.append(task().item())
                flat[place] = value
                found = gradients[name].reshape(-1)[place].item()
                assert found == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6, abs=1e-8), f"{name} {place}"


def test_the_second_order_is_part_of_the_gradient(smil, seeded, image, available, label):
    """Without it, the gradient of the outer loss at theta* would be that of theta, and nothing would reach phi_c."""
    method = smil(inner_rate=0.5).train()
    theta = [*method.network.encoders[0].parameters(), *method.network.head.parameters()]
    full = torch.autograd.grad(seeded(method, image, available, label, available)["task"], theta)
    moved = deepcopy(method)
    moved.inner_rate = 0
    copies = [*moved.network.encoders[0].parameters(), *moved.network.head.parameters()]
    inner = seeded(method, image, available, label, available)["inner"]
    with torch.no_grad():
        for parameter, gradient in zip(copies, torch.autograd.grad(inner, theta), strict=True):
            parameter.sub_(0.5 * gradient / (~available.all(dim=1)).double().mean())  # the mean over incomplete ones
    first_order = torch.autograd.grad(seeded(moved, image, available, label, available)["task"], copies)
    assert max(float((a - b).abs().max()) for a, b in zip(full, first_order, strict=True)) > 1e-3


def test_what_each_term_trains(smil, seeded, image, available, label):
    method = smil(inner_rate=0.1).train()
    network = method.network
    parts = {
        "first": network.encoders[0],
        "second": network.encoders[1],
        "head": network.head,
        "reconstruction": network.reconstructions,
        "regularisation": network.regularisations,
    }
    trained = {
        "task": {"first", "second", "head", "reconstruction", "regularisation"},
        "inner": {"first", "head", "reconstruction", "regularisation"},
        "kl_reconstruction": {"first", "reconstruction"},
        "kl_regularisation": {"first", "second", "head", "reconstruction", "regularisation"},
    }

    def reached(term: Tensor) -> set[str]:
        method.zero_grad()
        term.backward()
        return {
            name
            for name, part in parts.items()
            if any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
        }

    for name, expected in trained.items():
        assert reached(seeded(method, image, available, label, available)[name]) == expected, name
    method.inner_rate = 0  # the outer loss meets phi_c in the inner step alone
    task = seeded(method, image, available, label, available)["task"]
    assert reached(task) == {"first", "second", "head", "regularisation"}


def test_a_batch_of_complete_samples_is_the_plain_loss(smil, seeded, image, available, label):
    method = smil(fitted=False).train()  # nor are priors needed
    everything = torch.ones_like(available)
    terms = seeded(method, image, everything, label, everything)
    torch.manual_seed(7)
    torch.testing.assert_close(terms["task"], nn.functional.cross_entropy(method(image, everything), label))
    assert terms["inner"].item() == terms["kl_reconstruction"].item() == 0 < terms["kl_regularisation"].item()


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_batch_of_incomplete_samples_has_no_outer_loss(smil, seeded, image, available, label, weight):
    method = smil(inner_weight=weight).train()
    available[:, 1] = False
    terms = seeded(method, image, available, label, available)
    assert terms["task"].item() == 0
    assert ("inner" in terms) == (weight > 0)
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())


def test_training_goes_by_what_exists(smil, seeded, image, available, label):
    method = smil().train()
    dropped = available.clone()
    dropped[0, 1] = dropped[3, 0] = False
    for name, term in seeded(method, image, available, label, available).items():
        assert torch.equal(seeded(method, image, dropped, label, available)[name], term)


def test_half_precision_stays_near_float32(smil, seeded, image, available, label):
    method = smil(double=False).train()
    image = image.float()
    terms = seeded(method, image, available, label, available)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = seeded(method, image, available, label, available)
    for name, term in terms.items():
        assert half[name].dtype == torch.float32
        torch.testing.assert_close(half[name], term, rtol=0.1, atol=2e-2)


def test_steps_on_the_sum_learn_both_kinds_of_sample(smil, image, available, label):
    method = smil().train()
    optimizer = torch.optim.Adam(method.parameters(), lr=0.05)
    torch.manual_seed(0)
    for _ in range(100):
        terms = method.loss_terms(image, available, label, available)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
    assert torch.equal(method.eval()(image, available).argmax(dim=1), label)


def test_the_one_trainer_trains_it(smil, image, available, label):
    """Priors are there before the first incomplete sample is, and every term is logged."""
    method = smil(double=False, fitted=False)
    samples = [
        {"image": image[b].float(), "present": available[b], "available": available[b], "label": label[b]}
        for b in range(7)
    ]
    loader = DataLoader(Dataset(samples), batch_size=4)
    trainer = MethodTrainer(
        device=torch.device("cpu"),
        max_epochs=10,
        train_data_loader=loader,
        network=LossTerms(method),
        optimizer=torch.optim.Adam(method.parameters(), lr=0.02),
        train_handlers=[KMeansPriors(method, loader)],
    )
    totals: list[float] = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: totals.append(engine.state.metrics["loss"]))
    trainer.run()
    assert {"task", "inner", "kl_reconstruction", "kl_regularisation"} <= trainer.state.metrics.keys()
    assert totals[-1] < totals[0]
