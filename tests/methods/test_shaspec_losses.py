"""ShaSpec's loss terms, Eqs. 5 to 9, against loops in float64, and what must hold of them."""

from itertools import combinations, pairwise, permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from medmiss.losses import RegionLoss
from medmiss.methods import ShaSpec
from medmiss.networks import LightUNet, ModalityFeatures

ALIGNMENTS = ["ce", "kl", "l1", "mse"]
PAIRWISE = ["kl", "l1", "mse"]


def features(present: Tensor, seed: int = 0) -> ModalityFeatures:
    """Random bottleneck features `(P, 8, 3, 2, 2)` of the pairs that exist."""
    sample, modality = present.nonzero().unbind(1)
    values = 2 * torch.randn(len(sample), 8, 3, 2, 2, generator=torch.Generator().manual_seed(seed))
    return ModalityFeatures(values, sample, modality, present)


def as_dict(rows: ModalityFeatures) -> list[dict[int, np.ndarray]]:
    """For every sample, modality -> feature in float64."""
    result: list[dict[int, np.ndarray]] = [{} for _ in range(rows.present.shape[0])]
    for value, sample, modality in zip(rows.values, rows.sample.tolist(), rows.modality.tolist(), strict=True):
        result[sample][modality] = value.detach().double().numpy()
    return result


def linear(layer: torch.nn.Linear, feature: np.ndarray) -> np.ndarray:
    """A linear layer on the globally averaged feature."""
    pooled = np.array([channel.mean() for channel in feature])
    return layer.weight.detach().double().numpy() @ pooled + layer.bias.detach().double().numpy()


def softmax(scores: np.ndarray) -> np.ndarray:
    return np.exp(scores) / np.exp(scores).sum()


def domain_by_hand(method, rows: ModalityFeatures) -> float:
    """Eq. 5."""
    losses = []
    for sample in as_dict(rows):
        losses.append(np.mean([-np.log(softmax(linear(method.domain_classifier, s))[i]) for i, s in sample.items()]))
    return float(np.mean(losses))


def alignment_by_hand(method, rows: ModalityFeatures, alignment: str, pairs: str = "all") -> float:
    """Eqs. 6, 7 and 8."""
    count = rows.present.shape[1]

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        if alignment == "l1":
            return float(np.mean([abs(x - y) for x, y in zip(a.ravel(), b.ravel(), strict=True)]))
        if alignment == "mse":
            return float(np.mean([(x - y) ** 2 for x, y in zip(a.ravel(), b.ravel(), strict=True)]))
        p, q = softmax(linear(method.aligner, a)), softmax(linear(method.aligner, b))
        return float(sum(pi * np.log(pi / qi) for pi, qi in zip(p, q, strict=True)))

    losses = []
    for r in as_dict(rows):
        if alignment == "ce":
            losses.append(np.mean([-np.sum(np.log(softmax(linear(method.aligner, x))) / count) for x in r.values()]))
        elif pairs == "ring":
            ring = [(i, (i + 1) % count) for i in range(count)]
            losses.append(sum(distance(r[i], r[j]) for i, j in ring if i in r and j in r))
        else:
            each = [distance(r[i], r[j]) for i, j in permutations(r, 2)]
            losses.append(count * np.mean(each) if each else 0.0)
    return float(np.mean(losses))


def test_domain_classification(shaspec, present):
    method, rows = shaspec(), features(present)
    assert method.domain_loss(rows).item() == pytest.approx(domain_by_hand(method, rows), abs=1e-6)


@pytest.mark.parametrize("level", [-1, -2])
def test_the_level_that_the_domain_classifier_looks_at(present, image, label, level):
    torch.manual_seed(0)
    method = ShaSpec(LightUNet((8, 8), specific_share=1.0), domain_level=level)  # levels of as many channels
    sample, modality = present.nonzero().unbind(1)
    levels = [method.specific.encoders[i](image[[b], [i]][:, None]) for b, i in present.nonzero().tolist()]
    rows = ModalityFeatures(torch.cat([each[level] for each in levels]), sample, modality, present)
    term = method.loss_terms(image, present, label, present)["domain"].item()
    assert term == pytest.approx(0.02 * domain_by_hand(method, rows), rel=1e-5)


@pytest.mark.parametrize("pairs", ["all", "ring"])
@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_alignment(shaspec, present, alignment, pairs):
    method, rows = shaspec(alignment=alignment, pairs=pairs), features(present)
    expected = alignment_by_hand(method, rows, alignment, pairs)
    assert expected > 0.01
    assert method.alignment_loss(rows).item() == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("missing", ["mean", "first"])
@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_alignment_with_the_generated_features_of_missing_modalities(shaspec, present, alignment, missing):
    method, rows = shaspec(alignment=alignment, missing=missing, align_missing=True), features(present)
    completed = []
    for r in as_dict(rows):
        generated = r[min(r)] if missing == "first" else sum(r.values(), np.zeros(())) / len(r)
        completed += [torch.from_numpy(np.asarray(r.get(i, generated))) for i in range(4)]
    everything = torch.ones_like(present)
    sample, modality = everything.nonzero().unbind(1)
    all_rows = ModalityFeatures(torch.stack(completed), sample, modality, everything)
    expected = alignment_by_hand(method, all_rows, alignment)
    assert method.alignment_loss(rows).item() == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("alignment", PAIRWISE)
def test_one_modality_has_nothing_to_be_aligned_with(shaspec, alignment):
    rows = features(torch.eye(4, dtype=torch.bool))
    assert shaspec(alignment=alignment).alignment_loss(rows).item() == 0


@pytest.mark.parametrize("alignment", PAIRWISE)
def test_alignment_is_zero_exactly_when_a_samples_shared_features_are_equal(shaspec, present, alignment):
    method, rows = shaspec(alignment=alignment), features(present)
    equal = rows._replace(values=torch.randn(5, 8, 3, 2, 2)[rows.sample])
    assert method.alignment_loss(equal).item() == 0
    for row, number in enumerate(present.sum(1)[rows.sample].tolist()):
        changed = equal.values.clone()
        changed[row] += 0.1 * torch.randn(8, 3, 2, 2)
        assert (method.alignment_loss(equal._replace(values=changed)).item() > 0) == (number > 1)


def test_ce_is_smallest_where_the_classifier_cannot_tell(shaspec, present):
    method, rows = shaspec(alignment="ce"), features(present)
    assert method.alignment_loss(rows).item() > np.log(4) + 1e-3
    torch.nn.init.zeros_(method.aligner.weight)
    torch.nn.init.zeros_(method.aligner.bias)
    assert method.alignment_loss(rows).item() == pytest.approx(np.log(4), abs=1e-6)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_the_order_of_the_modalities_does_not_matter(shaspec, present, alignment):
    method, rows = shaspec(alignment=alignment), features(present)
    order = torch.tensor([2, 0, 3, 1])
    laid_out = torch.zeros(5, 4, 8, 3, 2, 2)
    laid_out[rows.sample, rows.modality] = rows.values
    moved = present[:, order]
    sample, modality = moved.nonzero().unbind(1)
    permuted = ModalityFeatures(laid_out[:, order][sample, modality], sample, modality, moved)
    torch.testing.assert_close(method.alignment_loss(permuted), method.alignment_loss(rows))


def test_all_pairs_and_ring_agree_where_every_pair_is_as_far_apart(shaspec):
    rows = features(torch.ones(1, 4, dtype=torch.bool))
    values = torch.zeros(4, 8, 3, 2, 2)
    for i in range(4):
        values[i, i] = 1.0  # any two of the four differ in 2 of the 8 channels
    rows = rows._replace(values=values)
    for pairs in ("all", "ring"):
        assert shaspec(pairs=pairs).alignment_loss(rows).item() == pytest.approx(4 * 2 / 8)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_the_sum_of_eq_9_term_by_term(shaspec, image, present, label, alignment):
    method = shaspec(alignment=alignment, alpha=0.3, beta=0.7).eval()
    seen: dict[str, ModalityFeatures] = {}
    method.shared.register_forward_hook(lambda _, __, levels: seen.update(shared=levels[-1]))
    method.specific.register_forward_hook(lambda _, __, levels: seen.update(specific=levels[-1]))
    terms = {name: term.item() for name, term in method.loss_terms(image, present, label, present).items()}
    assert terms == {
        "task": pytest.approx(RegionLoss()(method(image, present), label).item(), abs=1e-6),
        "alignment": pytest.approx(0.3 * alignment_by_hand(method, seen["shared"], alignment), abs=1e-6),
        "domain": pytest.approx(0.7 * domain_by_hand(method, seen["specific"]), abs=1e-6),
    }


def test_the_published_weights_are_the_default(shaspec):
    assert (shaspec().alpha, shaspec().beta, shaspec().alignment) == (0.1, 0.02, "l1")


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_parts_of_a_batch_average_to_the_whole(shaspec, image, present, label, alignment):
    method = shaspec(alignment=alignment).eval()
    whole = method.loss_terms(image[:4], present[:4], label[:4], present[:4])
    halves = [method.loss_terms(image[h], present[h], label[h], present[h]) for h in (slice(0, 2), slice(2, 4))]
    for name, term in whole.items():
        torch.testing.assert_close((halves[0][name] + halves[1][name]) / 2, term, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_each_term_trains_its_own_part(shaspec, image, present, label, alignment):
    method = shaspec(alignment=alignment)
    every = {"shared", "specific", "fusion", "decoder", "domain_classifier", "aligner"}
    trained = {"task": {"shared", "specific", "fusion", "decoder"}, "domain": {"specific", "domain_classifier"}}
    trained["alignment"] = {"shared", "aligner"} if alignment in ("ce", "kl") else {"shared"}
    for name, parts in trained.items():
        method.zero_grad()
        method.loss_terms(image, present, label, present)[name].backward()
        for part in every:
            gradients = [parameter.grad for parameter in getattr(method, part).parameters()]
            assert all(g is not None and g.isfinite().all() for g in gradients) or part not in parts
            assert any(g is not None and g.any() for g in gradients) == (part in parts), f"{name}: {part}"


def test_specific_encoders_of_modalities_nobody_has_get_no_gradient(shaspec, image, label):
    method = shaspec()
    present = torch.tensor([[True, False, True, False]]).expand(5, 4)
    torch.stack(list(method.loss_terms(image, present, label, present).values())).sum().backward()
    for index, encoder in enumerate(method.specific.encoders):
        gradients = [parameter.grad for parameter in encoder.parameters()]
        assert all((g is not None and g.isfinite().all()) if index in (0, 2) else g is None for g in gradients)


def test_steps_on_the_sum_lower_it(shaspec, image, present, label):
    method = shaspec()
    optimizer = torch.optim.SGD(method.parameters(), lr=0.05)
    totals = []
    for _ in range(8):
        total = torch.stack(list(method.loss_terms(image, present, label, present).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert all(later < earlier for earlier, later in pairwise(totals))


def test_pairs_of_combinations_are_each_counted_once(shaspec):
    """Two samples, one with all modalities, one with two: each weighs the same in the mean."""
    present = torch.tensor([[True, True, True, True], [False, True, False, True]])
    method, rows = shaspec(), features(present)
    r, s = as_dict(rows)
    first = np.mean([np.abs(r[i] - r[j]).mean() for i, j in combinations(range(4), 2)])
    second = np.abs(s[1] - s[3]).mean()
    assert method.alignment_loss(rows).item() == pytest.approx(4 * (first + second) / 2, abs=1e-6)
