"""Losses of the task, and the distances that the methods' own losses are made of."""

from medmiss.losses.distillation import DISTANCES, Distance, l1, mse, pair_distances
from medmiss.losses.segmentation import RegionLoss

__all__ = ["DISTANCES", "Distance", "RegionLoss", "l1", "mse", "pair_distances"]
