"""Every method of the segmentation classifies digits with the LeNets, by the one trainer."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from medmiss.classification import AvMnist, LeNets, PairedDigits, ShuffledBatches, network_of
from medmiss.methods import LCKD, MCKD, Method, MMANet, ModalityDropout, ShaSpec
from medmiss.training import LossTerms, MethodTrainer


def plain() -> ModalityDropout:
    return ModalityDropout(LeNets(16, 16), 2, task_loss=nn.CrossEntropyLoss())


def mmanet() -> MMANet:
    method = MMANet(LeNets(16, 16), 2, outputs="classes", task_loss=nn.CrossEntropyLoss(), regularization="single")
    method.attach_teacher(plain())
    return method


METHODS: dict[str, Callable[[], Method]] = {
    "plain": plain,
    "shaspec": lambda: ShaSpec(LeNets(16, 16), 2, task_loss=nn.CrossEntropyLoss()),
    "lckd": lambda: LCKD(LeNets(16, 16), 2, task_loss=nn.CrossEntropyLoss()),
    "mckd": lambda: MCKD(LeNets(16, 16), 2, task_loss=nn.CrossEntropyLoss()),
    "mmanet": mmanet,
}


@pytest.fixture
def pairs() -> PairedDigits:
    """Sixty samples of three classes, each a square at a place of its own in noise; a third lack their sound."""
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(60) % 3
    image = 0.3 * torch.rand(60, 2, 28, 28, generator=generator)
    for sample, digit in enumerate(label.tolist()):
        image[sample, :, 3 + 6 * digit : 9 + 6 * digit, 4:12] += 1
    available = torch.ones(60, 2, dtype=torch.bool)
    available[::4, 1] = False
    return PairedDigits(image, available, label, drop="uniform_size")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_learns_to_classify_from_either_modality(name: str, pairs: PairedDigits):
    torch.manual_seed(0)
    method = METHODS[name]()
    loader: DataLoader = DataLoader(pairs, sampler=ShuffledBatches(pairs, 16), batch_size=None)
    optimizer = torch.optim.Adam(method.parameters(), lr=5e-3)
    MethodTrainer(torch.device("cpu"), 25, loader, LossTerms(method), optimizer).run()
    method.eval()
    for channels in ((0,), (1,), (0, 1)):
        batch = pairs.using(*channels).whole()
        with torch.no_grad():
            logits = method(batch["image"], batch["present"])
        assert logits.shape == (len(batch["label"]), 10)
        assert (logits.argmax(dim=1) == batch["label"]).float().mean() > 0.95, channels


@pytest.mark.parametrize("name", METHODS)
def test_what_is_absent_has_no_influence(name: str, pairs: PairedDigits):
    method, batch = METHODS[name](), pairs[1, np.arange(60)]
    filled: Tensor = batch["image"].clone()
    filled[~batch["present"]] = float("nan")
    method.eval()
    with torch.no_grad():
        assert torch.equal(method(filled, batch["present"]), method(batch["image"], batch["present"]))


def test_parameters_of_shaspec():
    # Three encoders: 130 + 1,260 of the convolutions and 160 * 64 + 64 of the projection; fusion 128 * 64; classifier
    # 128 * 64 + 64 and 64 * 10 + 10; the two domains 64 * 2 + 2.
    method = ShaSpec(LeNets(), 2, task_loss=nn.CrossEntropyLoss())
    assert sum(p.numel() for p in method.parameters()) == 3 * 11694 + 8192 + 8256 + 650 + 130


def test_the_frozen_width_gives_shaspec_its_published_size():
    method = network_of("shaspec", AvMnist().setup(0))
    assert sum(p.numel() for p in method.parameters()) == 218_918  # published: 0.22 M


def test_the_network_of_sounds_does_not_look_at_the_padding():
    torch.manual_seed(0)
    encoder = LeNets(16, 16, sound="smil").specific_encoder(1).eval()
    sounds = torch.zeros(3, 1, 28, 28)
    sounds[:, :, :20, :20] = torch.rand(3, 1, 20, 20)
    spoilt = sounds.clone()
    spoilt[:, :, 20:], spoilt[:, :, :, 20:] = 7, 7
    assert torch.equal(encoder(sounds)[0], encoder(spoilt)[0])
    sounds[:, :, 10, 10] += 1
    assert not torch.equal(encoder(sounds)[0], encoder(spoilt)[0])
    with pytest.raises(ValueError, match="sound is 'loud'"):
        LeNets(sound="loud")
