"""SMIL: the leak rule, stochastic passes, missing modalities, export and weights, wrong use."""

import io

import pytest
import torch
from torch import Tensor

from medmiss.classification import SmilLeNets
from medmiss.methods import SMIL, KMeansPriors

GARBAGE = [float("nan"), float("inf"), -1e30]


def test_stochastic_passes_come_from_their_seed_alone(smil, image, available):
    method = smil(passes=5).eval()
    state = torch.get_rng_state()
    logits = method(image, available)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(123)
    assert torch.equal(method(image, available), logits)
    assert torch.equal(smil(passes=5).eval()(image, available), logits)
    alone = torch.cat([method(image[b : b + 1], available[b : b + 1]) for b in range(7)])
    torch.testing.assert_close(alone, logits)
    assert not torch.allclose(smil(passes=5, seed=1).eval()(image, available), logits, atol=1e-3)


def test_more_passes_come_closer_to_the_expectation(smil, image, available):
    def passes(number: int, seed: int) -> Tensor:
        return smil(passes=number, seed=seed).eval()(image, available).detach()

    expectation = passes(1000, 99)
    few, many = ((torch.stack([passes(n, s) for s in range(6)]) - expectation).square().mean() for n in (2, 32))
    assert many < few / 6  # 16 times the passes


def test_training_draws_anew_each_time(smil, image, available):
    method = smil().train()
    assert not torch.allclose(method(image, available), method(image, available), atol=1e-3)


@pytest.mark.parametrize("value", GARBAGE)
@pytest.mark.parametrize("missing", [(1,), (0, 1)])
def test_absent_channels_have_no_influence(smil, seeded, image, available, label, value, missing):
    if 0 in missing:
        available[4, 0] = False
    results = []
    for filling in (0.0, value):
        method = smil(missing=missing, passes=3)
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


def test_what_is_present_does_matter(smil, image, available):
    method = smil().eval()
    logits = method(image, available)
    for b, i in available.nonzero().tolist():
        changed = image.clone()
        changed[b, i] += 1
        assert (method(changed, available)[b] - logits[b]).abs().max() > 1e-3


def test_without_presence_an_all_zero_channel_counts_as_absent(smil, image, available):
    method = smil().eval()
    image[~available] = 0
    assert torch.equal(method(image), method(image, available))


def test_either_modality_can_be_the_missing_one(smil, image, available):
    method = smil(missing=(0, 1)).eval()
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


def test_a_missing_modality_without_priors_is_an_error_that_says_what_to_do(smil, image, available, label):
    method = smil(fitted=False)
    with pytest.raises(ValueError, match="no priors to rebuild it from: let KMeansPriors fit them"):
        method.eval()(image, available)
    with pytest.raises(ValueError, match="no priors"):
        method.train().loss_terms(image, available, label, available)
    assert method.eval()(image, torch.ones_like(available)).isfinite().all()


def test_wrong_use_is_an_error(smil, image, available):
    method = smil().eval()
    available[3, 0] = False
    with pytest.raises(ValueError, match="modality 0 is missing"):
        method(image, available)
    available[3] = False
    with pytest.raises(ValueError, match="without any modality"):
        smil(missing=(0, 1))(image, available)
    with pytest.raises(ValueError, match="noise is 'loud', expected one of learned, unit"):
        smil(noise="loud")
    with pytest.raises(ValueError, match="operation is 'divide', expected one of add, multiply"):
        smil(operation="divide")
    with pytest.raises(ValueError, match=r"missing is \(2,\)"):
        smil(missing=(2,))
    with pytest.raises(ValueError, match="inner_steps is 0, expected at least 1"):
        smil(inner_steps=0)


@pytest.mark.parametrize(
    "options", [{}, {"noise": "unit", "operation": "multiply"}, {"passes": 3}, {"missing": (0, 1)}], ids=str
)
def test_torchscript_equals_eager(smil, image, available, options):
    method = smil(double=False, **options).eval()
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(method), buffer)
    buffer.seek(0)
    exported = torch.jit.load(buffer)
    image = image.float()
    for present in (available, torch.ones_like(available), available & torch.tensor([True, False])):
        torch.testing.assert_close(exported(image, present), method(image, present))


def test_weights_carry_their_priors(smil, image, available):
    method, other = smil().eval(), smil(fitted=False).eval()
    other.load_state_dict(method.deployed(method.state_dict()))
    assert torch.equal(other(image, available), method(image, available))


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
