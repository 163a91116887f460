"""The four BraTS modalities, their aliases and the 15 subsets that can be available.

Everything that names a modality reads it from here: the channel order of every image
tensor, the words a user may type, and the order in which the subsets are reported.
"""

from collections.abc import Iterable
from itertools import combinations

MODALITIES = ("flair", "t1", "t1c", "t2")
"""Channel order of every image tensor `(B, 4, X, Y, Z)`."""

DISPLAY_NAMES = {"flair": "FLAIR", "t1": "T1", "t1c": "T1c", "t2": "T2"}

ALIASES = {
    "flair": "flair",
    "t2f": "flair",
    "t2flair": "flair",
    "t2-flair": "flair",
    "t1": "t1",
    "t1w": "t1",
    "t1n": "t1",
    "t1c": "t1c",
    "t1ce": "t1c",
    "t1gd": "t1c",
    "t1post": "t1c",
    "t2": "t2",
    "t2w": "t2",
}
"""Every spelling a user or a data set uses, lower case, and the modality it means."""

Subset = tuple[str, ...]
"""Some of `MODALITIES`, in their order, never empty."""


def canonical_subset(modalities: Iterable[str]) -> Subset:
    """Put modality names (aliases allowed, any order and case) in channel order, without repeats.

    Raises:
        ValueError: when a name is unknown or there is none.
    """
    wanted = set()
    for name in modalities:
        modality = ALIASES.get(name.strip().lower())
        if modality is None:
            raise ValueError(f"unknown modality {name.strip()!r}: expected some of {', '.join(MODALITIES)}")
        wanted.add(modality)
    if not wanted:
        raise ValueError(f"no modality named: expected some of {', '.join(MODALITIES)}")
    return tuple(modality for modality in MODALITIES if modality in wanted)


def parse_subset(text: str) -> Subset:
    """Read a subset as a user types it: `"flair,t2"`, `"FLAIR+T2"`, `"all"`.

    Raises:
        ValueError: when a name is unknown or there is none.
    """
    if text.strip().lower() == "all":
        return MODALITIES
    return canonical_subset(name for name in text.replace("+", ",").split(",") if name.strip())


def subset_name(subset: Iterable[str]) -> str:
    """The name tables print, such as `"FLAIR+T2"`."""
    return "+".join(DISPLAY_NAMES[modality] for modality in canonical_subset(subset))


def presence(subset: Iterable[str]) -> tuple[bool, ...]:
    """One flag a modality, in channel order: what the network calls `present`."""
    members = canonical_subset(subset)
    return tuple(modality in members for modality in MODALITIES)


SUBSETS: tuple[Subset, ...] = tuple(
    subset for size in range(1, len(MODALITIES) + 1) for subset in combinations(MODALITIES, size)
)
"""The 15 subsets: one modality first, all four last, as the papers' tables list them."""
