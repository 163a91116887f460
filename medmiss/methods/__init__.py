"""The methods: one paper, one file."""

from medmiss.methods.interval import iterations_of
from medmiss.methods.method import Method
from medmiss.methods.modality_dropout import ModalityDropout
from medmiss.methods.shaspec import ShaSpec

__all__ = ["Method", "ModalityDropout", "ShaSpec", "iterations_of"]
