// Weights of the frames that a sample's amplitude blends, where an interval is known.
#pragma once
#include "blend.cuh"
#include "phase.cuh"

// Weights of taps `tap` and `tap + 1` at sample m of interval i.
__device__ __forceinline__ void tap_weights(int method, int tap, const Interval& v, long long i, int m,
                                            const Timeline& t, real& w0, real& w1)
{
    real x;
    if (method == CUBIC)
        x = cubic_fraction((double)((v.start + m) * t.n_intervals - i * t.n_samples), (double)t.n_samples);
    else
        x = fused((real)m, t.step, v.fraction);
    blend(method, tap, x, w0, w1);
}
