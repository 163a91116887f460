"""Audiovision-MNIST as training items: which modality a sample has, and which of them it may use now."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from medmiss.cases import CaseError
from medmiss.cases.files import json_of, write_once
from medmiss.classification.avmnist import FRAMES
from medmiss.training.samplers import ShardSampler
from medmiss.transforms import DropModalitiesd

SIDE = 28
"""Pixels of an image; the sound's features, 20 x 20, are padded to it with zeros."""
SUBSETS = ((0,), (1,), (0, 1))
"""Of the two modalities."""


class PairedSamples(Dataset):
    """Samples of two modalities with their labels; an item is a whole batch.

    A batch has `image` `(B, 2, ...)` as `inputs` gives it, `available` `(B, 2)` and `present` `(B, 2)` boolean, and
    `label` `(B,)`.

    Args:
        available: `(M, 2)` boolean, at least one a sample.
        label: `(M,)`.
        drop: how `present` is drawn from what is available, a random mode of `DropModalitiesd`, or `"none"`.
        seed: of the draws, which depend on (seed, epoch, index) alone.

    Raises:
        ValueError: when a sample has neither modality, or `drop` has no such value.
    """

    NAMES: tuple[str, str]
    """Of the two modalities."""

    def __init__(self, available: Tensor, label: Tensor, drop: str = "none", seed: int = 0) -> None:
        if not bool(available.any(dim=1).all()):
            raise ValueError("a sample has neither of its two modalities: leave it out")
        self.available = available
        self.label = label
        self.seed = seed
        transform = DropModalitiesd(drop)
        thresholds = np.zeros((4, len(SUBSETS)))
        for channels in SUBSETS:
            probabilities = transform.probabilities(list(channels))
            thresholds[_code(channels)] = np.cumsum([probabilities.get(subset, 0.0) for subset in SUBSETS])
        self._thresholds = thresholds[available[:, 0].numpy() + 2 * available[:, 1].numpy()]

    def inputs(self, rows: Tensor) -> Tensor:
        """What the network reads of these samples, `(B, 2, ...)`; zero where a modality is not available."""
        raise NotImplementedError

    def restricted(self, rows: Tensor, available: Tensor) -> "PairedSamples":
        """The samples of `rows`, with these modalities and no draws."""
        raise NotImplementedError

    def completed(self, fill: Callable[[Tensor, Tensor], Tensor]) -> "PairedSamples":
        """All samples with both modalities and no draws.

        Args:
            fill: gives what `inputs` gives with what is not available filled in, from that and `available`.
        """
        raise NotImplementedError

    @property
    def shares(self) -> tuple[float, float]:
        """Of the samples, those that have each modality."""
        image, other = self.available.double().mean(dim=0).tolist()
        return image, other

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.label)

    def __getitem__(self, key: tuple[int, np.ndarray]) -> dict[str, Tensor]:
        """The batch of `(epoch, indices)`."""
        epoch, indices = key
        draws = np.random.default_rng((self.seed, epoch)).random(len(self))[indices]
        chosen = (draws[:, None] >= self._thresholds[indices][:, :-1]).sum(axis=1)
        flags = torch.tensor([[channel in subset for channel in range(2)] for subset in SUBSETS])
        rows = torch.from_numpy(np.asarray(indices))
        return {
            "image": self.inputs(rows),
            "available": self.available[rows],
            "present": flags[torch.from_numpy(chosen)],
            "label": self.label[rows],
        }

    def whole(self) -> dict[str, Tensor]:
        """All samples as one batch, with the draws of epoch 0."""
        return self[0, np.arange(len(self))]

    def having(self, *channels: int) -> Tensor:
        """The numbers of the samples that have all of these modalities."""
        return self.available[:, list(channels)].all(dim=1).nonzero().flatten()

    def using(self, *channels: int) -> "PairedSamples":
        """The samples that have all of these modalities, with these alone."""
        wanted = torch.tensor([channel in channels for channel in range(2)])
        rows = self.having(*channels)
        return self.restricted(rows, self.available[rows] & wanted)


class SoundScale(NamedTuple):
    """How sounds are standardised, coefficient by coefficient.

    Attributes:
        mean: of the 20 coefficients.
        sd: likewise.
    """

    mean: list[float]
    sd: list[float]

    @classmethod
    def of(cls, sounds: np.ndarray) -> "SoundScale":
        """That of these sounds, `(M, 20, 20)`; of none, what they would not be used with anyway."""
        if len(sounds) == 0:
            return cls([0.0] * FRAMES, [1.0] * FRAMES)
        return cls(sounds.mean(axis=(0, 2)).tolist(), (sounds.std(axis=(0, 2)) + 1e-6).tolist())

    @classmethod
    def read(cls, path: str | Path) -> "SoundScale":
        """That of a file that `write` wrote.

        Raises:
            CaseError: when it is something else.
        """
        try:
            found = cls(**json.loads(Path(path).read_text(encoding="utf-8")))
            np.asarray(found, dtype=float).reshape(2, FRAMES)
        except (OSError, ValueError, TypeError) as error:
            expected, remedy = (
                "the means and sds of the training sounds",
                "train again, or give the folder of the weights",
            )
            raise CaseError("sounds", "something else", expected, remedy, Path(path)) from error
        return found

    def write(self, path: str | Path) -> None:
        """Write it as JSON: the weights of a network need it to predict.

        Raises:
            CaseError: when there is that of other sounds, to which other weights belong.
        """
        write_once(Path(path), json_of(self._asdict()), "sounds")

    def scaled(self, sounds: np.ndarray) -> np.ndarray:
        """The sounds `(M, 20, 20)`, standardised, float32."""
        mean, sd = (np.array(each, dtype=np.float32)[:, None] for each in self)
        return (sounds - mean) / sd


class PairedDigits(PairedSamples):
    """Images and sounds with their labels, in memory: channel 0 the image, channel 1 the sound.

    Args:
        image: `(M, 2, 28, 28)`.
        available: `(M, 2)` boolean, at least one a sample.
        label: `(M,)`.
        drop: see `PairedSamples`.
        seed: likewise.
        scale: how the sounds were standardised, where that is to be kept with the weights.

    Raises:
        ValueError: see `PairedSamples`.
    """

    NAMES = ("image", "sound")

    def __init__(
        self,
        image: Tensor,
        available: Tensor,
        label: Tensor,
        drop: str = "none",
        seed: int = 0,
        scale: SoundScale | None = None,
    ) -> None:
        super().__init__(available, label, drop, seed)
        self.scale = scale
        self.image = torch.where(available[:, :, None, None], image, torch.zeros(()))

    def inputs(self, rows: Tensor) -> Tensor:
        """`(B, 2, 28, 28)`."""
        return self.image[rows]

    def restricted(self, rows: Tensor, available: Tensor) -> "PairedDigits":
        """The samples of `rows`, with these modalities and no draws."""
        return PairedDigits(self.image[rows], available, self.label[rows])

    def completed(self, fill: Callable[[Tensor, Tensor], Tensor]) -> "PairedDigits":
        """All samples with both modalities and no draws, see `PairedSamples`."""
        with torch.no_grad():
            return PairedDigits(fill(self.image, self.available), torch.ones_like(self.available), self.label)


class BySubset(Dataset):
    """Samples to evaluate: batches as of `PairedSamples`, with each of some subsets of the modalities in turn.

    A batch also has `row`, a long tensor `(B, 2)`: the number of the item, a sample with a subset, and of its subset.
    Samples that lack a part of a subset have no item for it.

    Args:
        samples: what is evaluated.
        subsets: of the two modalities.
        batch_size: samples a batch, at most.
    """

    def __init__(
        self, samples: PairedSamples, subsets: Sequence[tuple[int, ...]] = SUBSETS, batch_size: int = 500
    ) -> None:
        self.subset_names = ["+".join(samples.NAMES[channel] for channel in subset) for subset in subsets]
        self._batches: list[tuple[PairedSamples, np.ndarray, int, int]] = []
        first = 0
        for number, subset in enumerate(subsets):
            own = samples.using(*subset)
            for start in range(0, len(own), batch_size):
                self._batches.append((own, np.arange(start, min(start + batch_size, len(own))), number, first))
            first += len(own)

    def __len__(self) -> int:
        """Number of batches."""
        return len(self._batches)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One batch."""
        if index >= len(self):
            raise IndexError(index)
        own, rows, number, first = self._batches[index]
        items = torch.from_numpy(rows + first)
        return {**own[0, rows], "row": torch.stack([items, torch.full_like(items, number)], dim=1)}


class ShuffledBatches(ShardSampler):
    """Keys of `PairedSamples`: each sample once an epoch, in an order from (seed, epoch).

    For a `DataLoader` with `batch_size=None`. (`MethodTrainer` sets the epoch, as MONAI does for every
    `DistributedSampler`; one process.)

    Args:
        pairs: what is sampled.
        batch_size: samples a batch; the last has what is left.
        seed: of the order.
    """

    def __init__(self, pairs: PairedSamples, batch_size: int, seed: int = 0) -> None:
        super().__init__(pairs, shuffle=True, seed=seed)
        self.batch_size = batch_size

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-self.num_samples // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        """Iterate over `(epoch, indices)`."""
        order = np.array(list(super().__iter__()))
        starts = range(0, len(order), self.batch_size)
        return iter([(self.epoch, order[start : start + self.batch_size]) for start in starts])


def digit_sets(
    arrays: Mapping[str, np.ndarray],
    audio_rate: float = 1.0,
    image_rate: float = 1.0,
    held_out_per_digit: int = 15,
    drop: str = "uniform_size",
    seed: int = 0,
    scale: SoundScale | None = None,
) -> dict[str, PairedDigits]:
    """The sets of one run.

    `train` lacks sounds and images as the rates say, chosen by the seed; a sample that would have neither is left out.
    `held_out` is a part of the training set with both modalities, to select on; it is the same for all seeds.
    `test` has both, `more` images alone. Sounds are standardised, coefficient by coefficient, by those in `train`.

    Args:
        arrays: of `medmiss.classification.read_avmnist`.
        audio_rate: share of each digit's training sounds that are available, spread evenly over the speakers.
        image_rate: likewise of the images.
        held_out_per_digit: samples of each digit that are not trained on, spread likewise; 0 trains on all.
        drop: see `PairedDigits`, of `train`.
        seed: of what is available, and of the draws.
        scale: of the sounds; that of the sounds that are available in `train` when left out.

    Raises:
        ValueError: when a rate is not above 0 and at most 1, or nothing is left to train on.
    """
    label, speaker = arrays["train_label"], arrays["train_speaker"]
    counts = np.bincount(label)
    held_out = spread(label, speaker, np.full(len(counts), held_out_per_digit), np.random.default_rng(0))
    rows = np.flatnonzero(~held_out)
    if len(rows) == 0:
        raise ValueError(f"held_out_per_digit is {held_out_per_digit}: nothing is left to train on")
    generator = np.random.default_rng((seed, 1))
    available = np.ones((len(rows), 2), dtype=bool)
    for channel, rate in ((0, image_rate), (1, audio_rate)):
        if not 0 < rate <= 1:
            raise ValueError(f"a rate is {rate}: expected above 0, at most 1")
        wanted = np.round(rate * np.bincount(label[rows])).astype(int)
        available[:, channel] = spread(label[rows], speaker[rows], wanted, generator)
    rows, available = rows[available.any(axis=1)], available[available.any(axis=1)]
    if scale is None:
        scale = SoundScale.of(arrays["train_sound"][rows[available[:, 1]]])
    standard = scale.scaled

    def inputs(part: str, chosen: Any = slice(None)) -> tuple[Tensor, Tensor]:
        image = np.zeros((len(arrays[f"{part}_label"][chosen]), 2, SIDE, SIDE), dtype=np.float32)
        image[:, 0] = arrays[f"{part}_image"][chosen] / 255
        if f"{part}_sound" in arrays:
            scaled = standard(arrays[f"{part}_sound"][chosen])
            image[:, 1, : scaled.shape[1], : scaled.shape[2]] = scaled
        return torch.from_numpy(image), torch.from_numpy(arrays[f"{part}_label"][chosen])

    image, labels = inputs("train", rows)
    sets = {"train": PairedDigits(image, torch.from_numpy(available), labels, drop, seed, scale)}
    for name, part, chosen in (("held_out", "train", held_out), ("test", "test", slice(None))):
        image, labels = inputs(part, chosen)
        sets[name] = PairedDigits(image, torch.ones(len(labels), 2, dtype=torch.bool), labels)
    image, labels = inputs("more")
    sets["more"] = PairedDigits(image, torch.tensor([[True, False]]).expand(len(labels), 2), labels)
    return sets


def spread(label: np.ndarray, speaker: np.ndarray, wanted: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Choose so many samples of each digit that the numbers of two speakers differ by one at most.

    Args:
        label: `(M,)`.
        speaker: `(M,)`; where speakers have equally many samples of a digit, so does what is chosen.
        wanted: samples of each digit; at most those that there are.
        generator: of who is chosen, and of which speaker comes first.

    Returns:
        `(M,)` boolean.
    """
    chosen = np.zeros(len(label), dtype=bool)
    for digit, number in enumerate(wanted):
        ranked: list[tuple[int, int, int]] = []
        for place, name in enumerate(generator.permutation(np.unique(speaker))):
            own = generator.permutation(np.flatnonzero((label == digit) & (speaker == name)))
            ranked += [(rank, place, int(row)) for rank, row in enumerate(own)]
        chosen[[row for _, _, row in sorted(ranked)[:number]]] = True
    return chosen


def _code(channels: tuple[int, ...]) -> int:
    return sum(2**channel for channel in channels)
