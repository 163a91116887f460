"""Read a case: the modalities that exist, on the network's grid, with a flag for each."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform

from medmiss.cases.case import Case
from medmiss.cases.foreground import foreground, plausibility_warnings
from medmiss.cases.labels import CONVENTIONS
from medmiss.cases.masks import read_label
from medmiss.cases.volumes import read_case
from medmiss.modalities import MODALITIES


class LoadCased(Transform):
    """Read the case under `case`; files of absent modalities are never opened.

    Adds, on the network's grid (LPS axes, 1 mm):

    * `image`: (4, X, Y, Z) float32 in the order of `MODALITIES`, zeros where the modality is absent;
    * `available`: (4,) bool; `foreground`: (4, X, Y, Z) bool, False where absent;
    * `grid`: the `Grid` of the input, for the way back; `name`: of the case; `warnings`: list of str;
    * `label`, if asked for: (3, X, Y, Z) float32, regions ET, TC, WT.

    Args:
        label: read the case's label map too.
        resample: bring modalities that lie on different grids to the first one's, instead of an error.

    Raises:
        CaseError: when called, if the case cannot be read or, with `label`, has no label map on the images' grid.
    """

    def __init__(self, label: bool = False, resample: bool = False) -> None:
        self.label = label
        self.resample = resample

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Add the keys above."""
        item = dict(data)
        case: Case = item["case"]
        volumes = read_case(case, resample=self.resample)
        grid = volumes.grid
        masks = {modality: foreground(array) for modality, array in volumes.arrays.items()}
        image = np.zeros((len(MODALITIES), *grid.network_shape), dtype=np.float32)
        inside = np.zeros(image.shape, dtype=bool)
        for channel, modality in enumerate(MODALITIES):
            if modality in masks:
                image[channel] = grid.to_network(volumes.arrays[modality], "linear")
                inside[channel] = grid.to_network(masks[modality], "nearest")
        item["image"] = torch.from_numpy(image)
        item["available"] = torch.tensor([modality in masks for modality in MODALITIES])
        item["foreground"] = torch.from_numpy(inside)
        item["grid"] = grid
        item["name"] = case.name
        item["warnings"] = [*volumes.warnings, *plausibility_warnings(volumes.arrays, grid, masks)]
        if self.label:
            regions = CONVENTIONS[case.convention].regions(read_label(case, grid).array)
            item["label"] = torch.from_numpy(grid.to_network(regions, "nearest").astype(np.float32))
        return item
