"""The papers' experiments on Audiovision-MNIST: systems, rates, what they are tested with, published figures."""

from collections.abc import Sequence
from dataclasses import dataclass

from medmiss.classification.runs import Run
from medmiss.classification.systems import SYSTEMS, readable

TESTS = {(0,): "image", (1,): "sound", (0, 1): "both"}
"""What is tested with which modalities."""
RATES = (0.05, 0.1, 0.15, 0.2)
BOUNDS = ("lower", "upper")
"""Methods that are trained once for several rates."""
PUBLISHED: dict[str, tuple[float, float, float, float]] = {
    "lower": (92.35, 92.35, 92.35, 92.35),
    "upper": (98.22, 98.22, 98.22, 98.22),
    "autoencoder": (89.78, 89.33, 89.78, 88.89),
    "gan": (89.11, 89.78, 88.67, 89.56),
    "full2miss": (90.00, 91.11, 92.23, 92.67),
    "smil": (92.89, 93.11, 93.33, 94.44),
    "shaspec": (93.33, 93.56, 93.78, 94.67),
    "mckd": (93.56, 94.22, 94.89, 95.11),
}
"""Accuracy in % at `RATES` of sounds, tested on images alone (the upper bound on both): Table 2a of MCKD, 2024."""


@dataclass(frozen=True)
class Experiment:
    """One table.

    Args:
        title: of it.
        methods: in order.
        rates: of sounds and images, a row each.
        test: what the systems are tested with.
        published: accuracy in % by method and rates, where known.
        baseline: the method that the others are compared with.
    """

    title: str
    methods: tuple[str, ...]
    rates: tuple[tuple[float, float], ...]
    test: str
    published: dict[tuple[str, tuple[float, float]], float]
    baseline: str = "lower"

    def run(self, method: str, rates: tuple[float, float], seed: int) -> Run:
        """The training whose result stands in a cell.

        A bound is trained once for all rates that it does not depend on: the upper bound has all of both modalities,
        the lower bound what there is of the one that is tested, and of the other, which it does not read, less.
        """
        audio, image = rates
        if method == "upper":
            audio, image = 1.0, 1.0
        elif method == "lower" and self.test == "sound":
            image = min(RATES[0], audio / 4)
        elif method == "lower":
            audio = min(RATES[0], image / 4)
        return Run(method, audio, image, seed)

    def tested(self, method: str) -> str:
        """What a method is tested with: the upper bound always has both."""
        return "both" if method == "upper" else self.test

    def reads(self, method: str, rates: tuple[float, float]) -> bool:
        """Whether a method that is trained at these rates can be tested as this experiment is, see `readable`."""
        _, audio, image, _ = self.run(method, rates, 0)
        return self.tested(method) in (TESTS[subset] for subset in readable(method, (image, audio)))

    def asked(self, audio: Sequence[float] | None, image: Sequence[float] | None) -> list[tuple[float, float]]:
        """Pairs of rates: all of those asked for, with the experiment's own where nothing is asked for."""
        if audio is None and image is None:
            return list(self.rates)
        own = tuple(dict.fromkeys(rates) for rates in zip(*self.rates, strict=True))
        return [(one, other) for one in dict.fromkeys(audio or own[0]) for other in dict.fromkeys(image or own[1])]

    def runs(self, methods: Sequence[str], rates: Sequence[tuple[float, float]], seeds: int) -> list[Run]:
        """All trainings, seed by seed, so that what is there when one stops compares."""
        return [self.run(method, each, seed) for seed in range(seeds) for each in rates for method in methods]


def _published() -> dict[tuple[str, tuple[float, float]], float]:
    return {(name, (rate, 1.0)): row[i] for name, row in PUBLISHED.items() for i, rate in enumerate(RATES)}


EXPERIMENTS = {
    "audio-missing": Experiment(
        "A share of the sounds in training, images alone in testing",
        tuple(SYSTEMS),
        tuple((rate, 1.0) for rate in RATES),
        "image",
        _published(),
    ),
    "image-missing": Experiment(
        "A share of the images in training, sounds alone in testing",
        tuple(SYSTEMS),
        tuple((1.0, rate) for rate in RATES),
        "sound",
        {},
    ),
    "both-missing": Experiment(
        "A share of both in training, both in testing (ShaSpec, Fig. 3)",
        ("dropout", "smil", "shaspec"),
        tuple((rate, rate) for rate in (0.15, 0.2, 0.5, 0.7, 1.0)),
        "both",
        {},
        baseline="dropout",
    ),
}
