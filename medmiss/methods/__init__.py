"""The methods: one paper, one file."""

from medmiss.methods.method import Method
from medmiss.methods.shaspec import ShaSpec

__all__ = ["Method", "ShaSpec"]
