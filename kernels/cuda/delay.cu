// Delay of variable length: the operations of kernels/cpu/delay.py.
//
//     y(n) = p x(n - c) + q x(n - c - 1)      c, p, q: place of phi(n) among L steps of delay (reading.cuh)
//
// x is 0 before its first sample; with `wrap`, x(n) stands in the place of x(n - L). The gradient in phi is a reading of
// the next order, times the cotangent. The one in x is the adjoint,
//
//     dL/dx(n - c) += g p,   dL/dx(n - c - 1) += g q
//
// without atomics: a warp owns a tile of x, in shared memory, and goes through all samples that may reach it, 32 at a
// time and in order, so that L / TILE + 1 places are computed a sample.
#include "reading.cuh"

#define THREADS 256
#define TILE 512  // samples of x that a warp owns

// How many samples ago a step of the delay looks. Steps beyond the last have no weight.
__device__ __forceinline__ int ago(int step, int max_length, int wrap)
{
    return step < max_length ? step : wrap ? 0 : max_length;
}

// out [batch, n_samples]: readings of audio at phase, of an order, times factor if that is not null; all of one shape.
// Grid: batch x tiles of THREADS samples.
extern "C" __global__ void __launch_bounds__(THREADS)
delay_read(const real* __restrict__ phase, const real* __restrict__ audio, const real* __restrict__ factor,
           real* __restrict__ out, long long n_samples, int max_length, int wrap, int order)
{
    const long long n_tiles = (n_samples + THREADS - 1) / THREADS, n = blockIdx.x % n_tiles * THREADS + threadIdx.x;
    const long long item = blockIdx.x / n_tiles * n_samples, at = item + n;
    if (n >= n_samples) return;
    const Place p = place_given(phase[at], max_length, order);
    const long long here = n - ago(p.cell, max_length, wrap), there = n - ago(p.cell + 1, max_length, wrap);
    const real x0 = here < 0 ? 0 : audio[item + here], x1 = there < 0 ? 0 : audio[item + there];
    const real y = fused(p.low, x0, p.high * x1);
    out[at] = factor ? factor[at] * y : y;
}

// d_audio [batch, n_samples]: the adjoint of delay_read in the audio, applied to g. Grid: batch x tiles of TILE samples,
// a warp each.
extern "C" __global__ void __launch_bounds__(32)
delay_write(const real* __restrict__ phase, const real* __restrict__ g, real* __restrict__ d_audio, long long n_samples,
            int max_length, int wrap, int order)
{
    __shared__ real tile[TILE];
    const long long n_tiles = (n_samples + TILE - 1) / TILE, item = blockIdx.x / n_tiles * n_samples;
    const long long first = blockIdx.x % n_tiles * TILE;
    const int size = (int)(n_samples - first < TILE ? n_samples - first : TILE);
    const long long end = first + size + max_length < n_samples ? first + size + max_length : n_samples;
    for (int k = threadIdx.x; k < size; k += 32) tile[k] = 0;
    __syncwarp();
#pragma unroll 1
    for (long long begin = first; begin < end; begin += 32) {
        const long long n = begin + threadIdx.x;
        long long here = -1, there = -1;
        real low = 0, high = 0;
        if (n < end) {
            const Place p = place_given(phase[item + n], max_length, order);
            here = n - ago(p.cell, max_length, wrap) - first;
            there = n - ago(p.cell + 1, max_length, wrap) - first;
            low = p.low * g[item + n];
            high = p.high * g[item + n];
        }
        add_in_turns(tile, here < size ? (int)(here < 0 ? -1 : here) : -1, low);
        add_in_turns(tile, there < size ? (int)(there < 0 ? -1 : there) : -1, high);
    }
    for (int k = threadIdx.x; k < size; k += 32) d_audio[item + first + k] = tile[k];
}
