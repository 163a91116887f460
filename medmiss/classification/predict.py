"""A trained network's predictions of samples as a table."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from medmiss.cases import write_atomically
from medmiss.classification.pairs import SUBSETS, BySubset, PairedSamples


class Predictions:
    """Predicts samples from some of their modalities, and writes a CSV file: sample, label, class, probability.

    Args:
        network: a trained method, in evaluation mode.
        samples: those that lack one of the modalities are left out.
        modalities: the name of one of the samples' modalities, or `"all"`.
        path: of the file.
        names: what the file calls each sample; their numbers when left out.

    Raises:
        ValueError: when there is no such modality, or no sample that has it.
    """

    def __init__(
        self,
        network: nn.Module,
        samples: PairedSamples,
        modalities: str,
        path: str | Path,
        names: Sequence[object] | None = None,
    ) -> None:
        subsets = {name: (channel,) for channel, name in enumerate(samples.NAMES)} | {"all": SUBSETS[-1]}
        if modalities not in subsets:
            raise ValueError(f"modalities is {modalities!r}, expected one of {', '.join(subsets)}")
        numbers = samples.having(*subsets[modalities]).tolist()
        self.names = numbers if names is None else [names[number] for number in numbers]
        if not numbers:
            raise ValueError(f"no sample has {modalities}: nothing to predict")
        self.items = BySubset(samples, [subsets[modalities]], batch_size=64)
        self.labels = samples.label[numbers].tolist()
        self.network = network
        self.path = Path(path)

    @torch.inference_mode()
    def run(self) -> Tensor:
        """Write the file; the classes `(M,)`."""
        device = next(self.network.parameters()).device
        logits = [
            self.network(batch["image"].to(device), batch["present"].to(device)).float().cpu()
            for batch in DataLoader(self.items, batch_size=None)
        ]
        probability, classes = torch.cat(logits).softmax(dim=1).max(dim=1)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("sample", "label", "class", "probability"))
        columns = (self.names, self.labels, classes.tolist(), probability.tolist())
        writer.writerows((*row[:3], f"{row[3]:.4f}") for row in zip(*columns, strict=True))
        write_atomically(self.path, text.getvalue().encode())
        return classes
