"""How good a mask is, and pictures of it."""

from medmiss.evaluation.metrics import evaluate_regions, region_dice
from medmiss.evaluation.protocols import PROTOCOLS

__all__ = ["PROTOCOLS", "evaluate_regions", "region_dice"]
