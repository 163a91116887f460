"""LCKD: its distillation loss against loops in float64, what must hold of it, and the election of teachers."""

import csv
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader
from monai.inferers import Inferer
from torch import Tensor, nn
from torch.utils.data import Dataset

from medmiss.losses import RegionLoss
from medmiss.methods import LCKD, TeacherElection
from medmiss.methods.lckd import teachers_of, winners_of
from medmiss.networks import LightUNet, ModalityFeatures
from medmiss.training import MethodEvaluator, RegionDice

NAMES = ("FLAIR", "T1", "T1c", "T2")


def network(teachers: Sequence[int] = (), **options: Any) -> LCKD:
    torch.manual_seed(0)
    method = LCKD(LightUNet((4, 8)), **options)
    method.teachers[list(teachers)] = True
    return method


def features(present: Tensor, seed: int = 0) -> ModalityFeatures:
    """Random bottleneck features `(P, 8, 3, 2, 2)`."""
    sample, modality = present.nonzero().unbind(1)
    values = 2 * torch.randn(len(sample), 8, 3, 2, 2, generator=torch.Generator().manual_seed(seed))
    return ModalityFeatures(values.requires_grad_(), sample, modality, present)


def by_hand(rows: ModalityFeatures, teachers: list[int], distance: str = "l1") -> float:
    """Eq. 4."""
    samples: list[dict[int, np.ndarray]] = [{} for _ in rows.present]
    for value, sample, modality in zip(rows.values, rows.sample.tolist(), rows.modality.tolist(), strict=True):
        samples[sample][modality] = value.detach().double().numpy().ravel()
    total = 0.0
    for f in samples:
        for t in teachers:
            for j in f:
                if t in f:
                    differences = [abs(a - b) for a, b in zip(f[t], f[j], strict=True)]
                    total += sum(d if distance == "l1" else d * d for d in differences) / len(differences)
    return total / len(samples)


@pytest.mark.parametrize("detach_teacher", [True, False])
@pytest.mark.parametrize("teachers", [[2], [0, 2], [0, 1, 2, 3]])
@pytest.mark.parametrize("distance", ["l1", "mse"])
def test_distillation(present: Tensor, distance: str, teachers: list[int], detach_teacher: bool):
    method, rows = network(teachers, distance=distance, detach_teacher=detach_teacher), features(present)
    expected = by_hand(rows, teachers, distance)
    assert expected > 0.5
    assert method.distillation_loss(rows).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("distance", ["l1", "mse"])
def test_distillation_is_zero_exactly_when_there_is_nothing_to_learn(present: Tensor, distance: str):
    rows = features(present)
    method = network([2], distance=distance)
    equal = torch.randn(5, 8, 3, 2, 2)[rows.sample]
    assert method.distillation_loss(rows._replace(values=equal)).item() == 0
    assert method.distillation_loss(features(torch.eye(4, dtype=torch.bool))).item() == 0  # one modality each
    assert method.distillation_loss(features(torch.tensor([[True, True, False, True]]))).item() == 0  # no teacher
    assert network(distance=distance).distillation_loss(rows).item() == 0  # before the election
    for row, (sample, modality) in enumerate(present.nonzero().tolist()):
        changed = equal.clone()
        changed[row] += 0.1
        learns = bool(present[sample, 2]) and (modality != 2 or int(present[sample].sum()) > 1)
        assert (method.distillation_loss(rows._replace(values=changed)).item() > 0) == learns


def test_the_gradient_moves_students_alone(present: Tensor):
    rows = features(present)
    network([2]).distillation_loss(rows).backward()
    moved = torch.zeros_like(present)
    assert rows.values.grad is not None
    moved[rows.sample, rows.modality] = rows.values.grad.flatten(1).any(dim=1)
    students = torch.tensor([[True, True, False, True]]) & present & present[:, 2:3]
    assert torch.equal(moved, students)


def test_a_teacher_learns_from_the_other_teachers():
    rows = features(torch.ones(1, 4, dtype=torch.bool))
    network([0, 2]).distillation_loss(rows).backward()
    assert rows.values.grad is not None
    size = rows.values[0].numel()
    signs = torch.sign(rows.values.detach()[[0, 2]] - rows.values.detach()[[2, 0]])
    torch.testing.assert_close(rows.values.grad[[0, 2]], signs / size)


def test_on_request_the_gradient_moves_teachers_too():
    rows = features(torch.ones(1, 4, dtype=torch.bool))
    network([2], detach_teacher=False).distillation_loss(rows).backward()
    assert rows.values.grad is not None
    torch.testing.assert_close(rows.values.grad[2], -rows.values.grad[[0, 1, 3]].sum(dim=0))
    assert rows.values.grad[2].any()


@pytest.mark.parametrize(("distance", "power"), [("l1", 1), ("mse", 2)])
def test_the_loss_scales_with_the_features(present: Tensor, distance: str, power: int):
    method, rows = network([0, 2], distance=distance), features(present)
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
    # Modality 0 has become 1, and 2 has become 0.
    torch.testing.assert_close(network([1, 0]).distillation_loss(permuted), network([0, 2]).distillation_loss(rows))


def test_parts_of_a_batch_average_to_the_whole(image: Tensor, present: Tensor, label: Tensor):
    method = network([1, 2])
    whole = method.loss_terms(image[:4], present[:4], label[:4], present[:4])
    halves = [method.loss_terms(image[h], present[h], label[h], present[h]) for h in (slice(0, 2), slice(2, 4))]
    for name, term in whole.items():
        torch.testing.assert_close((halves[0][name] + halves[1][name]) / 2, term, rtol=1e-5, atol=1e-6)


def test_the_sum_of_eq_7(image: Tensor, present: Tensor, label: Tensor):
    method = network([0, 2])
    terms = {name: term.item() for name, term in method.loss_terms(image, present, label, present).items()}
    assert terms == {
        "task": pytest.approx(RegionLoss()(method(image, present), label).item(), abs=1e-6),
        "distillation": pytest.approx(0.1 * by_hand(method.encode(image, present)[-1], [0, 2]), abs=1e-6),
    }
    assert method.distance == "l1"


@pytest.mark.parametrize("detach_teacher", [True, False])
def test_absent_channels_have_no_influence(image: Tensor, present: Tensor, label: Tensor, detach_teacher: bool):
    results = []
    for content in (0.0, torch.nan):
        method = network([1, 2], detach_teacher=detach_teacher)
        filled = image.clone()
        filled[~present] = content
        filled.requires_grad_()
        terms = method.loss_terms(filled, present, label, torch.ones_like(present))
        torch.stack(list(terms.values())).sum().backward()
        gradients = [parameter.grad for parameter in method.parameters()]
        results.append([method(filled, present), *terms.values(), *gradients, filled.grad])
    for clean, spoilt in zip(*results, strict=True):
        assert torch.equal(clean, spoilt) and clean.isfinite().all()


def test_the_decoder_learns_from_the_task_alone(image: Tensor, present: Tensor, label: Tensor):
    method = network([2])
    method.loss_terms(image, present, label, present)["distillation"].backward()
    assert all(parameter.grad is None for parameter in method.decoder.parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.shared.parameters())


def test_torchscript_is_the_same(image: Tensor, present: Tensor):
    method = network([2]).eval()
    torch.testing.assert_close(torch.jit.script(method)(image, present), method(image, present))


def test_half_precision_stays_near_the_terms_of_float32(image: Tensor, present: Tensor, label: Tensor):
    method = network([0, 2])
    terms = method.loss_terms(image, present, label, present)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = method.loss_terms(image, present, label, present)
    for name, term in terms.items():
        assert half[name].dtype == torch.float32
        torch.testing.assert_close(half[name], term, rtol=0.05, atol=1e-3)


def test_the_same_class_serves_a_classifier_of_two_modalities(digits: Any):
    method = LCKD(digits, modalities=2, task_loss=nn.CrossEntropyLoss())
    TeacherElection(method, Idle(), Scores([[0.9], [0.4]], ("image", "sound")), tasks=["digit"]).elect(
        1, torch.tensor([[0.9], [0.4]])
    )
    present = torch.tensor([[True, False], [True, True], [False, True]])
    terms = method.loss_terms(torch.randn(3, 2, 10), present, torch.tensor([0, 2, 1]), present)
    assert all(term.item() > 0 for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in method.parameters())


@pytest.mark.parametrize("option", ["distance", "missing"])
def test_an_unknown_option_is_an_error_that_names_it(option: str):
    with pytest.raises(ValueError, match=f"LCKD: {option} is 'median', expected one of"):
        LCKD(LightUNet((4, 8)), **{option: "median"})  # type: ignore[arg-type]


# The election.


class Idle:
    """An evaluator that counts its runs, and draws random numbers as data loaders do."""

    def __init__(self, cases: int = 2) -> None:
        self.runs = 0
        self.data_loader = range(cases)

    def run(self) -> None:
        self.runs += 1
        torch.rand(3)


class Scores:
    """A metric with a given table."""

    def __init__(self, table: list[list[float]], subset_names: tuple[str, ...] = NAMES) -> None:
        self.scores = torch.tensor(table, dtype=torch.float64)
        self.subset_names = subset_names

    def table(self) -> Tensor:
        return self.scores


NAN = float("nan")
PAPER = [[0.45, 0.72, 0.89], [0.43, 0.67, 0.76], [0.76, 0.83, 0.77], [0.47, 0.70, 0.84]]


@pytest.mark.parametrize(
    ("scores", "winners", "single"),
    [
        (PAPER, [2, 2, 0], [2]),  # Table 1 of the paper: T1c, T1c, FLAIR
        ([[0.5, 0.1, 0.5], [0.5, 0.3, 0.5], [0.1, 0.9, 0.1], [0, 0, 0]], [1, 2, 1], [1]),  # tie: T1's mean is higher
        ([[0.5, 0.5, 0.5]] * 4, [0, 0, 0], [0]),  # alike in everything: channel order
        ([[0.0, 0.0, 0.7], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.8]], [None, None, 3], [3]),
        ([[0.0, 0.0, 0.0]] * 4, [None, None, None], []),  # nobody has found anything yet
        ([[NAN] * 3, [0.1, 0.2, 0.3], [NAN] * 3, [0.2, 0.1, 0.2]], [3, 1, 1], [1]),  # FLAIR and T1c: no held-out case
        ([[NAN] * 3, [NAN] * 3, [0.0, 0.0, 0.0], [NAN] * 3], [None, None, None], []),
        ([[0.9, 0.2, 0.2], [0.1, 0.8, 0.1], [0.1, 0.1, 0.7], [0, 0, 0]], [0, 1, 2], [0]),  # one each: the best mean
        ([[0.8, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.7], [0, 0, 0]], [0, 1, 2], [1]),
    ],
)
def test_winners_and_teachers(scores: list[list[float]], winners: list[int | None], single: list[int]):
    table = torch.tensor(scores, dtype=torch.float64)
    assert winners_of(table) == winners
    for teachers, expected in (("multi", sorted({i for i in winners if i is not None})), ("single", single)):
        assert teachers_of(winners, table, teachers == "single") == expected
        method = network([1, 3])  # of an earlier election
        TeacherElection(method, Idle(), Scores(scores), teachers=teachers).elect(1, table)
        assert method.teachers.nonzero().flatten().tolist() == expected


def test_an_election_without_winners_is_logged_as_such(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "medmiss")
    scores = [[0.0, 0.0, 0.2], [0.0] * 3, [0.0] * 3, [0.0] * 3]
    for table in (scores, [[0.0] * 3] * 4):
        TeacherElection(network(), Idle(), Scores(table)).elect(7, torch.tensor(table))
    assert [record.message for record in caplog.records] == [
        "iteration 7, best alone: ET nobody, TC nobody, WT FLAIR (0.200); teachers: FLAIR",
        "iteration 7, best alone: ET nobody, TC nobody, WT nobody; teachers: none",
    ]


def test_no_held_out_case_is_an_error_before_the_run_starts():
    with pytest.raises(ValueError, match="there is no held-out case"):
        TeacherElection(network(), Idle(cases=0), Scores(PAPER))


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (15, 3)])
def test_a_table_of_something_else_is_an_error(shape: tuple[int, int]):
    election = TeacherElection(network(), Idle(), Scores(PAPER))
    with pytest.raises(ValueError, match="one by one, in channel order"):
        election.elect(1, torch.zeros(shape))


def test_an_unknown_kind_of_election_is_an_error():
    with pytest.raises(ValueError, match="teachers is 'none', expected one of multi, single"):
        TeacherElection(network(), Idle(), Scores(PAPER), teachers="none")


def held(interval: float, record: Path | None = None, at_start: bool = False) -> tuple[list[int], TeacherElection]:
    """The iterations of a run of 4 x 6 with an election, and the handler after it."""
    evaluator = Idle()
    election = TeacherElection(network(), evaluator, Scores(PAPER), interval=interval, record=record, at_start=at_start)
    trainer = Engine(lambda engine, batch: None)
    trainer.state.rank = 0  # type: ignore[attr-defined]
    election.attach(trainer)
    seen: list[int] = []
    before = torch.get_rng_state()
    trainer.run(range(6), max_epochs=4)
    assert torch.equal(torch.get_rng_state(), before)
    seen = sorted({row[0] for row in election.history.rows})
    assert evaluator.runs == len(seen)
    return seen, election


@pytest.mark.parametrize(
    ("interval", "at_start", "expected"),
    [(8, False, [8, 16, 24]), (0.25, False, [6, 12, 18, 24]), (10, True, [1, 10, 20]), (0, False, [])],
)
def test_when_elections_are_held(interval: float, at_start: bool, expected: list[int]):
    assert held(interval, at_start=at_start)[0] == expected


def test_there_is_no_teacher_before_the_first_election():
    assert not network().teachers.any()


def test_an_election_is_logged_and_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "medmiss")
    held(12, tmp_path / "run" / "teachers.csv")
    line = "best alone: ET T1c (0.760), TC T1c (0.830), WT FLAIR (0.890); teachers: FLAIR, T1c"
    assert [record.message for record in caplog.records] == [f"iteration {i}, {line}" for i in (12, 24)]
    rows = list(csv.DictReader((tmp_path / "run" / "teachers.csv").open()))
    assert len(rows) == 2 * 4 * 3
    assert [row["iteration"] for row in rows] == ["12"] * 12 + ["24"] * 12
    for row in rows:
        i, k = NAMES.index(row["modality"]), ("ET", "TC", "WT").index(row["task"])
        assert float(row["score"]) == PAPER[i][k]
        assert row["best"] == str(int(row["modality"] == {"ET": "T1c", "TC": "T1c", "WT": "FLAIR"}[row["task"]]))
        assert row["teaches"] == str(int(row["modality"] in ("FLAIR", "T1c")))


def test_only_the_first_process_logs_and_writes(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "medmiss")
    election = TeacherElection(network(), Idle(), Scores(PAPER), interval=1, record=tmp_path / "teachers.csv")
    trainer = SimpleNamespace(state=SimpleNamespace(rank=1, iteration=1, max_epochs=1, epoch_length=1))
    election.hold(trainer)
    election.history.write(trainer)
    assert election.method.teachers.tolist() == [True, False, True, False]
    assert not caplog.records and not list(tmp_path.iterdir())


class OneModality(Dataset):
    """The items, from each modality alone that they have."""

    def __init__(self, items: Dataset) -> None:
        self.items = items
        self.keys = [(i, m) for i in range(5) for m in range(4) if i != m]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        index, modality = self.keys[row]
        return {**self.items[index], "present": torch.arange(4) == modality, "row": torch.tensor([row, modality])}


class WholeVolume(Inferer):
    def __call__(self, inputs: Tensor, network: Callable, *args: Any, **kwargs: Any) -> Tensor:
        return network(inputs, *args, **kwargs)


def test_a_stopped_and_resumed_run_is_the_unbroken_one(tmp_path: Path, items: Dataset, train: Callable[..., Any]):
    """Stopped after the elections of iterations 2, 4, 6 and 8, with a checkpoint that knows the first three."""

    def run(folder: Path, **options: Any) -> dict[str, Any]:
        method, metric = network(), RegionDice(NAMES)
        evaluator = MethodEvaluator(torch.device("cpu"), DataLoader(OneModality(items)), method, WholeVolume(), metric)
        record = folder / "teachers.csv"
        return train(folder, method, [TeacherElection(method, evaluator, metric, 2, record=record)], **options)

    unbroken = run(tmp_path / "unbroken")
    run(tmp_path / "stopped", stop=8)
    stopped = (tmp_path / "stopped" / "teachers.csv").read_text()
    resumed = run(tmp_path / "stopped", resume=True)
    assert resumed["between_steps"] == unbroken["between_steps"]
    assert len(resumed["between_steps"][0]["history"]) == 6 * 12
    torch.testing.assert_close(resumed["network"], unbroken["network"], rtol=0, atol=0)
    assert resumed["network"]["teachers"].any()
    final = (tmp_path / "stopped" / "teachers.csv").read_text()
    assert final == (tmp_path / "unbroken" / "teachers.csv").read_text() and final.startswith(stopped)
