"""Cases as training and validation items."""

import hashlib
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from torch.utils.data import Dataset

from medmiss import __version__
from medmiss.cases import Case
from medmiss.cases.errors import CaseError, cause_of
from medmiss.modalities import parse_subset, presence, subset_name
from medmiss.networks.files import read_tensors, save_tensors

EMPTY = (
    "there is no case in a part of the split: if it is the one to train on, give more labelled cases or a smaller "
    "validation part; if it is the one held out, which this method consults, set held_out_fraction above 0, or name "
    'cases as "held_out" in the split file'
)
"""What is wrong with a part without a case."""


class CachedCases(Dataset):
    """Cases after the deterministic part of the preprocessing, computed once and kept on disk.

    The name of a cached file holds the case, its `fingerprint` and the transform: when one of them changes, the case
    is computed again. Writes are atomic, so a killed
    run leaves no broken file.

    Args:
        cases: labelled cases.
        transform: takes `{"case": case}`, with nothing random in it.
        keys: the tensors of its result that are kept.
        folder: where to keep them; `None` computes each time anew.

    Raises:
        ValueError: when an item is asked for whose case cannot be read.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        transform: Callable[[dict], Mapping[str, Any]],
        keys: Sequence[str] = ("image", "label", "available"),
        folder: str | Path | None = None,
    ) -> None:
        self.cases = list(cases)
        self.transform = transform
        self.keys = tuple(keys)
        self.files = None if folder is None else [Path(folder) / f"{self._digest(case)}.pt" for case in self.cases]

    def _digest(self, case: Case) -> str:
        # A Compose holds a random state, which differs from run to run: its parts are what matters.
        steps = self.transform.transforms if isinstance(self.transform, Compose) else self.transform
        content = pickle.dumps((__version__, repr(case), case.fingerprint, self.keys, steps))
        return hashlib.sha256(content).hexdigest()[:32]

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """The kept tensors of one case."""
        file = None if self.files is None else self.files[index]
        if file is not None and file.is_file():
            return _unpacked(read_tensors(file, remedy="remove it"))
        try:
            result = self.transform({"case": self.cases[index]})
        except Exception as error:
            cause = cause_of(error, (CaseError,))
            if cause is None:
                raise
            # A worker process can hand on only an error that is built from its text alone.
            raise ValueError(f"{cause} Or leave the case out with a split file.") from error
        item = _packed({key: torch.as_tensor(_plain(result[key])).contiguous() for key in self.keys})
        if file is not None:
            save_tensors(item, file)
        return _unpacked(item)


class SeededDataset(Dataset):
    """Random items whose random state comes from (seed, epoch, index) alone.

    So neither the number of workers, nor the order of visits, nor a restart in between changes an item.

    Args:
        data: what the random transform starts from, such as `CachedCases`.
        transform: MONAI transforms; each random one is seeded for each item.
        seed: of the run.
        repeat: how often an epoch visits each case, each time with another random state.

    Raises:
        ValueError: when there is no data: an epoch would be empty.
    """

    def __init__(self, data: Any, transform: Any, seed: int = 0, repeat: int = 1) -> None:
        if len(data) == 0:
            raise ValueError(EMPTY)
        self.data = data
        self.transform = transform if isinstance(transform, Compose) else Compose([transform])
        self.seed = seed
        self.repeat = repeat

    def __len__(self) -> int:
        """Items an epoch."""
        return len(self.data) * self.repeat

    def __getitem__(self, key: tuple[int, int] | int) -> dict[str, torch.Tensor]:
        """The item of `(epoch, index)`; a bare index means epoch 0."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        self.transform.set_random_state(seed=derived_seed(self.seed, epoch, index))
        item = self.transform(dict(self.data[index % len(self.data)]))
        return {name: _plain(value) for name, value in item.items()}


class ValidationDataset(Dataset):
    """Every case with each of some fixed sets of modalities.

    An item has `present` and `row`, a long tensor `(2,)`: the item's number and its subset's.

    Args:
        data: the prepared cases.
        subsets: as a user types them, such as `["all", "flair,t2"]`. A case that lacks a part of a subset
            has no item for it, save that "all" means all the case has.
    """

    def __init__(self, data: CachedCases, subsets: Sequence[str] = ("all",)) -> None:
        self.data = data
        self.subset_names: list[str] = []
        self.items: list[tuple[int, int, tuple[bool, ...]]] = []
        for number, text in enumerate(subsets):
            wanted = parse_subset(text)
            everything = text.strip().lower() == "all"
            self.subset_names.append("all" if everything else subset_name(wanted))
            for index, case in enumerate(data.cases):
                if everything:
                    self.items.append((index, number, presence(case.available)))
                elif set(wanted) <= set(case.available):
                    self.items.append((index, number, presence(wanted)))
        # Item by item through the cases, so that a prepared case is read from the disk cache while it is warm.
        self.items.sort()

    def __len__(self) -> int:
        """Number of (case, subset) pairs."""
        return len(self.items)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        """One case with one subset."""
        index, number, present = self.items[row]
        return {**self.data[index], "present": torch.tensor(present), "row": torch.tensor([row, number])}


def derived_seed(*numbers: int) -> int:
    """A seed below 2**32 that depends on every one of `numbers`, in their order."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _packed(item: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A quarter of the bytes: z-scores keep three digits, regions are bits."""
    return {name: value.bool() if name == "label" else _half(value) for name, value in item.items()}


def _unpacked(item: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Back to what transforms and losses work on."""
    return {name: value if name == "available" else value.float() for name, value in item.items()}


def _half(value: torch.Tensor) -> torch.Tensor:
    return value.half() if value.is_floating_point() else value


def _plain(value: Any) -> Any:
    """Without MONAI's metadata, which collation and autograd would carry along."""
    return value.as_tensor() if isinstance(value, MetaTensor) else value
