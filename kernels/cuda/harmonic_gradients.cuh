// Backward: the analysis of a signal by harmonics, and the moments of v.
//
// A thread has one block of harmonics and every so many'th of the interval's samples, so that its sums stay in
// registers; a block owns frames of one voice and visits every interval that touches them, in order.
//
// Harmonics that cross Nyquist inside an interval are few: each has a thread, its own exact phases, and a mask.
#pragma once
#include "harmonic_blocks.cuh"

#define SUMS (2 * BLOCK)          // of a thread: C_0, C_1, S_1, C_2, ... of two frames
#define SAMPLES_STAGED 4          // for each thread; they take no more room than its sums

// One tile of samples, in shared memory.
struct Tile {
    turns* phase;
    real *cosine, *sine, *g0, *g1;  // of theta; the signal times the weights of two taps
    int* limit;                     // harmonics below Nyquist
};

// What a thread knows of the interval at hand.
struct Task {
    const Interval* v;
    long long i;
    int tap;
    const real *row0, *row1;  // amplitudes of the two frames
};

// S, X and Q of kernels/cpu/phase.py: sums of v, (m + 1) v and m (m + 1) / 2 v.
struct Moments {
    real s, x, q;
};

__device__ __forceinline__ void add(Moments& moments, real v, int m)
{
    const real after = m + 1;
    moments.s += v;
    moments.x = fused(after, v, moments.x);
    moments.q = fused(after * (real)m * (real)0.5, v, moments.q);
}

__device__ __forceinline__ Tile tile_in(real* memory)
{
    const int n = SAMPLES_STAGED * blockDim.x;
    Tile tile;
    tile.cosine = memory;
    tile.sine = memory + n;
    tile.g0 = memory + 2 * n;
    tile.g1 = memory + 3 * n;
    tile.phase = (turns*)(memory + 4 * n);
    tile.limit = (int*)(memory + 5 * n);
    return tile;
}

// Samples from `begin` on, `size` of them. Begins and ends with a barrier.
__device__ inline void fill(const Tile& tile, const Task& task, const real* g, int begin, int size, const Timeline& t,
                            const Settings& s)
{
    const Interval& v = *task.v;
    __syncthreads();
#pragma unroll 1
    for (int k = threadIdx.x; k < size; k += blockDim.x) {
        const turns phase = sample_phase(v, begin + k);
        real w0, w1;
        tap_weights(s.method, task.tap, v, task.i, begin + k, t, w0, w1);
        const real signal = g[v.start + begin + k] + (real)((v.a + v.c) * 0.0);  // NaN where f0 is not finite
        tile.phase[k] = phase;
        sin_cos_turns(phase, tile.sine[k], tile.cosine[k]);
        tile.g0[k] = w0 * signal;
        tile.g1[k] = w1 * signal;
        if (v.plain < v.audible) tile.limit[k] = sample_limit(v, task.i, begin + k, s.n_harmonics, t);
    }
    __syncthreads();
}

// Of one block of harmonics: h a_h of two frames as p and q, and the sums of its analysis.
template <bool AMPLITUDES, bool PHASE>
struct Harmonics {
    real p0[HALF + 1], q0[HALF + 1], p1[HALF + 1], q1[HALF + 1];
    real c0[HALF + 1], s0[HALF + 1], c1[HALF + 1], s1[HALF + 1];
};

template <bool AMPLITUDES, bool PHASE>
__device__ __forceinline__ void load(Harmonics<AMPLITUDES, PHASE>& a, const Task& task, int middle)
{
#pragma unroll
    for (int j = 0; j <= HALF; ++j) {
        if (AMPLITUDES) a.c0[j] = a.s0[j] = a.c1[j] = a.s1[j] = 0;
        if (PHASE) {
            const int n_plain = task.v->plain, above = middle + j, below = middle - j;
            const real above0 = above * amplitude(task.row0, above, n_plain);
            const real above1 = above * amplitude(task.row1, above, n_plain);
            const real below0 = j ? below * amplitude(task.row0, below, n_plain) : 0;
            const real below1 = j ? below * amplitude(task.row1, below, n_plain) : 0;
            a.p0[j] = above0 + below0;
            a.q0[j] = above0 - below0;
            a.p1[j] = above1 + below1;
            a.q1[j] = above1 - below1;
        }
    }
}

// Sample k of the tile, the interval's sample m.
template <bool AMPLITUDES, bool PHASE>
__device__ __forceinline__ void add_sample(Harmonics<AMPLITUDES, PHASE>& a, Moments& moments, const Tile& tile, int k,
                                           int m, int middle, turns shift)
{
    const real g0 = tile.g0[k], g1 = tile.g1[k], twice = 2 * tile.cosine[k];
    real s, c;
    sin_cos_turns(harmonic_phase(tile.phase[k], middle, shift), s, c);
    const real gs0 = g0 * s, gc0 = g0 * c, gs1 = g1 * s, gc1 = g1 * c;
    real cosine = tile.cosine[k], sine = tile.sine[k], last_cosine = 1, last_sine = 0;
    real even0 = 0, odd0 = 0, even1 = 0, odd1 = 0;
    if (AMPLITUDES) {
        a.c0[0] += gs0;
        a.c1[0] += gs1;
    }
    if (PHASE) {
        even0 = a.p0[0];
        even1 = a.p1[0];
    }
#pragma unroll
    for (int j = 1; j <= HALF; ++j) {
        if (AMPLITUDES) {
            a.c0[j] = fused(gs0, cosine, a.c0[j]);
            a.s0[j] = fused(gc0, sine, a.s0[j]);
            a.c1[j] = fused(gs1, cosine, a.c1[j]);
            a.s1[j] = fused(gc1, sine, a.s1[j]);
        }
        if (PHASE) {
            even0 = fused(a.p0[j], cosine, even0);
            odd0 = fused(a.q0[j], sine, odd0);
            even1 = fused(a.p1[j], cosine, even1);
            odd1 = fused(a.q1[j], sine, odd1);
        }
        if (j < HALF) {
            const real next_cosine = fused(twice, cosine, -last_cosine), next_sine = fused(twice, sine, -last_sine);
            last_cosine = cosine;
            last_sine = sine;
            cosine = next_cosine;
            sine = next_sine;
        }
    }
    if (PHASE) add(moments, fused(gc0, even0, -gs0 * odd0) + fused(gc1, even1, -gs1 * odd1), m);
}

// Sums over slices: of thread (slice, block) the sums from `first` on, of all slices' threads of that block.
template <int N>
__device__ __forceinline__ void over_slices(const real* sums, int first, int block, int width, int slices,
                                            real (&total)[N])
{
    const real* from = sums + first * (int)blockDim.x + block;
#pragma unroll
    for (int k = 0; k < N; ++k) total[k] = 0;
#pragma unroll 1
    for (int slice = 0; slice < slices; ++slice, from += width) {
#pragma unroll
        for (int k = 0; k < N; ++k) total[k] += from[k * blockDim.x];
    }
}

// Where the gradient of frame j goes: a row of `out`, or null if the block does not own the frame.
__device__ __forceinline__ real* owned(real* out, long long j, long long first, long long last, int n_harmonics)
{
    return j >= first && j < last ? out + j * n_harmonics : nullptr;
}

__device__ __forceinline__ void add_to(real* row, int h, int n_plain, real v)
{
    if (row && h <= n_plain) row[h - 1] += v;
}

// Harmonics below Nyquist throughout the interval, blocks first .. first + width - 1 of them, a block for each thread.
template <bool AMPLITUDES, bool PHASE>
__device__ inline void do_blocks(int first, int width, const Task& task, const real* g, real* out0, real* out1,
                                 Moments& moments, const Timeline& t, const Settings& s, real* memory)
{
    const int slices = blockDim.x / width, slice = threadIdx.x / width, block = threadIdx.x % width;
    const int middle = BLOCK * (first + block) + MIDDLE, tile_size = SAMPLES_STAGED * blockDim.x;
    const Tile tile = tile_in(memory);
    Harmonics<AMPLITUDES, PHASE> a;
    load(a, task, middle);
#pragma unroll 1
    for (int begin = 0; begin < task.v->count; begin += tile_size) {
        const int size = min(tile_size, task.v->count - begin);
        fill(tile, task, g, begin, size, t, s);
        if (slice < slices)
#pragma unroll 1
            for (int k = slice; k < size; k += slices) add_sample(a, moments, tile, k, begin + k, middle, s.shift);
    }
    if (!AMPLITUDES) return;
    __syncthreads();  // the sums take the tile's place
#pragma unroll
    for (int j = 0; j <= HALF; ++j) {
        real* mine = memory + 4 * (j ? j - 1 : HALF) * blockDim.x + threadIdx.x;  // the middle's last: two, not four
        mine[0] = a.c0[j];
        mine[blockDim.x] = a.c1[j];
        if (j) mine[2 * blockDim.x] = a.s0[j];
        if (j) mine[3 * blockDim.x] = a.s1[j];
    }
    __syncthreads();
#pragma unroll 1
    for (int k = threadIdx.x; k < width * MIDDLE; k += blockDim.x) {
        const int j = k / width, mine = k % width, middle_of = BLOCK * (first + mine) + MIDDLE;
        if (j == HALF) {
            real c[2];
            over_slices(memory, 4 * HALF, mine, width, slices, c);
            add_to(out0, middle_of, task.v->plain, c[0]);
            add_to(out1, middle_of, task.v->plain, c[1]);
            continue;
        }
        real sum[4];  // C and S of both frames
        over_slices(memory, 4 * j, mine, width, slices, sum);
        add_to(out0, middle_of + j + 1, task.v->plain, sum[0] + sum[2]);
        add_to(out1, middle_of + j + 1, task.v->plain, sum[1] + sum[3]);
        add_to(out0, middle_of - j - 1, task.v->plain, sum[0] - sum[2]);
        add_to(out1, middle_of - j - 1, task.v->plain, sum[1] - sum[3]);
    }
}

// Harmonics first .. first + width - 1, which cross Nyquist inside the interval, a harmonic for each thread.
template <bool AMPLITUDES, bool PHASE>
__device__ inline void do_crossing(int first, int width, const Task& task, const real* g, real* out0, real* out1,
                                   Moments& moments, const Timeline& t, const Settings& s, real* memory)
{
    const int slices = blockDim.x / width, slice = threadIdx.x / width, h = first + threadIdx.x % width;
    const int tile_size = SAMPLES_STAGED * blockDim.x;
    const Tile tile = tile_in(memory);
    const real a0 = PHASE ? h * task.row0[h - 1] : 0, a1 = PHASE ? h * task.row1[h - 1] : 0;
    real sum0 = 0, sum1 = 0;
#pragma unroll 1
    for (int begin = 0; begin < task.v->count; begin += tile_size) {
        const int size = min(tile_size, task.v->count - begin);
        fill(tile, task, g, begin, size, t, s);
        if (slice < slices)
#pragma unroll 1
            for (int k = slice; k < size; k += slices) {
                if (h > tile.limit[k]) continue;
                real sine, cosine;
                sin_cos_turns(harmonic_phase(tile.phase[k], h, s.shift), sine, cosine);
                sum0 = fused(tile.g0[k], sine, sum0);
                sum1 = fused(tile.g1[k], sine, sum1);
                if (PHASE) add(moments, fused(tile.g0[k], a0, tile.g1[k] * a1) * cosine, begin + k);
            }
    }
    if (!AMPLITUDES) return;
    memory[threadIdx.x] = sum0;  // where the cosines are, which nobody reads here
    memory[blockDim.x + threadIdx.x] = sum1;
    __syncthreads();
    if ((int)threadIdx.x >= width) return;
    real sum[2];
    over_slices(memory, 0, threadIdx.x, width, slices, sum);
    add_to(out0, h, h, sum[0]);
    add_to(out1, h, h, sum[1]);
}

// The moments of the block's threads together, for thread 0: of a warp as reals, of warps as doubles.
__device__ inline void block_total(Moments v, double (&total)[3], double* scratch)
{
#pragma unroll
    for (int d = 16; d; d >>= 1) {
        v.s += __shfl_xor_sync(0xffffffffu, v.s, d);
        v.x += __shfl_xor_sync(0xffffffffu, v.x, d);
        v.q += __shfl_xor_sync(0xffffffffu, v.q, d);
    }
    double* mine = scratch + 3 * (threadIdx.x >> 5);
    __syncthreads();
    if ((threadIdx.x & 31) == 0) {
        mine[0] = v.s;
        mine[1] = v.x;
        mine[2] = v.q;
    }
    __syncthreads();
    total[0] = total[1] = total[2] = 0;
#pragma unroll 1
    for (int w = 0; w < (int)blockDim.x >> 5; ++w) {
        total[0] += scratch[3 * w];
        total[1] += scratch[3 * w + 1];
        total[2] += scratch[3 * w + 2];
    }
}

struct Shared {
    Interval intervals[MAX_INTERVALS];
    word words[THREADS / 32];
    double sums[3 * THREADS / 32];
};

// d_amplitudes [items, n_frames, n_harmonics] and moments [items, n_intervals, 3] of g [batch, n_samples]. A block owns
// `own` frames of one item: it visits the intervals that touch them, and writes the moments of those that begin there.
template <bool AMPLITUDES, bool PHASE>
__device__ inline void backward(const real* f0, const double* initial_phase, const word* segments, const real* g,
                                const real* amplitudes, real* out, double* moments, const Timeline& t,
                                const Settings& s, int own, Shared& shared, real* memory)
{
    const unsigned n_owners = gridDim.x / (s.batch * s.voices), item = blockIdx.x / n_owners;
    const long long b = item, j0 = (long long)(blockIdx.x % n_owners) * own;
    const long long j1 = j0 + own < t.n_frames ? j0 + own : t.n_frames;
    const long long from = t.first_frame + tap_offset(s.method);  // frame of interval 0's first tap
    long long first = j0 == 0 ? 0 : j0 - from - n_taps(s.method) + 1;
    long long last = j1 == t.n_frames ? t.n_intervals : j1 - from;
    first = first > 0 ? first : 0;
    last = last < t.n_intervals ? last : t.n_intervals;

    f0 += b * t.n_frames;
    g += (long long)(item / s.voices) * t.n_samples;
    if (segments) segments += b * n_segments(t);
    if (AMPLITUDES) {
        out += b * t.n_frames * s.n_harmonics;
        for (long long k = j0 * s.n_harmonics + threadIdx.x; k < j1 * s.n_harmonics; k += blockDim.x) out[k] = 0;
    }
    if (PHASE) amplitudes += b * t.n_frames * s.n_harmonics;
    if (first >= last) return;
    word phase = phase_before(f0, initial_phase[b], segments, first, t, shared.words);
#pragma unroll 1
    for (long long i = first; i < last; ++i) {
        const int at = (i - first) % MAX_INTERVALS;
        if (at == 0) {
            const int count = (int)(last - i < MAX_INTERVALS ? last - i : MAX_INTERVALS);
            look_at_all(f0, phase, i, count, s.n_harmonics, t, shared.intervals);
            phase = shared.intervals[count - 1].phase + shared.intervals[count - 1].advance;
        }
        const Interval& v = shared.intervals[at];
        const long long begins = frame_of(t.first_frame + i, t.n_frames);
        const bool is_mine = begins >= j0 && begins < j1;
        if (!AMPLITUDES && !is_mine) continue;
        Moments sums = {0, 0, 0};
#pragma unroll 1
        for (int tap = 0; tap < n_taps(s.method); tap += 2) {
            const long long frame0 = frame_of(from + i + tap, t.n_frames);
            const long long frame1 = frame_of(from + i + tap + 1, t.n_frames);
            const Task task = {&v, i, tap, amplitudes + frame0 * s.n_harmonics, amplitudes + frame1 * s.n_harmonics};
            real* out0 = AMPLITUDES ? owned(out, frame0, j0, j1, s.n_harmonics) : nullptr;
            real* out1 = AMPLITUDES ? owned(out, frame1, j0, j1, s.n_harmonics) : nullptr;
            const int n_blocks = blocks_of(v.plain);
#pragma unroll 1
            for (int block = 0; block < n_blocks; block += blockDim.x)
                do_blocks<AMPLITUDES, PHASE>(block, min(n_blocks - block, (int)blockDim.x), task, g, out0, out1, sums,
                                             t, s, memory);
#pragma unroll 1
            for (int h = v.plain + 1; h <= v.audible; h += blockDim.x)
                do_crossing<AMPLITUDES, PHASE>(h, min(v.audible - h + 1, (int)blockDim.x), task, g, out0, out1, sums, t,
                                               s, memory);
        }
        if (PHASE && is_mine) {
            const double not_finite = (v.a + v.c) * 0.0;
            double total[3];
            block_total(sums, total, shared.sums);
            if (threadIdx.x == 0)
                for (int k = 0; k < 3; ++k) moments[(b * t.n_intervals + i) * 3 + k] = total[k] + not_finite;
        }
    }
}
