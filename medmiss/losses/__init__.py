"""Losses of the task, apart from what a method adds."""

from medmiss.losses.segmentation import RegionLoss

__all__ = ["RegionLoss"]
