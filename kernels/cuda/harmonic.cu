// Harmonic bank: the operations of kernels/cpu/harmonic.py, whose equations and names these are.
//
//     bank      y(n)    = sum_v sum_h a_h(n) sin(h theta(n) + psi),   a_h(n) = m_h(n) sum_t w_t(n) A[frame_t, h]
//     analysis  L[j, h] = sum_n g(n) m_h(n) w_j(n) sin(h theta(n) + psi)
//     moments   of v(n) = g(n) sum_h h a_h(n) cos(h theta(n) + psi), from which the gradient in f0 is made
//
// Items are the voices v of a batch, a batch's voices side by side: f0, amplitudes, phases and their gradients are an
// item's; audio and its cotangent g are those of all voices of a batch row.
//
// The loop over harmonics is explained in harmonic_blocks.cuh. Harmonics above Nyquist for a whole interval are not
// computed. Those that cross it inside are few: each is computed from its own exact phase and masked, sample by sample,
// which keeps masks out of the loop. Results depend neither on the grid nor on the order in which blocks run.
#include "harmonic_bank.cuh"
#include "harmonic_gradients.cuh"
#include "phase_gradient.cuh"

#define SETTINGS_PARAMETERS int batch, int voices, int n_harmonics, int method, int quarter_turns
#define SETTINGS Settings{batch, voices, n_harmonics, method, quarter(quarter_turns)}

// audio [batch, n_samples], final_phase [items] in radians. f0 [items, n_frames] in Hz, amplitudes [items, n_frames,
// n_harmonics], initial_phase [items] in radians; segments: see phase.cuh. A team of `team` threads renders an
// interval, or team * SAMPLES of its samples. Grid: batch x groups of THREADS / team intervals x rounds.
extern "C" __global__ void __launch_bounds__(THREADS, 3)
harmonic_bank(const real* __restrict__ f0, const double* __restrict__ initial_phase,
              const real* __restrict__ amplitudes, const word* __restrict__ segments, real* __restrict__ audio,
              double* __restrict__ final_phase, TIMELINE_PARAMETERS, SETTINGS_PARAMETERS, int team, int rounds)
{
    __shared__ Staged staged;
    const Timeline t = TIMELINE;
    const Settings s = SETTINGS;
    const unsigned n_tiles = gridDim.x / batch, tile = blockIdx.x % n_tiles, b = blockIdx.x / n_tiles;
    const int teams = THREADS / team, round = tile % rounds, mine = threadIdx.x / team;
    Place at = {(long long)(tile / rounds) * teams, 0, 0, round * team * SAMPLES + (int)threadIdx.x % team, team};
    at.count = (int)(n_intervals - at.first < teams ? n_intervals - at.first : teams);
    at.mine = mine < at.count ? mine : at.count - 1;  // idle teams repeat the last

    real y[SAMPLES] = {0};
    Oscillators o;
    // One loop over voices and taps: in two, NVRTC computes parts of `o` anew in the loop over harmonics.
#pragma unroll 1
    for (int voice = 0, tap = 0; voice < voices;) {
        const long long item = (long long)b * voices + voice;
        const bool is_last = round == 0 && at.first + at.count == n_intervals;
        const Voice its = {f0 + item * n_frames, amplitudes + item * n_frames * n_harmonics, initial_phase[item],
                           segments ? segments + item * n_segments(t) : nullptr,
                           is_last ? final_phase + item : nullptr};
        if (tap == 0) begin(its, at, t, s, staged, o, y);
        add_taps(its, tap, at, t, s, staged, o, y);
        tap = tap + 2 < n_taps(method) ? tap + 2 : 0;
        voice += tap == 0;
    }
    const Interval& v = staged.intervals[at.mine];  // all voices' intervals lie alike
#pragma unroll
    for (int l = 0; l < SAMPLES; ++l)
        if (at.m0 + l * team < v.count && mine < at.count) audio[b * n_samples + v.start + at.m0 + l * team] = y[l];
}

// Sums of the intervals' advances, segment by segment: [items, segments]. Grid: items x segments.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
segment_advances(const real* __restrict__ f0, word* __restrict__ segments, TIMELINE_PARAMETERS)
{
    __shared__ word scratch[THREADS / 32];
    const Timeline t = TIMELINE;
    const long long b = blockIdx.x / n_segments(t), first = blockIdx.x % n_segments(t) * segment;
    const long long last = first + segment < n_intervals ? first + segment : n_intervals;
    word sum = 0;
    for (long long i = first + threadIdx.x; i < last; i += THREADS)
        sum += look_at(f0 + b * n_frames, i, 0, t).advance;
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) segments[blockIdx.x] = sum;
}

// Backward, three kernels that differ in what they are asked for. Grid: items x owners of frames.

extern "C" __global__ void __launch_bounds__(THREADS, 1)
harmonic_gradients(const real* __restrict__ f0, const double* __restrict__ initial_phase,
                   const word* __restrict__ segments, const real* __restrict__ g, const real* __restrict__ amplitudes,
                   real* __restrict__ d_amplitudes, double* __restrict__ moments, TIMELINE_PARAMETERS,
                   SETTINGS_PARAMETERS, int own)
{
    extern __shared__ real gradient_memory[];
    __shared__ Shared shared;
    backward<true, true>(f0, initial_phase, segments, g, amplitudes, d_amplitudes, moments, TIMELINE, SETTINGS, own,
                         shared, gradient_memory);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
harmonic_analysis(const real* __restrict__ f0, const double* __restrict__ initial_phase,
                  const word* __restrict__ segments, const real* __restrict__ g, real* __restrict__ out,
                  TIMELINE_PARAMETERS, SETTINGS_PARAMETERS, int own)
{
    extern __shared__ real analysis_memory[];
    __shared__ Shared shared;
    backward<true, false>(f0, initial_phase, segments, g, nullptr, out, nullptr, TIMELINE, SETTINGS, own, shared,
                          analysis_memory);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
harmonic_moments(const real* __restrict__ f0, const double* __restrict__ initial_phase,
                 const word* __restrict__ segments, const real* __restrict__ g, const real* __restrict__ amplitudes,
                 double* __restrict__ moments, TIMELINE_PARAMETERS, SETTINGS_PARAMETERS, int own)
{
    extern __shared__ real moment_memory[];
    __shared__ Shared shared;
    backward<false, true>(f0, initial_phase, segments, g, amplitudes, nullptr, moments, TIMELINE, SETTINGS, own, shared,
                          moment_memory);
}

// d_f0 [items, n_frames] and d_initial [items] from moments [items, n_intervals, 3] and final_cotangent [items]; sides
// [items, n_intervals, 2] is workspace. Grid: items.
extern "C" __global__ void __launch_bounds__(SCAN_THREADS)
phase_gradient(const double* __restrict__ moments, const double* __restrict__ final_cotangent,
               double* __restrict__ sides, real* __restrict__ d_f0, double* __restrict__ d_initial, TIMELINE_PARAMETERS)
{
    __shared__ ScanShared shared;
    const long long b = blockIdx.x;
    gradient_of_f0(moments + b * n_intervals * 3, 1, final_cotangent[b], sides + b * n_intervals * 2,
                   d_f0 + b * n_frames, d_initial + b, TIMELINE, shared);
}
