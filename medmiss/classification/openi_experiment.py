"""One training on OpenI and its area under the ROC curve; the recipe, and the published figures beside the measured."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd
import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from medmiss.classification.fitting import CPU, Recipe, evaluator_of, fit, measured, seeded
from medmiss.classification.openi import Report
from medmiss.classification.openi_networks import Encoded, ImageEncoder, LinearBackbone, TextEncoder
from medmiss.classification.openi_sets import SIDE, Images, PairedReports, ReportSets, report_sets
from medmiss.classification.pairs import PairedSamples
from medmiss.classification.runs import Results
from medmiss.classification.tables import percent
from medmiss.methods import Method, ModalityDropout, ShaSpec

TESTS = {(0,): "image", (1,): "text", (0, 1): "both"}
"""What is tested with which modalities."""
METHODS = ("text", "image", "concat", "shaspec")
"""One modality alone; both, their features concatenated, zero for what is missing; ShaSpec."""
PUBLISHED = {
    ("text", 0.0, 1.0, "text"): 0.86,
    ("image", 1.0, 0.0, "image"): 0.77,
    ("concat", 1.0, 1.0, "both"): 0.90,
    ("concat", 0.7, 1.0, "text"): 0.87,
    ("shaspec", 0.7, 1.0, "text"): 0.89,
}
"""AUC by method, image rate, text rate and test: ShaSpec, CVPR 2023, section 4."""


class ReportRun(NamedTuple):
    """One training.

    Attributes:
        method: one of `METHODS`.
        image_rate: share of the training images that are available.
        text_rate: likewise of the texts.
        seed: of everything that is drawn, but for the split.
    """

    method: str
    image_rate: float
    text_rate: float
    seed: int

    @classmethod
    def of(cls, method: str, image_rate: float, text_rate: float, seed: int) -> "ReportRun":
        """The training of a method at these rates: text alone has no images, and the other way round."""
        rates = {"text": (0.0, text_rate), "image": (image_rate, 0.0)}.get(method, (image_rate, text_rate))
        return cls(method, *rates, seed)


RECIPE = 1
"""Changes whenever the same `OpenI` comes to give other results."""


@dataclass(frozen=True)
class OpenI:
    """How all networks are trained on OpenI; see docs/openi.md for what was chosen on which samples.

    Args:
        recipe: of every training; of its epochs, the best on the held-out patients counts.
        channels: width of the features and embeddings, 128 as published for texts.
        hidden: features of the classifier's hidden layer.
        dropout: of the classifier.
        word_dropout: of the embedded words.
        pooling: see `TextEncoder`.
        least: how often a word comes in the training texts to be known.
        split_seed: of the split by patient.
    """

    recipe: Recipe = field(
        default_factory=lambda: Recipe(epochs=10, batch_size=64, learning_rate=1e-3, decay=1.0, weight_decay=0.0)
    )
    channels: int = 128
    hidden: int = 64
    dropout: float = 0.5
    word_dropout: float = 0.5
    pooling: str = "max"
    least: int = 2
    split_seed: int = 0

    def network(self, method: str, tokens: int, side: int = SIDE) -> Encoded:
        """The network of a method, untrained.

        Args:
            method: one of `METHODS`.
            tokens: of the vocabulary.
            side: of the images, in pixels.
        """
        image: nn.Module = nn.Identity() if method == "text" else ImageEncoder(self.channels, side)
        text: nn.Module = nn.Identity()
        if method != "image":
            text = TextEncoder(tokens, self.channels, dropout=self.word_dropout, pooling=self.pooling)
        backbone = LinearBackbone(self.channels, self.hidden, self.dropout)
        task = nn.CrossEntropyLoss()
        if method == "shaspec":
            return Encoded([image, text], ShaSpec(backbone, 2, task_loss=task))
        return Encoded([image, text], ModalityDropout(backbone, 2, "zero", task_loss=task))


def train_reports(
    reports: Sequence[Report],
    run: ReportRun,
    images: Images | None = None,
    how: OpenI | None = None,
    device: torch.device = CPU,
) -> tuple[Encoded, ReportSets]:
    """Train one network once; the network with the weights that are best on the held-out patients, and its sets.

    Args:
        reports: those to use.
        run: what is trained.
        images: of these reports, where the run uses images.
        how: the recipe; the frozen one when left out.
        device: to train on.

    Raises:
        ValueError: when the method is none of `METHODS`, or a set is empty, see `report_sets`.
    """
    if run.method not in METHODS:
        raise ValueError(f"method is {run.method!r}, expected one of {', '.join(METHODS)}")
    how = how or OpenI()
    used = images if run.image_rate > 0 else None
    found = report_sets(
        reports, used, run.image_rate, run.text_rate, seed=run.seed, split_seed=how.split_seed, least=how.least
    )
    side = 0 if used is None else used.pixels.shape[-1]
    network: Encoded = seeded(lambda: how.network(run.method, len(found.vocabulary), side), run.seed)
    best = KeepBest(network, found.sets["held_out"], seen(found.sets["train"]), device)
    fit(network, found.sets["train"], how.recipe, run.seed, [best], device)
    best.restore()
    return network, found


def measure_reports(network: Method, sets: Mapping[str, PairedReports], device: torch.device = CPU) -> dict[str, float]:
    """AUC of `text`, `image` and `both`, and `held_out_text` and so on: of what training samples had, see `seen`."""
    found: dict[str, float] = {}
    for part, prefix in (("test", ""), ("held_out", "held_out_")):
        subsets = seen(sets["train"])
        areas = measured(network, sets[part], subsets, device, "scores")
        found |= {prefix + TESTS[subset]: area for subset, area in zip(subsets, areas, strict=True)}
    return found


def seen(samples: PairedSamples) -> list[tuple[int, ...]]:
    """The subsets of the modalities that the samples have among them: what a network learned to read."""
    rows = {tuple(row) for row in samples.available.tolist()}
    return [subset for subset in TESTS if tuple(channel in subset for channel in range(2)) in rows]


class KeepBest:
    """A handler that keeps the weights of the epoch whose mean AUC over some subsets of the modalities is best.

    Args:
        method: which is trained.
        samples: to select on.
        subsets: of the two modalities.
        device: where the method is.
    """

    def __init__(
        self, method: Method, samples: PairedSamples, subsets: Sequence[tuple[int, ...]], device: torch.device = CPU
    ) -> None:
        self.method = method
        self.evaluator, self.metric = evaluator_of(method, samples, subsets, device, "scores")
        self.areas: list[float] = []
        self._state: dict[str, Tensor] = {}

    def attach(self, engine: Engine) -> None:
        """Measure after each epoch."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.measure)

    def measure(self) -> None:
        """Measure, and keep the weights if they are the best so far.

        Raises:
            ValueError: when the samples of a subset are of one class.
        """
        self.evaluator.run()
        area = float(self.metric.table().mean())
        if math.isnan(area):
            raise ValueError("too few held-out samples to select on: some have to have a problem, and some none")
        if not self.areas or area > max(self.areas):
            self._state = {name: value.detach().clone() for name, value in self.method.state_dict().items()}
        self.areas.append(area)

    def restore(self) -> None:
        """Give the method the weights that were kept."""
        self.method.load_state_dict(self._state)


def table_of_reports(results: Results, runs: Sequence[ReportRun], patients: Mapping[str, int]) -> pd.DataFrame:
    """A line a method, rates and test: number of seeds, mean and sd of the AUC, that on held-out patients, published.

    Args:
        results: of all trainings.
        runs: those that count.
        patients: how many there are to test `text`, `image` and `both` on.
    """
    lines = []
    for key in dict.fromkeys(run[:3] for run in runs):
        own = [results.found.get(run, {}) for run in dict.fromkeys(runs) if run[:3] == key]
        for test in TESTS.values():
            values = pd.Series([each[test] for each in own if test in each], dtype=float)
            held_out = pd.Series([each[f"held_out_{test}"] for each in own if test in each], dtype=float)
            if len(values) == 0:
                continue
            line: dict[str, Any] = dict(zip(("method", "image_rate", "text_rate"), key, strict=True))
            line |= {"test": test, "patients": patients[test]}
            line |= {"seeds": len(values), "mean": values.mean(), "sd": values.std()}
            lines.append(line | {"held_out": held_out.mean(), "published": PUBLISHED.get((*key, test), math.nan)})
    columns = ["method", "image_rate", "text_rate", "test", "patients", "seeds", "mean", "sd", "held_out", "published"]
    return pd.DataFrame(lines, columns=columns)


def markdown_of_reports(table: pd.DataFrame, caption: str) -> str:
    """The table as people read it.

    Args:
        table: of `table_of_reports`.
        caption: what was tested on.
    """
    columns = ("method", "images", "texts", "tested on", "test patients", "seeds", "AUC", "held out", "published")
    lines = [caption, "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    rows: Any = table.itertuples(index=False)
    for row in rows:
        spread = "" if math.isnan(row.sd) else f" ± {row.sd:.3f}"
        published = "-" if math.isnan(row.published) else f"{row.published:.2f}"
        rates = f"{percent(row.image_rate)} | {percent(row.text_rate)}"
        auc = f"{row.mean:.3f}{spread} | {row.held_out:.3f}"
        lines.append(f"| {row.method} | {rates} | {row.test} | {row.patients} | {row.seeds} | {auc} | {published} |")
    return "\n".join([*lines, ""])
