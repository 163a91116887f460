"""What went wrong with a case, in a sentence that a log or a report can say."""

import os
from pathlib import Path

import torch

from medmiss.cases import Case, CaseError
from medmiss.cases.errors import cause_of


def one_sentence(case: Case, error: Exception) -> str:
    """What went wrong, for the log."""
    known = cause_of(error, (CaseError,))
    if known is not None:
        return str(known)
    if isinstance(error, torch.OutOfMemoryError):
        torch.cuda.empty_cache()
        return f"case {case.name}: the GPU's memory does not suffice; use --device cpu."
    first = (str(error).strip().splitlines() or [""])[0]
    return f"case {case.name}: {type(error).__name__}: {first}"


def without_folders(text: str, case: Case, output: Path) -> str:
    """The sentence with file names only, for a report, which may be passed on."""
    sources = [*case.images.values(), *([case.label] if case.label is not None else [])]
    files = [source.path for source in sources]
    if case.problem is not None and case.problem.file is not None:
        files.append(case.problem.file)
    for folder in (*(file.parent for file in files), output):
        text = text.replace(f"{folder}{os.sep}", "")
    return text
