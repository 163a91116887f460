"""The features of the modalities that exist, and the ways to complete the missing ones.

Nothing is ever computed for a missing modality: encoders run on the (sample, modality) pairs
that exist, stacked along the batch, and features are selected by index, never multiplied by
a mask, so that whatever a missing channel holds (even NaN) has no influence.
"""

from typing import NamedTuple

import torch
from torch import Tensor

MISSING = ("mean", "first", "zero")
"""What may stand for a missing modality: the mean or the first of the available ones, or zero."""


class ModalityFeatures(NamedTuple):
    """Features of one level for every existing (sample, modality) pair.

    Attributes:
        values: `(P, C, ...)`, one row a pair, pairs ordered by sample, then modality.
        sample: `(P,)`, index of the sample a row belongs to.
        modality: `(P,)`, index of the modality a row belongs to.
        present: `(B, N)` boolean, the pairs that exist; at least one a sample.
    """

    values: Tensor
    sample: Tensor
    modality: Tensor
    present: Tensor


def presence_of(image: Tensor) -> Tensor:
    """Read from the data which modalities a volume has: a channel that is all zero counts as missing.

    Only for callers that do not say it, such as exported networks: presence belongs to the whole
    volume, and a window of it may well be empty. A sample without any content counts as complete.

    Args:
        image: `(B, N, ...)`.

    Returns:
        `(B, N)` boolean.
    """
    present = (image != 0).flatten(2).any(dim=2)
    return present | ~present.any(dim=1, keepdim=True)


def modality_inputs(image: Tensor, present: Tensor) -> ModalityFeatures:
    """Select the channels that exist, as single-channel inputs `(P, 1, ...)` of an encoder.

    Args:
        image: `(B, N, ...)`.
        present: `(B, N)` boolean.

    Raises:
        ValueError: when a sample has no modality, as the mean over none would be NaN.
    """
    if not bool(present.any(dim=1).all()):
        raise ValueError("a sample without any modality: present must hold at least one a sample")
    pairs = present.nonzero()
    sample, modality = pairs[:, 0], pairs[:, 1]
    return ModalityFeatures(image[sample, modality].unsqueeze(1), sample, modality, present)


def dense(features: ModalityFeatures) -> Tensor:
    """Lay the rows out as `(B, N, C, ...)`, zero where a modality is missing."""
    shape = features.present.shape + features.values.shape[1:]
    laid_out = torch.zeros(shape, dtype=features.values.dtype, device=features.values.device)
    laid_out[features.sample, features.modality] = features.values
    return laid_out


def mean_available(features: ModalityFeatures) -> Tensor:
    """The mean over the existing modalities of each sample, `(B, C, ...)` (ShaSpec, Eq. 4)."""
    laid_out = dense(features)
    shape = [laid_out.shape[0]] + [1] * (laid_out.dim() - 2)
    return laid_out.sum(dim=1) / features.present.sum(dim=1).to(laid_out.dtype).reshape(shape)


def first_available(features: ModalityFeatures) -> Tensor:
    """The first existing modality's features of each sample, `(B, C, ...)` (the published ShaSpec code)."""
    first = features.present.to(torch.int64).argmax(dim=1)
    return dense(features)[torch.arange(first.shape[0], device=first.device), first]


def complete(features: ModalityFeatures, generated: Tensor) -> Tensor:
    """Lay the rows out as `(B, N, C, ...)` with `generated` `(B, C, ...)` where a modality is missing."""
    laid_out = dense(features)
    missing = (~features.present).nonzero()
    if missing.numel() > 0:
        laid_out[missing[:, 0], missing[:, 1]] = generated[missing[:, 0]]
    return laid_out


def generated(features: ModalityFeatures, missing: str) -> Tensor:
    """What stands for a missing modality, `(B, C, ...)`: the `"mean"` or the `"first"` of the available ones."""
    return mean_available(features) if missing == "mean" else first_available(features)


def completed(features: ModalityFeatures, missing: str) -> Tensor:
    """Lay the rows out as `(B, N, C, ...)` with what `missing`, one of `MISSING`, names where a modality is missing."""
    return dense(features) if missing == "zero" else complete(features, generated(features, missing))


def completed_skips(levels: list[ModalityFeatures], missing: str) -> list[Tensor]:
    """The finer of the levels, all but the last, each `completed`."""
    skips: list[Tensor] = []
    for level in levels[:-1]:
        skips.append(completed(level, missing))
    return skips
