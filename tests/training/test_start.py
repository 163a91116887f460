"""What a training begins with: another network's weights, where the two are alike."""

import pickle
from pathlib import Path

import pytest
import torch

from medmiss.methods import ModalityDropout, ShaSpec
from medmiss.networks import LightUNet
from medmiss.training import started


def make(kind: type, seed: int, channels: tuple[int, ...] = (4, 8)) -> torch.nn.Module:
    torch.manual_seed(seed)
    return kind(LightUNet(channels=list(channels)))


def test_without_weights_the_network_is_as_it_was_made():
    network = make(ModalityDropout, 0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert started(network, None) is network
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_what_two_methods_share_is_taken_and_the_rest_is_left(tmp_path: Path):
    plain = make(ModalityDropout, 1)
    torch.save(plain.state_dict(), tmp_path / "plain.pt")
    network = make(ShaSpec, 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    started(network, tmp_path / "plain.pt")
    given = plain.state_dict()
    assert {name.partition(".")[0] for name in given} == {"shared", "decoder"}
    for name, value in network.state_dict().items():
        assert torch.equal(value, given[name] if name in given else before[name])
    assert before.keys() - given.keys()


def test_a_network_that_shares_nothing_is_refused(tmp_path: Path):
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "other.pt")
    with pytest.raises(ValueError, match="none of its tensors fits the network; start from weights of the same"):
        started(make(ModalityDropout, 0), tmp_path / "other.pt")


def test_tensors_of_another_shape_are_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    torch.save(make(ModalityDropout, 1).state_dict(), tmp_path / "plain.pt")
    started(make(ShaSpec, 2), tmp_path / "plain.pt")
    assert not caplog.records or all(record.levelname == "INFO" for record in caplog.records)
    started(make(ModalityDropout, 2, channels=(4, 12)), tmp_path / "plain.pt")
    assert "have another shape and were not taken" in caplog.text


@pytest.mark.parametrize("content", [b"", b"text", pickle.dumps([1], protocol=2)])
def test_a_file_that_is_no_weights_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "broken.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.pt: not a readable file of weights .*; fetch it again"):
        started(make(ModalityDropout, 0), tmp_path / "broken.pt")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"list\.pt: a file of list, expected a dictionary"):
        started(make(ModalityDropout, 0), tmp_path / "list.pt")
