"""SMIL: Eqs. 2, 3 and 6 against loops in float64, the leak rule, stochastic passes, priors."""

import io
import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from torch import Tensor, nn

from medmiss.classification import SmilLeNets
from medmiss.methods import SMIL, KMeansPriors
from medmiss.methods.smil import cluster_centres, divergence_from_unit
from medmiss.training import LossTerms, MethodTrainer

PRIORS = 4
GARBAGE = [float("nan"), float("inf"), -1e30]


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


def make(double: bool = True, fitted: bool = True, **options: Any) -> Any:
    """Always the same small SMIL, with priors at random places."""
    torch.manual_seed(0)
    method = SMIL(Tiny(), priors=PRIORS, **options)
    for parameter in method.parameters():
        nn.init.normal_(parameter, std=0.4)
    for reconstruction in inside(method).reconstructions:
        if fitted:
            reconstruction.priors.normal_()
            reconstruction.fitted.fill_(True)
    return method.double() if double else method


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


def seeded(method: Any, *batch: Tensor) -> dict[str, Tensor]:
    """Loss terms with always the same draws."""
    torch.manual_seed(7)
    return method.loss_terms(*batch)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def linear(layer: nn.Module, x: np.ndarray) -> np.ndarray:
    weight, bias = (value.detach().numpy() for value in layer.parameters())
    return np.array([sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)])


def kl(shift: np.ndarray, log_variance: np.ndarray) -> float:
    """KL of N(m + shift, s^2) from N(m, 1) from its textbook form, number by number."""
    total = 0.0
    for d, v in zip(shift, log_variance, strict=True):
        sigma = math.exp(v / 2)
        total += math.log(1 / sigma) + (sigma**2 + d**2) / 2 - 0.5
    return total


def by_hand(
    method: Any, sample: np.ndarray, second: bool, draws: list[np.ndarray], add: bool = True
) -> tuple[np.ndarray, float, float]:
    """Logits and both KL of one sample; `draws`: for the weights of the priors and for each regularised layer."""
    network = method.network
    first = np.tanh(linear(network.encoders[0].linear, sample[0]))
    kl_weights = 0.0
    if second:
        other = np.tanh(linear(network.encoders[1].linear, sample[1, :4]))
    else:  # Eq. 2
        log_variance = linear(network.reconstructions[0].predictor, first)
        other = np.zeros(5)
        for k in range(PRIORS):
            weight = 1 + math.exp(log_variance[k] / 2) * draws[0][k]
            other = other + weight * network.reconstructions[0].priors[k].numpy()
        kl_weights = kl(np.zeros(PRIORS), log_variance)
    previous, current, kl_regularisation = first, np.concatenate([first, other]), 0.0
    for level, layer in enumerate([network.head[0][0], network.head[1]]):  # Eq. 3
        mean, log_variance = np.split(linear(network.regularisations[level].predictor, previous), 2)
        kl_regularisation += kl(mean, log_variance)
        for c in range(len(current)):
            r = mean[c] + math.exp(log_variance[c] / 2) * draws[1 + level][c]
            current[c] = current[c] + softplus(r) if add else current[c] * softplus(r)
        previous = current
        current = linear(layer, current)
        if level == 0:
            current = np.tanh(current)
    return current, kl_weights, kl_regularisation


def still() -> list[np.ndarray]:
    return [np.zeros(PRIORS), np.zeros(8), np.zeros(4)]


@pytest.mark.parametrize("operation", ["add", "multiply"])
def test_a_prediction_uses_the_means_of_the_weights_and_of_the_regularisation(image, available, operation):
    method = make(operation=operation).eval()
    logits = method(image, available).detach().numpy()
    for b in range(7):
        expected, _, _ = by_hand(method, image[b].numpy(), bool(available[b, 1]), still(), operation == "add")
        np.testing.assert_allclose(logits[b], expected, atol=1e-9)


def test_stochastic_passes_are_averaged(image, available):
    method = make(passes=5).eval()
    network = method.network
    parts = [network.reconstructions[0], *network.regularisations]
    draws = [part.noise.draws.numpy() for part in parts]
    assert all(np.abs(a[0] - a[1]).min() > 0 for a in draws)
    logits = method(image, available).detach().numpy()
    for b in range(7):
        each = [
            by_hand(method, image[b].numpy(), bool(available[b, 1]), [d[number] for d in draws])[0]
            for number in range(5)
        ]
        np.testing.assert_allclose(logits[b], np.mean(each, axis=0), atol=1e-9)


def test_stochastic_passes_come_from_their_seed_alone(image, available):
    method = make(passes=5).eval()
    state = torch.get_rng_state()
    logits = method(image, available)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(123)
    assert torch.equal(method(image, available), logits)
    assert torch.equal(make(passes=5).eval()(image, available), logits)
    alone = torch.cat([method(image[b : b + 1], available[b : b + 1]) for b in range(7)])
    torch.testing.assert_close(alone, logits)
    assert not torch.allclose(make(passes=5, seed=1).eval()(image, available), logits, atol=1e-3)


def test_more_passes_come_closer_to_the_expectation(image, available):
    def passes(number: int, seed: int) -> Tensor:
        return make(passes=number, seed=seed).eval()(image, available).detach()

    expectation = passes(1000, 99)
    few, many = ((torch.stack([passes(n, s) for s in range(6)]) - expectation).square().mean() for n in (2, 32))
    assert many < few / 6  # 16 times the passes


def test_training_draws_anew_each_time(image, available):
    method = make().train()
    assert not torch.allclose(method(image, available), method(image, available), atol=1e-3)


def test_kl_is_zero_at_the_prior_alone():
    generator = torch.Generator().manual_seed(0)
    shift, log_variance = torch.randn(2, 6, 9, dtype=torch.float64, generator=generator)
    found = divergence_from_unit(shift, log_variance).numpy()
    np.testing.assert_allclose(found, [kl(m, v) for m, v in zip(shift.numpy(), log_variance.numpy(), strict=True)])
    assert (found > 0).all()
    zeros = torch.zeros(1, 9)
    assert divergence_from_unit(zeros, zeros).item() == 0


def test_kl_is_the_integral_that_defines_it():
    places = np.linspace(-15, 15, 200_001)
    m, s = 1.7, 0.6
    q = np.exp(-((places - m) ** 2) / (2 * s**2)) / (s * math.sqrt(2 * math.pi))
    log_ratio = -((places - m) ** 2) / (2 * s**2) - math.log(s) + (places - 1) ** 2 / 2  # the prior is N(1, 1)
    integral = np.trapezoid(q * log_ratio, places)
    found = divergence_from_unit(torch.tensor([[m - 1]]), torch.tensor([[2 * math.log(s)]]))
    assert found.item() == pytest.approx(integral, abs=1e-6)


@pytest.mark.parametrize("operation", ["add", "multiply"])
def test_loss_terms_with_the_inner_step_undone(image, available, label, operation):
    """At inner rate 0 theta* is theta, so that every term follows from `by_hand` and the draws in their order."""
    method = make(operation=operation, inner_rate=0, inner_weight=0.3, kl_weight=0.2).train()
    terms = seeded(method, image, available, label, available)
    torch.manual_seed(7)
    incomplete, complete = [1, 2, 5], [0, 3, 4, 6]
    drawn = {1: [torch.randn(3, n, dtype=torch.float64).numpy() for n in (PRIORS, 8, 4)]}
    drawn[0] = [np.zeros((4, PRIORS)), *(torch.randn(4, n, dtype=torch.float64).numpy() for n in (8, 4))]
    losses: dict[int, list[float]] = {0: [], 1: []}
    weights, regularisation = [], []
    for kind, samples in ((1, incomplete), (0, complete)):
        for row, b in enumerate(samples):
            draws = [d[row] for d in drawn[kind]]
            logits, kl_weights, kl_r = by_hand(method, image[b].numpy(), kind == 0, draws, operation == "add")
            losses[kind].append(-logits[label[b]] + math.log(sum(math.exp(z) for z in logits)))
            regularisation.append(kl_r)
            if kind == 1:
                weights.append(kl_weights)
    assert {name: term.item() for name, term in terms.items()} == {
        "task": pytest.approx(np.mean(losses[0]), abs=1e-9),
        "inner": pytest.approx(0.3 * np.mean(losses[1]), abs=1e-9),
        "kl_reconstruction": pytest.approx(0.2 * np.mean(weights), abs=1e-9),
        "kl_regularisation": pytest.approx(0.2 * np.mean(regularisation), abs=1e-9),
    }


@pytest.mark.parametrize("steps", [1, 3])
def test_the_outer_loss_is_taken_where_the_inner_steps_lead(image, available, label, steps):
    """Algorithm 1 with plain gradient steps on a copy."""
    rate = 0.5
    terms = seeded(make(inner_rate=rate, inner_steps=steps).train(), image, available, label, available)
    copy = make().train()
    theta = [*copy.network.encoders.parameters(), *copy.network.head.parameters()]
    whole = available.all(dim=1)
    torch.manual_seed(7)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(copy(image[~whole], available[~whole]), label[~whole])
        gradients = torch.autograd.grad(loss, theta, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(theta, gradients, strict=True):
                parameter.sub_(torch.zeros(()) if gradient is None else rate * gradient)
    expected = nn.functional.cross_entropy(copy(image[whole], available[whole]), label[whole])
    assert terms["task"].item() == pytest.approx(expected.item(), abs=1e-9)
    unmoved = seeded(make(inner_rate=0).train(), image, available, label, available)
    assert abs(terms["task"].item() - unmoved["task"].item()) > 1e-3
    for name in ("inner", "kl_reconstruction"):  # taken at theta, whatever the number of steps
        assert torch.equal(terms[name], unmoved[name])


@pytest.mark.parametrize("options", [{}, {"noise": "unit"}, {"operation": "multiply", "inner_steps": 2}], ids=str)
def test_second_order_gradients_against_finite_differences(image, available, label, options):
    method = make(inner_rate=0.5, **options).train()
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


def test_the_second_order_is_part_of_the_gradient(image, available, label):
    """Without it, the gradient of the outer loss at theta* would be that of theta, and nothing would reach phi_c."""
    method = make(inner_rate=0.5).train()
    theta = [*method.network.encoders[0].parameters(), *method.network.head.parameters()]
    full = torch.autograd.grad(seeded(method, image, available, label, available)["task"], theta)
    moved = deepcopy(method)
    moved.inner_rate = 0
    copies = [*moved.network.encoders[0].parameters(), *moved.network.head.parameters()]
    inner = seeded(method, image, available, label, available)["inner"]
    with torch.no_grad():
        for parameter, gradient in zip(copies, torch.autograd.grad(inner, theta), strict=True):
            parameter.sub_(0.5 * gradient)
    first_order = torch.autograd.grad(seeded(moved, image, available, label, available)["task"], copies)
    assert max(float((a - b).abs().max()) for a, b in zip(full, first_order, strict=True)) > 1e-3


def test_what_each_term_trains(image, available, label):
    method = make(inner_rate=0.1).train()
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


def test_a_batch_of_complete_samples_is_the_plain_loss(image, available, label):
    method = make(fitted=False).train()  # nor are priors needed
    everything = torch.ones_like(available)
    terms = seeded(method, image, everything, label, everything)
    torch.manual_seed(7)
    torch.testing.assert_close(terms["task"], nn.functional.cross_entropy(method(image, everything), label))
    assert terms["inner"].item() == terms["kl_reconstruction"].item() == 0 < terms["kl_regularisation"].item()


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_batch_of_incomplete_samples_has_no_outer_loss(image, available, label, weight):
    method = make(inner_weight=weight).train()
    available[:, 1] = False
    terms = seeded(method, image, available, label, available)
    assert terms["task"].item() == 0
    assert ("inner" in terms) == (weight > 0)
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())


def test_training_goes_by_what_exists(image, available, label):
    method = make().train()
    dropped = available.clone()
    dropped[0, 1] = dropped[3, 0] = False
    for name, term in seeded(method, image, available, label, available).items():
        assert torch.equal(seeded(method, image, dropped, label, available)[name], term)


def test_the_noise_of_the_published_code(image, available, label):
    method = make(noise="unit").train()
    assert set(seeded(method, image, available, label, available)) == {"task", "inner"}
    network = method.network
    source = torch.randn(6, 3, dtype=torch.float64)
    rebuilt, divergence = network.reconstructions[0](source, 0)
    assert not divergence.any()
    for b in range(6):
        scores = [softplus(z) for z in linear(network.reconstructions[0].predictor, source[b].numpy())]
        priors = network.reconstructions[0].priors.numpy()
        expected = sum(s / sum(scores) * prior for s, prior in zip(scores, priors, strict=True))
        np.testing.assert_allclose(rebuilt[b].detach().numpy(), expected, atol=1e-9)
    torch.manual_seed(3)
    regularised, _ = network.regularisations[1](torch.zeros(6, 8).double(), torch.zeros(6, 4).double(), 0)
    torch.manual_seed(3)
    r = network.regularisations[1].predictor.bias + torch.randn(6, 4, dtype=torch.float64)
    torch.testing.assert_close(regularised, r.exp().log1p())


@pytest.mark.parametrize("value", GARBAGE)
@pytest.mark.parametrize("missing", [(1,), (0, 1)])
def test_absent_channels_have_no_influence(image, available, label, value, missing):
    if 0 in missing:
        available[4, 0] = False
    results = []
    for filling in (0.0, value):
        method = make(missing=missing, passes=3)
        data = image.clone()
        data[~available] = filling
        logits = method.eval()(data, available).detach()
        data.requires_grad_()
        terms = seeded(method.train(), data, available, label, available)
        torch.stack(list(terms.values())).sum().backward()
        gradients = [parameter.grad for parameter in method.parameters()] + [data.grad]
        results.append([logits, *(term.detach() for term in terms.values()), *gradients])
    for clean, spoilt in zip(*results, strict=True):
        assert torch.equal(clean, spoilt)
        assert clean.isfinite().all()
    assert not results[1][-1][~available].any()


def test_what_is_present_does_matter(image, available):
    method = make().eval()
    logits = method(image, available)
    for b, i in available.nonzero().tolist():
        changed = image.clone()
        changed[b, i] += 1
        assert (method(changed, available)[b] - logits[b]).abs().max() > 1e-3


def test_without_presence_an_all_zero_channel_counts_as_absent(image, available):
    method = make().eval()
    image[~available] = 0
    assert torch.equal(method(image), method(image, available))


def test_either_modality_can_be_the_missing_one(image, available):
    method = make(missing=(0, 1)).eval()
    available[4, 0] = False
    network = method.network
    for modality, (features, rows) in enumerate(zip(network.encode(image, available), available.T, strict=True)):
        assert features.shape == (7, (3, 5)[modality])
        assert not features[~rows].any()
    seen: list[Tensor] = []
    network.regularisations[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    method(image, available)
    priors = [part.priors for part in network.reconstructions]
    torch.testing.assert_close(seen[0][4, :3], priors[0].sum(dim=0))
    torch.testing.assert_close(seen[0][1, 3:], priors[1].sum(dim=0))


def test_a_missing_modality_without_priors_is_an_error_that_says_what_to_do(image, available, label):
    method = make(fitted=False)
    with pytest.raises(ValueError, match="no priors to rebuild it from: let KMeansPriors fit them"):
        method.eval()(image, available)
    with pytest.raises(ValueError, match="no priors"):
        method.train().loss_terms(image, available, label, available)
    assert method.eval()(image, torch.ones_like(available)).isfinite().all()


def test_wrong_use_is_an_error(image, available):
    method = make().eval()
    available[3, 0] = False
    with pytest.raises(ValueError, match="modality 0 is missing"):
        method(image, available)
    available[3] = False
    with pytest.raises(ValueError, match="without any modality"):
        make(missing=(0, 1))(image, available)
    with pytest.raises(ValueError, match="noise is 'loud', expected one of learned, unit"):
        make(noise="loud")
    with pytest.raises(ValueError, match="operation is 'divide', expected one of add, multiply"):
        make(operation="divide")
    with pytest.raises(ValueError, match=r"missing is \(2,\)"):
        make(missing=(2,))
    with pytest.raises(ValueError, match="inner_steps is 0, expected at least 1"):
        make(inner_steps=0)


@pytest.mark.parametrize(
    "options", [{}, {"noise": "unit", "operation": "multiply"}, {"passes": 3}, {"missing": (0, 1)}], ids=str
)
def test_torchscript_equals_eager(image, available, options):
    method = make(double=False, **options).eval()
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(method), buffer)
    buffer.seek(0)
    exported = torch.jit.load(buffer)
    image = image.float()
    for present in (available, torch.ones_like(available), available & torch.tensor([True, False])):
        torch.testing.assert_close(exported(image, present), method(image, present))


def test_weights_carry_their_priors(image, available):
    method, other = make().eval(), make(fitted=False).eval()
    other.load_state_dict(method.deployed(method.state_dict()))
    assert torch.equal(other(image, available), method(image, available))


def test_half_precision_stays_near_float32(image, available, label):
    method = make(double=False).train()
    image = image.float()
    terms = seeded(method, image, available, label, available)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = seeded(method, image, available, label, available)
    for name, term in terms.items():
        assert half[name].dtype == torch.float32
        torch.testing.assert_close(half[name], term, rtol=0.1, atol=2e-2)


def test_steps_on_the_sum_learn_both_kinds_of_sample(image, available, label):
    method = make().train()
    optimizer = torch.optim.Adam(method.parameters(), lr=0.05)
    torch.manual_seed(0)
    for _ in range(100):
        terms = method.loss_terms(image, available, label, available)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
    assert torch.equal(method.eval()(image, available).argmax(dim=1), label)


def test_the_published_networks_have_the_published_number_of_parameters():
    method = SMIL(SmilLeNets())
    own = {name: sum(p.numel() for p in part.parameters()) for name, part in method.network.named_children()}
    assert own == {"encoders": 1390 + 10412, "head": 31434, "reconstructions": 1610, "regularisations": 216128}
    classifiers = (160 * 32 + 32 + 32 * 10 + 10) + (320 * 160 + 160 + 160 * 32 + 32 + 32 * 10 + 10)
    assert sum(own.values()) + classifiers + 1390 == 324_688
    image, available = torch.rand(4, 2, 28, 28), torch.tensor([[True, True], [True, False]] * 2)
    KMeansPriors(method, [{"image": torch.rand(12, 2, 28, 28), "available": torch.ones(12, 2).bool()}]).fit()
    terms = method.loss_terms(image, available, torch.tensor([0, 1, 2, 3]), available)
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


def blobs(image: Tensor) -> tuple[Any, Tensor, Tensor]:
    """A SMIL whose second modality's features are the numbers themselves, and four narrow blobs of those."""
    method = make(fitted=False, double=False)
    corners = torch.tensor([[0.0, 0, 0, 0], [5, 0, 0, 0], [0, 5, 0, 0], [0, 0, 5, 5]])
    image = image.float().repeat(8, 1, 1)
    image[:, 1, :4] = corners[torch.arange(56) % 4] + 0.1 * image[:, 1, :4]

    class Same(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            return [nn.functional.pad(x[:, 0, :4], (0, 1))]

    method.network.encoders[1] = Same()
    return method, image, image[:, 1, :4]


def loaded(image: Tensor, available: Tensor) -> list[dict[str, Tensor]]:
    """Batches of five."""
    pairs = zip(image.split(5), available.split(5), strict=True)
    return [{"image": images, "available": rows} for images, rows in pairs]


def test_priors_are_the_centres_of_the_complete_samples_features(image, available):
    method, image, points = blobs(image)
    available = available.repeat(8, 1)
    image[~available] = float("nan")
    method.train()
    state = torch.get_rng_state()
    KMeansPriors(method, loaded(image, available)).fit()
    assert torch.equal(torch.get_rng_state(), state)
    assert method.training and method.network.training
    reconstruction = method.network.reconstructions[0]
    assert bool(reconstruction.fitted)
    for blob in range(4):
        own = (torch.arange(56) % 4 == blob) & available[:, 1]
        centre = nn.functional.pad(points[own].mean(dim=0), (0, 1))
        assert (reconstruction.priors - centre).abs().amax(dim=1).min() < 1e-5


def test_priors_are_fitted_without_dropout_and_leave_batch_norm_alone(image):
    method, image, _ = blobs(image)
    method.network.encoders[1] = nn.Sequential(method.network.encoders[1], Thinned())
    everything = torch.ones(56, 2, dtype=torch.bool)
    KMeansPriors(method.train(), loaded(image, everything)).fit()
    assert method.network.encoders[1][1].norm.num_batches_tracked == 0
    assert method.network.reconstructions[0].priors.amax() == pytest.approx(5, abs=0.2)


class Thinned(nn.Module):
    """Dropout and batch norm that show when they are on."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.9)
        self.norm = nn.BatchNorm1d(5)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [self.norm(self.dropout(features[-1]))]


def test_priors_are_the_same_for_the_same_seed():
    points = np.random.default_rng(0).normal(size=(200, 6))
    first = cluster_centres(points, 10, seed=0)
    assert np.array_equal(first, cluster_centres(points, 10, seed=0))
    assert not np.allclose(first, cluster_centres(points, 10, seed=1))


def test_a_start_that_merges_clusters_is_not_the_last_word():
    corners = 10 * np.random.default_rng(0).normal(size=(12, 3))
    points = (corners[:, None] + 0.1 * np.random.default_rng(1).normal(size=(12, 15, 3))).reshape(-1, 3)
    for seed in range(10):
        distances = np.linalg.norm(cluster_centres(points, 12, seed)[:, None] - corners, axis=2)
        assert distances.min(axis=0).max() < 0.2


def test_a_new_fit_keeps_the_order_of_the_priors(image):
    method, image, _ = blobs(image)
    batches = loaded(image, torch.ones(56, 2, dtype=torch.bool))
    reconstruction = method.network.reconstructions[0]
    KMeansPriors(method, batches, seed=0).fit()
    before = reconstruction.priors.clone()
    for seed in range(1, 6):
        KMeansPriors(method, batches, seed=seed).fit()
        torch.testing.assert_close(reconstruction.priors, before)


def test_too_few_complete_samples_are_an_error_that_says_how_many(image, available):
    available[3:] = torch.tensor([True, False])
    with pytest.raises(ValueError, match="1 complete samples in the data loader, expected at least the 4 priors"):
        KMeansPriors(make(), [{"image": image, "available": available}]).fit()


@pytest.mark.parametrize(("interval", "expected"), [(0, [1]), (4, [1, 5, 9]), (0.5, [1, 7])])
def test_priors_are_fitted_before_the_first_iteration_and_at_intervals(
    monkeypatch: pytest.MonkeyPatch, interval: float, expected: list[int]
):
    handler = KMeansPriors(make(), [], interval=interval)
    events: list[str] = []
    monkeypatch.setattr(handler, "fit", lambda: events.append("fit"))
    process: Callable[[Any, Any], None] = lambda engine, batch: events.append("step")  # noqa: E731
    engine = Engine(process)
    handler.attach(engine)
    engine.run(range(4), max_epochs=3)
    fitted = [events[: place + 1].count("step") + 1 for place, event in enumerate(events) if event == "fit"]
    assert fitted == expected


def test_the_one_trainer_trains_it(image, available, label):
    """Priors are there before the first incomplete sample is, and every term is logged."""
    method = make(double=False, fitted=False)
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
