"""Two-modality classification with the methods of the segmentation: Audiovision-MNIST and OpenI."""

from medmiss.classification.avmnist import VARIANTS, build_avmnist, read_avmnist, write_avmnist
from medmiss.classification.experiment import AvMnist
from medmiss.classification.fitting import Recipe, optimizer_of
from medmiss.classification.lenet import LeNets, SmilLeNets
from medmiss.classification.mfcc import mfcc
from medmiss.classification.openi import Report, read_reports
from medmiss.classification.openi_experiment import OpenI, seen
from medmiss.classification.openi_sets import Vocabulary, paired, read_images, report_sets
from medmiss.classification.pairs import BySubset, PairedDigits, PairedSamples, ShuffledBatches, SoundScale, digit_sets
from medmiss.classification.predict import Predictions
from medmiss.classification.systems import between_steps, may_be_missing, network_of, readable

__all__ = [
    "VARIANTS",
    "AvMnist",
    "BySubset",
    "LeNets",
    "OpenI",
    "PairedDigits",
    "PairedSamples",
    "Predictions",
    "Recipe",
    "Report",
    "ShuffledBatches",
    "SmilLeNets",
    "SoundScale",
    "Vocabulary",
    "between_steps",
    "build_avmnist",
    "digit_sets",
    "may_be_missing",
    "mfcc",
    "network_of",
    "optimizer_of",
    "paired",
    "read_avmnist",
    "read_images",
    "read_reports",
    "readable",
    "report_sets",
    "seen",
    "write_avmnist",
]
