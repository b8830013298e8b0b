// Wavetables: the operations of kernels/cpu/wavetable.py, whose equations and names these are.
//
//     y(n) = a(n) T(n, phi(n))        T(n, phi) = sum_j r_j(n) (p W[j, c] + q W[j, c + 1])
//
// c, p, q: place of phi in a table (reading.cuh); r_j: linear weights of the frames around n; a: amplitudes blended by
// overlapping Hann windows, or 1. phi is given, or summed up from f0 (window.cuh). f0, amplitudes and tables have
// frames of their own number.
//
// Backward, a warp has a stretch of samples and one of four tasks: the gradient in given phases, a reading of the next
// order; sums over f0's intervals, the moments; sums over intervals between frames of amplitudes; or the gradient in
// the tables. That is a scatter, without atomics: the warp owns a tile of points of one frame, in shared memory, and
// goes through the samples in order. Long intervals are cut into pieces; a second launch adds these up, in order, and
// makes f0's gradient of the moments.
#include "blend.cuh"
#include "phase_gradient.cuh"
#include "reading.cuh"
#include "window.cuh"

#define THREADS 128
#define STRETCH 256  // samples that a warp reads, forward
#define TILE 2048    // points that a warp owns, backward

// One batch item. Either phase or f0 is null; amplitudes, if they are 1.
struct Item {
    const real *phase, *f0, *tables, *amplitudes;
    Timeline t;  // of f0
    long long n_tables, n_amplitudes;
    word reciprocal;  // of the number of samples
    int n_points, order;
};

#define ITEM_PARAMETERS                                                                                               \
    TIMELINE_PARAMETERS, long long n_tables, long long n_amplitudes, word reciprocal, int n_points, int order
#define ITEM(b)                                                                                                       \
    Item{phase ? phase + (b)*n_samples : nullptr, f0 ? f0 + (b)*n_frames : nullptr,                                   \
         tables + (b)*n_tables * n_points, amplitudes ? amplitudes + (b)*n_amplitudes : nullptr,                      \
         TIMELINE, n_tables, n_amplitudes, reciprocal, n_points, order}

__device__ __forceinline__ Position position(const Item& item, long long n, long long n_frames)
{
    return position(n, n_frames, item.t.n_samples, item.reciprocal);
}

__device__ __forceinline__ long long first_sample(long long frame, long long n_frames, long long n_samples)
{
    return (frame * n_samples + n_frames - 1) / n_frames;
}

// Where a sample reads, before its order is known.
struct Reading {
    real given;   // phase, or
    Phase exact;  // the sum of f0
};

// All lanes of a warp call it, n rising from lane to lane.
__device__ __forceinline__ Reading reading_at(const Item& item, Window& window, long long n)
{
    if (item.phase) return {item.phase[n], {0, 0}};
    const long long i = position(item, n, item.t.n_intervals).frame;
    return {0, phase_at(item.f0, window, i, n, item.t)};
}

// phase times points is an integer of 64 bits behind the point and some before it. Not finite f0: NaN.
__device__ __forceinline__ Place place(const Item& item, const Reading& at, int order)
{
    if (item.phase) return place_given(at.given, item.n_points, order);
    const word part = at.exact.turns * item.n_points;
    const int cell = (int)__umul64hi(at.exact.turns, item.n_points);
    const real slope = (real)(item.n_points / 6.283185307179586), none = order == 1 ? slope + at.exact.spoiled : 0;
    if (order > 0) return {cell, -none, none};
    const bool is_short = sizeof(real) == 4;
    const real u = (real)(long long)(part >> (is_short ? 40 : 11)) * (is_short ? (real)0x1p-24 : (real)0x1p-53);
    return {cell, 1 - u + at.exact.spoiled, u + at.exact.spoiled};
}

// After the last point comes the first one again.
__device__ __forceinline__ int wrapped(int point, int n_points) { return point < n_points ? point : 0; }

// The tables at sample n.
__device__ __forceinline__ real read(const Item& item, const Place& p, long long n)
{
    const Position at = position(item, n, item.n_tables);
    const real* now = item.tables + at.frame * item.n_points;
    const real* later = item.tables + frame_of(at.frame + 1, item.n_tables) * item.n_points;
    const int c = wrapped(p.cell, item.n_points), d = wrapped(c + 1, item.n_points);
    const real rising = (real)at.rest / (real)item.t.n_samples;
    const real here = fused(rising, later[c] - now[c], now[c]), there = fused(rising, later[d] - now[d], now[d]);
    return fused(p.low, here, p.high * there);
}

// The amplitude at sample n.
__device__ __forceinline__ real envelope(const Item& item, long long n)
{
    if (!item.amplitudes) return 1;
    const Position at = position(item, n, item.n_amplitudes);
    const real a = item.amplitudes[at.frame], c = item.amplitudes[frame_of(at.frame + 1, item.n_amplitudes)];
    real falling, rising;
    blend(WINDOW, 0, at.rest, item.t.n_samples, falling, rising);
    return fused(rising, c - a, a);
}

// ------------------------------------------------------------------------------------------------------------- forward

// out [batch, n_samples] and, of f0, final_phase [batch] in radians. Grid: batch x tiles of 4 stretches.
extern "C" __global__ void __launch_bounds__(THREADS, 4)
wavetable_read(const real* __restrict__ phase, const real* __restrict__ f0, const double* __restrict__ initial_phase,
               const word* __restrict__ segments, const real* __restrict__ tables, const real* __restrict__ amplitudes,
               real* __restrict__ out, double* __restrict__ final_phase, ITEM_PARAMETERS)
{
    __shared__ word scratch[THREADS / 32];
    const int lane = threadIdx.x & 31, size = THREADS / 32 * STRETCH;
    const long long n_tiles = (n_samples + size - 1) / size, b = blockIdx.x / n_tiles;
    const long long first = blockIdx.x % n_tiles * size, begin = first + (threadIdx.x >> 5) * STRETCH;
    const long long end = begin + STRETCH < n_samples ? begin + STRETCH : n_samples;
    const Item item = ITEM(b);
    Window window = {};
    if (f0) {
        const long long i = position(item, first, n_intervals).frame;
        const word* its = segments ? segments + b * n_segments(item.t) : nullptr;
        window = window_from(item.f0, i, phase_before(item.f0, initial_phase[b], its, i, item.t, scratch), item.t);
    }
#pragma unroll 1
    for (long long from = begin; from < end; from += 32) {
        const long long n = from + lane < end ? from + lane : end - 1;
        const Place p = place(item, reading_at(item, window, n), order);
        const real y = read(item, p, n) * envelope(item, n);
        if (from + lane < end) out[b * n_samples + n] = y;
    }
    if (f0 && begin < end && end == n_samples) {  // intervals after the last sample's are empty
        const int last = (int)(position(item, n_samples - 1, n_intervals).frame - window.first);
        const word after = __shfl_sync(ALL_LANES, window.after, last);
        if (lane == 0) final_phase[b] = to_radians(after);
    }
}

// ------------------------------------------------------------------------------------------------------------ backward

// Of intervals between frames, a warp has `own`, or one of `pieces` of one.
struct Share {
    long long n_frames;
    int own, pieces;
};

// The sum over a warp, for all its lanes.
__device__ __forceinline__ double warp_total(real v)
{
    double sum = v;
#pragma unroll
    for (int d = 16; d; d >>= 1) sum += __shfl_xor_sync(ALL_LANES, sum, d);
    return sum;
}

// What a sum over samples begins with, and what it knows of the phase.
struct Source {
    const real* g;
    double initial_phase;
    const word* segments;
};

__device__ __forceinline__ Window window_at(const Item& item, const Source& source, long long n)
{
    if (item.phase) return {};
    const long long i = position(item, n, item.t.n_intervals).frame;
    const word before = warp_phase_before(item.f0, source.initial_phase, source.segments, i, item.t);
    return window_from(item.f0, i, before, item.t);
}

// d_phase of samples begin .. begin + piece - 1.
__device__ inline void phases(const Item& item, const Source& source, long long begin, int piece, real* d_phase)
{
    const long long end = begin + piece < item.t.n_samples ? begin + piece : item.t.n_samples;
#pragma unroll 1
    for (long long n = begin + threadIdx.x; n < end; n += 32)
        d_phase[n] = source.g[n] * read(item, place_given(item.phase[n], item.n_points, item.order + 1), n);
}

// Sums over a share of intervals. moments [n_frames, pieces, 3], null if not asked for: of the cotangents v of phases,
// v, m v and m (m - 1) / 2 v. weights [n_frames, pieces, 2], or null: of g T, falling and rising, for the frames of
// amplitudes before and after.
__device__ inline void sums(const Item& item, const Source& source, const Share& share, long long number, int piece,
                            double* moments, double* weights)
{
    const int lane = threadIdx.x, part = (int)(number % share.pieces);
    const long long first = number / share.pieces * share.own;
    const long long last = first + share.own < share.n_frames ? first + share.own : share.n_frames;
    long long end = first_sample(first, share.n_frames, item.t.n_samples);
    Window window = {};
    const long long begins = end + (long long)part * piece;
    if (begins < item.t.n_samples) window = window_at(item, source, begins);
#pragma unroll 1
    for (long long j = first; j < last; ++j) {
        const long long start = end, begin = start + (long long)part * piece;
        end = first_sample(j + 1, share.n_frames, item.t.n_samples);
        const long long stop = share.pieces > 1 && begin + piece < end ? begin + piece : end;
        real s = 0, x = 0, q = 0, before = 0, after = 0;
#pragma unroll 1
        for (long long from = begin; from < stop; from += 32) {
            const bool is_there = from + lane < stop;
            const long long n = is_there ? from + lane : stop - 1;
            const Reading at = reading_at(item, window, n);
            const real heard = is_there ? source.g[n] : 0;
            if (moments) {
                const real v = heard * envelope(item, n) * read(item, place(item, at, item.order + 1), n);
                const real m = (real)(n - start);
                s += v;
                x = fused(m, v, x);
                q = fused(m * (m - 1) * (real)0.5, v, q);
            }
            if (weights) {
                const real v = heard * read(item, place(item, at, item.order), n);
                real falling, rising;
                blend(WINDOW, 0, n * share.n_frames - j * item.t.n_samples, item.t.n_samples, falling, rising);
                before = fused(falling, v, before);
                after = fused(rising, v, after);
            }
        }
        const long long row = j * share.pieces + part;
        if (moments) {
            const double total[3] = {warp_total(s), warp_total(x), warp_total(q)};
            if (lane == 0)
                for (int k = 0; k < 3; ++k) moments[3 * row + k] = total[k];
        }
        if (weights) {
            const double total[2] = {warp_total(before), warp_total(after)};
            if (lane == 0)
                for (int k = 0; k < 2; ++k) weights[2 * row + k] = total[k];
        }
    }
}

// The adjoint of reading, in the points of frame j's table from `first` on: out [n_points], of samples from the piece
// `part` of those in which the frame sounds.
__device__ inline void points(const Item& item, const Source& source, long long j, int part, int piece, int first,
                              real* tile, real* out)
{
    const int lane = threadIdx.x, size = min(TILE, item.n_points - first);
    const long long starts = first_sample(j > 0 ? j - 1 : 0, item.n_tables, item.t.n_samples);
    const long long ends = first_sample(j + 1, item.n_tables, item.t.n_samples);
    const long long begin = starts + (long long)part * piece, end = begin + piece < ends ? begin + piece : ends;
    for (int k = lane; k < size; k += 32) tile[k] = 0;
    __syncwarp();
    Window window = {};
    if (begin < end) window = window_at(item, source, begin);
#pragma unroll 1
    for (long long from = begin; from < end; from += 32) {
        const bool is_there = from + lane < end;
        const long long n = is_there ? from + lane : end - 1;
        const Place p = place(item, reading_at(item, window, n), item.order);
        const Position at = position(item, n, item.n_tables);
        const real rising = (real)at.rest / (real)item.t.n_samples;
        const real weight = at.frame < j ? rising : j < item.n_tables - 1 ? 1 - rising : 1;  // the last frame is held
        const real v = weight * envelope(item, n) * source.g[n];
        const int here = wrapped(p.cell, item.n_points), c = here - first, d = wrapped(here + 1, item.n_points) - first;
        add_in_turns(tile, is_there && c < size ? max(c, -1) : -1, p.low * v);
        add_in_turns(tile, is_there && d < size ? max(d, -1) : -1, p.high * v);
    }
    for (int k = lane; k < size; k += 32) out[first + k] = tile[k];
}

// What gradients of g [batch, n_samples] are made of; null where not asked for. d_phase [batch, n_samples]; moments
// [batch, n_frames, pieces, 3]; weights [batch, n_amplitudes, pieces, 2], summed beside the moments where n_weights is
// 0; d_tables [batch, n_tables, pieces, n_points]. Grid: batch x shares, a warp each: n_phases of phases, n_moments of
// f0's intervals, n_weights of the amplitudes', and those of tables.
extern "C" __global__ void __launch_bounds__(32, 1)
wavetable_gradients(const real* __restrict__ phase, const real* __restrict__ f0,
                    const double* __restrict__ initial_phase, const word* __restrict__ segments,
                    const real* __restrict__ tables, const real* __restrict__ amplitudes, const real* __restrict__ g,
                    real* __restrict__ d_phase, double* __restrict__ moments, double* __restrict__ weights,
                    real* __restrict__ d_tables, ITEM_PARAMETERS, int batch, int piece, int n_phases, int n_moments,
                    int own_moments, int pieces_moments, int n_weights, int own_weights, int pieces_weights,
                    int pieces_tables)
{
    __shared__ real tile[TILE];
    const unsigned n_shares = gridDim.x / batch;
    const long long b = blockIdx.x / n_shares;
    const Item item = ITEM(b);
    const Source source = {g + b * n_samples, f0 ? initial_phase[b] : 0,
                           segments ? segments + b * n_segments(item.t) : nullptr};
    double* its_moments = moments ? moments + b * n_frames * pieces_moments * 3 : nullptr;
    double* its_weights = weights ? weights + b * n_amplitudes * pieces_weights * 2 : nullptr;
    int number = blockIdx.x % n_shares;
    if (number < n_phases) return phases(item, source, (long long)number * piece, piece, d_phase + b * n_samples);
    number -= n_phases;
    if (number < n_moments)
        return sums(item, source, {n_frames, own_moments, pieces_moments}, number, piece, its_moments,
                    n_weights ? nullptr : its_weights);
    number -= n_moments;
    if (number < n_weights)
        return sums(item, source, {n_amplitudes, own_weights, pieces_weights}, number, piece, nullptr, its_weights);
    number -= n_weights;
    const int n_tiles = (n_points + TILE - 1) / TILE, part = number / n_tiles % pieces_tables;
    const long long j = number / n_tiles / pieces_tables;
    points(item, source, j, part, piece, number % n_tiles * TILE, tile,
           d_tables + ((b * n_tables + j) * pieces_tables + part) * n_points);
}

// Gradients from what they are made of; those that are null are not asked for, or complete. d_f0 [batch, n_frames] and
// d_initial [batch] from moments and final_cotangent [batch], with sides [batch, n_frames, 2] as workspace;
// d_amplitudes [batch, n_amplitudes] from weights; d_tables [rows, n_points] from parts [rows, pieces, n_points].
// Grid: a block for each item if there is d_f0, then tiles of SCAN_THREADS amplitudes, then of points.
extern "C" __global__ void __launch_bounds__(SCAN_THREADS)
wavetable_finish(const double* __restrict__ moments, const double* __restrict__ final_cotangent,
                 double* __restrict__ sides, real* __restrict__ d_f0, double* __restrict__ d_initial,
                 const double* __restrict__ weights, real* __restrict__ d_amplitudes, const real* __restrict__ parts,
                 real* __restrict__ d_tables, TIMELINE_PARAMETERS, long long n_amplitudes, long long n_rows,
                 int n_points, int batch, int pieces_moments, int pieces_weights, int pieces_tables)
{
    __shared__ ScanShared shared;
    const unsigned n_scans = d_f0 ? batch : 0, n_all = (unsigned)(n_amplitudes * batch);
    const unsigned n_adds = d_amplitudes ? (n_all + SCAN_THREADS - 1) / SCAN_THREADS : 0;
    if (blockIdx.x < n_scans) {
        const long long b = blockIdx.x;
        return gradient_of_f0(moments + b * n_intervals * pieces_moments * 3, pieces_moments, final_cotangent[b],
                              sides + b * n_intervals * 2, d_f0 + b * n_frames, d_initial + b, TIMELINE, shared);
    }
    if (blockIdx.x < n_scans + n_adds) {
        const long long at = (long long)(blockIdx.x - n_scans) * SCAN_THREADS + threadIdx.x, j = at % n_amplitudes;
        if (at >= n_all) return;
        double sum = 0;
        for (int k = 0; k < pieces_weights; ++k) {
            const double* own = weights + 2 * (at * pieces_weights + k);
            sum += own[0] + (j == n_amplitudes - 1 ? own[1] : 0);  // the last frame is held
            if (j > 0) sum += own[1 - 2 * pieces_weights];
        }
        d_amplitudes[at] = (real)sum;
        return;
    }
    const long long at = (long long)(blockIdx.x - n_scans - n_adds) * SCAN_THREADS + threadIdx.x;
    const long long row = at / n_points;
    if (row >= n_rows) return;
    parts += row * pieces_tables * n_points + at % n_points;
    real sum = 0;
    for (int k = 0; k < pieces_tables; ++k) sum += parts[(long long)k * n_points];
    d_tables[at] = sum;
}
