// Blocks of harmonics: a sum of 13 from the sines and cosines of j theta, j <= 6, of the fundamental.
//
// Harmonics run in blocks of 13, h = M - 6 .. M + 6 around M = 13 m + 7. With C_j = cos(j theta) and
// S_j = sin(j theta), j = 1..6,
//
//     sum_{|j| <= 6} a_{M+j} sin((M + j) theta) = sin(M theta) (a_M + sum_j p_j C_j) + cos(M theta) sum_j q_j S_j
//     p_j = a_{M+j} + a_{M-j},   q_j = a_{M+j} - a_{M-j}
//
// which is one multiply-add a harmonic and frame, besides 8 a block and frame. The start (sin, cos)(M theta) is the
// last block's turned by 13 theta; every 8th is exact, from the integer phase. Analysis is the transpose: sums of
// g w sin(M theta) C_j and g w cos(M theta) S_j, whose sum and difference belong to M + j and M - j.
#pragma once
#include "envelope.cuh"

#define HALF 6
#define BLOCK (2 * HALF + 1)
#define MIDDLE (HALF + 1)        // the first block's
#define BLOCKS_PER_SEED 8
#define THREADS 128              // of a block

struct Settings {
    int batch, voices, n_harmonics, method;
    turns shift;  // psi
};

__device__ __forceinline__ int blocks_of(int n_plain) { return (n_plain + BLOCK - 1) / BLOCK; }

// (s, c) of an angle, turned by the angle whose sine and cosine are given.
__device__ __forceinline__ void turn(real& s, real& c, real sine, real cosine)
{
    const real turned = fused(s, cosine, c * sine);
    c = fused(c, cosine, -(s * sine));
    s = turned;
}

__device__ __forceinline__ real amplitude(const real* row, int h, int n_plain) { return h <= n_plain ? row[h - 1] : 0; }

// psi in fixed point.
__device__ __forceinline__ turns quarter(int quarter_turns)
{
    return (turns)((unsigned_turns)(quarter_turns & 3) << (8 * sizeof(turns) - 2));
}

__device__ __forceinline__ turns harmonic_phase(turns phase, int h, turns shift)
{
    return (turns)((unsigned_turns)phase * (unsigned_turns)h + (unsigned_turns)shift);
}

// The amplitudes of a frame, or of the nearest that there is.
__device__ __forceinline__ const real* row(const real* amplitudes, long long frame, const Timeline& t,
                                           const Settings& s)
{
    return amplitudes + frame_of(frame, t.n_frames) * s.n_harmonics;
}
