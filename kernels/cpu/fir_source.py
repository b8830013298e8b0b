"""What filters filter, audio or noise that is made on the way, in rows of a group's units (see fir_layout)."""

from typing import NamedTuple

import numpy as np
from numba import njit

from fastddsp.kernels.cpu.compile import helper
from fastddsp.kernels.cpu.copies import clear_rows, weigh
from fastddsp.kernels.cpu.fir_layout import QUAD, place_fades, place_samples
from fastddsp.kernels.cpu.lanes import load_lanes
from fastddsp.kernels.cpu.noise import fill
from fastddsp.kernels.cpu.simd import pointer, register_width


class Source(NamedTuple):
    """What is filtered: audio, or the noise of seeds (then audio is empty)."""

    audio: np.ndarray  # [batch * n_samples]
    seeds: np.ndarray  # int64 [batch]
    offset: int  # of the first sample in the noise's stream


@njit(inline="always")
def samples(source, b, layout, n_units, phase, scratch, rows):
    """rows: the units' samples, of the audio or of noise that is made now; weighted where frames overlap."""
    width, units = register_width(rows), scratch.units
    numbers, offset = pointer(source.audio, 0), b * layout.n_samples
    if source.seeds.size > 0:
        at = (source.offset + units[0]) % QUAD
        n = (at + units[n_units] - units[0] + QUAD - 1) // QUAD * QUAD
        fill(source.seeds[b], b, source.offset + units[0] - at, n, scratch.noise)
        numbers, offset = scratch.noise, at - units[0]
    place_samples(scratch.lanes, units, width, offset)
    load_lanes(numbers, scratch.lanes, layout.block_rows, scratch.stage, rows)
    if layout.overlap:
        fade(layout, phase, scratch, rows)
    clear_rows(rows, layout.block_rows, layout.transform.half * (1 if layout.is_real else 2))


@helper
def fade(layout, phase, scratch, rows):
    """Weigh the units' samples, in rows."""
    width = register_width(rows)
    place_fades(scratch.lanes, scratch.units, width, layout, phase)
    load_lanes(layout.fades, scratch.lanes, layout.block_rows, scratch.stage, scratch.fades)
    weigh(scratch.fades, rows, layout.block_rows * width)


_NO_SEEDS = np.empty(0, np.int64)


def audio_source(audio: np.ndarray) -> Source:
    """Filter this audio, [batch, n_samples]."""
    return Source(audio.reshape(-1), _NO_SEEDS, 0)


def noise_source(seeds: np.ndarray, offset: int, dtype: np.dtype) -> Source:
    """Filter the noise of seeds, int64 [batch], from sample `offset` of its stream on."""
    return Source(np.empty(0, dtype), seeds, offset)
