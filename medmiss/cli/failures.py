"""Which failures of a bundle's run are the user's to mend: said in a sentence, without a traceback."""

import re


def explained(error: Exception) -> Exception | None:
    """The error in the chain of `error` whose text explains the failure; None for what is a bug.

    MONAI wraps what a part of a configuration raises, often several times; torch puts the traceback of a process that
    prepares samples into the text of what that process raised.
    """
    import torch

    from medmiss.cases.errors import CaseError, cause_of
    from medmiss.inference.bundle import BundleError
    from medmiss.inference.evaluator import CasesFailed

    kinds = (BundleError, CaseError, CasesFailed, OSError, FloatingPointError, ValueError, ImportError)
    cause = cause_of(error, (*kinds, torch.OutOfMemoryError)) or _lost_worker(error)
    found = re.fullmatch(r"Caught (\w+) in DataLoader worker process .*\n\1: (.*)", str(cause), flags=re.DOTALL)
    return cause if found is None else ValueError(found.group(2).rstrip())


def _lost_worker(error: Exception) -> Exception | None:
    """Of the error that a data loader raises for a process that was ended from outside, what to do."""
    if not re.match(r"DataLoader worker \(pid", str(error)):
        return None
    return ValueError(f"{error}: a process that prepares samples was ended, often for want of memory; lower --workers")
