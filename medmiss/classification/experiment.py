"""One training on Audiovision-MNIST, and what it is worth on the test set."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medmiss.classification.experiments import TESTS
from medmiss.classification.fitting import Recipe, measured
from medmiss.classification.lenet import LeNets, SmilLeNets
from medmiss.classification.pairs import PairedDigits, digit_sets
from medmiss.classification.systems import CONSULTING, SYSTEMS, Setup, readable
from medmiss.methods import Method

HELD_OUT = 15
"""Samples of each digit that are not trained on, where a method consults some between steps."""


RECIPE = 3
"""Changes whenever the same `AvMnist` comes to give other results; docs/avmnist.md lists what changed."""


@dataclass(frozen=True)
class AvMnist:
    """How all systems are trained on Audiovision-MNIST: frozen on held-out samples, see docs/avmnist.md.

    Args:
        recipe: of every training.
        channels: width of the embeddings; at 208 ShaSpec has its published 0.22 M parameters.
        hidden: features of the classifier's hidden layer.
        dropout: of the classifier.
        sound: the sound's own encoder, see `LeNets`.
        drop: of what is available, see `PairedSamples`.
        meta_interval: see `Setup`.
        smil: likewise.
        mmanet: likewise.
    """

    recipe: Recipe = field(default_factory=Recipe)
    channels: int = 208
    hidden: int = 64
    dropout: float = 0.5
    sound: str = "lenet"
    drop: str = "uniform_size"
    meta_interval: int = 10
    smil: Mapping[str, Any] = field(default_factory=lambda: {"passes": 30, "noise": "unit"})
    mmanet: Mapping[str, Any] = field(default_factory=lambda: {"alpha": 0.1, "beta": 0.5})

    def setup(self, seed: int = 0) -> Setup:
        """For `SYSTEMS`."""
        backbone = LeNets(self.channels, self.hidden, self.dropout, self.sound)
        of_smil = SmilLeNets(self.hidden, self.dropout)
        own = (self.meta_interval, self.smil, self.mmanet)
        return Setup(backbone, of_smil, self.recipe, seed, *own)


def train_system(
    arrays: Mapping[str, np.ndarray],
    system: str,
    audio_rate: float = 1.0,
    image_rate: float = 1.0,
    seed: int = 0,
    how: AvMnist | None = None,
    held_out_per_digit: int | None = None,
) -> tuple[Method, dict[str, PairedDigits]]:
    """Train one system once; the network, and the sets of the run.

    Args:
        arrays: of `medmiss.classification.read_avmnist`.
        system: one of `SYSTEMS`.
        audio_rate: see `digit_sets`.
        image_rate: likewise.
        seed: of everything that is drawn.
        how: the recipe; the frozen one when left out.
        held_out_per_digit: see `digit_sets`; `HELD_OUT` for the systems that consult samples, else none, when left out.

    Raises:
        ValueError: when the rates leave nothing of a modality to a system of both; see `digit_sets` too.
    """
    how = how or AvMnist()
    if held_out_per_digit is None:
        held_out_per_digit = HELD_OUT if system in CONSULTING else 0
    sets = digit_sets(arrays, audio_rate, image_rate, held_out_per_digit, how.drop, seed)
    train = sets["train"]
    absent = [name for name, some in zip(train.NAMES, train.available.any(dim=0), strict=True) if not some]
    if absent and system != "lower":  # which has one modality alone
        rates = f"{audio_rate} of the sounds and {image_rate} of the images"
        raise ValueError(f"{rates} leave no {absent[0]} to train on: expected a rate that leaves one of each digit")
    return SYSTEMS[system](how.setup(seed), sets), sets


def measure(system: str, method: Method, sets: Mapping[str, PairedDigits]) -> dict[str, float]:
    """Shares of right classes: `image`, `sound` and `both` of the test set, `more` of the other MNIST test images.

    `held_out_image` and so on are of the held-out samples, where there are some. What a system is not made for is left
    out, see `readable`.
    """
    subsets = readable(system, sets["train"].shares)
    names = [TESTS[subset] for subset in subsets]
    found = dict(zip(names, measured(method, sets["test"], subsets), strict=True))
    if (0,) in subsets:
        found["more"] = measured(method, sets["more"], [(0,)])[0]
    return found | measure_held_out(system, method, sets)


def measure_held_out(system: str, method: Method, sets: Mapping[str, PairedDigits]) -> dict[str, float]:
    """`held_out_image`, `held_out_sound` and `held_out_both`, which recipes are chosen by."""
    subsets = readable(system, sets["train"].shares) if len(sets["held_out"]) else []
    found = measured(method, sets["held_out"], subsets) if subsets else []
    return {f"held_out_{TESTS[subset]}": value for subset, value in zip(subsets, found, strict=True)}
