"""A finding: one thing in a submission that is wrong, or may be, and what to do about it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

ERROR, WARNING = "error", "warning"

KINDS: dict[str, str] = {
    # the archive
    "archive": ERROR,
    "too-large": ERROR,
    "path": ERROR,
    "link": ERROR,
    "not-nifti": ERROR,
    "suffix": WARNING,
    "nested": WARNING,
    "hidden": WARNING,
    # names and cases
    "name": ERROR,
    "duplicate": ERROR,
    "unknown-case": ERROR,
    "missing-case": ERROR,
    "case-name": ERROR,
    "unusual-name": WARNING,
    "count": WARNING,
    "case-image": WARNING,
    # one mask: file and header
    "unreadable": ERROR,
    "dimensions": ERROR,
    "shape": ERROR,
    "no-affine": ERROR,
    "spacing": ERROR,
    "qform": ERROR,
    "grid": ERROR,
    "sform-qform": ERROR,
    "placement": WARNING,
    "format": WARNING,
    "dtype": WARNING,
    "scaling": WARNING,
    "header-text": WARNING,
    # one mask: voxels
    "values": ERROR,
    "labels": ERROR,
    "empty": WARNING,
    "outside-brain": WARNING,
    # the masks together
    "same-mask": WARNING,
    "labels-unlikely": WARNING,
    "no-cavity": WARNING,
    "cavity-lost": WARNING,
}
"""Every kind of finding and how serious it is.

An error is refused by the organisers, or makes the score wrong. A warning is accepted and may be right.
"""


@dataclass(frozen=True)
class Finding:
    """One line about one file or case.

    Args:
        kind: key of `KINDS`.
        where: the file (as the archive names it) or case.
        found: what is there; a noun phrase, as is the next.
        expected: what should be there.
        remedy: what to do about it.
    """

    kind: str
    where: str
    found: str
    expected: str
    remedy: str

    @property
    def severity(self) -> str:
        """`"error"` or `"warning"`."""
        return KINDS[self.kind]

    def __str__(self) -> str:
        text = f"{self.where}: found {self.found}, but expected {self.expected}; {self.remedy}"
        # An archive's names are anybody's: no line break or control character of theirs reaches the terminal.
        text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
        return f"{self.severity} [{self.kind}] {text}"


def errors_first(findings: Sequence[Finding]) -> list[Finding]:
    """Errors, then warnings, each in the order found."""
    return sorted(findings, key=lambda finding: finding.severity != ERROR)


def has_errors(findings: Sequence[Finding]) -> bool:
    """Whether some finding is an error."""
    return any(finding.severity == ERROR for finding in findings)


def summary(findings: Sequence[Finding]) -> str:
    """How many of each kind: `"2 errors (labels 2), 1 warning (empty 1)"`."""
    parts = []
    for severity in (ERROR, WARNING):
        kinds = Counter(finding.kind for finding in findings if finding.severity == severity)
        if kinds:
            total = kinds.total()
            names = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
            parts.append(f"{total} {severity}{'s' if total > 1 else ''} ({names})")
    return ", ".join(parts) or "no findings"
