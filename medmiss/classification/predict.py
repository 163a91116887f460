"""A trained network's predictions of samples as a table."""

import csv
import io
from pathlib import Path

import torch
from torch import Tensor, nn

from medmiss.cases import write_atomically
from medmiss.classification.pairs import SUBSETS, PairedSamples


class Predictions:
    """Predicts samples from some of their modalities, and writes a CSV file: sample, label, class, probability.

    Args:
        network: a trained method, in evaluation mode.
        samples: those that lack one of the modalities are left out.
        modalities: the name of one of the samples' modalities, or `"all"`.
        path: of the file.

    Raises:
        ValueError: when there is no such modality.
    """

    def __init__(self, network: nn.Module, samples: PairedSamples, modalities: str, path: str | Path) -> None:
        subsets = {name: (channel,) for channel, name in enumerate(samples.NAMES)} | {"all": SUBSETS[-1]}
        if modalities not in subsets:
            raise ValueError(f"modalities is {modalities!r}, expected one of {', '.join(subsets)}")
        wanted = torch.tensor([channel in subsets[modalities] for channel in range(2)])
        self.numbers = (samples.available | ~wanted).all(dim=1).nonzero().flatten()
        self.samples = samples.using(*subsets[modalities])
        self.network = network
        self.path = Path(path)

    @torch.inference_mode()
    def run(self) -> Tensor:
        """Write the file; the classes `(M,)`."""
        batch, device = self.samples.whole(), next(self.network.parameters()).device
        logits = self.network(batch["image"].to(device), batch["present"].to(device)).float().cpu()
        probability, classes = logits.softmax(dim=1).max(dim=1)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("sample", "label", "class", "probability"))
        columns = (each.tolist() for each in (self.numbers, batch["label"], classes, probability))
        writer.writerows((*row[:3], f"{row[3]:.4f}") for row in zip(*columns, strict=True))
        write_atomically(self.path, text.getvalue().encode())
        return classes
