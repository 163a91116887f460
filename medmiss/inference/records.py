"""What is kept about each mask: how it was made, so that a second run knows what is finished.

Each mask `OUTPUT/<case>.nii.gz` has its record `OUTPUT/.medmiss/<case>.json`. The record is written
before the mask, with `"status": "started"`, and again after it, with `"done"`, or `"failed"` and the
reason: whenever the run is killed, a mask without a finished record is known to be this program's own.
Its `"outputs"` name the files that are this program's, in a record that is not done those that may be there; in one
that is done, `"sha256"` tells whether somebody has changed them since. Its `"settings"` are those of the mask that
is there: an earlier one keeps its own until another takes its place.
"""

import glob
import json
from pathlib import Path
from typing import Any

from medmiss.cases.errors import CaseError
from medmiss.cases.files import changes, read_record, sha256_of, write_json
from medmiss.cases.masks import PROBABILITIES, record_path

UNFINISHED = ("started", "failed")
"""Statuses of a case that is predicted again."""
Record = dict[str, Any]


class Records:
    """The records of an output folder.

    Args:
        output: the folder that holds the masks.
    """

    def __init__(self, output: Path) -> None:
        self.output = output

    def read(self, case: str) -> Record | None:
        """The record of a case; none when it was never started here or cannot be read."""
        return read_record(self._path(case))

    def write(self, case: str, record: Record) -> None:
        """Replace the record of a case."""
        write_json(self._path(case), record)

    def start(self, case: str, record: Record) -> None:
        """Say that a case is about to be predicted, and remove what a killed run left half-written.

        Args:
            case: its name.
            record: with the `"outputs"` that are about to be written. Those of an earlier run stay known as
                well; a file that is there and was not ours is not claimed.
        """
        before = self.read(case) or {}
        if before.get("status") in UNFINISHED:
            names = {mask_path(self.output, case).name, *before.get("outputs", []), *record["outputs"]}
            for name in names:
                for leftover in self.output.glob(f".{glob.escape(Path(name).name)}.*.tmp"):
                    leftover.unlink(missing_ok=True)
        new = [file for file in record["outputs"] if not (self.output / file).exists()]
        there = mask_path(self.output, case).exists()
        self.write(
            case,
            {
                **record,
                "settings": before.get("settings", {}) if there else record["settings"],
                "outputs": sorted({*before.get("outputs", []), *new}),
                "sha256": before.get("sha256", {}),
            },
        )

    def written(self, case: str, settings: Record) -> None:
        """Say that the mask of a case that was started is there, whatever becomes of the files beside it."""
        self.write(case, {**(self.read(case) or {}), "settings": settings})

    def finish(self, case: str, record: Record) -> list[str]:
        """Say that a case is done, and remove files of its earlier mask that were not written again.

        Returns:
            Those that stay, since somebody has changed them.
        """
        before = self.read(case) or {}
        changed = []
        for name in sorted({Path(file).name for file in before.get("outputs", [])} - set(record["outputs"])):
            if self._changed(before, name):
                changed.append(name)
            else:
                (self.output / name).unlink(missing_ok=True)
        self.write(case, {**record, "sha256": {file: sha256_of(self.output / file) for file in record["outputs"]}})
        return changed

    def fail(self, case: str, reason: str) -> None:
        """Say why a case that was started failed; a finished one keeps its record."""
        record = self.read(case)
        if record is not None and record.get("status") in UNFINISHED:
            self.write(case, {**record, "status": "failed", "error": reason})

    def conflict(self, case: str, settings: Record) -> str | None:
        """Why the mask that is there must not be replaced without being asked; none when it may.

        Args:
            case: its name.
            settings: what the mask would be made with now.
        """
        if not mask_path(self.output, case).exists():
            return None
        record = self.read(case)
        if record is None:
            return "a mask of unknown origin"
        if record["status"] in UNFINISHED:
            return None
        changed = changes(record["settings"], settings)
        if changed:
            return f"a mask made with other settings ({changed})"
        edited = self._changed(record, mask_path(self.output, case).name)
        return "a mask that was changed after medmiss wrote it" if edited else None

    def finished(self, case: str, settings: Record, files: list[str]) -> Record | None:
        """The record of a case that is complete: same settings, and all `files` there."""
        record = self.read(case)
        if record is None or record.get("status") != "done" or record.get("settings") != settings:
            return None
        return record if all((self.output / file).is_file() for file in files) else None

    def _changed(self, record: Record, name: str) -> bool:
        """Whether the file of this name is there and is not as it was written; of an older record nobody knows."""
        wrote, file = record.get("sha256", {}).get(name), self.output / name
        return wrote is not None and file.is_file() and sha256_of(file) != wrote

    def _path(self, case: str) -> Path:
        return record_path(self.output, case)


def mask_path(output: Path, case: str) -> Path:
    """Where the mask of a case goes."""
    return output / f"{case}.nii.gz"


def probabilities_path(output: Path, case: str) -> Path:
    """Where the probabilities of a case go."""
    return output / f"{case}{PROBABILITIES}.nii.gz"


def remember(folder: Path, settings: Record) -> str:
    """Keep in `settings.json` what all of a folder is made with; how that differs from what it says already, in words.

    Where it differs nothing is written.

    Raises:
        CaseError: when the file there cannot be read.
    """
    file = folder / "settings.json"
    if file.is_file():
        try:
            before = dict(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise CaseError(folder.name, "a broken file", "settings in JSON", "give another folder", file) from error
        return changes(before, json.loads(json.dumps(settings)))
    write_json(file, settings)
    return ""
