"""Synthetic BraTS-like patients, as files and as training data."""

from medmiss.phantom.case import PhantomCase, make_case
from medmiss.phantom.dataset import MakePhantomd, PhantomRecipe, phantom_recipes
from medmiss.phantom.files import write_cases

__all__ = ["MakePhantomd", "PhantomCase", "PhantomRecipe", "make_case", "phantom_recipes", "write_cases"]
