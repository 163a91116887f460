"""Mel-frequency cepstral coefficients, defined as in librosa 0.10 and later, without librosa."""

import numpy as np
from scipy.fft import dct
from scipy.signal import get_window

MELS = 128
LINEAR = 200 / 3
"""Hz a mel below 1 kHz (Slaney's scale)."""
LOG_STEP = np.log(6.4) / 27
"""Logarithm of the ratio of two frequencies a mel apart, above 1 kHz."""
DYNAMIC_RANGE = 80.0
"""dB below the loudest value at which the spectrum is cut off."""


def mfcc(wave: np.ndarray, rate: int, coefficients: int = 20, window: int = 2048, hop: int = 512) -> np.ndarray:
    """The first cepstral coefficients of the mel power spectrum in dB (ref 1).

    Frames are centred and the ends padded with zeros; Hann window; DCT-II, orthonormal.

    Args:
        wave: `(samples,)`, in [-1, 1].
        rate: Hz.
        coefficients: how many.
        window: samples of a frame.
        hop: samples between frames.

    Returns:
        `(coefficients, 1 + samples // hop)`.
    """
    padded = np.pad(wave.astype(np.float64), window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    power = np.abs(np.fft.rfft(frames * get_window("hann", window), axis=1)) ** 2
    decibels = 10 * np.log10(np.maximum(power @ mel_filters(rate, window).T, 1e-10))
    decibels = np.maximum(decibels, decibels.max() - DYNAMIC_RANGE)
    return dct(decibels, axis=1, norm="ortho")[:, :coefficients].T


def mel_filters(rate: int, window: int) -> np.ndarray:
    """Triangles of unit area over the frequencies of a spectrum, evenly spaced in mel, `(MELS, window // 2 + 1)`."""
    break_hz, break_mel = 1000.0, 1000.0 / LINEAR
    highest = rate / 2
    top = highest / LINEAR if highest < break_hz else break_mel + np.log(highest / break_hz) / LOG_STEP
    mels = np.linspace(0, top, MELS + 2)
    edges = np.where(mels < break_mel, mels * LINEAR, break_hz * np.exp(LOG_STEP * (mels - break_mel)))
    frequencies = np.fft.rfftfreq(window, 1 / rate)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequencies - left) / (centre - left), (right - frequencies) / (right - centre)
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (right - left)
