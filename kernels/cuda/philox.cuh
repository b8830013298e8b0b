// Noise: Philox4x32-10, bit for bit that of kernels/cpu/noise.py. The stream is defined in kernels/reference/noise.py.
#pragma once
#include "real.cuh"

// Four random words of quadruple q of a row.
__device__ inline uint4 philox(word seed, word row, word q)
{
    unsigned x0 = (unsigned)q, x1 = (unsigned)(q >> 32), x2 = (unsigned)row, x3 = (unsigned)(row >> 32);
    unsigned k0 = (unsigned)seed, k1 = (unsigned)(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const word even = (word)0xD2511F53u * x0, odd = (word)0xCD9E8D57u * x2;
        x0 = (unsigned)(odd >> 32) ^ x1 ^ k0;
        x1 = (unsigned)odd;
        x2 = (unsigned)(even >> 32) ^ x3 ^ k1;
        x3 = (unsigned)even;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return make_uint4(x0, x1, x2, x3);
}

// A word's upper 24 bits as a signed number, in units of 2^-23: exact.
__device__ __forceinline__ real noise_sample(unsigned random) { return (real)((int)random >> 8) * (real)0x1p-23; }
