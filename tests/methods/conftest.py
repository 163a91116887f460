"""A network of two levels, a batch in which every sample lacks other modalities, and a run that can be stopped."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader
from monai.transforms import RandScaleIntensityd
from torch import Tensor, nn
from torch.utils.data import Dataset

from medmiss.methods import MCKD, Method, ShaSpec
from medmiss.networks import LightUNet
from medmiss.training import EpochSampler, LossTerms, MethodTrainer, RunCheckpoint, SeededDataset, WeightAverage


@pytest.fixture
def shaspec() -> Callable[..., ShaSpec]:
    """`shaspec(alignment="kl", ...)`: a ShaSpec of a few thousand parameters, always the same ones."""

    def make(**options: Any) -> ShaSpec:
        torch.manual_seed(0)
        return ShaSpec(LightUNet((4, 8)), **options)

    return make


@pytest.fixture
def mckd() -> Callable[..., MCKD]:
    """`mckd([0.3, -0.2, 1.1, 0.4], distance="mse", ...)`: an MCKD of that importance, always the same one."""

    def make(importance: list[float] | None = None, **options: Any) -> MCKD:
        torch.manual_seed(0)
        method = MCKD(LightUNet((4, 8)), **options)
        if importance is not None:
            method.importance.copy_(torch.tensor(importance))
        return method

    return make


@pytest.fixture
def present() -> Tensor:
    """One, two, three and four modalities, `(5, 4)`; no sample like another, no modality always there."""
    sizes = ["0010", "1001", "0101", "1101", "1111"]
    return torch.tensor([[flag == "1" for flag in flags] for flags in sizes])


@pytest.fixture
def image() -> Tensor:
    return torch.randn(5, 4, 8, 12, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def label() -> Tensor:
    return (torch.rand(5, 3, 8, 12, 8, generator=torch.Generator().manual_seed(2)) < 0.2).float()


class Digits:
    """A backbone of a two-modality classifier: vectors instead of maps, and no skips."""

    bottleneck_channels = 6

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(10, 6)

        def forward(self, x: Tensor) -> list[Tensor]:
            return [self.linear(x.flatten(1))]

    class Head(nn.Module):
        def __init__(self, modalities: int) -> None:
            super().__init__()
            self.linear = nn.Linear(6 * modalities, 3)

        def forward(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
            assert not skips
            return self.linear(bottleneck.flatten(1))

    def shared_encoder(self) -> nn.Module:
        return self.Encoder()

    def specific_encoder(self, modality: int) -> nn.Module:
        return self.Encoder()

    def fusion(self) -> nn.Module:
        return nn.Linear(12, 6)

    def decoder(self, modalities: int) -> nn.Module:
        return self.Head(modalities)


@pytest.fixture
def digits() -> Digits:
    return Digits()


class Items(Dataset):
    """Five prepared cases; item i lacks modality i."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image = torch.randn(4, 8, 12, 8, generator=torch.Generator().manual_seed(index))
        available = torch.arange(4) != index
        return {"image": image, "label": (image[:3] > 1).float(), "available": available, "present": available.clone()}


@pytest.fixture
def items() -> Items:
    return Items()


@pytest.fixture
def random_batches(items: Items) -> Callable[..., DataLoader]:
    """`random_batches(seed=1, size=2)`: batches of augmented items in random order, as in training."""

    def make(seed: int = 1, size: int = 2) -> DataLoader:
        data = SeededDataset(items, RandScaleIntensityd("image", factors=0.5, prob=1.0), seed)
        return DataLoader(data, sampler=EpochSampler(data, seed), batch_size=size)

    return make


class Stop(Exception):
    """Stands for a kill."""


@pytest.fixture
def train(random_batches: Callable[..., DataLoader]) -> Callable[..., dict[str, Any]]:
    """`train(folder, method, handlers, stop=8)`: four epochs of three iterations, or until iteration 8 of them.

    `resume=True` goes on from the folder's checkpoint. Returns the checkpoint.
    """

    def run(
        folder: Path, method: Method, between_steps: Sequence[Any], stop: int | None = None, resume: bool = False
    ) -> dict[str, Any]:
        average = WeightAverage(method, decay=0.9)
        checkpoint = RunCheckpoint(
            folder, folder / "model.pt", method, average=average, between_steps=between_steps, resume=resume
        )
        trainer = MethodTrainer(
            torch.device("cpu"),
            max_epochs=4,
            train_data_loader=random_batches(),
            network=LossTerms(method),
            optimizer=torch.optim.AdamW(method.parameters(), lr=0.02, weight_decay=0.1),
            average=average,
            seed=1,
            train_handlers=[*between_steps, checkpoint],
        )
        if stop is None:
            trainer.run()
        else:
            trainer.add_event_handler(Events.ITERATION_COMPLETED(once=stop), _stop)
            with pytest.raises(Stop):
                trainer.run()
        return torch.load(folder / "last.pt", weights_only=True)

    return run


def _stop() -> None:
    raise Stop
