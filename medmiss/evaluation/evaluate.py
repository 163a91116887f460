"""Masks on disk against reference masks on disk: which belong together, how each is read, and their scores."""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from medmiss.cases import CONVENTIONS, REGIONS, CaseError, LabelConvention, Mask, read_mask, recorded_labels
from medmiss.cases.layouts import stem_of
from medmiss.cases.masks import guessed_labels
from medmiss.cases.volumes import TOLERANCE_MM, grid_mismatch
from medmiss.evaluation.metrics import RegionScores, score_region
from medmiss.evaluation.protocols import Protocol

logger = logging.getLogger(__name__)

CASE_ID = re.compile(r"\d{5}-\d{3}")
"""The part of a name that the challenges since 2023 match predictions and references by."""

CAVITY = "RC"
"""The resection cavity, a region of its own where both masks may hold one."""

CaseScores = dict[str, RegionScores]
"""Region to scores."""


@dataclass(frozen=True)
class Pairing:
    """Which predicted mask belongs to which reference.

    Attributes:
        pairs: case (the reference's name) to the files of prediction and reference.
        missing: references without a prediction, by case.
        extra: predictions without a reference, by name.
        ambiguous: the cases that several predictions or references claim.
    """

    pairs: dict[str, tuple[Path, Path]]
    missing: dict[str, Path]
    extra: dict[str, Path]
    ambiguous: list[CaseError]


def pair_masks(predictions: Mapping[str, Path], references: Mapping[str, Path]) -> Pairing:
    """Pair masks of one name, then those left over by the id in their names, such as `00132-000`.

    Args:
        predictions: name to file, as `find_masks` gives them.
        references: the same.
    """
    pairs = {name: (predictions[name], file) for name, file in references.items() if name in predictions}
    missing = {name: file for name, file in references.items() if name not in pairs}
    extra = {name: file for name, file in predictions.items() if name not in pairs}
    ambiguous = []
    by_id = _by_id(extra)
    for case_id, cases in _by_id(missing).items():
        names = by_id.get(case_id, [])
        if len(cases) == len(names) == 1:
            pairs[cases[0]] = extra.pop(names[0]), missing.pop(cases[0])
        elif names:
            found = f"predictions {', '.join(names)} for {', '.join(cases)}"
            ambiguous.append(CaseError(case_id, found, "one of each", "name the predictions like the references"))
            for name in names:
                del extra[name]
            for case in cases:
                del missing[case]
    return Pairing(dict(sorted(pairs.items())), missing, extra, ambiguous)


def _by_id(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        if match := CASE_ID.search(name):
            found.setdefault(match.group(), []).append(name)
    return found


@dataclass(frozen=True)
class Evaluation:
    """How the masks are read and scored.

    Args:
        protocol: one of `PROTOCOLS`.
        labels: convention of the predictions; None takes the one recorded beside each mask, else the reference's.
        reference_labels: convention of the references; None takes the one their names speak for.
    """

    protocol: Protocol
    labels: str | None = None
    reference_labels: str | None = None

    def score(self, case: str, prediction: Path, reference: Path) -> CaseScores:
        """Score one pair of files.

        Args:
            case: name of the case, for errors.
            prediction: the predicted mask.
            reference: the reference mask.

        Raises:
            CaseError: when a file is unusable (see `read_mask`), its record says an unknown convention, or the two do
                not lie on one grid.
        """
        expert, theirs = self._read_reference(case, reference)
        labels = self.labels or recorded_labels(prediction, stem_of(prediction) or "")
        ours = CONVENTIONS[labels] if labels else theirs
        mask = read_mask(prediction, case, ours)
        if mask.grid.distance_mm(expert.grid) > TOLERANCE_MM:
            error = grid_mismatch(case, reference, expert.grid, prediction, mask.grid)
            remedy = "write the prediction on the grid of the reference, as medmiss predict does"
            raise CaseError(case, error.found, error.expected, remedy, error.file)
        predicted, wanted = _regions(mask, ours), _regions(expert, theirs)
        return {
            region: score_region(predicted[region], wanted[region], expert.grid, self.protocol)
            for region in wanted
            if region in predicted
        }

    def absent(self, case: str, reference: Path) -> CaseScores:
        """The scores of a case without a prediction, by the protocol's rule.

        Args:
            case: name of the case, for errors.
            reference: the reference mask.

        Raises:
            CaseError: when the file is unusable.
            ValueError: when the protocol has no such rule.
        """
        if not self.protocol.absent:
            raise ValueError(f"{self.protocol.name} has no score for a case without a prediction")
        expert, convention = self._read_reference(case, reference)
        scores = {}
        for region, wanted in _regions(expert, convention).items():
            volumes = score_region(np.zeros_like(wanted), wanted, expert.grid, self.protocol).metrics
            scores[region] = RegionScores({**volumes, **self.protocol.absent}, [])
        return scores

    def _read_reference(self, case: str, path: Path) -> tuple[Mask, LabelConvention]:
        convention = CONVENTIONS[self.reference_labels or guessed_labels(path, case)]
        return read_mask(path, case, convention), convention


def _regions(mask: Mask, convention: LabelConvention) -> dict[str, np.ndarray]:
    regions = dict(zip(REGIONS, convention.regions(mask.array), strict=True))
    if convention.rc is not None:
        regions[CAVITY] = mask.array == convention.rc
    return regions


@dataclass(frozen=True)
class Scores:
    """The scores of all cases.

    Attributes:
        cases: case to its scores, in order of name.
        unscored: cases that failed or have no prediction, where the protocol has no rule for it.
    """

    cases: dict[str, CaseScores]
    unscored: list[str]


def evaluate_masks(evaluation: Evaluation, pairing: Pairing, progress: bool) -> Scores:
    """Score every pair; what is missing, left over or unusable is said in the log, and the others go on.

    Args:
        evaluation: how masks are read and scored.
        pairing: which belong together.
        progress: show a bar, where standard error is a terminal.
    """
    cases: dict[str, CaseScores] = {}
    unscored = []
    for name in pairing.extra:
        logger.warning("prediction %s: there is no reference for it", name)
    for error in pairing.ambiguous:
        logger.error("%s", error)
        unscored.append(error.case)
    rule = "scored as absent" if evaluation.protocol.absent else "not scored"
    todo = sorted([*pairing.pairs, *pairing.missing])
    with logging_redirect_tqdm(), tqdm(todo, unit="case", disable=None if progress else True) as bar:
        for case in bar:
            try:
                if case in pairing.pairs:
                    cases[case] = evaluation.score(case, *pairing.pairs[case])
                    continue
                logger.warning("case %s: there is no prediction; %s", case, rule)
                if evaluation.protocol.absent:
                    cases[case] = evaluation.absent(case, pairing.missing[case])
                else:
                    unscored.append(case)
            except CaseError as error:
                logger.error("%s", error)
                unscored.append(case)
    return Scores(cases, unscored)
