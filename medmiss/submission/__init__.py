"""Submissions to the BraTS challenges: what each year demands, packing masks for it, checking the package.

`CHALLENGES` is the table of rules, `check_submission` finds what is wrong with an archive or a folder, and
`build_submission` turns predicted masks into an archive that was checked.
"""

from medmiss.submission.build import Submission, build_submission
from medmiss.submission.challenges import CHALLENGES, Challenge
from medmiss.submission.check import check_submission
from medmiss.submission.findings import KINDS, Finding, errors_first, has_errors, summary

__all__ = [
    "CHALLENGES",
    "KINDS",
    "Challenge",
    "Finding",
    "Submission",
    "build_submission",
    "check_submission",
    "errors_first",
    "has_errors",
    "summary",
]
