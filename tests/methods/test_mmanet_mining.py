"""Which subsets are weak: histograms of predictions (MMANet, Eqs. 9 to 13), when they are measured, resuming."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader
from torch import Tensor, nn
from torch.utils.data import Dataset

from medmiss.methods import CombinationMining, MMANet, ModalityDropout
from medmiss.methods.mmanet import subsets_without
from medmiss.networks import LightUNet

EVERYTHING = "111"
NAMES = ("image", "sound", "text")


class Scripted(MMANet):
    """A classifier of three modalities and three classes that predicts what `answers` says for each subset."""

    def __init__(self, backbone: Any, answers: dict[str, list[int]], **options: Any) -> None:
        super().__init__(backbone, modalities=3, outputs="classes", fused="linear", **options)
        self.answers = answers
        self.modes: list[bool] = []

    def forward(self, image: Tensor, present: Tensor | None = None) -> Tensor:
        """The samples' first value is their number."""
        assert present is not None
        self.modes.append(self.training)
        rows = ["".join("1" if flag else "0" for flag in flags) for flags in present.tolist()]
        numbers = image[:, 0, 0].long().tolist()
        wanted = [self.answers.get(row, self.answers[EVERYTHING])[n] for row, n in zip(rows, numbers, strict=True)]
        return nn.functional.one_hot(torch.tensor(wanted), 3).float()


@pytest.fixture
def scripted(digits: Any) -> Callable[..., Scripted]:
    return lambda answers=ANSWERS, **options: Scripted(digits, answers, **options)


def weak_subsets(method: MMANet) -> set[str]:
    codes = method.weak.nonzero().flatten().tolist()
    return {"".join(str(code >> i & 1) for i in range(method.modalities)) for code in codes}


def batches(available: list[str]) -> list[dict[str, Tensor]]:
    """One batch of two samples after the other."""
    image = torch.arange(len(available)).float()[:, None, None].expand(-1, 3, 10)
    flags = torch.tensor([[flag == "1" for flag in each] for each in available])
    return [{"image": image[i : i + 2], "available": flags[i : i + 2]} for i in range(0, len(available), 2)]


ANSWERS = {
    "111": [0, 0, 0, 1, 1, 2],
    "011": [0, 0, 0, 1, 2, 2],
    "101": [2, 2, 2, 2, 2, 2],
    "110": [1, 0, 0, 0, 1, 2],  # other samples, the same histogram
}
COMPLETE = [EVERYTHING] * 6


def kl_to_the_full_one(counts: list[int], full: list[int]) -> float:
    p = [(value + 1) / (sum(full) + 3) for value in full]
    q = [(value + 1) / (sum(counts) + 3) for value in counts]
    return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True))


def mining_of(method: MMANet, data_loader: Any, **options: Any) -> CombinationMining:
    return CombinationMining(method, data_loader, names=NAMES, **options)


def run(mining: CombinationMining, epochs: int, length: int) -> list[int]:
    """Attach to an engine without a step and run it; the iterations at which it measured."""
    measured: list[int] = []
    engine: Any = Engine(lambda _, __: None)
    engine.state.rank = 0
    discrepancies = mining.discrepancies

    def noted() -> Tensor:
        measured.append(engine.state.iteration)
        return discrepancies()

    mining.discrepancies = noted  # type: ignore[method-assign]
    mining.attach(engine)
    engine.run(range(length), max_epochs=epochs)
    return measured


def test_the_distances_of_the_histograms(scripted):
    mining = mining_of(scripted(), batches(COMPLETE))
    expected = [
        kl_to_the_full_one([3, 1, 2], [3, 2, 1]),
        kl_to_the_full_one([0, 0, 6], [3, 2, 1]),
        0.0,
    ]
    assert mining.discrepancies().tolist() == pytest.approx(expected, abs=1e-12)


def test_incomplete_samples_are_left_out(scripted):
    """Samples 1 and 3 to 5: the first batch has one of its two, the second has one, the third both."""
    mining = mining_of(scripted(), batches(["110", "111", "011", "111", "111", "111"]))
    expected = [
        kl_to_the_full_one([1, 1, 2], [1, 2, 1]),
        kl_to_the_full_one([0, 0, 4], [1, 2, 1]),
        kl_to_the_full_one([2, 1, 1], [1, 2, 1]),
    ]
    assert mining.discrepancies().tolist() == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ValueError, match="no sample has all modalities"):
        mining_of(scripted(), batches(["110", "011"])).discrepancies()


def test_what_remains_without_the_strong_modality_is_weak_with_its_subsets(scripted):
    method = scripted()
    mining = mining_of(method, batches(COMPLETE), warm_up=4, interval=2)
    assert run(mining, epochs=2, length=5) == [2, 4]
    assert weak_subsets(method) == {"101", "100", "001"}


def test_the_average_over_the_warm_up_decides(scripted, caplog):
    """The last measurement alone would name the first modality."""
    method = scripted()
    mining = mining_of(method, batches(COMPLETE), warm_up=3, interval=1)
    answers = iter([torch.tensor([0.1, 0.9, 0.0]), torch.tensor([0.2, 0.6, 0.0]), torch.tensor([0.5, 0.1, 0.3])])
    mining.discrepancies = lambda: next(answers).double()  # type: ignore[method-assign]
    with caplog.at_level(logging.INFO):
        run(mining, epochs=1, length=3)
    assert weak_subsets(method) == {"101", "100", "001"}
    assert "every subset without sound (KL without each: image 0.267, sound 0.533, text 0.1)" in caplog.text


def test_the_log_names_the_modalities_of_brats_unless_told_otherwise(scripted, caplog):
    mining = CombinationMining(MMANet(LightUNet((4, 8))), [])
    mining.history.rows = [[1, modality, divergence] for modality, divergence in enumerate((0.1, 0.2, 0.9, 0.3))]
    with caplog.at_level(logging.INFO):
        mining.name_weak()
    assert "every subset without T1c (KL without each: FLAIR 0.1, T1 0.2, T1c 0.9, T2 0.3)" in caplog.text
    with pytest.raises(ValueError, match="names are FLAIR, T1, T1c, T2; expected one for each of 3 modalities"):
        CombinationMining(scripted(), [])


@pytest.mark.parametrize(
    ("warm_up", "interval", "expected"),
    [(5, 2, [2, 4]), (0.5, 0.1, [2, 4, 6, 8, 10]), (1, 1, [1]), (0.001, 0.0001, [1]), (20, 20, [20])],
)
def test_when_it_measures(scripted, warm_up: float, interval: float, expected: list[int]):
    method = scripted()
    mining = mining_of(method, batches(COMPLETE), warm_up=warm_up, interval=interval)
    assert run(mining, epochs=4, length=5) == expected
    assert [row[0] for row in mining.history.rows] == [iteration for iteration in expected for _ in range(3)]
    assert weak_subsets(method) == {"101", "100", "001"}


@pytest.mark.parametrize(("warm_up", "interval"), [(4, 5), (0, 0.1), (3, 0)])
def test_a_warm_up_without_a_measurement_is_an_error(scripted, warm_up: float, interval: float):
    with pytest.raises(ValueError, match="expected an interval of at least 1 and at most the warm-up"):
        run(mining_of(scripted(), batches(COMPLETE), warm_up=warm_up, interval=interval), 1, 10)


@pytest.mark.parametrize("options", [{"regularization": "single"}, {"beta": 0}])
def test_nothing_is_mined_that_nobody_asks_for(scripted, options: dict):
    method = scripted(**options)
    before = weak_subsets(method)
    assert run(mining_of(method, batches(COMPLETE), warm_up=4, interval=2), 2, 5) == []
    assert weak_subsets(method) == before


def test_a_stopped_and_resumed_run_is_the_unbroken_one(tmp_path: Path, items: Dataset, train: Callable[..., Any]):
    """Stopped after eight of the warm-up's nine measurements, with a checkpoint that knows the first six."""

    def run(folder: Path, **options: Any) -> dict[str, Any]:
        torch.manual_seed(0)
        method = MMANet(LightUNet((4, 8)))
        method.attach_teacher(ModalityDropout(LightUNet((4, 6))))
        mining = CombinationMining(method, DataLoader(items), warm_up=9, interval=1, record=folder / "mining.csv")
        return train(folder, method, [mining], **options)

    unbroken = run(tmp_path / "unbroken")
    run(tmp_path / "stopped", stop=8)
    stopped = (tmp_path / "stopped" / "mining.csv").read_text()
    resumed = run(tmp_path / "stopped", resume=True)
    assert resumed["between_steps"] == unbroken["between_steps"]
    assert len(resumed["between_steps"][0]["history"]) == 9 * 4
    torch.testing.assert_close(resumed["network"], unbroken["network"], rtol=0, atol=0)
    assert resumed["network"]["weak"].sum() == 7
    assert not any("teacher" in name for name in resumed["network"])
    deployed = torch.load(tmp_path / "stopped" / "model.pt", weights_only=True)
    ModalityDropout(LightUNet((4, 8)), missing="zero").load_state_dict(deployed)
    final = (tmp_path / "stopped" / "mining.csv").read_text()
    assert final == (tmp_path / "unbroken" / "mining.csv").read_text() and final.startswith(stopped)
    assert final.startswith("iteration,left_out,divergence\n1,0,")


def test_the_network_predicts_in_evaluation_mode_and_goes_on_in_training_mode(scripted):
    method = scripted().train()
    data: Any = [{name: row[0] for name, row in batch.items()} for batch in batches(COMPLETE)]
    loader = DataLoader(data)
    before = torch.get_rng_state()
    mining_of(method, loader).discrepancies()
    assert method.modes == [False] * 4 * 3
    assert method.training
    assert torch.equal(torch.get_rng_state(), before)  # training draws what it would have drawn


def test_regions_are_counted_as_the_label_maps_classes_inside_the_brain():
    torch.manual_seed(0)
    method = MMANet(LightUNet((4, 8)))
    image = torch.zeros(2, 4, 2, 2, 2)
    image[0, 1, 0] = 1.0  # four voxels of brain
    image[1, 2] = -1.0  # eight
    image[1, 0] = torch.nan  # not available
    available = torch.tensor([[True] * 4, [False, True, True, True]])
    logits = torch.full((2, 3, 2, 2, 2), -1.0)
    logits[0, 2] = 1.0  # WT everywhere: oedema
    logits[0, 1, :, 0] = 1.0  # TC: necrosis, half of it
    logits[0, 0, :, 0, 0] = 1.0  # ET
    logits[1, 0, 1, 1, 1] = 1.0  # ET alone, not nested: ET
    # Sample 0: of its four voxels one is ET, one NCR and two ED. Sample 1: one ET and seven background.
    assert method.class_counts(logits, image, available).tolist() == [7, 1, 2, 2]


def test_an_inferer_is_used_when_there_is_one():
    torch.manual_seed(0)
    method = MMANet(LightUNet((4, 8)))
    seen = []

    def inferer(image: Tensor, network: nn.Module, present: Tensor) -> Tensor:
        assert network is method
        seen.append("".join(str(int(flag)) for flag in present[0]))
        return network(image, present)

    loader = [{"image": torch.randn(1, 4, 8, 8, 8), "available": torch.ones(1, 4).bool()}]
    distances = CombinationMining(method, loader, inferer).discrepancies()
    assert seen == ["1111", "0111", "1011", "1101", "1110"]
    assert distances.shape == (4,) and (distances >= 0).all() and distances.any()


def test_the_subsets_without_a_modality():
    found = {"".join(str(int(flag)) for flag in subset) for subset in subsets_without(2, 4).tolist()}
    assert found == {"1000", "0100", "0001", "1100", "1001", "0101", "1101"}
