"""Losses of the task, and the distances that the methods' own losses are made of."""

from medmiss.losses.distillation import DISTANCES, Distance, l1, mse, pair_distances
from medmiss.losses.joint import gathered, joint_weight, processes
from medmiss.losses.relations import RelationLoss, class_entropy, region_entropy
from medmiss.losses.segmentation import RegionLoss

__all__ = [
    "DISTANCES",
    "Distance",
    "RegionLoss",
    "RelationLoss",
    "class_entropy",
    "gathered",
    "joint_weight",
    "l1",
    "mse",
    "pair_distances",
    "processes",
    "region_entropy",
]
