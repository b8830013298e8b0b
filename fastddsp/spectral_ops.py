"""magenta/ddsp's `spectral_ops` on torch tensors: the door onto `fastddsp.autograd.spectral`."""

from fastddsp.autograd.scaling import DB_RANGE
from fastddsp.autograd.spectral import (
    compute_logmag,
    compute_logmel,
    compute_loudness,
    compute_mag,
    compute_mel,
    compute_mfcc,
    compute_power,
    compute_rms_energy,
    get_framed_lengths,
    pad,
    pad_or_trim_to_expected_length,
    stft,
)

__all__ = [
    "DB_RANGE",
    "F0_RANGE",
    "compute_logmag",
    "compute_logmel",
    "compute_loudness",
    "compute_mag",
    "compute_mel",
    "compute_mfcc",
    "compute_power",
    "compute_rms_energy",
    "get_framed_lengths",
    "pad",
    "pad_or_trim_to_expected_length",
    "stft",
]

F0_RANGE = 127.0  # MIDI notes
