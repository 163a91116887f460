"""MONAI dictionary transforms: load what is there, normalise and crop it, drop modalities, augment."""

from medmiss.transforms.augment import Augmentation
from medmiss.transforms.crop import CropForegroundd
from medmiss.transforms.drop import DropModalitiesd, share_present
from medmiss.transforms.load import LoadCased
from medmiss.transforms.normalize import NormalizeModalitiesd

__all__ = [
    "Augmentation",
    "CropForegroundd",
    "DropModalitiesd",
    "LoadCased",
    "NormalizeModalitiesd",
    "share_present",
]
