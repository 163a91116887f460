"""The one error of this package: it names the case, the file, what was found and what to do."""

from pathlib import Path


class CaseError(Exception):
    """A case on disk is not usable as it is.

    Args:
        case: name of the case.
        found: what is there, such as `"a 4-D volume of shape (8, 8, 8, 4)"`; a noun phrase, as is the next.
        expected: what should be there.
        remedy: what the user can do about it.
        file: the file or folder concerned, where there is one.
    """

    def __init__(self, case: str, found: str, expected: str, remedy: str, file: Path | None = None) -> None:
        # All arguments go to Exception, so that the error survives pickling (data loader workers).
        super().__init__(case, found, expected, remedy, file)
        self.case = case
        self.found = found
        self.expected = expected
        self.remedy = remedy
        self.file = file

    def __str__(self) -> str:
        where = f"case {self.case}"
        if self.file is not None:
            where += f", {'folder' if self.file.is_dir() else 'file'} {self.file}"
        return f"{where}: found {self.found}, but expected {self.expected}; {self.remedy}."


def cause_of(error: BaseException, kinds: tuple[type[Exception], ...]) -> Exception | None:
    """The first of `error` and what caused it that is one of `kinds`: MONAI wraps what a part of it raises."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, kinds):
            return cause
        cause = cause.__cause__
    return None
