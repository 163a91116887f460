"""The modalities of one case for many subsets: each file is opened once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medmiss.cases import Case, CaseError, Grid
from medmiss.cases.errors import cause_of
from medmiss.cases.foreground import registration_warnings
from medmiss.modalities import MODALITIES
from medmiss.transforms import LoadCased, NormalizeModalitiesd

PER_MODALITY = (LoadCased, NormalizeModalitiesd)
"""Transforms whose result for one modality depends on no other, as long as all lie on one grid."""

Preprocessing = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class _Channel:
    """What the shared transforms make of one modality that is read as if it were the only one."""

    image: Tensor
    foreground: Tensor
    grid: Grid
    warnings: list[str]


class CaseReader:
    """Prepare a case for any subset of its modalities.

    `reader(subset)` is what `preprocessing({"case": case.restricted_to(subset)})` gives, bit for bit. The leading
    `PER_MODALITY` transforms run once for each modality; what looks at several modalities together, such as the
    crop to the box of what is present, runs for each subset. Modalities whose grids are not identical share
    nothing: their subset is read as `medmiss predict` reads it.

    Args:
        case: no file is opened before it is needed, so that a broken one spoils only its own subsets.
        preprocessing: as `CasePredictor` has it; only a MONAI `Compose` can be shared.
    """

    def __init__(self, case: Case, preprocessing: Preprocessing) -> None:
        self.case = case
        self.preprocessing = preprocessing
        transforms = getattr(preprocessing, "transforms", ())
        own = [index for index, transform in enumerate(transforms) if not isinstance(transform, PER_MODALITY)]
        self._shared = own[0] if own else len(transforms)
        self._channels: dict[str, _Channel | CaseError] = {}

    def __call__(self, subset: Iterable[str]) -> dict[str, Any]:
        """Prepare the case restricted to `subset`.

        Raises:
            CaseError: when it cannot be read.
        """
        case = self.case.restricted_to(subset)
        if case.problem is not None:
            raise case.problem
        if self._shared == 0:
            return prepare(self.preprocessing, {"case": case})
        channels = {modality: self._channel(modality) for modality in case.available}
        first, *others = channels.values()
        if not all(_same(first.grid, other.grid) for other in others):
            return prepare(self.preprocessing, {"case": case})
        image = torch.zeros(len(MODALITIES), *first.image.shape, dtype=first.image.dtype)
        foreground = torch.zeros(image.shape, dtype=torch.bool)
        for modality, channel in channels.items():
            image[MODALITIES.index(modality)] = channel.image
            foreground[MODALITIES.index(modality)] = channel.foreground
        warnings = [line for channel in channels.values() for line in channel.warnings]
        warnings += registration_warnings({name: channel.foreground.numpy() for name, channel in channels.items()})
        item = {
            "case": case,
            "image": image,
            "available": torch.tensor([modality in channels for modality in MODALITIES]),
            "foreground": foreground,
            "grid": first.grid,
            "name": case.name,
            "warnings": list(dict.fromkeys(warnings)),  # of the grid each modality says the same
        }
        return prepare(self.preprocessing, item, start=self._shared)

    def image(self, modality: str) -> np.ndarray:
        """One modality on the network's grid `(X, Y, Z)`, as the network sees it; 0 outside the box of its crop.

        Raises:
            CaseError: when it cannot be read.
        """
        item = self([modality])
        image = np.zeros(item["grid"].network_shape, dtype=np.float32)
        box = tuple(slice(start, stop) for start, stop in zip(*item["box"], strict=True))
        image[box] = item["image"][MODALITIES.index(modality)].numpy()
        return image

    def _channel(self, modality: str) -> _Channel:
        """Read a modality as if the case had no other, or say again why it cannot be read."""
        if modality not in self._channels:
            try:
                alone = {"case": self.case.restricted_to([modality])}
                item = prepare(self.preprocessing, alone, end=self._shared)
            except CaseError as error:
                self._channels[modality] = error
            else:
                index = MODALITIES.index(modality)
                self._channels[modality] = _Channel(
                    item["image"][index].clone(), item["foreground"][index].clone(), item["grid"], item["warnings"]
                )
        channel = self._channels[modality]
        if isinstance(channel, CaseError):
            raise channel
        return channel


def prepare(preprocessing: Preprocessing, item: dict[str, Any], **part: int) -> dict[str, Any]:
    """Run the preprocessing, or a part of a `Compose`, on `{"case": Case}` or what an earlier part gave.

    Args:
        preprocessing: dictionary transforms.
        item: its input.
        **part: `start` and `end` of a `Compose`.

    Raises:
        CaseError: when the case cannot be read.
    """
    try:
        return preprocessing(item, **part)
    except RuntimeError as error:  # MONAI wraps what a transform raises
        raise cause_of(error, (CaseError,)) or error from error


def _same(one: Grid, other: Grid) -> bool:
    return one.shape == other.shape and np.array_equal(one.affine, other.affine)
