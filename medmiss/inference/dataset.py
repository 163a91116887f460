"""The cases of a run."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch.utils.data import Dataset

from medmiss.cases import Case, case_from_files, find_cases
from medmiss.inference.parts import parse_part, part_of_process, within


class CaseDataset(Dataset[Case]):
    """The cases to predict, as they lie on disk: no file is opened before its turn.

    Args:
        path: a case folder, a folder of cases, an MSD folder or a 4-D file.
        images: instead of `path`, the files of one case by modality.
        part: `"2/8"` for the second of eight parts, such as one job of an array: every eighth case, so that the
            parts together are all cases, each once. Under `torchrun` each process takes its own part of it.

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
        self.part = within(parse_part(part) if part is not None else (1, 1), part_of_process())
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
