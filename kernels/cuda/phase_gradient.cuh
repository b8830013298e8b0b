// From the moments of intervals to the gradient of f0: the adjoint in kernels/cpu/phase.py, a block for each item.
#pragma once
#include "phase.cuh"

#define SCAN_THREADS 256

// v plus those of all later threads. scratch: one for each warp, not to be used again before a barrier.
__device__ inline double sum_from_here(double v, double* scratch)
{
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
#pragma unroll
    for (int d = 1; d < 32; d <<= 1) {
        const double later = __shfl_down_sync(0xffffffffu, v, d);
        if (lane + d < 32) v += later;
    }
    if (lane == 0) scratch[warp] = v;
    __syncthreads();
#pragma unroll 1
    for (int w = warp + 1; w < SCAN_THREADS / 32; ++w) v += scratch[w];
    return v;
}

// Of v in an interval: sums of v, (m + 1) v and m (m + 1) / 2 v.
struct Sums {
    double s, x, q;
};

// Interval i's, from those of its pieces.
__device__ __forceinline__ Sums sums_of(const double* moments, long long i, int pieces)
{
    const double* from = moments + i * pieces * 3;
    Sums sums = {from[0], from[1], from[2]};
#pragma unroll 1
    for (int piece = 1; piece < pieces; ++piece) {
        from += 3;
        sums.s += from[0];
        sums.x += from[1];
        sums.q += from[2];
    }
    return sums;
}

struct ScanShared {
    double scratch[SCAN_THREADS / 32], carried;
};

// Frame-rate gradients of one item: d_f0 [n_frames] and d_initial, from moments [n_intervals, pieces, 3] and the final
// phase's cotangent. sides [n_intervals, 2] is workspace: what an interval gives to the frames at its ends.
__device__ inline void gradient_of_f0(const double* moments, int pieces, double final_cotangent, double* sides,
                                      real* d_f0, double* d_initial, const Timeline& t, ScanShared& shared)
{
    double later = final_cotangent;
#pragma unroll 1
    for (long long begin = (t.n_intervals - 1) / SCAN_THREADS * SCAN_THREADS; begin >= 0; begin -= SCAN_THREADS) {
        const long long i = begin + threadIdx.x;
        const Sums own = i < t.n_intervals ? sums_of(moments, i, pieces) : Sums{0, 0, 0};
        const double from_here = sum_from_here(own.s, shared.scratch);
        if (i < t.n_intervals) {
            const long long start = interval_start(i, t), count = interval_start(i + 1, t) - start;
            const double offset = (double)(start * t.n_intervals - i * t.n_samples), n = (double)t.n_samples;
            const double after = later + (from_here - own.s);
            const double whole = (count * offset + (double)(t.n_intervals * (count * (count - 1) / 2))) / n;
            const double right = after * whole + (offset * own.x + t.n_intervals * own.q) / n;
            sides[2 * i] = after * count + own.x - right;
            sides[2 * i + 1] = right;
        }
        if (threadIdx.x == 0) shared.carried = later + from_here;
        __syncthreads();
        later = shared.carried;
    }
    const double scale = 6.283185307179586 / t.sample_rate;
    for (long long j = threadIdx.x; j < t.n_frames; j += SCAN_THREADS) {
        // Frames at the ends are held: they are those of many intervals.
        const bool is_first = j == 0, is_last = j == t.n_frames - 1;
        double d = 0;
        for (int side = 0; side < 2; ++side) {
            const long long i = j - t.first_frame - side;
            const long long begin = is_first || i < 0 ? 0 : i;
            const long long end = is_last || i >= t.n_intervals ? t.n_intervals : i + 1;
            for (long long k = begin; k < end; ++k) d += sides[2 * k + side];
        }
        d_f0[j] = (real)(d * scale);
    }
    if (threadIdx.x == 0) *d_initial = later;
}
