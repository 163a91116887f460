"""Writing a file at once or not at all, and records of what was written."""

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

from filelock import FileLock

from medmiss.cases.errors import CaseError

RECORDS = ".medmiss"
"""Folder beside results of medmiss, such as masks, that says how each was made."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a hidden temporary file in the same folder (made if need be), then rename it to `path`.

    A reader sees the old file or the whole new one; an interrupted write leaves the old one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the process's number, which two machines (or containers) that share the folder may both have.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_once(path: Path, content: bytes, case: str) -> None:
    """Write atomically what belongs to a run's weights, unless it is there.

    Args:
        path: of the file.
        content: of it.
        case: whose name an error gives.

    Raises:
        CaseError: when the file is there with other content, that of another run.
    """
    if not path.is_file():
        write_atomically(path, content)
    elif path.read_bytes() != content:
        expected, remedy = "that of this run", "choose another output folder, or the settings of the earlier run"
        raise CaseError(case, "a file of an earlier run", expected, remedy, path)


def json_of(content: Any) -> bytes:
    """`content` as a JSON file has it."""
    return (json.dumps(content, indent=4) + "\n").encode()


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON, atomically."""
    write_atomically(path, json_of(content))


def sha256_of(path: str | Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def read_record(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; none where there is no file, or something else in it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def changes(before: dict[str, Any], now: dict[str, Any]) -> str:
    """How two sets of settings differ, in words; empty when they are the same. Of settings within, `outer.inner`."""
    parts = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            parts += [f"{name}.{part}" for part in changes(old, new).split("; ") if part]
        elif old != new:
            parts.append(f"{name} {old!r}, now {new!r}")
    return "; ".join(parts)


def lock_of(path: Path) -> FileLock:
    """A lock for a file that several processes change, such as the jobs of an array; to be used with `with`."""
    lock = path.parent / RECORDS / f"{path.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(lock)
