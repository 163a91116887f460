"""One case over its subsets in a picture: what was predicted from each, against what the expert drew."""

import io
import logging
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from medmiss.cases import Grid, write_atomically
from medmiss.evaluation.picture import Panel, best_slice, draw_rows
from medmiss.evaluation.subset_tables import circles
from medmiss.modalities import SUBSETS, Subset, subset_name

logger = logging.getLogger(__name__)

COLUMNS = 4
SHOWN_FIRST = ("flair", "t1c", "t2", "t1")
"""Which modality of a subset lies below its mask."""


class Montage:
    """One axial slice of one case, in a small file: nothing is predicted again to draw it.

    The case is the first that is added; others are ignored. The slice is `best_slice` of its reference, on the
    network's grid, so that every case is shown the same way round.

    Args:
        path: the file; need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._arrays: dict[str, np.ndarray] = {}
        if path.is_file():
            try:
                with np.load(path, allow_pickle=False) as stored:
                    self._arrays = dict(stored)
            except (OSError, ValueError, zipfile.BadZipFile) as error:
                logger.warning("%s: not readable (%s), the montage starts anew", path.name, error)

    @property
    def case(self) -> str | None:
        """The case that is shown."""
        return str(self._arrays["case"]) if self._arrays else None

    def clear(self) -> None:
        """Forget the case."""
        self._arrays.clear()
        self._path.unlink(missing_ok=True)

    def add(
        self,
        case: str,
        subset: Subset,
        regions: np.ndarray,
        reference: np.ndarray,
        grid: Grid,
        image: Callable[[str], np.ndarray],
    ) -> None:
        """Keep the slice of one subset, and write the file again.

        Args:
            case: its name.
            subset: what the network was given.
            regions: `(3, X, Y, Z)` bool, as predicted.
            reference: the same, as the expert drew it.
            grid: of both.
            image: gives a modality on the network's grid `(X, Y, Z)`, background 0.
        """
        if self.case not in (None, case):
            return
        if not self._arrays:
            drawn = grid.to_network(reference, "nearest")
            index = best_slice(drawn)
            self._arrays = {"case": np.array(case), "index": np.array(index), "reference": drawn[..., [index]]}
        index = int(self._arrays["index"])
        self._arrays[f"mask {subset_name(subset)}"] = grid.to_network(regions, "nearest")[..., [index]]
        for modality in subset:
            if f"image {modality}" not in self._arrays:
                self._arrays[f"image {modality}"] = _brightened(image(modality)[..., [index]])
        content = io.BytesIO()
        np.savez_compressed(content, **self._arrays)  # type: ignore[arg-type]
        write_atomically(self._path, content.getvalue())

    def draw(self, path: Path, dice: Mapping[str, Mapping[str, float]]) -> bool:
        """Write the picture, or nothing where no case was added; whether it was written.

        Args:
            path: ends in `.png`.
            dice: subset to region to Dice, for the titles; a subset that is not in it is not shown.
        """
        names = {subset: subset_name(subset) for subset in SUBSETS}
        shown = [subset for subset, name in names.items() if f"mask {name}" in self._arrays and name in dice]
        if not shown:
            return False
        reference = self._arrays["reference"]
        panels = [Panel("reference", self._below(shown[-1]), reference, outline=True)]
        for subset in shown:
            name = subset_name(subset)
            title = f"{''.join(circles(subset))}  {name}\n" + "  ".join(
                f"{region} {100 * value:.0f}" for region, value in dice[name].items()
            )
            panels.append(Panel(title, self._below(subset), self._arrays[f"mask {name}"], reference=reference))
        rows = [panels[start : start + COLUMNS] for start in range(0, len(panels), COLUMNS)]
        draw_rows(path, rows, f"{self.case}: Dice in %, post-processed, of the whole volume")
        return True

    def _below(self, subset: Subset) -> np.ndarray:
        shown = next(modality for modality in SHOWN_FIRST if modality in subset)
        return self._arrays[f"image {shown}"].astype(np.float32)


def _brightened(image: np.ndarray) -> np.ndarray:
    """Background 0 and brain above it, float16, from an image whose brain may have any sign."""
    brain = image != 0
    if not brain.any():
        return np.zeros(image.shape, dtype=np.float16)
    low = np.percentile(image[brain], 3)
    return np.where(brain, np.maximum(image - low, 0.01), 0).astype(np.float16)
