"""Encoders, decoders and the handling of features of missing modalities."""

from medmiss.networks.encoders import SharedEncoder, SpecificEncoders
from medmiss.networks.features import (
    ModalityFeatures,
    complete,
    dense,
    first_available,
    mean_available,
    modality_inputs,
    presence_of,
)
from medmiss.networks.light_unet import LightDecoder, LightEncoder, LightUNet

__all__ = [
    "LightDecoder",
    "LightEncoder",
    "LightUNet",
    "ModalityFeatures",
    "SharedEncoder",
    "SpecificEncoders",
    "complete",
    "dense",
    "first_available",
    "mean_available",
    "modality_inputs",
    "presence_of",
]
