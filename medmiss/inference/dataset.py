"""The cases of a run."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch.utils.data import Dataset

from medmiss.cases import Case, case_from_files, find_cases


class CaseDataset(Dataset[Case]):
    """The cases to predict, as they lie on disk: no file is opened before its turn.

    Args:
        path: a case folder, a folder of cases, an MSD folder or a 4-D file.
        images: instead of `path`, the files of one case by modality.
        part: `"2/8"` for the second of eight parts, such as one job of an array: every eighth case, so that the
            parts together are all cases, each once. Under `torchrun` each process takes its own part.

    Raises:
        CaseError: when there is no case.
        ValueError: when both or none of `path` and `images` are given, or there is no such part.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        images: Mapping[str, str | Path] | None = None,
        part: str | None = None,
    ) -> None:
        self.part = parse_part(part) if part is not None else _part_of_process()
        if images is not None and path is None:
            self.cases = [case_from_files({modality: Path(file) for modality, file in images.items()})]
        elif path is not None and images is None:
            self.cases = find_cases(path)
        else:
            raise ValueError("give either dataset_dir or the images of one case, not both and not none")
        index, number = self.part
        self.cases = self.cases[index - 1 :: number]

    def __len__(self) -> int:
        """The number of cases."""
        return len(self.cases)

    def __getitem__(self, index: int) -> Case:
        """The case at `index`."""
        return self.cases[index]

    def __iter__(self) -> Iterator[Case]:
        """The cases, in the order of their names."""
        return iter(self.cases)


def parse_part(text: str) -> tuple[int, int]:
    """Read `"2/8"`: the number of the part, from 1, and of all parts.

    Raises:
        ValueError: when it is not of that form, or there is no such part.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    index, number = (int(group) for group in match.groups()) if match else (0, 0)
    if not 1 <= index <= number:
        raise ValueError(f"part {text!r}: expected I/N with I from 1 to N, such as 2/8")
    return index, number


def _part_of_process() -> tuple[int, int]:
    """The part of this process under `torchrun`; all where there is one process."""
    return int(os.environ.get("RANK", "0")) + 1, int(os.environ.get("WORLD_SIZE", "1"))
