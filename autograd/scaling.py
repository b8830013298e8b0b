"""Elementwise mathematics: logarithms and quotients that stay finite, unit conversions, and the scaling of controls.

    midi = 69 + 12 log2(hz / 440)        unit = (midi - midi_min) / (midi_max - midi_min)
    db = 10 log10(power) = 20 log10(amplitude)
    exp_sigmoid(x) = max_value * sigmoid(x) ** ln(exponent) + threshold

Every function takes a tensor of any shape and keeps its dtype, device and graph; those that convert units also take
Python numbers, which they compute in double precision and return as numbers. Scales that follow the ear's critical
bands are in `frequency_scaling`.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "DB_RANGE",
    "amplitude_to_db",
    "db_to_amplitude",
    "db_to_power",
    "diff",
    "exp_sigmoid",
    "gradient_reversal",
    "hz_to_midi",
    "hz_to_unit",
    "log10",
    "log_scale",
    "logb",
    "midi_to_hz",
    "midi_to_unit",
    "nan_to_num",
    "power_to_db",
    "safe_divide",
    "safe_log",
    "soft_limit",
    "sym_exp_sigmoid",
    "unit_to_hz",
    "unit_to_midi",
]

Number = TypeVar("Number", float, Tensor)

DB_RANGE = 80.0  # dB between the loudest level and what counts as silence


def _where(condition: bool | Tensor, x: float | Tensor, other: float | Tensor) -> Any:
    if isinstance(condition, Tensor):
        return torch.where(condition, x, other)
    return x if condition else other


def _log(x: float | Tensor) -> Any:
    return torch.log(x) if isinstance(x, Tensor) else math.log(x)


def _clip(x: Number, low: float, high: float) -> Number:
    # Not torch.clamp, which does not take numbers; as there, the bounds themselves pass a gradient of 1.
    return _where(x < low, low, _where(x > high, high, x))


def nan_to_num(x: Tensor, value: float = 0.0) -> Tensor:
    """Replace NaN by `value`; infinities stay."""
    return torch.where(torch.isnan(x), value, x)


def diff(x: Tensor, axis: int = -1) -> Tensor:
    """Difference of neighbours along an axis, which becomes one element shorter.

    Args:
        x: tensor of any shape.
        axis: where to take the difference.

    Raises:
        ValueError: x has no such axis.
    """
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis must be one of the {x.ndim} axes of x, got {axis}")
    return torch.diff(x, dim=axis)


def safe_divide(numerator: Number, denominator: Number, eps: float = 1e-7) -> Number:
    """Divide, with a denominator of exactly 0 replaced by `eps`; no gradient reaches that denominator."""
    return numerator / _where(denominator == 0.0, eps, denominator)


def safe_log(x: Number, eps: float = 1e-5) -> Number:
    """Natural logarithm, with x <= 0 replaced by `eps`; the gradient there is 0.

    Positive values below `eps` are taken as they are: this is not log(max(x, eps)).
    """
    return _log(_where(x <= 0.0, eps, x))


def logb(x: Number, base: float = 2.0, eps: float = 1e-5) -> Number:
    """Logarithm to any base but 1, safe at x <= 0 like `safe_log`."""
    return safe_log(x, eps) / math.log(base)


def log10(x: Number, eps: float = 1e-5) -> Number:
    """Logarithm to base 10, safe at x <= 0 like `safe_log`."""
    return logb(x, base=10.0, eps=eps)


def log_scale(x: Tensor, min_x: float | Tensor, max_x: float | Tensor) -> Tensor:
    """Map [-1, 1] to [min_x, max_x] so that equal steps are equal ratios.

    Args:
        x: position, -1 for `min_x` and 1 for `max_x`.
        min_x: positive.
        max_x: positive.
    """
    position = (x + 1.0) / 2.0
    return torch.exp((1.0 - position) * _log(min_x) + position * _log(max_x))


def soft_limit(x: Tensor, x_min: float = 0.0, x_max: float = 1.0) -> Tensor:
    """Squash x smoothly into [x_min, x_max], as the difference of two softplus functions."""
    return _softplus(x) + x_min - _softplus(x - (x_max - x_min))


def _softplus(x: Tensor) -> Tensor:
    # torch turns to the identity above 20, where float64 still sees exp(-20) = 2e-9.
    return F.softplus(x, threshold=40.0)


def gradient_reversal(x: Tensor) -> Tensor:
    """Return x as it is, with the sign of its gradient turned around."""
    return (2.0 * x).detach() - x


def exp_sigmoid(x: Tensor, exponent: float = 10.0, max_value: float = 2.0, threshold: float = 1e-7) -> Tensor:
    """Sigmoid to the power ln(exponent): positive, with a wide range of small values.

    Args:
        x: any real number, such as the output of a network.
        exponent: far below 0 the output falls by this factor for each unit of x. Above 1.
        max_value: limit for large x.
        threshold: limit for small x, which keeps logarithms of the output finite.

    Returns:
        Tensor like x with values in (threshold, max_value + threshold).

    Source: Engel et al., DDSP: Differentiable Digital Signal Processing, ICLR 2020, appendix B.5.
    """
    # exp(p * logsigmoid) has a finite gradient everywhere; sigmoid ** p is NaN where sigmoid underflows and p < 1.
    return max_value * torch.exp(math.log(exponent) * F.logsigmoid(x)) + threshold


def sym_exp_sigmoid(x: Tensor, width: float = 8.0) -> Tensor:
    """`exp_sigmoid` of |x|, with its foot at x = 0 and its middle at |x| = 2."""
    return exp_sigmoid(width * (torch.abs(x) / 2.0 - 1.0))


def amplitude_to_db(amplitude: Number, ref_db: float = 0.0, range_db: float = DB_RANGE) -> Number:
    """Convert a linear amplitude to decibels; arguments as for `power_to_db`."""
    return power_to_db(amplitude**2, ref_db=ref_db, range_db=range_db)


def power_to_db(power: Number, ref_db: float = 0.0, range_db: float = DB_RANGE) -> Number:
    """Convert a power to decibels, of which the lowest is -range_db.

    Args:
        power: squared amplitude, 0 and more.
        ref_db: level that becomes 0, in dB.
        range_db: dynamic range in dB. The gradient below it is 0.

    Returns:
        Level in dB, in [-range_db, inf).
    """
    floor = 10.0 ** (-range_db / 10.0)
    db = 10.0 * log10(_where(power > floor, power, floor)) - ref_db
    return _where(db >= -range_db, db, -range_db)


def db_to_amplitude(db: Number) -> Number:
    """Convert decibels to a linear amplitude."""
    return db_to_power(db / 2.0)


def db_to_power(db: Number) -> Number:
    """Convert decibels to a power."""
    return 10.0 ** (db / 10.0)


def midi_to_hz(notes: Number, midi_zero_silence: bool = False) -> Number:
    """Convert MIDI note numbers, which may be fractions, to frequencies.

    Args:
        notes: semitones, 69 for A4.
        midi_zero_silence: note 0 means silence and becomes 0 Hz, instead of 8.18 Hz.

    Returns:
        Frequency in Hz.
    """
    hz = 440.0 * 2.0 ** ((notes - 69.0) / 12.0)
    return _where(notes == 0.0, 0.0, hz) if midi_zero_silence else hz


def hz_to_midi(frequencies: Number) -> Number:
    """Convert frequencies in Hz to MIDI note numbers; 0 Hz and less become note 0, with no gradient.

    There is no other limit: 0.01 Hz is note -116.
    """
    silent = frequencies <= 0.0
    notes = 12.0 * logb(_where(silent, 440.0, frequencies) / 440.0) + 69.0
    return _where(silent, 0.0, notes)


def unit_to_midi(unit: Number, midi_min: float = 20.0, midi_max: float = 90.0, clip: bool = False) -> Number:
    """Map [0, 1] to the notes [midi_min, midi_max]; `clip` brings `unit` into [0, 1] first."""
    unit = _clip(unit, 0.0, 1.0) if clip else unit
    return midi_min + (midi_max - midi_min) * unit


def midi_to_unit(midi: Number, midi_min: float = 20.0, midi_max: float = 90.0, clip: bool = False) -> Number:
    """Map the notes [midi_min, midi_max] to [0, 1]; `clip` limits the result to [0, 1]."""
    unit = (midi - midi_min) / (midi_max - midi_min)
    return _clip(unit, 0.0, 1.0) if clip else unit


def unit_to_hz(unit: Number, hz_min: float, hz_max: float, clip: bool = False) -> Number:
    """Map [0, 1] to [hz_min, hz_max] Hz so that equal steps are equal intervals.

    A limit of 0 Hz acts as note 0, which is 8.18 Hz.

    Args:
        unit: position, 0 for `hz_min` and 1 for `hz_max`.
        hz_min: in Hz.
        hz_max: in Hz.
        clip: bring `unit` into [0, 1] first.

    Returns:
        Frequency in Hz.
    """
    return midi_to_hz(unit_to_midi(unit, hz_to_midi(hz_min), hz_to_midi(hz_max), clip))


def hz_to_unit(hz: Number, hz_min: float, hz_max: float, clip: bool = False) -> Number:
    """Map [hz_min, hz_max] Hz to [0, 1]: the inverse of `unit_to_hz`, with the result clipped on request."""
    return midi_to_unit(hz_to_midi(hz), hz_to_midi(hz_min), hz_to_midi(hz_max), clip)
