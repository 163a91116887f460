"""Parting the cases of a run over processes or jobs."""

import os
import re


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


def part_of_process() -> tuple[int, int]:
    """The part of this process under `torchrun`; all where there is one process."""
    return int(os.environ.get("RANK", "0")) + 1, int(os.environ.get("WORLD_SIZE", "1"))


def within(job: tuple[int, int], process: tuple[int, int]) -> tuple[int, int]:
    """The part of all that a process has, of the part that its job has."""
    index, number = process
    return job[0] + (index - 1) * job[1], job[1] * number
