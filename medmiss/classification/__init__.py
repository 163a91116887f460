"""Two-modality classification with the methods of the segmentation: Audiovision-MNIST."""

from medmiss.classification.avmnist import VARIANTS, build_avmnist, read_avmnist, write_avmnist
from medmiss.classification.lenet import LeNets
from medmiss.classification.mfcc import mfcc
from medmiss.classification.openi import Report, read_reports
from medmiss.classification.pairs import PairedDigits, PairedSamples, ShuffledBatches, digit_sets

__all__ = [
    "VARIANTS",
    "LeNets",
    "PairedDigits",
    "PairedSamples",
    "Report",
    "ShuffledBatches",
    "build_avmnist",
    "digit_sets",
    "mfcc",
    "read_avmnist",
    "read_reports",
    "write_avmnist",
]
