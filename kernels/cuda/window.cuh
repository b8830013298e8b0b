// A warp's window on the intervals between frames of f0, for samples that it goes through in order: a lane has an
// interval, and lends it to lanes whose samples lie there. So no table of phases goes before the kernels.
#pragma once
#include "phase.cuh"

#define ALL_LANES 0xffffffffu

// Of interval `first` + lane: phase before its first sample, increments, phase after it; NaN where f0 is not finite.
struct Window {
    long long first, start;
    word phase, base, slope, after;
    real spoiled;
};

// The window that begins with interval `first`, before which the phase is `before`. Intervals after the last are empty.
__device__ inline Window window_from(const real* f0, long long first, word before, const Timeline& t)
{
    const int lane = threadIdx.x & 31;
    const long long i = first + lane;
    Window window = {first, 0, 0, 0, 0, before, 0};
    word advance = 0;
    if (i < t.n_intervals) {
        const Interval v = look_at(f0, i, 0, t);
        window.start = v.start;
        window.base = v.base;
        window.slope = v.slope;
        window.spoiled = (real)(0 * (v.a + v.c));
        advance = v.advance;
    }
    word until = advance;
#pragma unroll
    for (int d = 1; d < 32; d <<= 1) {
        const word more = __shfl_up_sync(ALL_LANES, until, d);
        if (lane >= d) until += more;
    }
    window.after += until;
    window.phase = window.after - advance;
    return window;
}

// A sample's phase, before its own advance; NaN to be added where f0 is not finite.
struct Phase {
    word turns;
    real spoiled;
};

// Of sample n in interval i. All lanes of the warp call it, with i not before the window's first, and not falling from
// call to call; the window moves on with them.
__device__ inline Phase phase_at(const real* f0, Window& window, long long i, long long n, const Timeline& t)
{
    Phase phase = {0, 0};
    for (;;) {
        const bool is_here = i >= window.first && i < window.first + 32;
        const int from = is_here ? (int)(i - window.first) : 0;
        const word m = n - __shfl_sync(ALL_LANES, window.start, from);
        const word before = __shfl_sync(ALL_LANES, window.phase, from);
        const word base = __shfl_sync(ALL_LANES, window.base, from), slope = __shfl_sync(ALL_LANES, window.slope, from);
        const real spoiled = __shfl_sync(ALL_LANES, window.spoiled, from);
        if (is_here) phase = {before + m * base + ((m * (m - 1)) >> 1) * slope, spoiled};
        if (!__any_sync(ALL_LANES, i >= window.first + 32)) return phase;
        window = window_from(f0, window.first + 32, __shfl_sync(ALL_LANES, window.after, 31), t);
    }
}

// Phase just before interval i, summed up by the warp.
__device__ inline word warp_phase_before(const real* f0, double initial_phase, const word* segments, long long i,
                                         const Timeline& t)
{
    const int lane = threadIdx.x & 31;
    const long long segment = segments ? i / t.segment : 0;
    word sum = 0;
#pragma unroll 1
    for (long long s = lane; s < segment; s += 32) sum += segments[s];
#pragma unroll 1
    for (long long k = segment * t.segment + lane; k < i; k += 32) sum += look_at(f0, k, 0, t).advance;
#pragma unroll
    for (int d = 16; d; d >>= 1) sum += __shfl_xor_sync(ALL_LANES, sum, d);
    return from_radians(initial_phase) + sum;
}
