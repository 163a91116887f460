"""How good a mask is, and pictures of it."""

from medmiss.evaluation.dice import dice, region_dice

__all__ = ["dice", "region_dice"]
