"""magenta/ddsp's `spectral_ops` on torch tensors: the door onto `fastddsp.autograd.spectral` and the CREPE tracker."""

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
from fastddsp.models.crepe import FRAME_SIZE as CREPE_FRAME_SIZE
from fastddsp.models.crepe import SAMPLE_RATE as CREPE_SAMPLE_RATE
from fastddsp.models.crepe_pitch import PretrainedCREPE, compute_f0

__all__ = [
    "CREPE_FRAME_SIZE",
    "CREPE_SAMPLE_RATE",
    "DB_RANGE",
    "F0_RANGE",
    "PretrainedCREPE",
    "compute_f0",
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
