// Phases of intervals and samples, bit for bit those of kernels/cpu/phase.py. The equations are in kernels/phase.py.
//
// Everything that a phase is made of is rounded as there: doubles are added, multiplied and divided by intrinsics that
// the compiler may not contract to multiply-adds. Integers wrap, and their sums do not depend on order, so that each
// block adds up what lies before it, on all its threads: no pass over the intervals goes before the kernels, as long as
// they are few (n_segments == 1). Else `segment_advances` adds up segments of them first.
#pragma once
#include "real.cuh"

#define MAX_INTERVALS 32  // that a block looks at together

// How samples lie over intervals between frames.
struct Timeline {
    long long n_samples, n_intervals, first_frame, n_frames;
    double sample_rate, nyquist;
    double slope_scale;  // n_samples / n_intervals * sample_rate, rounded so
    long long segment;   // intervals of a segment
    long long hop;       // n_samples / n_intervals, rounded down
    real step;           // n_intervals / n_samples
};

__device__ __forceinline__ Timeline timeline(long long n_samples, long long n_intervals, long long hop,
                                             long long first_frame, long long n_frames, long long segment,
                                             double sample_rate, double slope_scale, double nyquist)
{
    const real step = (real)n_intervals / (real)n_samples;
    return {n_samples, n_intervals, first_frame, n_frames, sample_rate, nyquist, slope_scale, segment, hop, step};
}

// The numbers of a timeline as parameters of a kernel, and the timeline that they make.
#define TIMELINE_PARAMETERS                                                                                           \
    long long n_samples, long long n_intervals, long long hop, long long first_frame, long long n_frames,             \
        long long segment, double sample_rate, double slope_scale, double nyquist
#define TIMELINE                                                                                                      \
    timeline(n_samples, n_intervals, hop, first_frame, n_frames, segment, sample_rate, slope_scale, nyquist)

// What one interval is.
struct Interval {
    double a, c;        // f0 at its ends, Hz
    word phase;         // just before its first sample
    word base, slope;   // increments of the phase
    word advance;       // of the phase over the interval, on the grid
    long long start;    // its first sample
    real fraction;      // of the way from frame to frame, at the first sample
    int count;          // samples
    int plain, audible;  // harmonics below Nyquist throughout, and somewhere
};

__device__ __forceinline__ long long interval_start(long long i, const Timeline& t)
{
    const long long rest = t.n_samples - t.hop * t.n_intervals;  // mostly none, which saves a division
    return i * t.hop + (rest ? (i * rest + t.n_intervals - 1) / t.n_intervals : 0);
}

// Where a sample lies between frames: the frame before it, and rest / n_samples of the way to the next.
struct Position {
    long long frame, rest;
};

// The division by n_samples, exact, by reciprocal = (2^64 - 1) / n_samples: the quotient is at most 1 too small.
__device__ __forceinline__ Position position(long long n, long long n_frames, long long n_samples, word reciprocal)
{
    const word scaled = (word)n * (word)n_frames;
    long long frame = (long long)__umul64hi(scaled, reciprocal), rest = (long long)scaled - frame * n_samples;
    if (rest >= n_samples) {
        ++frame;
        rest -= n_samples;
    }
    return {frame, rest};
}

__device__ __forceinline__ long long frame_of(long long j, long long n_frames)
{
    return j < 0 ? 0 : j < n_frames ? j : n_frames - 1;
}

__device__ __forceinline__ bool is_finite(double x) { return fabs(x) <= 1.7976931348623157e308; }

// Turns as a 64-bit fraction of a turn, whole turns dropped; 0 where not finite.
__device__ __forceinline__ word fixed_point(double turns)
{
    if (!is_finite(turns)) return 0;
    return (word)(long long)__dmul_rn(__dsub_rn(turns, rint(turns)), 0x1p63) << 1;
}

// Radians, any number of turns, as a phase on the grid of 2^-50 turns.
__device__ __forceinline__ word from_radians(double radians)
{
    double turns = __ddiv_rn(radians, 6.283185307179586);
    if (!is_finite(turns)) turns = 0;
    return (word)rint(__dmul_rn(__dsub_rn(turns, floor(turns)), 0x1p50)) << 14;
}

__device__ __forceinline__ double to_radians(word phase)
{
    return __dmul_rn(__dmul_rn((double)(phase >> 14), 0x1p-50), 6.283185307179586);
}

// How many harmonics of f lie below Nyquist, of n_harmonics; all where f <= 0.
__device__ __forceinline__ int last_below(double f, double nyquist, int n_harmonics)
{
    if (!(f > 0)) return n_harmonics;
    const double last = ceil(nyquist / f) - 1;
    return last < n_harmonics ? (last > 0 ? (int)last : 0) : n_harmonics;
}

__device__ __forceinline__ long long n_segments(const Timeline& t)
{
    return (t.n_intervals + t.segment - 1) / t.segment;
}

// f0: the batch item's frames. All of an interval but its phase.
__device__ inline Interval look_at(const real* f0, long long i, int n_harmonics, const Timeline& t)
{
    Interval v;
    v.a = f0[frame_of(t.first_frame + i, t.n_frames)];
    v.c = f0[frame_of(t.first_frame + i + 1, t.n_frames)];
    v.start = interval_start(i, t);
    v.count = (int)(interval_start(i + 1, t) - v.start);
    const double rise = __dsub_rn(v.c, v.a);
    const long long late = v.start * t.n_intervals - i * t.n_samples;
    const double offset = late ? __ddiv_rn((double)late, (double)t.n_samples) : 0.0;
    v.fraction = (real)offset;
    const double first = __dadd_rn(v.a, __dmul_rn(rise, offset));
    v.base = fixed_point(__ddiv_rn(first, t.sample_rate));
    v.slope = fixed_point(__ddiv_rn(rise, t.slope_scale));
    const word count = v.count;
    v.advance = (count * v.base + (count * (count - 1) >> 1) * v.slope + 0x2000) & ~(word)0x3fff;
    v.plain = last_below(v.a > v.c ? v.a : v.c, t.nyquist, n_harmonics);
    v.audible = last_below(v.a < v.c ? v.a : v.c, t.nyquist, n_harmonics);
    return v;
}

// Phase of the interval's sample m, rounded to as many bits as `turns` has.
__device__ __forceinline__ turns sample_phase(const Interval& v, long long m)
{
    const word exact = v.phase + (word)(m + 1) * v.base + (word)((m * (m + 1)) >> 1) * v.slope;
    return sizeof(turns) == 8 ? (turns)exact : (turns)((exact + 0x80000000u) >> 32);
}

// Harmonics below Nyquist at sample m of interval i.
__device__ __forceinline__ int sample_limit(const Interval& v, long long i, int m, int n_harmonics, const Timeline& t)
{
    const double fraction = (double)((v.start + m) * t.n_intervals - i * t.n_samples) / (double)t.n_samples;
    return last_below(v.a + (v.c - v.a) * fraction, t.nyquist, n_harmonics);
}

// The sum of v over the block's threads, for all of them. scratch: a word for each warp, not to be used again before a
// barrier.
__device__ inline word block_sum(word v, word* scratch)
{
#pragma unroll
    for (int d = 16; d; d >>= 1) v += __shfl_xor_sync(0xffffffffu, v, d);
    if ((threadIdx.x & 31) == 0) scratch[threadIdx.x >> 5] = v;
    __syncthreads();
    word sum = 0;
#pragma unroll 1
    for (int w = 0; w < (int)blockDim.x >> 5; ++w) sum += scratch[w];
    return sum;
}

// Phase just before interval i, from the initial phase and all advances before; every thread of the block gets it.
__device__ inline word phase_before(const real* f0, double initial_phase, const word* segments, long long i,
                                    const Timeline& t, word* scratch)
{
    const long long segment = segments ? i / t.segment : 0;
    word sum = 0;
#pragma unroll 1
    for (long long s = threadIdx.x; s < segment; s += blockDim.x) sum += segments[s];
#pragma unroll 1
    for (long long k = segment * t.segment + threadIdx.x; k < i; k += blockDim.x) sum += look_at(f0, k, 0, t).advance;
    return from_radians(initial_phase) + block_sum(sum, scratch);
}

// The `count` intervals from `first` on (MAX_INTERVALS at most) with their phases. Begins and ends with a barrier.
__device__ inline void look_at_all(const real* f0, word phase, long long first, int count, int n_harmonics,
                                   const Timeline& t, Interval* intervals)
{
    __syncthreads();
#pragma unroll 1
    for (int k = threadIdx.x; k < count; k += blockDim.x) intervals[k] = look_at(f0, first + k, n_harmonics, t);
    __syncthreads();
#pragma unroll 1
    for (int k = threadIdx.x; k < count; k += blockDim.x) {
        word before = phase;
#pragma unroll 1
        for (int j = 0; j < k; ++j) before += intervals[j].advance;
        intervals[k].phase = before;
    }
    __syncthreads();
}
