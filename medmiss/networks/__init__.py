"""Encoders, decoders and the handling of features of missing modalities."""

from medmiss.networks.encoders import SharedEncoder, SpecificEncoders
from medmiss.networks.features import (
    MISSING,
    ModalityFeatures,
    complete,
    completed,
    completed_skips,
    dense,
    first_available,
    generated,
    mean_available,
    modality_inputs,
    presence_of,
)
from medmiss.networks.light_unet import LightDecoder, LightEncoder, LightUNet
from medmiss.networks.resnet_aspp import ResNetASPP, ResNetASPPDecoder, ResNetASPPEncoder
from medmiss.networks.sizes import check_size

__all__ = [
    "MISSING",
    "LightDecoder",
    "LightEncoder",
    "LightUNet",
    "ModalityFeatures",
    "ResNetASPP",
    "ResNetASPPDecoder",
    "ResNetASPPEncoder",
    "SharedEncoder",
    "SpecificEncoders",
    "check_size",
    "complete",
    "completed",
    "completed_skips",
    "dense",
    "first_available",
    "generated",
    "mean_available",
    "modality_inputs",
    "presence_of",
]
