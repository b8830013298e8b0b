// Frequency-sampled filters and filtered noise; equations: kernels/fir.py and kernels/reference/fir.py.
//
//     design      h_t[l] = w[l] / n sum''_k X_t[k] cos(pi k lag(l) / n),   lag(l) = first_lag + l
//     forward     y[q]   = sum_f sum_{n in frame f} x0[n] h_f[q - n] + x1[n] h_{f+1}[q - n]
//     backward    dx[n]  = (1 - w(n)) sum_l h_f[l] g[n + l] + w(n) sum_l h_{f+1}[l] g[n + l]
//                 dh_f[l], dh_{f+1}[l] = sum_{n in frame f} (x0[n], x1[n]) g[n + l],   dX = design transposed
//
// x0 = (1 - w) x and x1 = w x, where w(n) fades to the next frame's filter; 0 without overlap and in the last frame.
// y and g are counted before the delay is cut. x is audio, or noise made on the way (philox.cuh).
//
// Sums. All three are sums of a[k] v[i +- k]: a thread has SAMPLES neighbours i and takes STEPS terms k at a time, so
// that SEEN numbers v and STEPS numbers a from shared memory serve SAMPLES STEPS multiply-adds. An odd number of sums
// keeps the lanes of a warp apart in memory's banks. Zeros follow each frame's samples and surround its taps, so that
// nothing is masked, and terms come in the same order whatever the grid.
//
// Design. With E and O the sums over even and odd k, r[m] = E[m] + O[m] and r[n - m] = E[m] - O[m], so a thread makes
// both of, and the up to four taps at, a lag m <= n / 2, for FRAMES frames. Its cosines turn by pi m / n a band; every
// 16th is exact. Transposed, a thread has a band k and sums over m what the four taps make.
//
// Forward, a block has THREADS SAMPLES neighbouring outputs of a row and visits the frames that reach them, `group` at
// a time. Backward, it owns frames, or a piece of a long one, and writes what they add to two rows of dX; where a row
// has several such parts, sum_parts adds them up. More taps than TAPS are taken tile by tile.
#include "philox.cuh"
#include "sine.cuh"

#define SAMPLES 9
#define STEPS 8
#define SEEN (SAMPLES + STEPS - 1)  // numbers v
#define THREADS 128
#define FRAMES 8        // of a thread, in the design and its transpose
#define MOST_FRAMES 24  // that a block has at hand
#define BANDS 72        // of each of them staged at a time; even
#define SEED 16         // bands or lags between exact cosines
#define LEAD (SEEN - 1)      // zeros before a row of taps
#define TRAIL (SAMPLES - 1)  // and after it
#define RESIDENT (16 / (int)sizeof(real))  // blocks of a processor, at least

// What is filtered, and how: the same for all blocks.
struct Filter {
    const real* magnitudes;       // [batch, n_frames, n + 1]
    const real* audio;            // [batch, n_samples], or null:
    const long long* seeds;       // of noise; one a row, `seed_stride` apart
    long long seed_stride, offset;  // of the first sample in the stream
    long long n_samples, n_out;   // of a row of audio, of a row of y
    long long hop;                // samples of a frame; 0: the audio is divided evenly
    word lag_unit, window_unit;   // turns of pi / n, and of half a period of the window
    int n_frames, n, n_taps, first_lag;
    int half, window_size;        // the window's index at lag 0, its samples
    int delay, overlap, tile;     // taps of a tile
};

// Frames that a block has at hand, cut to a range of samples.
struct Frames {
    long long base;                     // their first sample
    long long starts[MOST_FRAMES + 1];  // of whole frames
    int borders[MOST_FRAMES + 1];       // of cut frames, from base on
};

struct __align__(16) Four {
    real v[4];
};

// Of a row of staged numbers, one a frame: odd, so that rows lie in different banks.
__device__ __forceinline__ int staged_row(int n_sets) { return n_sets * (FRAMES / 4) + 1; }

__device__ __forceinline__ long long frame_start(long long f, const Filter& v)
{
    if (v.hop == 0) return (f * v.n_samples + v.n_frames - 1) / v.n_frames;
    return f * v.hop < v.n_samples ? f * v.hop : v.n_samples;
}

__device__ __forceinline__ int frame_at(long long n, const Filter& v)
{
    return (int)(v.hop ? n / v.hop : n * v.n_frames / v.n_samples);
}

// `count` frames from `first` on, cut to the samples low .. high - 1. Begins and ends with a barrier.
__device__ inline void look_at(int first, int count, long long low, long long high, const Filter& v, Frames& frames)
{
    __syncthreads();
    const long long start = frame_start(first, v), base = start < low ? low : start;
    if (threadIdx.x <= count) {
        const long long border = frame_start(first + threadIdx.x, v);
        frames.starts[threadIdx.x] = border;
        frames.borders[threadIdx.x] = (int)((border < base ? base : border < high ? border : high) - base);
    }
    if (threadIdx.x == 0) frames.base = base;
    __syncthreads();
}

// w(n) in a frame from `start` to `end`: sin^2 of a quarter turn.
__device__ __forceinline__ real fade_in(long long n, long long start, long long end)
{
    const real quarter = (real)(n - start) / (real)(end - start) / 4, s = quarter * odd(quarter * quarter);
    return s * s;
}

__device__ __forceinline__ bool fades(int frame, const Filter& v) { return v.overlap && frame < v.n_frames - 1; }

// x0 of the frames at hand, with STEPS zeros after each, and x1 if frames overlap.
__device__ inline void stage_samples(long long b, int first, int count, const Filter& v, const Frames& frames, real* x0,
                                     real* x1)
{
    const int total = frames.borders[count];
    const word seed = v.audio ? 0 : (word)v.seeds[b * v.seed_stride];
    const int ahead = v.audio ? 0 : (int)((v.offset + frames.base) & 3);  // into a quadruple of noise
    int f = 0;
#pragma unroll 1
    for (int begin = 4 * (int)threadIdx.x - ahead; begin < total; begin += 4 * (int)blockDim.x) {
        uint4 random = make_uint4(0, 0, 0, 0);
        if (!v.audio) random = philox(seed, (word)b, (word)(v.offset + frames.base + begin) >> 2);
#pragma unroll 1
        for (int n = begin; n < begin + 4; ++n) {
            const unsigned now = random.x;
            random.x = random.y;
            random.y = random.z;
            random.z = random.w;
            if (n < 0 || n >= total) continue;
            while (frames.borders[f + 1] <= n) ++f;
            const real x = v.audio ? v.audio[b * v.n_samples + frames.base + n] : noise_sample(now);
            real w = 0;
            if (fades(first + f, v)) w = fade_in(frames.base + n, frames.starts[f], frames.starts[f + 1]);
            x0[n + STEPS * f] = (1 - w) * x;
            if (v.overlap) x1[n + STEPS * f] = w * x;
        }
    }
#pragma unroll 1
    for (int k = threadIdx.x; k < STEPS * count; k += blockDim.x) {
        x0[frames.borders[k / STEPS + 1] + k] = 0;
        if (v.overlap) x1[frames.borders[k / STEPS + 1] + k] = 0;
    }
}

// sums[i] += sum_k a[k] v[i + k], or v[i + STEPS - 1 - k] if BACK.
template <bool BACK>
__device__ __forceinline__ void add_terms(const real* a, const real* v, real (&sums)[SAMPLES])
{
    real seen[SEEN];
#pragma unroll
    for (int j = 0; j < SEEN; ++j) seen[j] = v[j];
#pragma unroll
    for (int k = 0; k < STEPS; ++k) {
        const real factor = a[k];
#pragma unroll
        for (int i = 0; i < SAMPLES; ++i) sums[i] = fused(factor, seen[BACK ? i + STEPS - 1 - k : i + k], sums[i]);
    }
}

// ------------------------------------------------------------------------------------------------ the cosine transform

__device__ __forceinline__ void sin_cos_fraction(word fraction, real& sine, real& cosine)
{
    const turns phase = sizeof(turns) == 8 ? (turns)fraction : (turns)((fraction + 0x80000000u) >> 32);
    sin_cos_turns(phase, sine, cosine);
}

// cos(pi i j / n) and its sine, i = 0, 1, 2, ...
struct Turning {
    real cosine, sine, turn_cosine, turn_sine;
};

__device__ __forceinline__ void turn_to(Turning& t, int i, int j, const Filter& v)
{
    const unsigned at = (unsigned)i * (unsigned)j % (2 * (unsigned)v.n);
    sin_cos_fraction(at * v.lag_unit, t.sine, t.cosine);
}

__device__ __forceinline__ void turn_on(Turning& t)
{
    const real sine = fused(t.sine, t.turn_cosine, t.cosine * t.turn_sine);
    t.cosine = fused(t.cosine, t.turn_cosine, -(t.sine * t.turn_sine));
    t.sine = sine;
}

__device__ __forceinline__ void add_row(const Four* row, real factor, real (&sums)[FRAMES])
{
#pragma unroll
    for (int q = 0; q < FRAMES / 4; ++q) {
        const Four four = row[q];
#pragma unroll
        for (int f = 0; f < 4; ++f) sums[4 * q + f] = fused(four.v[f], factor, sums[4 * q + f]);
    }
}

// w[l] / n of `here` taps from tap `from` on.
__device__ inline void weigh(int from, int here, const Filter& v, real* weights)
{
#pragma unroll 1
    for (int l = threadIdx.x; l < here; l += blockDim.x) {
        const int i = (v.first_lag + from + l + v.half) % (2 * v.n);
        real sine, cosine;
        sin_cos_fraction((word)i * v.window_unit, sine, cosine);
        weights[l] = i >= v.window_size ? 0 : v.window_size == 1 ? (real)1 / v.n : sine * sine / v.n;
    }
}

// The lag of side 0 .. 3 of m: m, n - m, -m, m - n; as a tap of the tile from tap `from` on, or -1 if it is none, or
// the same as another side's.
__device__ __forceinline__ int tap_of(int m, int side, int from, int here, const Filter& v)
{
    const int size = side & 1 ? v.n - m : m;
    if ((side & 1 && 2 * m == v.n) || (side & 2 && size == 0)) return -1;
    const int tap = (side & 2 ? -size : size) - v.first_lag - from;
    return tap >= 0 && tap < here ? tap : -1;
}

__device__ __forceinline__ bool reaches(int m, int from, int here, const Filter& v)
{
    bool any = false;
#pragma unroll
    for (int side = 0; side < 4; ++side) any = any || tap_of(m, side, from, here, v) >= 0;
    return any;
}

// `n_bands` bands from band k0 on of all frames, half of the first and the last; 0 where there is none.
__device__ inline void stage_bands(long long b, int first, int n_sets, int k0, int n_bands, const Filter& v,
                                   Four* staged)
{
    const real* magnitudes = v.magnitudes + b * v.n_frames * (v.n + 1) + k0;
#pragma unroll 1
    for (int f = threadIdx.x / 32; f < n_sets * FRAMES; f += blockDim.x / 32) {
        const long long frame = first + f < v.n_frames ? first + f : v.n_frames - 1;
        const real* bands = magnitudes + frame * (v.n + 1);
        for (int k = threadIdx.x % 32; k < n_bands + n_bands % 2; k += 32) {
            real x = k < n_bands ? bands[k] : 0;
            if (k0 + k == 0 || k0 + k == v.n) x /= 2;
            ((real*)(staged + k * staged_row(n_sets)))[f] = x;
        }
    }
}

// Rows of taps, `here` of them from tap `from` on, of `count` frames from `first` on; frames after the last are the
// last. Begins with a barrier.
__device__ inline void design(long long b, int first, int count, int from, int here, const Filter& v,
                              const real* weights, Four* staged, real* rows)
{
    const int row = LEAD + v.tile + TRAIL, n_sets = (count + FRAMES - 1) / FRAMES, fours = staged_row(n_sets);
    const int n_lags = v.n / 2 + 1, n_items = n_lags * n_sets;
#pragma unroll 1
    for (int round = 0; round < n_items; round += blockDim.x) {
        const int item = round + threadIdx.x, set = item / n_lags, m = item % n_lags;
        const bool is_busy = item < n_items && reaches(m, from, here, v);
        real even[FRAMES] = {0}, odd[FRAMES] = {0};
        Turning t;
        turn_to(t, 1, m, v);
        t.turn_cosine = t.cosine;
        t.turn_sine = t.sine;
#pragma unroll 1
        for (int k0 = 0; k0 <= v.n; k0 += BANDS) {
            const int n_bands = v.n + 1 - k0 < BANDS ? v.n + 1 - k0 : BANDS;
            if (round == 0 || v.n >= BANDS) {  // or all of them are there
                __syncthreads();
                stage_bands(b, first, n_sets, k0, n_bands, v, staged);
                __syncthreads();
            }
            if (!is_busy) continue;
#pragma unroll 1
            for (int k = 0; k < n_bands; k += 2) {
                const Four* bands = staged + k * fours + set * (FRAMES / 4);
                if ((k0 + k) % SEED == 0) turn_to(t, k0 + k, m, v);
                add_row(bands, t.cosine, even);
                turn_on(t);
                add_row(bands + fours, t.cosine, odd);
                turn_on(t);
            }
        }
        if (!is_busy) continue;
#pragma unroll 1
        for (int side = 0; side < 4; ++side) {
            const int tap = tap_of(m, side, from, here, v);
            if (tap < 0) continue;
            real* target = rows + set * FRAMES * row + LEAD + tap;
            const real weight = weights[tap], sign = side & 1 ? (real)-1 : (real)1;
#pragma unroll
            for (int f = 0; f < FRAMES; ++f, target += row)
                if (set * FRAMES + f < count) *target = weight * fused(sign, odd[f], even[f]);
        }
    }
    const int zeros = row - here;
#pragma unroll 1
    for (int k = threadIdx.x; k < zeros * count; k += blockDim.x)
        rows[k / zeros * row + (k % zeros < LEAD ? k % zeros : k % zeros + here)] = 0;
}

// What the taps at `count` lags from m0 on make, in pairs of rows: r[m] + r[n - m] and r[m] - r[n - m].
__device__ inline void fold(const real* rows, int n_rows, int m0, int count, int from, int here, const Filter& v,
                            Four* staged)
{
    const int row = LEAD + v.tile + TRAIL, n_sets = (n_rows + FRAMES - 1) / FRAMES, fours = staged_row(n_sets);
#pragma unroll 1
    for (int m = threadIdx.x % 32; m < count; m += 32) {
        int taps[4];
#pragma unroll
        for (int side = 0; side < 4; ++side) taps[side] = tap_of(m0 + m, side, from, here, v);
        for (int r = threadIdx.x / 32; r < n_sets * FRAMES; r += blockDim.x / 32) {
            const real* tap_row = rows + r * row + LEAD;
            real lags[2] = {0, 0};
#pragma unroll
            for (int side = 0; side < 4; ++side)
                if (taps[side] >= 0 && r < n_rows) lags[side & 1] += tap_row[taps[side]];
            ((real*)(staged + 2 * m * fours))[r] = lags[0] + lags[1];
            ((real*)(staged + (2 * m + 1) * fours))[r] = lags[0] - lags[1];
        }
    }
}

// The design transposed: from rows of weighted gradients of taps, `n_rows` of them, the gradients of magnitudes, to be
// added to `parts` [n_rows, n + 1] if these are not the first taps. Begins with a barrier.
__device__ inline void gather(int n_rows, int from, int here, const Filter& v, const real* rows, Four* staged,
                              real* parts)
{
    const int n_sets = (n_rows + FRAMES - 1) / FRAMES, fours = staged_row(n_sets);
    const int n_lags = v.n / 2 + 1, n_bands = v.n + 1, n_items = n_bands * n_sets;
#pragma unroll 1
    for (int round = 0; round < n_items; round += blockDim.x) {
        const int item = round + threadIdx.x, set = item / n_bands, k = item % n_bands;
        real sums[FRAMES] = {0};
        Turning t;
        turn_to(t, 1, k, v);
        t.turn_cosine = t.cosine;
        t.turn_sine = t.sine;
#pragma unroll 1
        for (int m0 = 0; m0 < n_lags; m0 += BANDS / 2) {
            const int count = n_lags - m0 < BANDS / 2 ? n_lags - m0 : BANDS / 2;
            if (round == 0 || n_lags > BANDS / 2) {  // or all of them are there
                __syncthreads();
                fold(rows, n_rows, m0, count, from, here, v, staged);
                __syncthreads();
            }
            if (item >= n_items) continue;
#pragma unroll 1
            for (int m = 0; m < count; ++m) {
                if ((m0 + m) % SEED == 0) turn_to(t, m0 + m, k, v);
                add_row(staged + (2 * m + k % 2) * fours + set * (FRAMES / 4), t.cosine, sums);
                turn_on(t);
            }
        }
        if (item >= n_items) continue;
        const real share = k == 0 || k == v.n ? (real)0.5 : (real)1;
#pragma unroll
        for (int f = 0; f < FRAMES; ++f)
            if (set * FRAMES + f < n_rows) {
                real* part = parts + (long long)(set * FRAMES + f) * n_bands + k;
                *part = from ? *part + share * sums[f] : share * sums[f];
            }
    }
}

// ------------------------------------------------------------------------------------------------------------- kernels

#define FILTER                                                                                                       \
    {magnitudes, audio, seeds, seed_stride, offset, n_samples, n_out, hop, lag_unit, window_unit, n_frames, n,        \
     n_taps, first_lag, half, window_size, delay, overlap, tile}

// y[i] += sum_n x[n] h_f[q + i - n], where frame f holds n; q: from the first sample and the first tap on.
__device__ inline void convolve(const real* x, const Frames& frames, int count, const real* rows, int row, int here,
                                int q, real (&y)[SAMPLES])
{
    const int end = q + SAMPLES < frames.borders[count] ? q + SAMPLES : frames.borders[count];
    int n = q - (here - 1) > 0 ? q - (here - 1) : 0, f = 0;
    if (n >= end) return;
#pragma unroll
    for (int step = 16; step; step /= 2) {  // the last frame that begins by then; MOST_FRAMES are less than 32
        const int later = f + step < count ? f + step : count;
        if (frames.borders[later] <= n) f = later;
    }
#pragma unroll 1
    while (n < end) {
        add_terms<true>(x + n + STEPS * f, rows + f * row + LEAD + q - n - (STEPS - 1), y);
        n += STEPS;
        const int next = frames.borders[f + 1];
        if (n >= next) {
            n = next;
            ++f;
        }
    }
}

// out [batch, n_out]. Dynamic shared memory: staged bands, rows of `group` frames (one more if they overlap), x0, x1,
// weights. Grid: batch x tiles of blockDim.x * SAMPLES outputs.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
fir_forward(const real* __restrict__ magnitudes, const real* __restrict__ audio, const long long* __restrict__ seeds,
            real* __restrict__ out, long long seed_stride, long long offset, long long n_samples, long long n_out,
            long long hop, word lag_unit, word window_unit, int n_frames, int n, int n_taps, int first_lag, int half,
            int window_size, int delay, int overlap, int tile, int group, int n_staged)
{
    extern __shared__ Four staged[];
    __shared__ Frames frames;
    const Filter v = FILTER;
    const int row = LEAD + tile + TRAIL, size = blockDim.x * SAMPLES;
    real* rows = (real*)(staged + staged_row((group + overlap + FRAMES - 1) / FRAMES) * BANDS);
    real* weights = rows + (group + overlap) * row;
    real *x0 = weights + tile, *x1 = x0 + n_staged;
    const long long n_tiles = (n_out + size - 1) / size, b = blockIdx.x / n_tiles;
    const long long first_out = blockIdx.x % n_tiles * size, q = first_out + delay;

    real y0[SAMPLES] = {0}, y1[SAMPLES] = {0};
#pragma unroll 1
    for (int from = 0; from < n_taps; from += tile) {
        const int here = n_taps - from < tile ? n_taps - from : tile;
        const long long low = q - from - (here - 1) > 0 ? q - from - (here - 1) : 0;
        const long long high = q - from + size < n_samples ? q - from + size : n_samples;
        if (low >= high) continue;
        const int last = frame_at(high - 1, v);
        weigh(from, here, v, weights);
#pragma unroll 1
        for (int first = frame_at(low, v); first <= last; first += group) {
            const int count = last + 1 - first < group ? last + 1 - first : group;
            look_at(first, count, low, high, v, frames);
            stage_samples(b, first, count, v, frames, x0, x1);
            design(b, first, count + overlap, from, here, v, weights, staged, rows);
            __syncthreads();
            const int mine = (int)(q - from - frames.base) + threadIdx.x * SAMPLES;
            convolve(x0, frames, count, rows, row, here, mine, y0);
            if (overlap) convolve(x1, frames, count, rows + row, row, here, mine, y1);
        }
    }
#pragma unroll
    for (int i = 0; i < SAMPLES; ++i) {
        const long long p = first_out + threadIdx.x * SAMPLES + i;
        if (p < n_out) out[b * n_out + p] = y0[i] + y1[i];
    }
}

// d_audio [batch, n_samples], or null; parts [batch, n_frames, pieces, 1 + overlap, n + 1], what each piece of `piece`
// samples of a frame adds to its own magnitudes' gradient and the next frame's, or null. g [batch, n_out]. Dynamic
// shared memory: staged bands, rows, weights, x0, x1, g. Grid: batch x groups of `own` frames x pieces.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
fir_backward(const real* __restrict__ magnitudes, const real* __restrict__ audio, const long long* __restrict__ seeds,
             const real* __restrict__ g, real* __restrict__ d_audio, real* __restrict__ parts, long long seed_stride,
             long long offset, long long n_samples, long long n_out, long long hop, word lag_unit, word window_unit,
             int n_frames, int n, int n_taps, int first_lag, int half, int window_size, int delay, int overlap,
             int tile, int own, int pieces, int piece, int n_staged)
{
    extern __shared__ Four staged[];
    __shared__ Frames frames;
    const Filter v = FILTER;
    const int row = LEAD + tile + TRAIL, n_phases = 1 + overlap, n_rows = own * n_phases;
    real* rows = (real*)(staged + staged_row((n_rows + FRAMES - 1) / FRAMES) * BANDS);
    real* weights = rows + n_rows * row;
    real *x0 = weights + tile, *x1 = x0 + n_staged, *heard = x1 + overlap * n_staged;
    const int n_groups = (n_frames + own - 1) / own;
    const int j = blockIdx.x % pieces, first = blockIdx.x / pieces % n_groups * own;
    const long long b = blockIdx.x / pieces / n_groups;
    const int count = n_frames - first < own ? n_frames - first : own;

    const long long low = frame_start(first, v) + (long long)j * piece, last = frame_start(first + count, v);
    const long long high = pieces > 1 && low + piece < last ? low + piece : last;
    look_at(first, count, low < high ? low : high, high, v, frames);
    if (parts) stage_samples(b, first, count, v, frames, x0, x1);
    const int total = frames.borders[count];
#pragma unroll 1
    for (int from = 0; from < n_taps; from += tile) {
        const int here = n_taps - from < tile ? n_taps - from : tile;
        __syncthreads();
        weigh(from, here, v, weights);
        const long long ahead = frames.base + from - delay;
        const real* seen = g + b * n_out + ahead;
        const int before = ahead < 0 ? (int)-ahead : 0;  // how many lie before the first and, by `end`, the last one
        const int n_heard = total + here + SEEN - 2, end = n_out - ahead < n_heard ? (int)(n_out - ahead) : n_heard;
#pragma unroll 1
        for (int i = threadIdx.x; i < n_heard; i += blockDim.x) heard[i] = i >= before && i < end ? seen[i] : 0;
        if (d_audio) {
            design(b, first, count + overlap, from, here, v, weights, staged, rows);
            __syncthreads();
            const int n_items = (piece + SAMPLES - 1) / SAMPLES;  // of a frame
#pragma unroll 1
            for (int item = threadIdx.x; item < n_items * count; item += blockDim.x) {
                const int f = item / n_items, at = frames.borders[f] + item % n_items * SAMPLES;
                if (at >= frames.borders[f + 1]) continue;
                real sums[SAMPLES] = {0}, next[SAMPLES] = {0};
                const real* taps = rows + f * row + LEAD;
#pragma unroll 1
                for (int l = 0; l < here; l += STEPS) add_terms<false>(taps + l, heard + at + l, sums);
                if (overlap) {
#pragma unroll 1
                    for (int l = 0; l < here; l += STEPS) add_terms<false>(taps + row + l, heard + at + l, next);
                }
#pragma unroll
                for (int i = 0; i < SAMPLES; ++i) {
                    const long long sample = frames.base + at + i;
                    if (at + i >= frames.borders[f + 1]) continue;
                    real value = sums[i];
                    if (fades(first + f, v)) {
                        const real w = fade_in(sample, frames.starts[f], frames.starts[f + 1]);
                        value = fused(w, next[i], (1 - w) * value);
                    }
                    real* target = d_audio + b * n_samples + sample;
                    *target = from ? *target + value : value;
                }
            }
        }
        if (parts) {
            __syncthreads();
            const int n_items = (here + SAMPLES - 1) / SAMPLES;  // of a row
#pragma unroll 1
            for (int item = threadIdx.x; item < n_items * count * n_phases; item += blockDim.x) {
                const int r = item / n_items, l = item % n_items * SAMPLES, f = r / n_phases;
                const real* x = (r % n_phases ? x1 : x0) + STEPS * f;
                real sums[SAMPLES] = {0};
#pragma unroll 1
                for (int i = frames.borders[f]; i < frames.borders[f + 1]; i += STEPS)
                    add_terms<false>(x + i, heard + i + l, sums);
#pragma unroll
                for (int i = 0; i < SAMPLES; ++i)
                    if (l + i < here) rows[r * row + LEAD + l + i] = weights[l + i] * sums[i];
            }
            const long long at = ((b * n_frames + first) * pieces + j) * n_phases;
            gather(count * n_phases, from, here, v, rows, staged, parts + at * (n + 1));
        }
    }
}

// d_magnitudes [batch, n_frames, n_bands] = the parts of each, in order. Grid: batch x n_frames.
extern "C" __global__ void __launch_bounds__(THREADS)
sum_parts(const real* __restrict__ parts, real* __restrict__ d_magnitudes, int n_frames, int n_bands, int pieces,
          int n_phases)
{
    const long long step = (long long)n_phases * n_bands;
    const bool has_before = n_phases == 2 && blockIdx.x % n_frames;
#pragma unroll 1
    for (int k = threadIdx.x; k < n_bands; k += blockDim.x) {
        const real* own = parts + blockIdx.x * pieces * step + k;
        const real* before = own - pieces * step + n_bands;
        real sum = 0;
#pragma unroll 4
        for (int j = 0; j < pieces; ++j) sum += own[j * step];
        if (has_before) {
#pragma unroll 4
            for (int j = 0; j < pieces; ++j) sum += before[j * step];
        }
        d_magnitudes[(long long)blockIdx.x * n_bands + k] = sum;
    }
}
