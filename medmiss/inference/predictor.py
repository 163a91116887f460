"""One case, from its files to regions on its own grid."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medmiss.cases import REGIONS, Case, CaseError, Grid
from medmiss.inference.reading import prepare
from medmiss.transforms.crop import Box


@dataclass(frozen=True)
class Prediction:
    """What a network says about a case, on the grid of the case's own images.

    Attributes:
        regions: `(3, X, Y, Z)` bool: ET, TC, WT, after post-processing.
        raw: the same before it.
        grid: the input's grid.
        probabilities: `(3, X, Y, Z)` float32, before post-processing, when asked for.
        events: what post-processing did, a line each.
        warnings: what looked unusual about the images, a line each.
    """

    regions: np.ndarray
    raw: np.ndarray
    grid: Grid
    probabilities: np.ndarray | None
    events: list[str]
    warnings: list[str]


class CasePredictor:
    """Load a case, run the network over it and bring the result back to the input's grid.

    Args:
        network: maps an image `(B, 4, X, Y, Z)` and its presence `(B, 4)` to region logits.
        inferer: called as `inferer(image, network, present=present)`.
        preprocessing: dictionary transforms from `{"case": Case}` to `image`, `available`, `box`, `grid`, `warnings`.
        postprocessing: called as `postprocessing(regions, voxel_volume)`, leaves `regions` as they are and returns
            others; without it the mask stays as it is.
        device: where the network is.
        amp: autocast, to float16 on a GPU and bfloat16 on the CPU.
    """

    def __init__(
        self,
        network: nn.Module,
        inferer: Callable[..., Tensor],
        preprocessing: Callable[[dict[str, Any]], dict[str, Any]],
        postprocessing: Callable[[np.ndarray, float], tuple[np.ndarray, list[str]]] | None = None,
        device: str | torch.device = "cpu",
        amp: bool = False,
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self.inferer = inferer
        self.preprocessing = preprocessing
        self.postprocessing = postprocessing
        self.amp = amp

    def __call__(self, case: Case, probabilities: bool = False) -> Prediction:
        """Predict a case from the modalities it has; restrict it first to use fewer.

        Args:
            case: its files are opened here.
            probabilities: keep the probabilities as well, 12 bytes a voxel.

        Raises:
            CaseError: when the case cannot be read, or the network gives NaN for it.
        """
        return self.predict(prepare(self.preprocessing, {"case": case}), probabilities)

    def predict(self, item: dict[str, Any], probabilities: bool = False) -> Prediction:
        """Predict a case that is prepared already.

        Args:
            item: what `preprocessing` gives, or a `CaseReader`.
            probabilities: keep the probabilities as well, 12 bytes a voxel.

        Raises:
            CaseError: when the network gives NaN for it.
        """
        grid: Grid = item["grid"]
        in_box = self._run(item["image"], item["available"])
        if not np.isfinite(in_box).all():
            raise CaseError(
                item["name"],
                found="NaN or infinite values in the network's output",
                expected="finite numbers",
                remedy="run without --amp; if that does not help, the weights are broken",
            )
        kept = np.empty((len(REGIONS), *grid.shape), dtype=np.float32) if probabilities else None
        raw = np.empty((len(REGIONS), *grid.shape), dtype=bool)
        for index in range(len(REGIONS)):
            channel = on_input_grid(in_box[index], item["box"], grid)
            raw[index] = channel > 0.5
            if kept is not None:
                kept[index] = channel
        regions, events = raw, list[str]()
        if self.postprocessing is not None:
            regions, events = self.postprocessing(raw, grid.voxel_volume_mm3)
        return Prediction(regions, raw, grid, kept, events, list(item["warnings"]))

    def _run(self, image: Tensor, available: Tensor) -> np.ndarray:
        """Probabilities `(3, ...)` in the box that `image` `(4, ...)` shows."""
        dtype = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        with torch.inference_mode(), torch.autocast(self.device.type, dtype=dtype, enabled=self.amp):
            logits = self.inferer(image[None].to(self.device), self.network, present=available[None].to(self.device))
            return logits[0].float().sigmoid_().cpu().numpy()


def on_input_grid(in_box: np.ndarray, box: Box, grid: Grid) -> np.ndarray:
    """Paste one channel back onto the full network grid, zero elsewhere, and bring it to the input's grid.

    Args:
        in_box: probabilities inside `box`.
        box: first and one past the last voxel of the network grid.
        grid: the input's grid; where it resamples, probabilities are interpolated linearly.
    """
    full = np.zeros(grid.network_shape, dtype=np.float32)
    full[tuple(slice(start, stop) for start, stop in zip(*box, strict=True))] = in_box
    return grid.from_network(full, "linear")
