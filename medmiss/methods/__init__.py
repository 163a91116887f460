"""The methods: one paper, one file, and two more for SMIL's network and its priors."""

from medmiss.methods.interval import iterations_of
from medmiss.methods.lckd import LCKD, TeacherElection
from medmiss.methods.mckd import MCKD, MetaStep
from medmiss.methods.method import Method
from medmiss.methods.mmanet import CombinationMining, MMANet
from medmiss.methods.modality_dropout import ModalityDropout
from medmiss.methods.shaspec import ShaSpec
from medmiss.methods.smil import SMIL
from medmiss.methods.smil_priors import KMeansPriors

__all__ = [
    "LCKD",
    "MCKD",
    "SMIL",
    "CombinationMining",
    "KMeansPriors",
    "MMANet",
    "MetaStep",
    "Method",
    "ModalityDropout",
    "ShaSpec",
    "TeacherElection",
    "iterations_of",
]
