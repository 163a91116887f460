"""The sliding window, with the presence of the modalities decided once per volume."""

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import SlidingWindowInferer
from torch import Tensor

LEFT_RIGHT = 2
"""The axis of `(B, C, X, Y, Z)` along which a head is its own mirror image, all but."""


class ModalitySlidingWindowInferer(SlidingWindowInferer):
    """Sliding window over volumes of which some modalities are missing.

    The network is called as `network(window, present)`. A window may well be empty in a modality that
    exists, so no window decides for itself: `present` is given, or read off the whole volume.

    Args:
        *args: as `monai.inferers.SlidingWindowInferer`: `roi_size` (voxels), `sw_batch_size`, `overlap` (share
            of the window), `mode` (`"constant"` or `"gaussian"` blending), ...
        tta: test-time augmentation: the mean probability of the volume and of its mirror image, left and right
            swapped, at twice the cost.
        **kwargs: likewise.
    """

    def __init__(self, *args: Any, tta: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tta = tta

    def __call__(  # type: ignore[override]
        self, inputs: Tensor, network: Callable[..., Tensor], present: Tensor | None = None
    ) -> Tensor:
        """Run `network` over each volume.

        Args:
            inputs: `(B, 4, X, Y, Z)`.
            network: maps `(b, 4, *roi_size)` and `(b, 4)` presence to logits `(b, regions, *roi_size)`.
            present: `(B, 4)` boolean; without it, a channel that is zero everywhere counts as missing.

        Returns:
            Logits `(B, regions, X, Y, Z)`, float32; with `tta` those of the mean probability.

        Raises:
            ValueError: when a volume has no modality.
        """
        if present is None:
            present = inputs.flatten(2).ne(0).any(dim=2)
        if not bool(present.any(dim=1).all()):
            raise ValueError("a volume without any modality cannot be predicted")
        present = present.to(inputs.device)
        logits = [
            self._one_volume(inputs[index : index + 1], network, present[index : index + 1])
            for index in range(inputs.shape[0])
        ]
        return logits[0] if len(logits) == 1 else torch.cat(logits)

    def _one_volume(self, volume: Tensor, network: Callable[..., Tensor], present: Tensor) -> Tensor:
        def predict(window: Tensor) -> Tensor:
            return network(window, present.expand(window.shape[0], -1)).float()

        def slide(flipped: Tensor) -> Tensor:
            return super(ModalitySlidingWindowInferer, self).__call__(flipped, predict)  # type: ignore[return-value]

        if not self.tta:
            return slide(volume)
        mirrored = slide(volume.flip(LEFT_RIGHT)).flip(LEFT_RIGHT).sigmoid_()
        return slide(volume).sigmoid_().add_(mirrored).div_(2).logit_(eps=1e-6)
