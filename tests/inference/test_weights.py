"""No mask without weights: what `load_network` refuses, and the choice of the device."""

import pickle
from pathlib import Path

import pytest
import torch

from medmiss.inference import BundleError, MeanOfNetworks, load_network, select_device


def test_missing_weights_are_refused(tmp_path: Path):
    with pytest.raises(BundleError, match="untrained network must not predict"):
        load_network(torch.nn.Linear(2, 2), tmp_path / "model.pt")


def test_weights_of_another_network_are_refused(tmp_path: Path):
    torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "model.pt")
    with pytest.raises(BundleError, match="do not fit"):
        load_network(torch.nn.Linear(2, 2), tmp_path / "model.pt")


@pytest.mark.parametrize("content", [b"", b"not weights", pickle.dumps(Path("code"), protocol=2)])
def test_a_file_that_is_no_weights_or_could_run_code_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(BundleError, match="not a readable file of weights"):
        load_network(torch.nn.Linear(2, 2), tmp_path / "model.pt")


def test_weights_are_loaded_and_the_network_evaluates(tmp_path: Path):
    trained = torch.nn.Linear(2, 2)
    torch.save(trained.state_dict(), tmp_path / "model.pt")
    network = load_network(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    assert torch.equal(network.get_parameter("weight"), trained.weight)
    assert not network.training


def test_devices():
    assert select_device("cpu") == torch.device("cpu")
    assert select_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(BundleError, match="unknown"):
        select_device("abacus")
    with pytest.raises(BundleError, match="sees"):
        select_device("cuda:99")


def test_several_networks_predict_their_mean_probability():
    class Constant(torch.nn.Module):
        def __init__(self, probability: float) -> None:
            super().__init__()
            self.logit = torch.tensor(probability).logit()

        def forward(self, image: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
            return self.logit.expand(1, 3, 2, 2, 2)

    network = MeanOfNetworks([Constant(0.2), Constant(0.9)])
    logits = network(torch.zeros(1, 4, 2, 2, 2), torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(logits.sigmoid(), torch.full((1, 3, 2, 2, 2), 0.55))
