// Reading a row of points at given phases, and writing to them: the places and weights of kernels/cpu/lookup.py.
//
// A row has W points, and straight lines between them. At the phase phi, in turns, x = W phi lies between points c and
// c + 1, c = floor(x), at u = x - c: the points weigh 1 - u and u. The derivative of a reading (order 1) has -W and W
// for weights, that of it (order 2) none.
#pragma once
#include "real.cuh"

struct Place {
    int cell;        // the first of two points; points are numbered up to W + 1, whatever stands there
    real low, high;  // their weights
};

// Outside [0, 1] a reading fades within a point; exactly on a point it is flat.
__device__ __forceinline__ Place place_given(real phase, int n_points, int order)
{
    const double width = n_points, x = __dmul_rn(phase, width);
    const bool inside = x > -1 && x < width + 1;
    const double c = inside ? floor(x) : 0, u = inside ? x - c : x == x ? 0 : x;
    const bool has_high = c >= 0 && c < width;
    if (order == 0) return {(int)(c > 0 ? c : 0), (real)(inside && c >= 0 ? 1 - u : u), (real)(has_high ? u : 0)};
    const real slope = inside && u > 0 && order == 1 ? (real)width : 0;
    return {(int)(c > 0 ? c : 0), c >= 0 ? -slope : slope, has_high ? slope : 0};
}

// Every lane of a warp adds v to row[at], none where at < 0. Lanes that meet take turns, in order: the sum has the same
// bits at every run.
__device__ __forceinline__ void add_in_turns(real* row, int at, real v)
{
    const unsigned all = 0xffffffffu, meet = __match_any_sync(all, at);
    const int turn = at < 0 ? -1 : __popc(meet & ((1u << (threadIdx.x & 31)) - 1));
#pragma unroll 1
    for (int now = 0; __any_sync(all, turn >= now); ++now) {
        if (turn == now) row[at] += v;
        __syncwarp();
    }
}
