"""Augmentation of a training case: a crop biased to tumour, geometry for all modalities, intensity for each alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import (
    RandAdjustContrast,
    RandGaussianNoise,
    RandGaussianSmooth,
    Randomizable,
    RandScaleIntensity,
    RandShiftIntensity,
    Transform,
    create_rotate,
)
from monai.utils import convert_to_tensor, ensure_tuple_rep
from torch.nn.functional import affine_grid, grid_sample


class Augmentation(Randomizable, Transform):
    """Random crop, rotation, scaling and flips of a normalised case, then changes of each modality's intensities.

    Reads `image` (4, X, Y, Z), zero outside the brain as `NormalizeModalitiesd` leaves it, `label` (3, X, Y, Z) and
    `available` (4,); replaces `image`, `label` and, where there is one, `foreground` (4, X, Y, Z) by crops of
    `crop_size`, zero-padded where the volume ends. Geometry is the same for all of them. Intensities change in the
    available channels only, and there only where the voxel is not 0, each modality with its own draws: what is
    absent and what is background gets neither noise nor offset. A rotated crop is taken with the margin it needs
    and sampled once (linear; labels nearest).

    Args:
        crop_size: voxels, one number or three.
        tumour_probability: of a crop centred, as far as the volume allows, on a tumour voxel: a region is chosen
            among those that exist, then one of its voxels; other crops lie anywhere in the volume.
        flip_probability: of a flip, for each axis; one number or three.
        affine_probability: of a rotation together with a scaling.
        rotation: largest angle about each axis, degrees.
        zoom: least and largest enlargement.
        intensity_probability: of each of the five intensity changes, for each modality.
        blur: range of the Gaussian blur's sigma, voxels.
        noise: largest standard deviation of Gaussian noise, in units of the brain's standard deviation.
        scale: largest relative change of contrast, `v * (1 + U(-scale, scale))`.
        shift: largest offset, in units of the brain's standard deviation.
        gamma: range of the exponent, on intensities between the modality's least and largest; mean and standard
            deviation are kept.

    Raises:
        ValueError: when a size is not positive or a probability outside 0 to 1.
    """

    def __init__(
        self,
        crop_size: int | Sequence[int] = 128,
        tumour_probability: float = 0.7,
        flip_probability: float | Sequence[float] = 0.5,
        affine_probability: float = 0.3,
        rotation: float = 15.0,
        zoom: tuple[float, float] = (0.8, 1.25),
        intensity_probability: float = 0.2,
        blur: tuple[float, float] = (0.5, 1.0),
        noise: float = 0.15,
        scale: float = 0.25,
        shift: float = 0.25,
        gamma: tuple[float, float] = (0.7, 1.5),
    ) -> None:
        self.crop_size = np.array(ensure_tuple_rep(crop_size, 3))
        if (self.crop_size < 1).any():
            raise ValueError(f"crop_size is {crop_size}: expected voxels, 1 or more")
        if not 0 < zoom[0] <= zoom[1]:
            raise ValueError(f"zoom is {zoom}: expected least and largest enlargement, above 0")
        flips = ensure_tuple_rep(flip_probability, 3)
        probabilities = (tumour_probability, *flips, affine_probability, intensity_probability)
        if not all(0 <= probability <= 1 for probability in probabilities):
            raise ValueError(f"probabilities are {probabilities}: expected 0 to 1")
        self.tumour_probability = tumour_probability
        self.flip_probability = flips
        self.affine_probability = affine_probability
        self.rotation = np.radians(rotation)
        self.zoom = zoom
        self.intensity_probability = intensity_probability
        # MONAI's part is what a change does; whether it happens is drawn here, so that most volumes are left alone
        self._blur = RandGaussianSmooth(blur, blur, blur, prob=1.0)
        self._voxelwise = (
            RandGaussianNoise(prob=1.0, std=noise),
            RandScaleIntensity(scale, prob=1.0),
            RandShiftIntensity(shift, prob=1.0),
            RandAdjustContrast(prob=1.0, gamma=gamma, retain_stats=True),
        )
        self.set_random_state()

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> "Augmentation":
        """Set the one random state that all draws, MONAI's included, come from."""
        super().set_random_state(seed, state)
        for transform in (self._blur, *self._voxelwise):
            transform.set_random_state(state=self.R)
        return self

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Crop and augment."""
        item = dict(data)
        start = self._crop_start(item["label"])
        matrix = self._matrix() if self.R.rand() < self.affine_probability else None
        flipped = [axis + 1 for axis in range(3) if self.R.rand() < self.flip_probability[axis]]
        turn = None if matrix is None else _Turn(start, self.crop_size, matrix)
        for key in ("image", "label", "foreground"):
            if key not in item:
                continue
            if turn is None:
                volume = crop_with_padding(item[key], start, self.crop_size)
            else:
                volume = turn(item[key], nearest=key != "image")
            item[key] = volume.flip(flipped) if flipped else volume
        for channel in torch.nonzero(item["available"]).flatten().tolist():
            self._change_intensities(item["image"][channel])
        return item

    def _crop_start(self, label: torch.Tensor) -> np.ndarray:
        """First voxel of the crop, (3,) int; negative where the volume is smaller, so that it lies in the middle."""
        shape = np.array(label.shape[1:])
        room = shape - self.crop_size
        regions = [region for region in label if region.any()]
        if regions and self.R.rand() < self.tumour_probability:
            voxels = np.flatnonzero(regions[self.R.randint(len(regions))].numpy())
            voxel = np.array(np.unravel_index(voxels[self.R.randint(voxels.size)], shape))
            start = np.clip(voxel - self.crop_size // 2, 0, np.maximum(room, 0))
        else:
            start = self.R.randint(np.maximum(room, 0) + 1)
        return np.where(room < 0, room // 2, start)

    def _matrix(self) -> np.ndarray:
        """A random rotation and scaling, (3, 3): offset from the crop's centre -> offset in the volume, voxels."""
        angles = self.R.uniform(-self.rotation, self.rotation, 3).tolist()
        return np.asarray(create_rotate(3, angles))[:3, :3] / self.R.uniform(*self.zoom)

    def _change_intensities(self, volume: torch.Tensor) -> None:
        """Blur, noise, contrast, offset and gamma on one modality (X, Y, Z), in place, wherever it is not 0."""
        blurs, *chosen = self.R.rand(1 + len(self._voxelwise)) < self.intensity_probability
        changes = [change for change, happens in zip(self._voxelwise, chosen, strict=True) if happens]
        if not (blurs or changes):
            return
        mask = volume != 0
        if mask.sum() < 2:
            return
        values = (self._blur(volume[None])[0] if blurs else volume)[mask][None]
        for change in changes:
            values = change(values)
        volume[mask] = convert_to_tensor(values, track_meta=False)[0]


def crop_with_padding(volume: torch.Tensor, start: np.ndarray, size: np.ndarray) -> torch.Tensor:
    """The part of `volume` (C, X, Y, Z) from voxel `start` on, zero outside the volume; a new (C, *size) tensor."""
    shape = np.array(volume.shape[1:])
    low, high = np.clip(start, 0, shape), np.clip(start + size, 0, shape)
    result = volume.new_zeros((volume.shape[0], *size.tolist()))
    inside = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
    source = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    result[(slice(None), *inside)] = volume[(slice(None), *source)]
    return result


class _Turn:
    """Takes crops of `size` at `start`, turned about their centre by `matrix`, from volumes of one shape.

    Only the box that the turned crop touches is read: `|matrix|` times the crop's size, one voxel more on each side.
    `grid_sample` counts axes backwards and in halves of each box's size, hence the factor and the reversals.
    """

    def __init__(self, start: np.ndarray, size: np.ndarray, matrix: np.ndarray) -> None:
        self.box = np.ceil(np.abs(matrix) @ size).astype(int) + 2
        self.box += (self.box - size) % 2  # the same centre for both
        self.start = start - (self.box - size) // 2
        theta = (matrix * size[None, :] / self.box[:, None])[::-1, ::-1]
        theta = np.concatenate([theta, np.zeros((3, 1))], axis=1)
        self.grid = affine_grid(torch.from_numpy(theta[None]).float(), [1, 1, *size.tolist()], align_corners=False)

    def __call__(self, volume: torch.Tensor, nearest: bool) -> torch.Tensor:
        """The turned crop (C, *size) of `volume` (C, X, Y, Z), in its own dtype."""
        source = crop_with_padding(volume, self.start, self.box).float()
        mode = "nearest" if nearest else "bilinear"
        return grid_sample(source[None], self.grid, mode=mode, align_corners=False)[0].to(volume.dtype)
