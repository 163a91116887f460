"""Phantoms as files on disk, in the layout of a data set."""

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from medmiss import __version__
from medmiss.cases import CONVENTIONS, LAYOUTS, CaseError, Grid, LabelConvention, Layout, write_case
from medmiss.cases.files import changes, read_record, write_json
from medmiss.modalities import MODALITIES
from medmiss.phantom.case import GENERATOR, PhantomCase, make_case
from medmiss.phantom.tissues import FULL_SHAPE, anatomy_files

logger = logging.getLogger(__name__)

WHITE_LEVELS = (340, 2300)
"""Intensity of white matter in a BraTS volume: what was found on real cases; it differs between volumes."""

RECORDS = ".phantom"
"""Folder beside the cases that holds one record a case."""


def write_cases(
    out: Path | str,
    cases: int,
    layout: str = "brats2018",
    missing: str = "none",
    tissues: Path | str | None = None,
    seed: int = 0,
    shape: tuple[int, int, int] = FULL_SHAPE,
    progress: bool = False,
    healthy: bool = False,
) -> list[str]:
    """Write the phantoms 0 to `cases - 1` of the set `seed`: the same arguments give the same bytes.

    A case is finished when its record `OUT/.phantom/<case>.json` says so and its files are there; it is
    skipped then, so that a run that was stopped goes on where it was. A case that is there and was made
    with other arguments, or by something else, is never replaced.

    Args:
        out: folder of the data set.
        cases: how many.
        layout: key of `medmiss.cases.LAYOUTS`.
        missing: `"none"`, or `"random"`: each case lacks one to three modalities.
        tissues: tissue map or folder of an atlas, None for the procedural brain.
        seed: of the set.
        shape: grid, voxels of 1 mm; a smaller one holds a smaller head.
        progress: show a progress bar when standard error is a terminal.
        healthy: without tumours.

    Returns:
        The names of the cases.

    Raises:
        CaseError: when another case of that name is there, or the tissue map is not one.
        ValueError: when `layout` or `missing` is unknown, or a layout that stacks all modalities in one file
            would lack some.
    """
    if layout not in LAYOUTS or missing not in ("none", "random"):
        raise ValueError(
            f"layout {layout!r}, missing {missing!r}: expected one of {', '.join(LAYOUTS)}; none or random"
        )
    if missing == "random" and LAYOUTS[layout].stacked:
        raise ValueError(
            f"layout {layout} keeps all modalities in one file, so none can be missing; use another layout"
        )
    recipe = {
        "medmiss": __version__,
        "generator": GENERATOR,
        "layout": layout,
        "missing": missing,
        "tissues": None if tissues is None else _fingerprint(Path(tissues)),
        "seed": seed,
        "shape": list(shape),
        "healthy": healthy,
    }
    names = [LAYOUTS[layout].case_name(index + 1) for index in range(cases)]
    skipped = 0
    for index, name in enumerate(tqdm(names, unit="case", disable=None if progress else True)):
        kept = _kept(seed, index) if missing == "random" else MODALITIES
        record = Path(out) / RECORDS / f"{name}.json"
        if _finished(record, recipe, Path(out), LAYOUTS[layout], name, kept):
            skipped += 1
            continue
        write_json(record, {"status": "started", **recipe})  # what a killed run leaves is known to be ours
        images, labels, grid = _stored(
            make_case(seed, index, shape, tissues, healthy),
            np.random.default_rng((seed, index, 2)),
            kept,
            CONVENTIONS[LAYOUTS[layout].convention],
        )
        write_case(Path(out), LAYOUTS[layout], name, images, grid, labels)
        write_json(record, {"status": "done", **recipe})
    if skipped:
        logger.info("%d of %d synthetic cases were there already", skipped, cases)
    return names


def _fingerprint(source: Path) -> str:
    """Of the files of an anatomy.

    Raises:
        CaseError: when one cannot be read.
    """
    digest = hashlib.sha256()
    for file in anatomy_files(source):
        try:
            digest.update(file.read_bytes())
        except OSError as error:
            raise CaseError("tissue map", str(error), "a file", "check the path", file) from error
    return digest.hexdigest()


def _kept(seed: int, index: int) -> tuple[str, ...]:
    """One to three of the modalities, in channel order."""
    rng = np.random.default_rng((seed, index, 1))
    chosen = rng.choice(len(MODALITIES), size=rng.integers(1, len(MODALITIES)), replace=False)
    return tuple(MODALITIES[channel] for channel in sorted(chosen))


def _stored(
    made: PhantomCase, rng: np.random.Generator, kept: tuple[str, ...], convention: LabelConvention
) -> tuple[dict[str, np.ndarray], np.ndarray, Grid]:
    """Images of the kept modalities (int16, each on a scale of its own, brain at least 1), labels, grid."""
    low, high = np.log(WHITE_LEVELS)
    levels = np.exp(rng.uniform(low, high, len(MODALITIES)))
    images = {}
    for modality, image, level in zip(MODALITIES, made.images, levels, strict=True):
        if modality in kept:
            scaled = np.clip(np.rint(image * level), 1, np.iinfo(np.int16).max)
            images[modality] = np.where(image > 0, scaled, 0).astype(np.int16)
    labels = convention.labels(CONVENTIONS["brats2018"].regions(made.labels))
    return images, labels, Grid(made.labels.shape, made.affine)


def _finished(
    record: Path, recipe: dict[str, Any], out: Path, layout: Layout, name: str, kept: tuple[str, ...]
) -> bool:
    """Whether a case is complete.

    Raises:
        CaseError: when what is there was made otherwise.
    """
    before = read_record(record) or {}
    label = layout.label_path(out, name)
    there = [file for file in (label, *(layout.image_path(out, name, word) for word in MODALITIES)) if file.exists()]
    changed = changes({key: before.get(key) for key in recipe}, recipe)
    if there and changed:
        found = f"a phantom made otherwise ({changed})" if before else "files that are no phantom of this set"
        raise CaseError(
            name, found, "no such case, or the same phantom", "choose another folder, or remove it", file=there[0]
        )
    wanted = {label, *(layout.image_path(out, name, modality) for modality in kept)}
    return before.get("status") == "done" and not changed and wanted <= set(there)
