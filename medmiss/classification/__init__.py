"""Two-modality classification with the methods of the segmentation: Audiovision-MNIST."""

from medmiss.classification.avmnist import VARIANTS, build_avmnist, read_avmnist, write_avmnist
from medmiss.classification.mfcc import mfcc

__all__ = ["VARIANTS", "build_avmnist", "mfcc", "read_avmnist", "write_avmnist"]
