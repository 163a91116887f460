"""Relational distillation against loops in float64, and what must hold of it (MMANet, Eqs. 2 to 8)."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from medmiss.losses import RelationLoss, class_entropy, region_entropy
from medmiss.losses.relations import GAPS, RELATIONS, WEIGHTINGS

VARIANTS = list(product(RELATIONS, GAPS, WEIGHTINGS))


def features(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + 0.3


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Teacher, student (narrower) and uncertainty of five samples."""
    return features(0, 5, 6, 3, 2, 2), features(1, 5, 4, 2, 2, 2), torch.tensor([0.1, 0.9, 0.0, 0.4, 1.7])


def by_hand(batch: tuple[Tensor, Tensor, Tensor], relation: str, gap: str, weighting: str) -> float:
    teacher, student, uncertainty = batch

    def relations(rows: Tensor) -> list[list[float]]:
        flat = [row.double().numpy().ravel() for row in rows]
        if relation == "cosine":
            return [[u @ v / (np.sqrt(u @ u) * np.sqrt(v @ v)) for v in flat] for u in flat]
        gram = [[u @ v for v in flat] for u in flat]
        return [[value / np.sqrt(sum(other**2 for other in row)) for value in row] for row in gram]

    size = len(student)
    r_t, r_d = relations(teacher), relations(student)
    h = [float(value) for value in uncertainty.double()]
    if weighting == "softmax":
        weights = [np.exp(value) / sum(np.exp(other) for other in h) for value in h]
    else:
        weights = [value / sum(h) if weighting == "entropy" else 1 / size for value in h]
    total = 0.0
    for i in range(size):
        differences = [r_t[i][j] - r_d[i][j] for j in range(size)]
        total += weights[i] * sum(value**2 if gap == "squared" else value for value in differences)
    return total


@pytest.mark.parametrize(("relation", "gap", "weighting"), VARIANTS)
def test_every_variant_is_the_equations(batch, relation, gap, weighting):
    expected = by_hand(batch, relation, gap, weighting)
    assert RelationLoss(relation, gap, weighting)(*batch).item() == pytest.approx(expected, abs=1e-6)
    assert abs(expected) > 1e-3


@pytest.mark.parametrize("variant", VARIANTS)
def test_zero_where_the_student_is_the_teacher_and_for_a_batch_of_one(batch, variant):
    teacher, student, uncertainty = batch
    assert RelationLoss(*variant)(teacher, teacher.clone(), uncertainty).item() == 0
    assert RelationLoss(*variant)(teacher[:1], student[:1], uncertainty[:1]).item() == 0
    assert RelationLoss(*variant)(teacher[:0], student[:0], uncertainty[:0]).item() == 0


def test_weighting_takes_three_samples(batch):
    """Two have the same gap in the default, whatever the teacher's uncertainty of them."""
    weighted, alike = RelationLoss(), RelationLoss(weighting="none")
    assert weighted(*batch).item() != pytest.approx(alike(*batch).item(), rel=0.01)
    two = [rows[:2] for rows in batch]
    assert weighted(*two).item() == pytest.approx(alike(*two).item(), rel=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_order_of_the_batch_does_not_matter(batch, variant):
    order = torch.tensor([3, 0, 4, 1, 2])
    permuted = [rows[order] for rows in batch]
    torch.testing.assert_close(RelationLoss(*variant)(*permuted), RelationLoss(*variant)(*batch), atol=1e-6, rtol=1e-5)


def test_cosine_relations_do_not_see_the_scale_of_a_sample(batch):
    teacher, student, uncertainty = batch
    scale = torch.tensor([0.1, 3.0, 1.0, 20.0, 7.0])[:, None, None, None, None]
    loss = RelationLoss("cosine")
    torch.testing.assert_close(loss(teacher * scale, student / scale, uncertainty), loss(*batch), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(
        RelationLoss("gram")(teacher * scale, student, uncertainty), RelationLoss("gram")(*batch), atol=1e-3
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_go_to_the_student_alone(batch, variant):
    teacher, student, uncertainty = (rows.clone().requires_grad_() for rows in batch)
    RelationLoss(*variant)(teacher, student, uncertainty).backward()
    assert teacher.grad is None and uncertainty.grad is None
    assert student.grad is not None and student.grad.isfinite().all() and student.grad.any()


def test_signed_gaps_can_cancel_where_squared_ones_do_not():
    """Relations with the two others move by opposite amounts: why the published text is not the default."""
    teacher = torch.eye(3)
    student = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.6, 0.0, 0.8]])
    certain = torch.tensor([1.0, 0.0, 0.0])
    assert RelationLoss("cosine", "signed", "entropy")(teacher, student, certain).item() == pytest.approx(0, abs=1e-6)
    assert RelationLoss("cosine", "squared", "entropy")(teacher, student, certain).item() == pytest.approx(0.72)


def test_features_of_zero_and_a_certain_teacher_give_no_nan(batch):
    teacher, student, uncertainty = batch
    student = student.clone()
    student[1] = 0
    student.requires_grad_()
    for variant in VARIANTS:
        loss = RelationLoss(*variant)(teacher, student, torch.zeros_like(uncertainty))
        loss.backward()
        assert loss.isfinite() and student.grad is not None and student.grad.isfinite().all()


def test_half_precision_around_it_changes_nothing(batch):
    expected = RelationLoss()(*batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert RelationLoss()(*batch).item() == expected.item()


@pytest.mark.parametrize("option", ["relation", "gap", "weighting"])
def test_an_unknown_option_is_an_error_that_names_it(option):
    with pytest.raises(ValueError, match=f"{option} is 'median', expected one of"):
        RelationLoss(**{option: "median"})


def test_the_entropy_of_regions_counts_the_masks_voxels_alone():
    logits = 3 * features(2, 3, 3, 4, 2, 3)
    mask = torch.rand(3, 4, 2, 3, generator=torch.Generator().manual_seed(3)) < 0.4
    mask[2] = False
    expected = []
    for b in range(3):
        voxels = []
        for index in zip(*np.nonzero(mask[b].numpy()), strict=True):
            p = [1 / (1 + np.exp(-float(logits[(b, k, *index)]))) for k in range(3)]
            voxels.append(sum(-q * np.log(q) - (1 - q) * np.log(1 - q) for q in p))
        expected.append(np.mean(voxels) if voxels else 0.0)
    assert region_entropy(logits, mask).tolist() == pytest.approx(expected, abs=1e-6)
    assert region_entropy(torch.tensor([[[0.0]], [[1e4]], [[-1e4]]]), torch.ones(3, 1).bool()).tolist() == [
        pytest.approx(np.log(2)),
        0.0,
        0.0,
    ]


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 5)])
def test_the_entropy_of_classes(shape):
    logits = 2 * features(4, *shape)
    p = np.exp(logits.double().numpy())
    p /= p.sum(axis=1, keepdims=True)
    expected = (-p * np.log(p)).sum(axis=1).reshape(4, -1).mean(axis=1)
    assert class_entropy(logits).tolist() == pytest.approx(expected.tolist(), abs=1e-6)
