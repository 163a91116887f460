"""MMANet on two processes with half a batch each: the terms, gradients and statistics of one with the whole batch."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from medmiss.methods import CombinationMining, MMANet, ModalityDropout
from medmiss.networks import LightUNet
from medmiss.training import LossTerms

ROOT = Path(__file__).parents[2]
WEAK = {"in both halves": [[0, 0, 1, 0], [1, 0, 0, 1]], "in the first half": [[0, 0, 1, 0]], "nowhere": [[0, 1, 0, 0]]}
PRESENT = [[0, 0, 1, 0], [1, 0, 0, 1], [0, 0, 1, 0], [1, 1, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
INCOMPLETE = {"a few": [1], "all but one a half": [0, 1, 4, 5]}  # samples that lack modality 1


def batch(incomplete: str) -> dict[str, Tensor]:
    """Six samples; the first three are the first process's."""
    generator = torch.Generator().manual_seed(1)
    available = torch.ones(6, 4, dtype=torch.bool)
    available[INCOMPLETE[incomplete], 1] = False
    return {
        "image": torch.randn(6, 4, 8, 8, 8, generator=generator),
        "label": (torch.rand(6, 3, 8, 8, 8, generator=generator) < 0.3).float(),
        "available": available,
        "present": torch.tensor(PRESENT).bool() & available,
    }


def network() -> MMANet:
    torch.manual_seed(0)
    method = MMANet(LightUNet((4, 8)))
    method.attach_teacher(ModalityDropout(LightUNet((4, 6))))
    return method


def measure(rank: int | None) -> dict[str, Any]:
    """Terms, gradients and discrepancies; of one process's share, or with `None` of everything."""
    found: dict[str, Any] = {}
    share = slice(None) if rank is None else slice(3 * rank, 3 * rank + 3)
    for incomplete in INCOMPLETE:
        for weak, subsets in WEAK.items():
            method = network()
            method.set_weak(torch.tensor(subsets).bool())
            wrapped: torch.nn.Module = LossTerms(method)
            if rank is not None:
                wrapped = DistributedDataParallel(wrapped, find_unused_parameters=True)
            terms = wrapped({name: rows[share] for name, rows in batch(incomplete).items()})
            torch.stack(list(terms.values())).sum().backward()
            gradients = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
            terms = {name: term.detach() for name, term in terms.items()}
            found[f"{incomplete}, {weak}"] = {"terms": terms, "gradients": gradients}
    batches = [{name: rows[i : i + 1] for name, rows in batch("a few").items()} for i in range(6)]
    found["discrepancies"] = CombinationMining(network(), batches[:5]).discrepancies()
    found["discrepancies of one batch"] = CombinationMining(network(), batches[:1]).discrepancies()
    return found


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("processes")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, __file__, str(folder)]
    workers = [
        subprocess.Popen([*words, str(rank)], env=environment, stderr=subprocess.PIPE, text=True) for rank in (0, 1)
    ]
    try:
        for worker in workers:
            _, errors = worker.communicate(timeout=240)
            assert worker.returncode == 0, errors[-3000:]
    finally:
        for worker in workers:
            worker.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    return measure(None)


@pytest.mark.parametrize("weak", WEAK)
@pytest.mark.parametrize("incomplete", INCOMPLETE)
def test_the_halves_train_as_the_whole(halves: list[dict[str, Any]], whole: dict[str, Any], incomplete: str, weak: str):
    first, second, expected = (each[f"{incomplete}, {weak}"] for each in (*halves, whole))
    mean = {name: (term + second["terms"][name]) / 2 for name, term in first["terms"].items()}
    torch.testing.assert_close(mean, expected["terms"], rtol=1e-5, atol=1e-6)
    assert expected["terms"]["mad"].item() > 1e-3
    assert (expected["terms"]["mar"].item() > 0) == (weak != "nowhere")
    for half in (first, second):
        torch.testing.assert_close(half["gradients"], expected["gradients"], rtol=1e-3, atol=1e-6)


def test_the_statistics_are_summed_over_the_processes(halves: list[dict[str, Any]], whole: dict[str, Any]):
    for name in ("discrepancies", "discrepancies of one batch"):
        for half in halves:
            torch.testing.assert_close(half[name], whole[name], rtol=0, atol=1e-12)
    assert not torch.allclose(whole["discrepancies"], whole["discrepancies of one batch"])


if __name__ == "__main__":
    store, own = Path(sys.argv[1]), int(sys.argv[2])
    distributed.init_process_group("gloo", init_method=f"file://{store / 'store'}", rank=own, world_size=2)
    torch.save(measure(own), store / f"{own}.pt")
    distributed.destroy_process_group()
