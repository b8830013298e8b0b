"""Bugs planted in the CUDA kernels one by one: does the ordinary test suite catch them?

    python -m tests.cuda_on_cpu.mutants [--remember] [part of a file or of a name ...]

For each, the tests of the kernels (those that execute CUDA C) run in a process of their own on the changed source,
until one fails. Survivors are printed; less than 95 % caught is an error. docs/cuda_on_cpu.md judges the survivors.

The test that caught a bug last time runs first, which halves the time: caught_by.json, where `--remember` keeps it. A
test that is no longer there, or catches it no more, costs its time alone: all others run then.
"""

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import hypothesis
import numba  # noqa: F401  (for the forked processes, like oscillators)
import pytest
import torch
from hypothesis import Phase

from fastddsp.autograd import oscillators  # noqa: F401
from fastddsp.kernels.cuda import launch
from tests.cuda_on_cpu.executor import compiler_missing

FOLDER = Path(__file__).parent
REMEMBERED = FOLDER / "caught_by.json"
TIMEOUT_S = 200  # a mutant that does not end is caught
ENOUGH = 0.95


class Mutant(NamedTuple):
    """A bug: the `nth` place where `file`'s text, headers included, says `old` says `new` instead."""

    name: str
    old: str
    new: str
    nth: int = 0
    file: str = "harmonic.cu"


BARRIER = "__syncthreads();"
FIR, OSCILLATORS = "fir.cu", "oscillator_bank.cu"
PARTIALS, WAVETABLE, DELAY = "partials.cu", "wavetable.cu", "delay.cu"
WARP_BARRIER = "__syncwarp();"

MUTANTS = [
    # phases: phase.cuh
    Mutant("samples of an interval counted from the wrong one", "(i * rest + t.n_intervals - 1) /", "i * rest /"),
    Mutant("frames beyond the end not held", "j : n_frames - 1;", "j : n_frames;"),
    Mutant("whole turns kept", "__dsub_rn(turns, rint(turns))", "turns"),
    Mutant("last harmonic below Nyquist by floor", "ceil(nyquist / f) - 1", "floor(nyquist / f)"),
    Mutant("advance of one slope too many", "(count * (count - 1) >> 1) * v.slope",
           "(count * (count + 1) >> 1) * v.slope"),
    Mutant("advance not rounded to the grid", "+ 0x2000) & ~(word)0x3fff", "+ 0x2000)"),
    Mutant("advance rounded down", "* v.slope + 0x2000)", "* v.slope)"),
    Mutant("audible from the wrong end of the interval", "v.a < v.c ? v.a : v.c", "v.a > v.c ? v.a : v.c"),
    Mutant("sample's phase one increment behind", "(word)(m + 1) * v.base", "(word)m * v.base"),
    Mutant("sample's phase not rounded", "(exact + 0x80000000u) >> 32", "exact >> 32"),
    Mutant("sample's limit from the interval's start", "v.a + (v.c - v.a) * fraction", "v.a"),
    Mutant("hop rounded down where intervals do not divide the samples", "(rest ? (", "(false ? ("),
    Mutant("block's sum without its last step", "for (int d = 16; d; d >>= 1) v += __shfl_xor_sync",
           "for (int d = 16; d > 1; d >>= 1) v += __shfl_xor_sync"),
    Mutant("block's sum: no barrier", BARRIER, "", 0),
    Mutant("one segment too many", "s < segment; s +=", "s <= segment; s +="),
    Mutant("one interval too many before", "k < i; k +=", "k <= i; k +="),
    Mutant("intervals looked at before the last ones are done with", BARRIER, "", 1),
    Mutant("advances read before they are written", BARRIER, "", 2),
    Mutant("phases read before they are written", BARRIER, "", 3),
    Mutant("an interval's own advance before it", "for (int j = 0; j < k; ++j) before",
           "for (int j = 0; j <= k; ++j) before"),
    # envelopes: blend.cuh, envelope.cuh
    Mutant("weights swapped", "w0 = 1 - w1;", "w0 = w1; w1 = 1 - w0;"),
    Mutant("cubic weights not rounded", "rint(rest / n_samples * 1024) / 1024", "rest / n_samples"),
    # forward
    Mutant("staging guard gone", "h <= n_plain ? row[h - 1] : 0", "row[h - 1]"),
    Mutant("last plain harmonic left out", "h <= n_plain ? row[h - 1] : 0", "h < n_plain ? row[h - 1] : 0"),
    Mutant("p and q of the wrong team", "const int n_plain = intervals[team].plain",
           "const int n_plain = intervals[0].plain"),
    Mutant("q's sign", "above1 + below1, above1 - below1};", "above1 + below1, below1 - above1};"),
    Mutant("second frame is the first", "frame + threadIdx.x + 1, t, s)", "frame + threadIdx.x, t, s)"),
    Mutant("one cosine short", "for (int j = 0; j < HALF; ++j) {\n            const Pair",
           "for (int j = 0; j < HALF - 1; ++j) {\n            const Pair"),
    Mutant("turned the other way", "turn(o.s[l], o.c[l], o.turn_sine[l],", "turn(o.s[l], o.c[l], -o.turn_sine[l],"),
    Mutant("never started afresh", "if (block % BLOCKS_PER_SEED == 0) {", "if (block == 0) {"),
    Mutant("started one harmonic off", "BLOCK * block + MIDDLE, s.shift", "BLOCK * block + HALF, s.shift"),
    Mutant("staged over what is still read", BARRIER, "", 4),
    Mutant("read before it is staged", BARRIER, "", 5),
    Mutant("crossing harmonics one short", "h <= min(limit, v.audible)", "h < min(limit, v.audible)"),
    Mutant("crossing harmonics not masked", "h <= min(limit, v.audible)", "h <= v.audible"),
    Mutant("samples beyond the interval written", "if (at.m0 + l * team < v.count && ", "if ("),
    Mutant("idle teams write too", " && mine < at.count) audio", ") audio"),
    Mutant("rounds overlap", "round * team * SAMPLES + (int)threadIdx.x", "round * team + (int)threadIdx.x"),
    Mutant("final phase before the last interval", "to_radians(last.phase + last.advance)", "to_radians(last.phase)"),
    Mutant("frequencies that are not finite unnoticed", "y[l] += (real)((v.a + v.c) * 0.0);", ""),
    Mutant("voices of another row", "(long long)b * voices + voice", "(long long)b + voice"),
    Mutant("the first voice alone", "voice += tap == 0;", "voice += voices;"),
    Mutant("voices' sum begins again", "y[l] += (real)(", "y[l] = (real)("),
    # backward
    Mutant("a signal for every voice", "(long long)(item / s.voices)", "(long long)item"),
    Mutant("tile filled while it is read", BARRIER, "", 6),
    Mutant("tile read before it is filled", BARRIER, "", 7),
    Mutant("tile larger than its memory", "SAMPLES_STAGED 4", "SAMPLES_STAGED 8"),
    Mutant("moments count from 0", "const real after = m + 1;", "const real after = m;"),
    Mutant("moments of the wrong sample", "tile, k, begin + k, middle, s.shift", "tile, k, k, middle, s.shift"),
    Mutant("a slice short", "slice < slices; ++slice, from", "slice < slices - 1; ++slice, from"),
    Mutant("threads beyond the slices work too", "if (slice < slices)\n", "if (slice <= slices)\n"),
    Mutant("stride of the slices", "k += slices) add_sample", "k += slices + 1) add_sample"),
    Mutant("sums over the tile that is still read", BARRIER, "", 8),
    Mutant("sums read before they are written", BARRIER, "", 9),
    Mutant("crossing: sums read before they are written", BARRIER, "", 10),
    Mutant("rows of other blocks", "return j >= first && j < last ?", "return j >= first && j <= last ?"),
    Mutant("harmonics beyond the row", "if (row && h <= n_plain) row", "if (row) row"),
    Mutant("sum and difference swapped", "add_to(out1, middle_of - j - 1, task.v->plain, sum[1] - sum[3])",
           "add_to(out1, middle_of - j - 1, task.v->plain, sum[1] + sum[3])"),
    Mutant("crossing not masked", "if (h > tile.limit[k]) continue;", ""),
    Mutant("amplitudes' gradients not cleared", "k += blockDim.x) out[k] = 0;", "k += blockDim.x) {}"),
    Mutant("an interval left unvisited", "j0 - from - n_taps(s.method) + 1", "j0 - from - n_taps(s.method) + 2"),
    Mutant("moments written by every visitor", "if (PHASE && is_mine) {", "if (PHASE) {"),
    Mutant("more intervals than are looked at together", "(i - first) % MAX_INTERVALS;",
           "(i - first) % (MAX_INTERVALS + 1);"),
    # gradient of f0
    Mutant("moments' sum: scratch written while it is read", BARRIER, "", 11),
    Mutant("moments' sum: scratch read before it is written", BARRIER, "", 12),
    Mutant("scan: scratch read before it is written", BARRIER, "", 13),
    Mutant("scan without lane guard", "if (lane + d < 32) v += later;", "v += later;"),
    Mutant("scan adds its own warp", "for (int w = warp + 1; w < SCAN", "for (int w = warp; w < SCAN"),
    Mutant("an interval's own moment among the later ones", "after = later + (from_here - own.s);",
           "after = later + from_here;"),
    Mutant("sides read before they are written", BARRIER, "", 14),
    Mutant("held frames' intervals dropped at the end", "is_last || i >= t.n_intervals ?", "i >= t.n_intervals ?"),
    Mutant("held frames' intervals dropped at the start", "is_first || i < 0 ? 0 : i;", "i < 0 ? 0 : i;"),
    Mutant("initial phase without the final one's cotangent", "double later = final_cotangent;",
           "double later = 0;"),
    # filters: fir.cu, philox.cuh
    Mutant("last frame not cut to the audio", "f * v.hop < v.n_samples ? f * v.hop : v.n_samples", "f * v.hop", 0, FIR),
    Mutant("even frames rounded down", "(f * v.n_samples + v.n_frames - 1) /", "f * v.n_samples /", 0, FIR),
    Mutant("frames replaced while they are used", BARRIER, "", 0, FIR),
    Mutant("frames used before they are there", BARRIER, "", 1, FIR),
    Mutant("bands staged over those still read", BARRIER, "", 2, FIR),
    Mutant("bands staged for the first threads only", "round == 0 || v.n >= BANDS", "round == 0", 0, FIR),
    Mutant("lags folded for the first threads only", "round == 0 || n_lags > BANDS / 2", "round == 0", 0, FIR),
    Mutant("bands read before they are staged", BARRIER, "", 3, FIR),
    Mutant("lags folded before taps are there", BARRIER, "", 4, FIR),
    Mutant("lags read before they are folded", BARRIER, "", 5, FIR),
    Mutant("taps heard before they are there", BARRIER, "", 6, FIR),
    Mutant("cotangent replaced while it is read", BARRIER, "", 7, FIR),
    Mutant("taps used backward before they are there", BARRIER, "", 8, FIR),
    Mutant("taps' gradients over taps still read", BARRIER, "", 9, FIR),
    Mutant("fade of half a turn", "/ (real)(end - start) / 4", "/ (real)(end - start) / 2", 0, FIR),
    Mutant("the last frame fades", "v.overlap && frame < v.n_frames - 1", "v.overlap", 0, FIR),
    Mutant("noise from quadruples on only", "(int)((v.offset + frames.base) & 3)", "0", 0, FIR),
    Mutant("a seed a row where there is one", "v.seeds[b * v.seed_stride]", "v.seeds[b]", 0, FIR),
    Mutant("rows of the same noise", "philox(seed, (word)b,", "philox(seed, 0,", 0, FIR),
    Mutant("9 rounds", "round < 10", "round < 9", 0, FIR),
    Mutant("noise is positive", "(int)random >> 8", "random >> 8", 0, FIR),
    Mutant("no zeros after the last frame", "k < STEPS * count;", "k < STEPS * (count - 1);", 0, FIR),
    Mutant("terms in the wrong order", "i + STEPS - 1 - k : i + k", "i + k : i + k", 0, FIR),
    Mutant("cosines never exact again", "(k0 + k) % SEED == 0", "k0 + k == 0", 0, FIR),
    Mutant("cosines turn the other way", "t.turn_cosine, t.cosine * t.turn_sine)",
           "t.turn_cosine, -t.cosine * t.turn_sine)", 0, FIR),
    Mutant("Nyquist counts in full", "k0 + k == 0 || k0 + k == v.n", "k0 + k == 0", 0, FIR),
    Mutant("window repeats", "i >= v.window_size ? 0 :", "", 0, FIR),
    Mutant("middle lag twice", "(side & 1 && 2 * m == v.n) || ", "", 0, FIR),
    Mutant("lag 0 twice", " || (side & 2 && size == 0)", "", 0, FIR),
    Mutant("a side forgotten", "for (int side = 0; side < 4; ++side) any", "for (int side = 0; side < 3; ++side) any",
           0, FIR),
    Mutant("frames after the last", "first + f < v.n_frames ? first + f : v.n_frames - 1", "first + f", 0, FIR),
    Mutant("a zero too few around taps", "const int zeros = row - here;", "const int zeros = row - here - 1;", 0, FIR),
    Mutant("taps of frames that are not there", "if (set * FRAMES + f < count)", "", 0, FIR),
    Mutant("tiles of taps replace each other's bands", "*part = from ? *part + share * sums[f] : share * sums[f];",
           "*part = share * sums[f];", 0, FIR),
    Mutant("Nyquist's gradient in full", "k == 0 || k == v.n ? (real)0.5", "k == 0 ? (real)0.5", 0, FIR),
    Mutant("first tap of the last sample unheard", "q + SAMPLES < frames.borders[count] ? q + SAMPLES :",
           "q + SAMPLES < frames.borders[count] ? q + SAMPLES - 1 :", 0, FIR),
    Mutant("last tap unheard", "q - (here - 1) > 0 ? q - (here - 1) : 0, f",
           "q - (here - 2) > 0 ? q - (here - 2) : 0, f", 0, FIR),
    Mutant("a sample of the block unheard", "q - from + size < n_samples ? q - from + size :",
           "q - from + size < n_samples ? q - from + size - 1 :", 0, FIR),
    Mutant("a frame between groups unheard", "first <= last; first += group", "first <= last; first += group + 1",
           0, FIR),
    Mutant("next frame's filter is the frame's own", "count, rows + row, row", "count, rows, row", 0, FIR),
    Mutant("outputs beyond the row", "if (p < n_out) out", "out", 0, FIR),
    Mutant("pieces overlap", "pieces > 1 && low + piece < last ? low + piece : last", "last", 0, FIR),
    Mutant("cotangent read before its start", "i >= before && i < end ?", "i < end ?", 0, FIR),
    Mutant("cotangent one short", "n_heard = total + here + SEEN - 2", "n_heard = total + here + SEEN - 3", 0, FIR),
    Mutant("own filter's gradient not faded", "fused(w, next[i], (1 - w) * value)", "fused(w, next[i], value)", 0, FIR),
    Mutant("audio's gradient beyond the frame", "if (at + i >= frames.borders[f + 1]) continue;", "", 0, FIR),
    Mutant("tiles of taps replace each other's audio", "*target = from ? *target + value : value;", "*target = value;",
           0, FIR),
    Mutant("window forgotten backward", "= weights[l + i] * sums[i];", "= sums[i];", 0, FIR),
    Mutant("a piece not added", "j < pieces; ++j) sum += own", "j < pieces - 1; ++j) sum += own", 0, FIR),
    Mutant("own part for the frame before's", "own - pieces * step + n_bands", "own - pieces * step", 0, FIR),
    Mutant("sums beyond the last band", "k < n_bands; k += blockDim.x) {\n        const real* own",
           "k <= n_bands; k += blockDim.x) {\n        const real* own", 0, FIR),
    Mutant("bands beyond a block's threads not added", "k < n_bands; k += blockDim.x) {\n        const real* own",
           "k < n_bands; k += n_bands) {\n        const real* own", 0, FIR),
    Mutant("first frame in the wrong half", "int step = 16; step;", "int step = 8; step;", 0, FIR),
    # partials: partials.cu, blend.cuh
    Mutant("advance rounded down", "* slope + 0x2000)", "* slope)", 0, PARTIALS),
    Mutant("frequency at the frame, not at the first sample", "__dmul_rn(rise, span.fraction)", "0.0", 0, PARTIALS),
    Mutant("multiplied and added at once", "__dadd_rn(a, __dmul_rn(rise, span.fraction))",
           "fma(rise, span.fraction, a)", 0, PARTIALS),
    Mutant("search for Nyquist one sample short", "unsigned low = 0, high = span.count;",
           "unsigned low = 0, high = span.count - 1;", 0, PARTIALS),
    Mutant("falling partials silent on the wrong side", "p.from = a < c ? 0 : low;", "p.from = 0;", 0, PARTIALS),
    Mutant("rising partials sound to the end", "p.length = a < c ? low : span", "p.length = a < c ? ALWAYS : span", 0,
           PARTIALS),
    Mutant("crossing partials not masked", "if (CROSSES && at.m", "if (false && at.m", 0, PARTIALS),
    Mutant("one interval too many before", "before < i; ++before", "before <= i; ++before", 0, PARTIALS),
    Mutant("frequencies that are not finite unnoticed", "p.a0 = p.a1 = (real)(a * 0 + c * 0);", "p.a0 = p.a1 = 0;", 0,
           PARTIALS),
    Mutant("scan without the warps before", "w < warp; ++w) phase += advances", "w < warp - 1; ++w) phase += advances",
           0, PARTIALS),
    Mutant("scan: partials beyond the last", "if (k >= n_partials) return;", "", 0, PARTIALS),
    Mutant("scan: read before it is written", BARRIER, "", 4, PARTIALS),
    Mutant("staged over what is still read", BARRIER, "", 5, PARTIALS),
    Mutant("read before it is staged", BARRIER, "", 6, PARTIALS),
    Mutant("step without its bend", "+ triangle(team);", ";", 0, PARTIALS),
    Mutant("second difference of half the size", "at.bend = (word)team * team;", "at.bend = (word)team * team / 2;", 0,
           PARTIALS),
    Mutant("samples beyond the interval written", "if (is_there && at.m + l * team < span.count)", "if (is_there)", 0,
           PARTIALS),
    Mutant("idle teams write too", "if (is_there && at.m + l * team", "if (at.m + l * team", 0, PARTIALS),
    Mutant("rounds overlap", "round * team * SAMPLES + member", "round * team + member", 0, PARTIALS),
    Mutant("cubic weights not rounded", "rint(rest / n_samples * 1024) / 1024", "rest / n_samples", 0, PARTIALS),
    Mutant("tile filled while it is read", BARRIER, "", 7, PARTIALS),
    Mutant("tile read before it is filled", BARRIER, "", 8, PARTIALS),
    Mutant("sums over slices: written while they are read", BARRIER, "", 9, PARTIALS),
    Mutant("sums over slices: read before they are written", BARRIER, "", 10, PARTIALS),
    Mutant("a slice short", "slice < slices; ++slice) sum", "slice < slices - 1; ++slice) sum", 0, PARTIALS),
    Mutant("first sample that sounds one slice late", "- slice + slices - 1, 0)", "- slice + slices, 0)", 0, PARTIALS),
    Mutant("partials beyond the last", "    if (k < line.n_partials)\n        p = look_at", "    p = look_at", 0,
           PARTIALS),
    Mutant("all taps' moments but the last forgotten", "{0, 0, moments.v, moments.x, moments.q}", "{0, 0, 0, 0, 0}", 0,
           PARTIALS),
    Mutant("held frames' intervals dropped at the start", "j == 0 || i < 0 ? 0 : i;", "i < 0 ? 0 : i;", 0, PARTIALS),
    Mutant("held frames' intervals dropped at the end", "j == line.n_frames - 1 || i >=", "i >=", 0, PARTIALS),
    Mutant("moments: read before they are written", BARRIER, "", 11, PARTIALS),
    Mutant("sides: read before they are written", BARRIER, "", 12, PARTIALS),
    Mutant("an interval's own moment among the later ones", "const double right = later *",
           "later += *moment; const double right = later *", 0, PARTIALS),
    # oscillators with controls for every sample: oscillator_bank.cu
    Mutant("slices' advances read before they are written", BARRIER, "", 4, OSCILLATORS),
    Mutant("a slice's own advance before it", "before < slice.number", "before <= slice.number", 0, OSCILLATORS),
    Mutant("slices of unequal length", "/ (SLICES * STEPS) * STEPS", "/ SLICES", 0, OSCILLATORS),
    Mutant("partials beyond the last", "k < n_partials ? n_samples : 0", "n_samples", 0, OSCILLATORS),
    Mutant("partials at Nyquist sound", "frequency >= nyquist ? 0 : v", "frequency > 2 * nyquist ? 0 : v", 0,
           OSCILLATORS),
    Mutant("sums of the wrong sample", "column & d ? v[j + d] : v[j], give", "column & d ? v[j] : v[j + d], give", 0,
           OSCILLATORS),
    Mutant("samples beyond the last", "if (from + slice.column < n_samples) out", "out", 0, OSCILLATORS),
    Mutant("groups over each other", "(group * batch + b) * n_samples", "(group + b) * n_samples", 0, OSCILLATORS),
    Mutant("a group not added", "group < n_groups; ++group) sum", "group < n_groups - 1; ++group) sum", 0, OSCILLATORS),
    Mutant("tiles' sums beyond the end", "if (at >= n) return;", "", 0, OSCILLATORS),
    Mutant("one signal for each", "g[each ? at : b * n_samples + n]", "g[b * n_samples + n]", 0, OSCILLATORS),
    Mutant("slices' sums read before they are written", BARRIER, "", 5, OSCILLATORS),
    Mutant("a slice's own sum after it", "after > slice.number", "after >= slice.number", 0, OSCILLATORS),
    # delays: delay.cu, reading.cuh
    Mutant("faded at the far end no more", "x < width + 1;", "x < width;", 0, DELAY),
    Mutant("a point before the first", "(int)(c > 0 ? c : 0), (real)", "(int)c, (real)", 0, DELAY),
    Mutant("a slope on points", "inside && u > 0 && order == 1", "inside && order == 1", 0, DELAY),
    Mutant("the second derivative is the first", "inside && u > 0 && order == 1", "inside && u > 0", 0, DELAY),
    Mutant("the last step does not turn back", "wrap ? 0 : max_length", "max_length", 0, DELAY),
    Mutant("audio before its first sample", "here < 0 ? 0 : audio[item + here]", "audio[item + here]", 0, DELAY),
    Mutant("samples beyond the last", "if (n >= n_samples) return;", "", 0, DELAY),
    Mutant("all lanes at once", "turn == now) row", "turn >= 0 && now == 0) row", 0, DELAY),
    Mutant("turns without a barrier", WARP_BARRIER, "", 0, DELAY),
    Mutant("added before it is cleared", WARP_BARRIER, "", 1, DELAY),
    Mutant("samples that reach the tile's end unheard",
           "first + size + max_length < n_samples ? first + size + max_length",
           "first + size < n_samples ? first + size", 0, DELAY),
    Mutant("samples of the next tile", "here < size ? (int)", "here <= size ? (int)", 0, DELAY),
    Mutant("weights swapped", "high = p.high * g[item + n];", "high = p.low * g[item + n];", 0, DELAY),
    # wavetables: wavetable.cu
    Mutant("a sample's own advance before it", "m * base + ((m * (m - 1)) >> 1)",
           "(m + 1) * base + ((m * (m + 1)) >> 1)", 0, WAVETABLE),
    Mutant("no slope of the frequency", "((m * (m - 1)) >> 1) * slope", "0", 0, WAVETABLE),
    Mutant("quotients one too small", "if (rest >= n_samples) {", "if (rest > n_samples) {", 0, WAVETABLE),
    Mutant("window does not move on", "f0, window.first + 32, __shfl", "f0, window.first + 31, __shfl", 0, WAVETABLE),
    Mutant("a segment too few", "s = lane; s < segment", "s = lane; s < segment - 1", 0, WAVETABLE),
    Mutant("frequencies that are not finite unnoticed", "(real)(0 * (v.a + v.c))", "0", 0, WAVETABLE),
    Mutant("table not closed", "point < n_points ? point : 0", "point <= n_points ? point : 0", 0, WAVETABLE),
    Mutant("first point not the last's neighbour", "d = wrapped(c + 1, item.n_points);",
           "d = min(c + 1, item.n_points - 1);", 0, WAVETABLE),
    Mutant("last frame not held", "frame_of(at.frame + 1, item.n_tables)", "(at.frame + 1)", 0, WAVETABLE),
    Mutant("window: lanes before the first", "if (lane >= d) until += more;", "until += more;", 0, WAVETABLE),
    Mutant("window: an interval's own advance before it", "window.after - advance;", "window.after;", 0, WAVETABLE),
    Mutant("final phase of the wrong warp", "begin < end && end == n_samples)", "begin < end)", 0, WAVETABLE),
    Mutant("samples beyond the stretch", "if (from + lane < end) out", "out", 0, WAVETABLE),
    Mutant("samples beyond the interval summed", "is_there ? source.g[n] : 0", "source.g[n]", 0, WAVETABLE),
    Mutant("moments of the same order", "place(item, at, item.order + 1)", "place(item, at, item.order)", 0, WAVETABLE),
    Mutant("moments count from 1", "m = (real)(n - start);", "m = (real)(n - start + 1);", 0, WAVETABLE),
    Mutant("moments' pieces overlap", "share.pieces > 1 && begin + piece < end ? begin + piece : end", "end", 0,
           WAVETABLE),
    Mutant("a share's last interval in the next", "first + share.own < share", "first + share.own + 1 < share", 0,
           WAVETABLE),
    Mutant("moments' piece not added", "piece < pieces; ++piece", "piece < pieces - 1; ++piece", 0, WAVETABLE),
    Mutant("amplitude's last frame not held", "(j == n_amplitudes - 1 ? own[1] : 0)", "0", 0, WAVETABLE),
    Mutant("amplitudes of the item before", "if (j > 0) sum", "if (at > 0) sum", 0, WAVETABLE),
    Mutant("amplitudes beyond the last", "if (at >= n_all) return;", "", 0, WAVETABLE),
    Mutant("table's last frame not held", "j < item.n_tables - 1 ? 1 - rising : 1;", "1 - rising;", 0, WAVETABLE),
    Mutant("tables' pieces overlap", "begin + piece < ends ? begin + piece : ends", "ends", 0, WAVETABLE),
    Mutant("points of other tiles", "c < size ? max(c, -1)", "c <= size ? max(c, -1)", 0, WAVETABLE),
    Mutant("tile not cleared", "k += 32) tile[k] = 0;", "k += 33) tile[k] = 0;", 0, WAVETABLE),
    Mutant("added before it is cleared", WARP_BARRIER, "", 1, WAVETABLE),
    Mutant("a piece not added", "k < pieces_tables; ++k) sum", "k < pieces_tables - 1; ++k) sum", 0, WAVETABLE),
    Mutant("sums beyond the end", "if (row >= n_rows) return;", "", 0, WAVETABLE),
]  # fmt: skip


def changed(mutant: Mutant, text: str) -> str:
    """The text with the bug, or as it is where it has no place for it: a header by itself."""
    at = -1
    for _ in range(mutant.nth + 1):
        at = text.find(mutant.old, at + 1)
        if at < 0:
            return text
    return text[:at] + mutant.new + text[at + len(mutant.old) :]


def tests_of(file: str) -> list[str]:
    """The tests that run on a mutant of a source: its own, then those of phases where it has any."""
    has_phases = '"phase.cuh"' in launch.source(file)
    return [str(FOLDER / test) for test in (f"test_{Path(file).stem}.py", *["test_phase.py"] * has_phases)]


def remembered() -> dict[str, str]:
    """Test that caught a bug, by file and name of the bug."""
    return json.loads(REMEMBERED.read_text("utf-8")) if REMEMBERED.exists() else {}


def run_tests(mutant: Mutant, first: str | None, output: Path) -> NoReturn:
    """In a forked process: the tests on the changed source, until one fails; exits with pytest's status."""
    whole = launch.source
    launch.source = lambda file: changed(mutant, whole(file))
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # What a failing example shrinks to, nobody reads.
    hypothesis.settings.register_profile("mutants", phases=[Phase.explicit, Phase.generate], database=None)
    options = ["-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    options += ["--hypothesis-profile=mutants", "-k", "not PTX"]
    if first and pytest.main([*options, str(FOLDER / first)]) == pytest.ExitCode.TESTS_FAILED:
        os._exit(pytest.ExitCode.TESTS_FAILED)
    os._exit(int(pytest.main([*options, *tests_of(mutant.file)])))


def verdict(status: int, output: Path) -> str:
    """The first failing test of a mutant, `crash`, or `survives`."""
    if status == 0:
        return "survives"
    lines = output.read_text("utf-8").splitlines()
    failed = [line.split(" ", 1)[1] for line in lines if line.startswith(("FAILED", "ERROR"))]
    return failed[0].rpartition("/")[2].split(" - ")[0] if failed else f"crash ({status})"


def try_all(mutants: Sequence[Mutant], folder: Path) -> Iterator[tuple[Mutant, str]]:
    """Every mutant with its verdict as it comes, as many at a time as there are processors."""
    for mutant in mutants:
        if changed(mutant, launch.source(mutant.file)) == launch.source(mutant.file):
            raise ValueError(f"{mutant.name}: there is no such place in {mutant.file}")
    waiting, running, caught_by = list(mutants), {}, remembered()
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            mutant, output = waiting.pop(0), folder / str(len(waiting))
            pid = os.fork()  # from here, because to import torch and Numba takes longer than most tests
            if pid == 0:
                run_tests(mutant, caught_by.get(key(mutant)), output)
            running[pid] = mutant, output, time.monotonic()
        for pid, (mutant, output, start) in list(running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del running[pid]
                yield mutant, verdict(os.waitstatus_to_exitcode(status), output)
            elif time.monotonic() - start > TIMEOUT_S:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                del running[pid]
                yield mutant, "does not end"
        time.sleep(0.05)


def key(mutant: Mutant) -> str:
    """A name for it, and for no other."""
    return f"{mutant.file}, {mutant.name}"


def main(arguments: list[str]) -> int:
    """Try the mutants whose file or name holds one of the names given, or all; returns the exit status."""
    names = [argument for argument in arguments if argument != "--remember"]
    chosen = [m for m in MUTANTS if not names or any(name in key(m) for name in names)]
    caught_by = {key(m): test for m in MUTANTS if (test := remembered().get(key(m)))}
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        for mutant, text in try_all(chosen, Path(folder)):
            print(f"{mutant.file:12s} {mutant.name:60s} {text}", flush=True)
            survivors += text == "survives"
            if "::" in text and "--remember" in arguments:
                caught_by[key(mutant)] = text
                REMEMBERED.write_text(json.dumps(caught_by, indent=0, sort_keys=True) + "\n", "utf-8")
    print(f"{len(chosen) - survivors} of {len(chosen)} caught")
    return int(survivors > (1 - ENOUGH) * len(chosen))


if __name__ == "__main__":
    if reason := compiler_missing():
        sys.exit(reason)
    torch.set_num_threads(1)  # forked processes have no other threads
    sys.exit(main(sys.argv[1:]))
