"""The engine a bundle runs: every case of a folder, one mask each."""

import contextlib
import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from monai.engines import Evaluator
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from medmiss.cases import CONVENTIONS, REGIONS, Case, CaseError, Grid, LabelConvention, write_volume
from medmiss.cases.files import write_json
from medmiss.inference.failures import one_sentence, without_folders
from medmiss.inference.predictor import CasePredictor, Prediction
from medmiss.inference.records import Record, Records, mask_path, probabilities_path
from medmiss.inference.report import Files, metadata_of, run_facts, settings_of
from medmiss.inference.trust import trust_in
from medmiss.modalities import parse_subset, subset_name
from medmiss.postprocessing import ET_RULE_FIRED

logger = logging.getLogger(__name__)


class CasesFailed(Exception):
    """Some cases of a run failed; the others are done."""


class Exporter(Protocol):
    """Writes a mask in another form beside it, such as `medmiss.slicer.SegmentationExporter`."""

    def files(self, case: str) -> list[str]:
        """The names of the files that it writes for a case: known before, so that a finished case is skipped."""

    def __call__(self, case: str, labels: np.ndarray, convention: LabelConvention, grid: Grid, folder: Path) -> None:
        """Write them into `folder`, from `labels` `(X, Y, Z)` uint8 in the values of `convention`."""


class PredictionEvaluator(Evaluator):
    """Predict cases and write `OUTPUT/<case>.nii.gz`, one after the other.

    A case that fails is logged in one sentence and the rest go on. A case that is finished is skipped: its
    mask is there and was made with the same settings (weights, modalities used, labels, post-processing,
    window), as its record in `OUTPUT/.medmiss` says. A mask made with other settings, changed since, or of unknown
    origin, is never replaced unless `overwrite` is given: that case fails.

    Args:
        predictor: makes the prediction of one case.
        val_data_loader: the cases, such as a `CaseDataset`.
        output_dir: made when it is not there.
        bundle: the bundle's folder (or the folders of those that predict together), for the report.
        weights: the weights' file (or one a bundle), for the report.
        modalities: use only these, such as `"flair,t2"`, of what each case has.
        labels: label convention of the masks, a key of `medmiss.cases.CONVENTIONS`; without it that of the
            layout each case came in.
        probabilities: also write `<case>_probabilities.nii.gz`, 3 channels: ET, TC, WT.
        exporters: write further files of each mask.
        overwrite: predict every case again.
        report: JSON file about the run, written again after every case. Where the cases are parted over processes
            or jobs, each part writes its own: `run.2of8.json` for `run.json`.
        progress: show a progress bar when standard error is a terminal.
        val_handlers: further ignite handlers.

    Raises:
        ValueError: when `labels` or `modalities` is unknown.
    """

    def __init__(
        self,
        predictor: CasePredictor,
        val_data_loader: Iterable[Case],
        output_dir: str | Path,
        bundle: Files,
        weights: Files,
        modalities: str | None = None,
        labels: str | None = None,
        probabilities: bool = False,
        exporters: Sequence[Exporter] = (),
        overwrite: bool = False,
        report: str | Path | None = None,
        progress: bool = True,
        val_handlers: Sequence[Any] | None = None,
    ) -> None:
        if labels is not None and labels not in CONVENTIONS:
            raise ValueError(f"unknown label convention {labels!r}: expected one of {', '.join(CONVENTIONS)}")
        super().__init__(
            predictor.device, val_data_loader, decollate=False, val_handlers=val_handlers, prepare_batch=_as_it_is
        )
        self.logger.setLevel(logging.CRITICAL)  # ignite calls Ctrl-C an error; real errors are raised anyway
        self.predictor = predictor
        self.output = Path(output_dir)
        self.records = Records(self.output)
        self.modalities = None if modalities is None else parse_subset(modalities)
        self.labels = labels
        self.probabilities = probabilities
        self.exporters = exporters
        self.overwrite = overwrite
        self.report = None if report is None else _of_part(Path(report), getattr(val_data_loader, "part", (1, 1)))
        self.progress = progress
        self.facts = run_facts(bundle, weights, predictor.device)
        self.metadata = metadata_of(bundle)
        self.cases: list[Record] = []
        self._told: set[str] = set()

    def run(self, global_epoch: int = 1) -> None:  # type: ignore[override]
        """Predict all cases.

        Raises:
            CasesFailed: at the end, when some case failed or the report could not be written.
            OSError: when the output folder or the report cannot be made.
        """
        self.cases = []
        self.output.mkdir(parents=True, exist_ok=True)
        self._write_report()
        if self._unwritten is not None:
            raise self._unwritten
        if self.state.epoch_length == 0:
            logger.info("no case in this part")
            return
        with (
            logging_redirect_tqdm(),
            tqdm(total=self.state.epoch_length, unit="case", disable=None if self.progress else True) as self._bar,
        ):
            super().run(global_epoch)
        count = {
            status: sum(case["status"] == status for case in self.cases) for status in ("done", "skipped", "failed")
        }
        logger.info("cases done: %(done)d, finished before: %(skipped)d, failed: %(failed)d", count)
        if self._unwritten is not None:
            raise CasesFailed(f"the report {self.report} could not be written: {self._unwritten}")
        if count["failed"]:
            names = ", ".join(case["case"] for case in self.cases if case["status"] == "failed")
            raise CasesFailed(f"{count['failed']} of {len(self.cases)} cases failed: {names}")

    def _iteration(self, engine: Any, batchdata: Case) -> Record:  # type: ignore[override]
        """Take one case from its files to its mask; its entry of the report."""
        case = batchdata
        self._bar.set_postfix_str(case.name)
        try:
            entry = self._predict_case(case)
        except Exception as error:  # whatever is wrong with one case, the others go on
            reason = one_sentence(case, error)
            logger.error("%s", reason)
            logger.debug("%s failed", case.name, exc_info=error)
            entry = {"case": case.name, "status": "failed", "error": without_folders(reason, case, self.output)}
            with contextlib.suppress(OSError):  # such as a full disk: "started" means the same to a second run
                self.records.fail(case.name, entry["error"])
        self.cases.append(entry)
        self._write_report()
        self._bar.update()
        return entry

    def _predict_case(self, case: Case) -> Record:
        name = case.name
        if any(name == entry["case"] for entry in self.cases):
            raise CaseError(
                name, "two cases of that name", "names that differ, since they name the masks", "rename one"
            )
        used = case if self.modalities is None else case.restricted_to(self.modalities)
        if used.problem is not None:
            raise used.problem
        convention = CONVENTIONS[self.labels or case.convention]
        settings = settings_of(self.predictor, used.available, convention.name, self.facts["weights"]["sha256"])
        mask, probabilities = mask_path(self.output, name), probabilities_path(self.output, name)
        files = [mask.name, *([probabilities.name] if self.probabilities else [])]
        files += [file for exporter in self.exporters for file in exporter.files(name)]
        if not self.overwrite:
            finished = self.records.finished(name, settings, files)
            if finished is not None:
                logger.info("%s: skipped, finished before with the same settings (%s)", name, mask.name)
                return {**finished, "status": "skipped"}
            conflict = self.records.conflict(name, settings)
            if conflict is not None:
                raise CaseError(
                    name, conflict, "no mask, or one of these settings", "use --overwrite or another output", mask
                )

        start = time.perf_counter()
        used_name = subset_name(used.available)
        trust = trust_in(self.metadata, used_name, settings["weights"])
        if trust is not None and trust not in self._told:  # once a run is enough
            self._told.add(trust)
            logger.info("%s", trust)
        entry: Record = {
            "case": name,
            "status": "started",
            "modalities_available": list(case.available),
            "modalities_used": list(used.available),
            "trust": trust,
            "settings": settings,
            "outputs": files,
        }
        self.records.start(name, entry)
        logger.info("%s: predicting from %s on %s", name, used_name, self.facts["device"])
        prediction = self.predictor(used, self.probabilities)
        labels = convention.labels(prediction.regions)
        if prediction.probabilities is not None:
            write_volume(probabilities, np.moveaxis(prediction.probabilities, 0, -1), prediction.grid)
        write_volume(mask, labels, prediction.grid)
        self.records.written(name, settings)
        for exporter in self.exporters:
            exporter(name, labels, convention, prediction.grid, self.output)
        entry |= {
            "status": "done",
            "warnings": prediction.warnings,
            "postprocessing": prediction.events,
            "volumes_ml": _volumes(convention.regions(labels), prediction),
            "seconds": round(time.perf_counter() - start, 2),
        }
        for file in self.records.finish(name, entry):
            logger.warning("%s: %s is of an earlier mask; it was changed by hand, so it stays", name, file)
        for line in prediction.warnings:
            logger.warning("%s: %s", name, line)
        for line in prediction.events:
            logger.log(logging.WARNING if line.startswith(ET_RULE_FIRED) else logging.INFO, "%s: %s", name, line)
        volumes = ", ".join(f"{region} {ml:.2f} ml" for region, ml in entry["volumes_ml"].items())
        logger.info("%s: %s from %s: %s; %.1f s", name, mask.name, used_name, volumes, entry["seconds"])
        return entry

    def _write_report(self) -> None:
        """Write the report, or keep why it cannot be written: the cases go on, and the next time may do."""
        self._unwritten: OSError | None = None
        if self.report is not None:
            try:
                write_json(self.report, {**self.facts, "cases": self.cases})
            except OSError as error:
                self._unwritten = error


def _as_it_is(batchdata: Case, *_: Any, **__: Any) -> Case:
    return batchdata


def _of_part(report: Path, part: tuple[int, int]) -> Path:
    """The report's file for one part of the cases."""
    index, number = part
    return report if number == 1 else report.with_suffix(f".{index}of{number}{report.suffix}")


def _volumes(regions: np.ndarray, prediction: Prediction) -> dict[str, float]:
    """Volume of each region of the mask in ml."""
    ml = prediction.grid.voxel_volume_mm3 / 1000
    return {name: round(float(np.count_nonzero(region)) * ml, 3) for name, region in zip(REGIONS, regions, strict=True)}
