"""Where the brain is in one volume, and whether a case looks like what the network expects.

`array != 0` is not enough: the background may be a constant that is not zero (z-scored files), voxels inside
the brain may be negative or zero, and a volume that is not skull-stripped may have noise for a background.
"""

from collections.abc import Mapping
from itertools import combinations

import cc3d
import nibabel as nib
import numpy as np

from medmiss.cases.geometry import Grid
from medmiss.modalities import DISPLAY_NAMES

MAX_BRAIN_ML = 2200.0
MIN_OVERLAP = 0.9
SPACING_RANGE_MM = (0.75, 1.5)
MAX_OBLIQUITY_DEGREES = 15.0

_KEPT_SHARE = 0.01
"""Components of the foreground smaller than this share of the largest are specks and dropped."""


def background_value(array: np.ndarray) -> float | None:
    """The constant that fills the background of a skull-stripped volume `(X, Y, Z)`, None if there is none.

    It is the commonest value on the six faces, if voxels of that value lie side by side: of those that have
    it, at least 90 % have a next neighbour with it too. Noise that happens to repeat a value does not.
    """
    faces = np.concatenate([array[index].ravel() for index in _faces()])
    values, counts = np.unique(faces, return_counts=True)
    value = values[counts.argmax()]
    same = array == value
    inner = same[:-1]
    total = np.count_nonzero(inner)
    if total < 0.01 * inner.size or np.count_nonzero(inner & same[1:]) < 0.9 * total:
        return None
    return float(value)


def foreground(array: np.ndarray) -> np.ndarray:
    """Mask of the brain (of the head, where the skull is still there) in one volume.

    With a constant background: everything that differs from it. Without: everything above Otsu's threshold
    (IEEE Trans. SMC 9(1), 1979), or the whole volume when that leaves most of the faces bright, as in a crop
    from inside the brain. Then specks (under 1 % of the largest component, 26-connected) are dropped and
    holes are filled: a background value enclosed in the brain is a dark voxel of the brain.

    Args:
        array: `(X, Y, Z)`, finite.

    Returns:
        `(X, Y, Z)`, bool; all False for a constant volume.
    """
    background = background_value(array)
    if background is not None:
        mask = array != background
    elif array.min() == array.max():
        return np.zeros(array.shape, dtype=bool)
    else:
        mask = array > _otsu(array)
        if np.mean(np.concatenate([mask[index].ravel() for index in _faces()])) > 0.5:
            return np.ones(array.shape, dtype=bool)
    return _fill_holes(_drop_specks(mask))


def plausibility_warnings(
    arrays: Mapping[str, np.ndarray], grid: Grid, foregrounds: Mapping[str, np.ndarray] | None = None
) -> list[str]:
    """Say where a case does not look like the network's training data; nothing is changed.

    Args:
        arrays: the available modalities' volumes `(X, Y, Z)` on `grid`.
        grid: their grid.
        foregrounds: their masks, if already known.

    Returns:
        One sentence a finding: not skull-stripped, not co-registered (masks of two modalities overlap by a
        Dice below 0.9), spacing far from 1 mm, rotated by more than 15 degrees.
    """
    masks = foregrounds or {modality: foreground(array) for modality, array in arrays.items()}
    messages = []
    for modality, array in arrays.items():
        volume = np.count_nonzero(masks[modality]) * grid.voxel_volume_mm3 / 1000
        if volume > MAX_BRAIN_ML:
            messages.append(
                f"{DISPLAY_NAMES[modality]} looks not skull-stripped: its foreground has {volume:.0f} ml, and the "
                f"network expects a brain alone (at most {MAX_BRAIN_ML:.0f} ml) on a constant background"
            )
        elif background_value(array) is None:
            messages.append(
                f"{DISPLAY_NAMES[modality]} looks not skull-stripped: its background is not constant, and the "
                "network expects a brain alone on a constant background"
            )
    messages += registration_warnings(masks)
    low, high = SPACING_RANGE_MM
    if not all(low <= spacing <= high for spacing in grid.spacing):
        spacing = " x ".join(f"{size:.3g}" for size in grid.spacing)
        messages.append(f"voxels of {spacing} mm: the network expects about 1 mm; the case is resampled to that")
    degrees = np.degrees(nib.affines.obliquity(grid.affine)).max()
    if degrees > MAX_OBLIQUITY_DEGREES:
        messages.append(
            f"the volume is rotated by {degrees:.0f} degrees against the patient's axes: the network expects "
            "images registered to the SRI24 atlas"
        )
    return messages


def registration_warnings(foregrounds: Mapping[str, np.ndarray]) -> list[str]:
    """Say which two modalities look not co-registered: the pair whose masks overlap least, if by less than 0.9.

    Args:
        foregrounds: modality to mask of the brain `(X, Y, Z)`, bool, all on one grid.

    Returns:
        One sentence, or none.
    """
    overlaps = {pair: _dice(foregrounds[pair[0]], foregrounds[pair[1]]) for pair in combinations(foregrounds, 2)}
    if not overlaps:
        return []
    first, second = worst = min(overlaps, key=lambda pair: overlaps[pair])
    if overlaps[worst] >= MIN_OVERLAP:
        return []
    return [
        f"{DISPLAY_NAMES[first]} and {DISPLAY_NAMES[second]} look not co-registered: their foregrounds "
        f"overlap by a Dice of {overlaps[worst]:.2f}, and the network expects modalities aligned voxel by "
        f"voxel (at least {MIN_OVERLAP})"
    ]


def _faces() -> list[tuple[slice | int, ...]]:
    everything = slice(None)
    return [tuple(side if axis == other else everything for other in range(3)) for axis in range(3) for side in (0, -1)]


def _otsu(array: np.ndarray) -> float:
    """Threshold between two classes with the largest variance between them, from 256 bins of every second voxel."""
    array = array[::2, ::2, ::2]
    low, high = np.percentile(array, (0.1, 99.5))
    counts, edges = np.histogram(array, bins=256, range=(low, high if high > low else low + 1))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    mean_below = sums / np.maximum(below, 1)
    mean_above = (sums[-1] - sums) / np.maximum(above, 1)
    return float(centres[np.argmax(below * above * (mean_above - mean_below) ** 2)])


def _drop_specks(mask: np.ndarray) -> np.ndarray:
    labels, number = cc3d.connected_components(mask, connectivity=26, return_N=True)
    if number <= 1:
        return mask
    sizes = np.bincount(labels.ravel(order="K"), minlength=number + 1)
    kept = sizes >= _KEPT_SHARE * sizes[1:].max()
    kept[0] = False
    return kept[labels]


def _fill_holes(mask: np.ndarray) -> np.ndarray:
    labels, number = cc3d.connected_components(~mask, connectivity=6, return_N=True)
    outside = np.zeros(number + 1, dtype=bool)
    for index in _faces():
        outside[labels[index]] = True
    outside[0] = False
    return mask if np.count_nonzero(outside) == number else ~outside[labels]


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return 2 * np.count_nonzero(first & second) / total if total else 1.0
