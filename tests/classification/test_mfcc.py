"""The MFCC against figures of librosa, and its parts."""

import numpy as np
import pytest

from medmiss.classification import mfcc
from medmiss.classification.mfcc import mel_filters

LIBROSA = {(0, 0): -386.2586, (1, 3): 219.2756, (2, 5): -270.0549, (7, 6): 31.3182, (19, 10): 4.5680}
"""What librosa 0.11.0 gives: feature.mfcc(y=chirp(), sr=8000, n_mfcc=20, n_fft=512, hop_length=160)[row, column]."""


def chirp() -> np.ndarray:
    """1,600 samples that need no random numbers to be made again elsewhere."""
    n = np.arange(1600)
    return (0.5 * np.sin(2 * np.pi * (0.01 * n + 0.00008 * n**2))).astype(np.float32)


def test_mfcc_is_that_of_librosa():
    values = mfcc(chirp(), 8000, 20, 512, 160)
    assert values.shape == (20, 11)
    assert {place: values[place] for place in LIBROSA} == pytest.approx(LIBROSA, abs=5e-4)


@pytest.mark.parametrize(("samples", "frames"), [(511, 1), (512, 2), (1600, 4)])
def test_a_frame_begins_every_hop(samples, frames):
    assert mfcc(chirp()[:samples], 8000).shape == (20, frames)


def test_mel_filters_have_unit_area_and_overlap_by_halves():
    filters = mel_filters(8000, 4096)
    assert filters.shape == (128, 2049)
    # The narrowest are 31 Hz a side, some 16 bins of 1.95 Hz.
    assert filters.sum(axis=1) * 8000 / 4096 == pytest.approx(np.ones(128), abs=0.02)
    assert (filters > 0).sum(axis=0).max() == 2


def test_what_is_eighty_decibels_below_the_loudest_is_cut_off():
    wave = chirp()
    wave[800:] = 0
    silent = mfcc(wave, 8000, 20, 512, 160)[:, -1]
    assert silent[1:] == pytest.approx(np.zeros(19), abs=1e-9)
    assert silent[0] > mfcc(1e-3 * wave, 8000, 20, 512, 160)[0, -1]
