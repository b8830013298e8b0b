// Partials in the intervals between frames: where an interval lies, and what a partial is there. The equations are those
// of kernels/cpu/partial_phases.py, rounded where they are rounded.
#pragma once
#include "phase.cuh"

#define ALWAYS 0xffffffffu  // below Nyquist throughout the interval

struct Line {
    long long n_samples, n_intervals, hop, first_frame, n_frames;  // hop: n_samples / n_intervals, rounded down
    double per_sample, per_step;  // make turns of Hz: 1 / sample_rate, n_intervals / (n_samples sample_rate)
    double nyquist;
    int n_partials;
};

// The numbers of a line as parameters of a kernel, and the line that they make.
#define LINE_PARAMETERS                                                                                               \
    long long n_samples, long long n_intervals, long long hop, long long first_frame, long long n_frames,             \
        double per_sample, double per_step, double nyquist, int n_partials
#define LINE Line{n_samples, n_intervals, hop, first_frame, n_frames, per_sample, per_step, nyquist, n_partials}

// Where an interval lies.
struct Span {
    long long start;  // its first sample
    int count;        // samples
    double fraction;  // of the way to the next frame, at the first sample
};

// One partial in one interval.
struct __align__(16) Partial {
    word phase, base, slope;  // just before the first sample; A and D
    real a0, a1;              // amplitudes of two frames
    unsigned from, length;    // samples at which it is below Nyquist, counted from the interval's first
};

__device__ __forceinline__ long long first_sample(long long i, const Line& line)
{
    const long long rest = line.n_samples - line.hop * line.n_intervals;  // mostly none, which saves a division
    return i * line.hop + (rest ? (i * rest + line.n_intervals - 1) / line.n_intervals : 0);
}

__device__ __forceinline__ Span span_of(long long i, const Line& line)
{
    const long long start = first_sample(i, line), late = start * line.n_intervals - i * line.n_samples;
    const double fraction = late ? __ddiv_rn((double)late, (double)line.n_samples) : 0.0;
    return {start, (int)(first_sample(i + 1, line) - start), fraction};
}

__device__ __forceinline__ const real* row(const real* frames, long long j, const Line& line)
{
    return frames + frame_of(j, line.n_frames) * line.n_partials;
}

// A and D of a partial whose frequency goes from a to c: rounded where the CPU rounds.
__device__ __forceinline__ void increments(double a, double c, const Span& span, const Line& line, word& base,
                                           word& slope)
{
    const double rise = __dsub_rn(c, a);
    base = fixed_point(__dmul_rn(__dadd_rn(a, __dmul_rn(rise, span.fraction)), line.per_sample));
    slope = fixed_point(__dmul_rn(rise, line.per_step));
}

__device__ __forceinline__ word triangle(word m) { return (m * (m + 1)) >> 1; }

// The phase after `count` samples, on the grid.
__device__ __forceinline__ word after(word phase, word base, word slope, int count)
{
    const word n = count;
    return (phase + n * base + ((n * (n - 1)) >> 1) * slope + 0x2000) & ~(word)0x3fff;
}

// Where partial k stands after interval i, if it stood at `phase` before.
__device__ inline word advanced(word phase, const real* frequencies, long long i, int k, const Line& line)
{
    const Span span = span_of(i, line);
    word base, slope;
    const long long frame = line.first_frame + i;
    increments(row(frequencies, frame, line)[k], row(frequencies, frame + 1, line)[k], span, line, base, slope);
    return after(phase, base, slope, span.count);
}

// Whether a frequency on its way from a to c is below Nyquist at sample m of interval i.
__device__ __forceinline__ bool is_below(double a, double c, long long i, unsigned m, const Span& span,
                                         const Line& line)
{
    const double rest = (double)((span.start + m) * line.n_intervals - i * line.n_samples);
    return a + (c - a) * (rest / (double)line.n_samples) < line.nyquist;
}

// Where partial p is below Nyquist: what is linear crosses it once.
__device__ inline void set_limits(Partial& p, double a, double c, long long i, const Span& span, const Line& line)
{
    p.from = 0;
    p.length = (a < c ? a : c) < line.nyquist ? ALWAYS : 0;
    if (p.length == 0 || (a > c ? a : c) < line.nyquist) return;
    unsigned low = 0, high = span.count;  // the first sample on the other side
#pragma unroll 1
    while (low < high) {
        const unsigned middle = low + (high - low) / 2;
        if (is_below(a, c, i, middle, span, line) == (a < c))
            low = middle + 1;
        else
            high = middle;
    }
    p.from = a < c ? 0 : low;
    p.length = a < c ? low : span.count - low;
}

// Partial k of interval i, but for its amplitudes. phases [n_intervals, n_partials] is null where intervals are few.
__device__ inline Partial look_at(const real* frequencies, const double* initial_phase, const word* phases, long long i,
                                  int k, const Span& span, const Line& line)
{
    Partial p;
    const double a = row(frequencies, line.first_frame + i, line)[k];
    const double c = row(frequencies, line.first_frame + i + 1, line)[k];
    increments(a, c, span, line, p.base, p.slope);
    p.phase = phases ? phases[i * line.n_partials + k] : from_radians(initial_phase[k]);
    if (!phases)
#pragma unroll 1
        for (long long before = 0; before < i; ++before) p.phase = advanced(p.phase, frequencies, before, k, line);
    set_limits(p, a, c, i, span, line);
    p.a0 = p.a1 = (real)(a * 0 + c * 0);  // NaN where a frequency is not finite: it sounds throughout
    if (p.a0 != 0) p.from = 0, p.length = ALWAYS;
    return p;
}
