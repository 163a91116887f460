"""Synthetic BraTS-like patients."""

from medmiss.phantom.case import PhantomCase, make_case

__all__ = ["PhantomCase", "make_case"]
