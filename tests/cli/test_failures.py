"""What a user is told of a failure inside a bundle's run."""

from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

from medmiss.cases.errors import CaseError
from medmiss.cli.failures import explained

SENTENCE = "case p1: found a truncated file, but expected an image; replace it."


class Broken(Dataset):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        try:
            raise CaseError("p1", "a truncated file", "an image", "replace it")
        except CaseError as error:
            raise ValueError(str(error)) from error


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sentence_from_a_worker_comes_without_its_traceback(workers: int):
    with pytest.raises(ValueError, match="truncated") as raised:
        next(iter(DataLoader(Broken(), num_workers=workers)))
    assert str(explained(raised.value)) == SENTENCE


def test_a_worker_that_was_ended_is_the_users_to_mend():
    error = RuntimeError("DataLoader worker (pid(s) 4711) exited unexpectedly")
    assert "want of memory; lower --workers" in str(explained(error))
    assert explained(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None


def test_the_cause_is_found_behind_what_wraps_it(tmp_path: Path):
    wrapped = RuntimeError("Failed to instantiate component")
    wrapped.__cause__ = FileNotFoundError(2, "No such file or directory", str(tmp_path))
    assert explained(wrapped) is wrapped.__cause__
