// Wavetables: the operations of kernels/cpu/wavetable.py, whose equations and names these are.
//
//     y(n) = a(n) T(n, phi(n))        T(n, phi) = sum_j r_j(n) (p W[j, c] + q W[j, c + 1])
//
// c, p, q: place of phi in a table (reading.cuh); r_j: linear weights of the frames around n; a: amplitudes blended by
// overlapping Hann windows, or 1. phi is given, or summed up from f0: then `wavetable_clock` lays out the intervals
// between frames of f0 first, and a sample's phase is exact, P + m A + m (m - 1) / 2 D before its own advance. f0,
// amplitudes and tables have frames of their own number.
//
// The gradient in phi is a reading of the next order, times the cotangent. `wavetable_sums` adds it up to the moments of
// f0's intervals, and the one in a to frames; phase_gradient (harmonic.cu) makes f0's gradient of the moments. Writing
// into tables is without atomics: a warp owns TILE points of a frame, in shared memory, and goes through the samples
// that the frame sounds in, in order; long stretches are cut into pieces, whose sums are added afterwards, in order.
#include "blend.cuh"
#include "phase.cuh"
#include "reading.cuh"

#define THREADS 128        // of a block, one sample each
#define SCAN_THREADS 256
#define MOST_WARPS 8       // of a block that adds up samples
#define TILE 2048          // points that a warp owns

// What one interval between frames of f0 is: phase before its first sample, and increments.
struct Clock {
    word phase, base, slope;
};

// One batch item. phase is null if f0 and clock are given; amplitudes, if they are 1.
struct Item {
    const real *phase, *f0;
    const Clock* clock;
    const real *tables, *amplitudes;
    long long n_samples, n_f0, n_tables, n_amplitudes;
    int n_points;
};

// Where a sample lies between frames: the frame before it, and rest / n_samples of the way to the next.
struct Position {
    long long frame, rest;
};

__device__ __forceinline__ Position position(long long n, long long n_frames, long long n_samples)
{
    const long long frame = n * n_frames / n_samples;
    return {frame, n * n_frames - frame * n_samples};
}

__device__ __forceinline__ long long first_sample(long long frame, long long n_frames, long long n_samples)
{
    return (frame * n_samples + n_frames - 1) / n_frames;
}

// phase times points is an integer of 64 bits behind the point and some before it. Not finite f0: NaN.
__device__ __forceinline__ Place place_exact(const Item& item, long long n, int order)
{
    const long long i = position(n, item.n_f0, item.n_samples).frame;
    const word m = n - first_sample(i, item.n_f0, item.n_samples);
    const Clock v = item.clock[i];
    const word turns = v.phase + m * v.base + ((m * (m - 1)) >> 1) * v.slope;
    const word part = turns * item.n_points;
    const int cell = (int)__umul64hi(turns, item.n_points);
    const real spoiled = 0 * (item.f0[i] + item.f0[frame_of(i + 1, item.n_f0)]);
    const real slope = (real)(item.n_points / 6.283185307179586), none = order == 1 ? slope + spoiled : 0;
    if (order > 0) return {cell, -none, none};
    const bool is_short = sizeof(real) == 4;
    const real u = (real)(long long)(part >> (is_short ? 40 : 11)) * (is_short ? (real)0x1p-24 : (real)0x1p-53);
    return {cell, 1 - u + spoiled, u + spoiled};
}

__device__ __forceinline__ Place place(const Item& item, long long n, int order)
{
    return item.phase ? place_given(item.phase[n], item.n_points, order) : place_exact(item, n, order);
}

// After the last point comes the first one again.
__device__ __forceinline__ int wrapped(int point, int n_points) { return point < n_points ? point : 0; }

// The tables at sample n.
__device__ __forceinline__ real reading(const Item& item, long long n, int order)
{
    const Place p = place(item, n, order);
    const Position at = position(n, item.n_tables, item.n_samples);
    const real* now = item.tables + at.frame * item.n_points;
    const real* later = item.tables + frame_of(at.frame + 1, item.n_tables) * item.n_points;
    const int c = wrapped(p.cell, item.n_points), d = wrapped(c + 1, item.n_points);
    const real rising = (real)at.rest / (real)item.n_samples;
    const real here = fused(rising, later[c] - now[c], now[c]), there = fused(rising, later[d] - now[d], now[d]);
    return fused(p.low, here, p.high * there);
}

// The amplitude at sample n.
__device__ __forceinline__ real envelope(const Item& item, long long n)
{
    if (!item.amplitudes) return 1;
    const Position at = position(n, item.n_amplitudes, item.n_samples);
    const real a = item.amplitudes[at.frame], c = item.amplitudes[frame_of(at.frame + 1, item.n_amplitudes)];
    real falling, rising;
    blend(WINDOW, 0, at.rest, item.n_samples, falling, rising);
    return fused(rising, c - a, a);
}

__device__ __forceinline__ Item item_of(long long b, const real* phase, const real* f0, const Clock* clock,
                                        const real* tables, const real* amplitudes, long long n_samples, long long n_f0,
                                        long long n_tables, long long n_amplitudes, int n_points)
{
    return {phase ? phase + b * n_samples : nullptr, f0 ? f0 + b * n_f0 : nullptr, clock ? clock + b * n_f0 : nullptr,
            tables + b * n_tables * n_points, amplitudes ? amplitudes + b * n_amplitudes : nullptr, n_samples, n_f0,
            n_tables, n_amplitudes, n_points};
}

// ------------------------------------------------------------------------------------------------------------- phases

// clock [batch, n_f0] of f0 [batch, n_f0] in Hz, and final_phase [batch] in radians. Grid: batch.
extern "C" __global__ void __launch_bounds__(SCAN_THREADS)
wavetable_clock(const real* __restrict__ f0, const double* __restrict__ initial_phase, word* __restrict__ clock,
                double* __restrict__ final_phase, long long n_samples, long long n_f0, double sample_rate,
                double slope_scale)
{
    __shared__ word advances[SCAN_THREADS / 32];
    const Timeline t = timeline(n_samples, n_f0, n_samples / n_f0, 0, n_f0, 1, sample_rate, slope_scale, 0);
    const long long b = blockIdx.x, share = (n_f0 + SCAN_THREADS - 1) / SCAN_THREADS, begin = threadIdx.x * share;
    const long long end = begin + share < n_f0 ? begin + share : n_f0;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;

    f0 += b * n_f0;
    clock += b * n_f0 * 3;
    word sum = 0;
#pragma unroll 1
    for (long long i = begin; i < end; ++i) sum += look_at(f0, i, 0, t).advance;
    word until = sum;
#pragma unroll
    for (int d = 1; d < 32; d <<= 1) {
        const word before = __shfl_up_sync(0xffffffffu, until, d);
        if (lane >= d) until += before;
    }
    if (lane == 31) advances[warp] = until;
    __syncthreads();
    word phase = from_radians(initial_phase[b]) + until - sum;
#pragma unroll 1
    for (int w = 0; w < warp; ++w) phase += advances[w];
#pragma unroll 1
    for (long long i = begin; i < end; ++i) {
        const Interval v = look_at(f0, i, 0, t);
        clock[3 * i] = phase;
        clock[3 * i + 1] = v.base;
        clock[3 * i + 2] = v.slope;
        phase += v.advance;
    }
    if (end == n_f0 && begin < end) final_phase[b] = to_radians(phase);
}

// ------------------------------------------------------------------------------------------------------------ readings

// out [batch, n_samples]: readings of an order, times amplitudes and factor [batch, n_samples] where these are not null.
// Grid: batch x tiles of THREADS samples.
extern "C" __global__ void __launch_bounds__(THREADS)
wavetable_read(const real* __restrict__ phase, const real* __restrict__ f0, const word* __restrict__ clock,
               const real* __restrict__ tables, const real* __restrict__ amplitudes, const real* __restrict__ factor,
               real* __restrict__ out, long long n_samples, long long n_f0, long long n_tables, long long n_amplitudes,
               int n_points, int order)
{
    const long long n_tiles = (n_samples + THREADS - 1) / THREADS, b = blockIdx.x / n_tiles;
    const long long n = blockIdx.x % n_tiles * THREADS + threadIdx.x;
    if (n >= n_samples) return;
    const Item item = item_of(b, phase, f0, (const Clock*)clock, tables, amplitudes, n_samples, n_f0, n_tables,
                              n_amplitudes, n_points);
    const real y = reading(item, n, order) * envelope(item, n);
    out[b * n_samples + n] = factor ? factor[b * n_samples + n] * y : y;
}

// ------------------------------------------------------------------------------------------------------------ backward

// The sum of v over the block, for thread 0. scratch: one for each warp. Begins with a barrier.
__device__ inline double block_total(double v, double* scratch)
{
#pragma unroll
    for (int d = 16; d; d >>= 1) v += __shfl_xor_sync(0xffffffffu, v, d);
    __syncthreads();
    if ((threadIdx.x & 31) == 0) scratch[threadIdx.x >> 5] = v;
    __syncthreads();
    double sum = 0;
#pragma unroll 1
    for (int w = 0; w < (int)blockDim.x >> 5; ++w) sum += scratch[w];
    return sum;
}

// moments [batch, n_f0, 3] of the cotangents of the phases: sums of v, m v and m (m - 1) / 2 v over an interval; and
// d_amplitudes [batch, n_amplitudes]; of g [batch, n_samples]. Either is null where it is not asked for. Grid: a block
// for each interval, then for each frame of amplitudes.
extern "C" __global__ void __launch_bounds__(32 * MOST_WARPS)
wavetable_sums(const real* __restrict__ f0, const word* __restrict__ clock, const real* __restrict__ tables,
               const real* __restrict__ amplitudes, const real* __restrict__ g, double* __restrict__ moments,
               real* __restrict__ d_amplitudes, int batch, long long n_samples, long long n_f0, long long n_tables,
               long long n_amplitudes, int n_points, int order)
{
    __shared__ double scratch[MOST_WARPS];
    const long long n_intervals = moments ? batch * n_f0 : 0, place = blockIdx.x - n_intervals;
    const bool is_interval = place < 0;
    const long long n_frames = is_interval ? n_f0 : n_amplitudes, row = is_interval ? blockIdx.x : place;
    const long long b = row / n_frames, j = row % n_frames;
    const Item item = item_of(b, nullptr, f0, (const Clock*)clock, tables, amplitudes, n_samples, n_f0, n_tables,
                              n_amplitudes, n_points);
    g += b * n_samples;
    const long long end = first_sample(j + 1, n_frames, n_samples);
    if (is_interval) {
        const long long begin = first_sample(j, n_frames, n_samples);
        double s = 0, x = 0, q = 0;
#pragma unroll 1
        for (long long n = begin + threadIdx.x; n < end; n += blockDim.x) {
            const double v = g[n] * envelope(item, n) * reading(item, n, order + 1), m = (double)(n - begin);
            s += v;
            x += m * v;
            q += m * (m - 1) * 0.5 * v;
        }
        s = block_total(s, scratch);
        x = block_total(x, scratch);
        q = block_total(q, scratch);
        if (threadIdx.x > 0) return;
        moments[3 * row] = s;
        moments[3 * row + 1] = x;
        moments[3 * row + 2] = q;
    } else {
        double d = 0;
#pragma unroll 1
        for (long long n = first_sample(j ? j - 1 : 0, n_frames, n_samples) + threadIdx.x; n < end; n += blockDim.x) {
            const Position at = position(n, n_frames, n_samples);
            real falling, rising;
            blend(WINDOW, 0, at.rest, n_samples, falling, rising);
            const real weight = at.frame < j ? rising : j < n_frames - 1 ? falling : 1;  // the last frame is held
            d += weight * g[n] * reading(item, n, order);
        }
        d = block_total(d, scratch);
        if (threadIdx.x == 0) d_amplitudes[row] = (real)d;
    }
}

// The adjoint of wavetable_read in the tables, applied to g: out [batch, n_tables, n_pieces, n_points], of every `piece`
// samples that a frame sounds in. Grid: batch x frames x pieces x tiles of TILE points, a warp each.
extern "C" __global__ void __launch_bounds__(32)
wavetable_write(const real* __restrict__ phase, const real* __restrict__ f0, const word* __restrict__ clock,
                const real* __restrict__ amplitudes, const real* __restrict__ g, real* __restrict__ out,
                long long n_samples, long long n_f0, long long n_tables, long long n_amplitudes, int n_points,
                int order, int n_pieces, int piece)
{
    __shared__ real tile[TILE];
    const int n_tiles = (n_points + TILE - 1) / TILE, first = blockIdx.x % n_tiles * TILE;
    const int size = min(TILE, n_points - first), part = blockIdx.x / n_tiles % n_pieces;
    const long long row = blockIdx.x / n_tiles / n_pieces, b = row / n_tables, j = row % n_tables;
    const Item item = item_of(b, phase, f0, (const Clock*)clock, nullptr, amplitudes, n_samples, n_f0, n_tables,
                              n_amplitudes, n_points);
    const long long begin = first_sample(j ? j - 1 : 0, n_tables, n_samples) + (long long)part * piece;
    const long long last = first_sample(j + 1, n_tables, n_samples), end = begin + piece < last ? begin + piece : last;

    g += b * n_samples;
    for (int k = threadIdx.x; k < size; k += 32) tile[k] = 0;
    __syncwarp();
#pragma unroll 1
    for (long long start = begin; start < end; start += 32) {
        const long long n = start + threadIdx.x;
        int c = -1, d = -1;
        real low = 0, high = 0;
        if (n < end) {
            const Place p = place(item, n, order);
            const Position at = position(n, n_tables, n_samples);
            const real rising = (real)at.rest / (real)n_samples;
            const real weight = at.frame < j ? rising : j < n_tables - 1 ? 1 - rising : 1;  // the last frame is held
            const real v = weight * envelope(item, n) * g[n];
            low = p.low * v;
            high = p.high * v;
            c = wrapped(p.cell, n_points);
            d = wrapped(c + 1, n_points) - first;
            c -= first;
        }
        add_in_turns(tile, c < size ? max(c, -1) : -1, low);
        add_in_turns(tile, d < size ? max(d, -1) : -1, high);
    }
    out += ((row * n_pieces + part) * n_points) + first;
    for (int k = threadIdx.x; k < size; k += 32) out[k] = tile[k];
}

// d_tables [rows, n_points] from pieces [rows, n_pieces, n_points]. Grid: tiles of THREADS points of all rows.
extern "C" __global__ void __launch_bounds__(THREADS)
wavetable_add_pieces(const real* __restrict__ pieces, real* __restrict__ d_tables, long long n_rows, int n_points,
                     int n_pieces)
{
    const long long at = (long long)blockIdx.x * THREADS + threadIdx.x, row = at / n_points;
    if (row >= n_rows) return;
    pieces += row * n_pieces * n_points + at % n_points;
    real sum = 0;
    for (int k = 0; k < n_pieces; ++k) sum += pieces[(long long)k * n_points];
    d_tables[at] = sum;
}
