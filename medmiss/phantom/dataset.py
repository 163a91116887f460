"""Phantoms made on demand as training data: a case that is made instead of read."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Transform

from medmiss.cases import CONVENTIONS, Case, Grid
from medmiss.cases.files import sha256_of
from medmiss.modalities import MODALITIES, Subset, parse_subset, presence
from medmiss.phantom.case import GENERATOR, check_parts, make_case
from medmiss.phantom.tissues import FULL_SHAPE, anatomy_files


@dataclass(frozen=True)
class PhantomRecipe(Case):
    """What one phantom is made of; stands where a case on disk would.

    Args:
        seed: of the set.
        index: of the patient in it.
        shape: grid, voxels of 1 mm.
        tissues: tissue map or folder of an atlas, None for the procedural brain.
        kept: the modalities it has.
        healthy: without a tumour.
        without: parts that are left out, see `medmiss.phantom.case.PARTS`.
        generator: what makes it.
    """

    seed: int = 0
    index: int = 0
    shape: tuple[int, int, int] = FULL_SHAPE
    tissues: Path | None = None
    kept: Subset = MODALITIES
    healthy: bool = False
    without: tuple[str, ...] = ()
    generator: int = GENERATOR

    @property
    def available(self) -> Subset:
        """The modalities it has, in channel order."""
        return self.kept

    @property
    def files(self) -> list[Path]:
        """The files of its anatomy that are there; none for the procedural brain."""
        files = [] if self.tissues is None else anatomy_files(self.tissues)
        return [file for file in files if file.is_file()]

    @property
    def fingerprint(self) -> list[Any]:
        """The content of its anatomy's files: an atlas that is copied anew does not cost all phantoms of a run."""
        return [_digest(file, file.stat().st_mtime_ns) for file in self.files]


def phantom_recipes(
    number: int,
    seed: int = 0,
    tissues: str | Path | None = None,
    shape: tuple[int, int, int] = FULL_SHAPE,
    modalities: str = "all",
    healthy: float = 0.0,
    procedural: float = 0.0,
    without: str = "",
) -> list[Case]:
    """The phantoms 0 to `number - 1` of the set `seed`, with these modalities, for `MakePhantomd`.

    `healthy` is the share of them, spread evenly, that have no tumour, and `procedural` the share, as large among
    those without a tumour as among the others, that have a procedural brain whatever `tissues` says; `without`
    names what is left out of all of them, such as `"confounders,scanner"`: see `medmiss.phantom.case.PARTS`.

    Raises:
        ValueError: when a modality is unknown, or a part to leave out, or a share is none.
        FileNotFoundError: when there is no such tissue map.
    """
    for name, share in (("healthy", healthy), ("procedural", procedural)):
        if not 0 <= share <= 1:
            raise ValueError(f"the share of {name} phantoms is {share}: expected a number from 0 to 1")
    if tissues is not None and not Path(tissues).exists():
        raise FileNotFoundError(f"there is no tissue map or atlas {tissues}; leave it out for the procedural brain")
    left_out = tuple(part.strip() for part in without.split(",") if part.strip())
    check_parts(left_out)
    flags = [_chosen(index, healthy) for index in range(number)]
    return [
        PhantomRecipe(
            name=f"phantom_{seed}_{index:05d}",
            images={},
            seed=seed,
            index=index,
            shape=(shape[0], shape[1], shape[2]),  # a configuration gives a list
            tissues=None if tissues is None or _chosen(flags[:index].count(flag), procedural) else Path(tissues),
            kept=parse_subset(modalities),
            healthy=flag,
            without=left_out,
        )
        for index, flag in enumerate(flags)
    ]


@lru_cache
def _digest(file: Path, time: int) -> str:  # read again only when it changes
    return sha256_of(file)


def _chosen(index: int, share: float) -> bool:
    """Whether `index` is of an evenly spread share of all numbers."""
    before, after = (int(number * share + 1e-9) for number in (index, index + 1))  # 100 * 0.29 is a little below 29
    return after > before


class MakePhantomd(Transform):
    """Make the `PhantomRecipe` under `case`; gives the keys of `medmiss.transforms.LoadCased` with its labels."""

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Add `image`, `foreground`, `available`, `label`, `grid`, `name` and `warnings`."""
        item = dict(data)
        recipe: PhantomRecipe = item["case"]
        made = make_case(recipe.seed, recipe.index, recipe.shape, recipe.tissues, recipe.healthy, recipe.without)
        item["available"] = torch.tensor(presence(recipe.available))
        item["image"] = torch.from_numpy(made.images)
        item["image"][~item["available"]] = 0
        item["foreground"] = item["image"] > 0
        item["label"] = torch.from_numpy(CONVENTIONS[recipe.convention].regions(made.labels)).float()
        item["grid"] = Grid(recipe.shape, made.affine)
        item["name"] = recipe.name
        item["warnings"] = []
        return item
