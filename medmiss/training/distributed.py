"""Joining and leaving the process group of `torchrun`."""

import os

import torch
from torch import distributed


def join_process_group() -> torch.device:
    """Join the group that `torchrun` describes: NCCL and one GPU a process, or gloo on the CPU.

    Returns:
        The device of this process.
    """
    local_rank = int(os.environ["LOCAL_RANK"])
    device = torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def leave_process_group() -> None:
    """Leave the group, when there is one."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
