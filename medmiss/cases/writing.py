"""Writing a whole case in a layout."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medmiss.cases.geometry import Grid
from medmiss.cases.layouts import Layout
from medmiss.cases.volumes import write_volume
from medmiss.modalities import MODALITIES


def write_case(
    root: Path, layout: Layout, name: str, images: Mapping[str, np.ndarray], grid: Grid, label: np.ndarray | None
) -> None:
    """Write a case's images and label map under the names of a layout.

    Args:
        root: folder of the data set.
        layout: the naming; a layout that stacks needs all four modalities.
        name: of the case.
        images: modality to `(X, Y, Z)`; absent ones are not written.
        grid: of all volumes.
        label: `(X, Y, Z)` in the values of `layout.convention`; None writes none.

    Raises:
        ValueError: when a modality is missing that the layout needs, or a shape is not the grid's.
    """
    if layout.stacked:
        missing = [modality for modality in MODALITIES if modality not in images]
        if missing:
            raise ValueError(f"case {name}: {', '.join(missing)} missing, and {layout.name} stacks all four")
        stack = np.stack([images[modality] for modality in MODALITIES], axis=-1)
        write_volume(layout.image_path(root, name, MODALITIES[0]), stack, grid)
    else:
        for modality, array in images.items():
            write_volume(layout.image_path(root, name, modality), array, grid)
    if label is not None:
        write_volume(layout.label_path(root, name), label, grid)
