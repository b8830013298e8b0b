// Weights of the frames that a sample blends: those of envelope_weights in kernels/phase.py.
#pragma once
#include "sine.cuh"

#define NEAREST 0
#define LINEAR 1
#define WINDOW 2
#define CUBIC 3

__device__ __forceinline__ int n_taps(int method) { return method == CUBIC ? 4 : 2; }
__device__ __forceinline__ int tap_offset(int method) { return method == CUBIC ? -1 : 0; }

// Keys' kernel with a = -0.75 at distance d <= 1, and at 1 <= d <= 2.
__device__ __forceinline__ real keys_inner(real d)
{
    return fused(fused((real)1.25, d, (real)-2.25) * d, d, (real)1);
}
__device__ __forceinline__ real keys_outer(real d)
{
    return fused(fused(fused((real)-0.75, d, (real)3.75), d, (real)-6), d, (real)3);
}

// Of cubic blending: rest / n_samples of the way to the next frame, rounded to 1/1024 exactly where the specification
// rounds it.
__device__ __forceinline__ real cubic_fraction(double rest, double n_samples)
{
    return (real)(rint(rest / n_samples * 1024) / 1024);
}

// Weights of taps `tap` and `tap + 1` at a fraction x of the way to the next frame.
__device__ __forceinline__ void blend(int method, int tap, real x, real& w0, real& w1)
{
    if (method == CUBIC) {
        w0 = tap == 0 ? keys_outer(1 + x) : keys_inner(1 - x);
        w1 = tap == 0 ? keys_inner(x) : keys_outer(2 - x);
        return;
    }
    w1 = 0;
    if (method == LINEAR) w1 = x;
    if (method == WINDOW) {  // sin^2 of a quarter turn
        const real quarter = x / 4, s = quarter * odd(quarter * quarter);
        w1 = s * s;
    }
    w0 = 1 - w1;
}

// The same at rest / n_samples of the way.
__device__ __forceinline__ void blend(int method, int tap, long long rest, long long n_samples, real& w0, real& w1)
{
    const bool is_cubic = method == CUBIC;
    const real x = is_cubic ? cubic_fraction((double)rest, (double)n_samples) : (real)rest / (real)n_samples;
    blend(method, tap, x, w0, w1);
}
