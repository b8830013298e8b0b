// Forward: the bank's sum of harmonics and voices.
//
// A thread has SAMPLES samples of one interval; a team of threads has an interval, and a block a few teams, whose p and
// q it stages in shared memory. It adds up one voice after the other, in their order, in its registers.
#pragma once
#include "harmonic_blocks.cuh"

#define SAMPLES (16 / (int)sizeof(real))  // of a thread
#define STAGED 4                          // blocks of harmonics staged at a time

// p and q of one block of harmonics for two frames; entry 0: a_M of both.
struct __align__(4 * sizeof(real)) Pair {
    real p0, q0, p1, q1;
};

// Amplitudes of the two frames at hand, of each interval.
struct Rows {
    const real *first[MAX_INTERVALS], *second[MAX_INTERVALS];
};

// Stage blocks first .. first + STAGED - 1 of all teams' intervals.
__device__ inline void stage(const Rows& rows, const Interval* intervals, int n_intervals, int first, Pair* staged)
{
    for (int k = threadIdx.x; k < n_intervals * STAGED * MIDDLE; k += THREADS) {
        const int team = k / (STAGED * MIDDLE), block = k / MIDDLE % STAGED, j = k % MIDDLE;
        const int n_plain = intervals[team].plain, middle = BLOCK * (first + block) + MIDDLE;
        const real *row0 = rows.first[team], *row1 = rows.second[team];
        const real above0 = amplitude(row0, middle + j, n_plain), above1 = amplitude(row1, middle + j, n_plain);
        const real below0 = amplitude(row0, middle - j, n_plain), below1 = amplitude(row1, middle - j, n_plain);
        staged[k] = j == 0 ? Pair{above0, 0, above1, 0}
                           : Pair{above0 + below0, above0 - below0, above1 + below1, above1 - below1};
    }
}

// A thread's samples: cosines and sines of j theta, and where the recurrence over blocks stands.
struct Oscillators {
    turns phase[SAMPLES];
    real cosine[HALF][SAMPLES], sine[HALF][SAMPLES];
    real turn_cosine[SAMPLES], turn_sine[SAMPLES];  // of 13 theta
    real s[SAMPLES], c[SAMPLES];                    // of M theta + psi
};

__device__ __forceinline__ void start(Oscillators& o, int l)
{
    sin_cos_turns(o.phase[l], o.sine[0][l], o.cosine[0][l]);
#pragma unroll
    for (int j = 1; j < HALF; ++j) {  // (j + 1) theta = the sum of two halves: the error grows with log j
        const int low = (j + 1) / 2 - 1, high = (j + 1) - (low + 1) - 1;
        real s = o.sine[low][l], c = o.cosine[low][l];
        turn(s, c, o.sine[high][l], o.cosine[high][l]);
        o.sine[j][l] = s;
        o.cosine[j][l] = c;
    }
    real s = o.sine[HALF - 1][l], c = o.cosine[HALF - 1][l];
    turn(s, c, o.sine[HALF - 1][l], o.cosine[HALF - 1][l]);
    turn(s, c, o.sine[0][l], o.cosine[0][l]);
    o.turn_sine[l] = s;
    o.turn_cosine[l] = c;
}

// Add `count` blocks, staged, to y0 and y1: the sums of the two frames.
__device__ __forceinline__ void add_blocks(Oscillators& o, const Pair* staged, int count, real (&y0)[SAMPLES],
                                           real (&y1)[SAMPLES])
{
#pragma unroll 1
    for (int m = 0; m < count; ++m, staged += MIDDLE) {
        real p0[SAMPLES], q0[SAMPLES], p1[SAMPLES], q1[SAMPLES];
        const Pair middle = staged[0];
#pragma unroll
        for (int j = 0; j < HALF; ++j) {
            const Pair a = staged[j + 1];
#pragma unroll
            for (int l = 0; l < SAMPLES; ++l) {
                p0[l] = fused(a.p0, o.cosine[j][l], j ? p0[l] : middle.p0);
                q0[l] = j ? fused(a.q0, o.sine[j][l], q0[l]) : a.q0 * o.sine[j][l];
                p1[l] = fused(a.p1, o.cosine[j][l], j ? p1[l] : middle.p1);
                q1[l] = j ? fused(a.q1, o.sine[j][l], q1[l]) : a.q1 * o.sine[j][l];
            }
        }
#pragma unroll
        for (int l = 0; l < SAMPLES; ++l) {
            y0[l] = fused(o.s[l], p0[l], fused(o.c[l], q0[l], y0[l]));
            y1[l] = fused(o.s[l], p1[l], fused(o.c[l], q1[l], y1[l]));
            turn(o.s[l], o.c[l], o.turn_sine[l], o.turn_cosine[l]);
        }
    }
}

// One voice of a batch item: its frames of f0 and of amplitudes, its phases.
struct Voice {
    const real *f0, *amplitudes;
    double initial_phase;
    const word* segments;
    double* final_phase;  // to write, or null
};

// What a block does, and a thread in it: intervals first .. first + count - 1, of which the thread has `mine`, and of
// that the samples m0, m0 + team, ...
struct Place {
    long long first;
    int count, mine, m0, team;
};

// What a block has at hand of one voice.
struct Staged {
    Pair pairs[MAX_INTERVALS * STAGED * MIDDLE];
    Interval intervals[MAX_INTERVALS];
    Rows rows;
    word scratch[THREADS / 32];
};

// Look at a voice's intervals, and start the thread's oscillators in them; samples y are NaN where f0 is not finite.
__device__ __forceinline__ void begin(const Voice& voice, const Place& at, const Timeline& t, const Settings& s,
                                      Staged& staged, Oscillators& o, real (&y)[SAMPLES])
{
    const word before = phase_before(voice.f0, voice.initial_phase, voice.segments, at.first, t, staged.scratch);
    look_at_all(voice.f0, before, at.first, at.count, s.n_harmonics, t, staged.intervals);
    const Interval &last = staged.intervals[at.count - 1], &v = staged.intervals[at.mine];
    if (voice.final_phase && threadIdx.x == 0) *voice.final_phase = to_radians(last.phase + last.advance);
#pragma unroll
    for (int l = 0; l < SAMPLES; ++l) {
        o.phase[l] = sample_phase(v, at.m0 + l * at.team);
        start(o, l);
        y[l] += (real)((v.a + v.c) * 0.0);
    }
}

// Add what two taps of a voice's amplitudes give to the thread's samples y.
__device__ __forceinline__ void add_taps(const Voice& voice, int tap, const Place& at, const Timeline& t,
                                         const Settings& s, Staged& staged, Oscillators& o, real (&y)[SAMPLES])
{
    const Interval* intervals = staged.intervals;
    int most = 0;
#pragma unroll 1
    for (int k = 0; k < at.count; ++k) most = max(most, intervals[k].plain);
    const int most_blocks = blocks_of(most);
    const Interval& v = intervals[at.mine];
    const int n_blocks = blocks_of(v.plain);
    const long long frame = t.first_frame + at.first + tap_offset(s.method) + tap;
    if (threadIdx.x < at.count) {
        staged.rows.first[threadIdx.x] = row(voice.amplitudes, frame + threadIdx.x, t, s);
        staged.rows.second[threadIdx.x] = row(voice.amplitudes, frame + threadIdx.x + 1, t, s);
    }
    real y0[SAMPLES] = {0}, y1[SAMPLES] = {0};
    for (int block = 0; block < most_blocks; block += STAGED) {
        __syncthreads();
        stage(staged.rows, intervals, at.count, block, staged.pairs);
        __syncthreads();
        if (block % BLOCKS_PER_SEED == 0) {
#pragma unroll
            for (int l = 0; l < SAMPLES; ++l)
                sin_cos_turns(harmonic_phase(o.phase[l], BLOCK * block + MIDDLE, s.shift), o.s[l], o.c[l]);
        }
        add_blocks(o, staged.pairs + at.mine * STAGED * MIDDLE, min(STAGED, n_blocks - block), y0, y1);
    }
    const real* row0 = row(voice.amplitudes, frame + at.mine, t, s);
    const real* row1 = row(voice.amplitudes, frame + at.mine + 1, t, s);
#pragma unroll
    for (int l = 0; l < SAMPLES; ++l) {
        const int m = at.m0 + l * at.team;
        const int limit = v.plain < v.audible ? sample_limit(v, at.first + at.mine, m, s.n_harmonics, t) : 0;
        for (int h = v.plain + 1; h <= min(limit, v.audible); ++h) {
            real sine, cosine;
            sin_cos_turns(harmonic_phase(o.phase[l], h, s.shift), sine, cosine);
            y0[l] = fused(row0[h - 1], sine, y0[l]);
            y1[l] = fused(row1[h - 1], sine, y1[l]);
        }
        real w0, w1;
        tap_weights(s.method, tap, v, at.first + at.mine, m, t, w0, w1);
        y[l] = fused(w0, y0[l], fused(w1, y1[l], y[l]));
    }
}
