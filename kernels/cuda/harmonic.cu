// Harmonic bank: the operations of kernels/cpu/harmonic.py, whose equations and names these are.
//
//     bank      y(n)    = sum_h a_h(n) sin(h theta(n) + psi),   a_h(n) = m_h(n) sum_t w_t(n) A[frame_t, h]
//     analysis  L[j, h] = sum_n g(n) m_h(n) w_j(n) sin(h theta(n) + psi)
//     moments   of v(n) = g(n) sum_h h a_h(n) cos(h theta(n) + psi), from which the gradient in f0 is made
//
// The loop. Harmonics run in blocks of 13, h = M - 6 .. M + 6 around M = 13 m + 7. With C_j = cos(j theta) and
// S_j = sin(j theta), j = 1..6,
//
//     sum_{|j| <= 6} a_{M+j} sin((M + j) theta) = sin(M theta) (a_M + sum_j p_j C_j) + cos(M theta) sum_j q_j S_j
//     p_j = a_{M+j} + a_{M-j},   q_j = a_{M+j} - a_{M-j}
//
// which is one multiply-add a harmonic and frame, besides 8 a block and frame. The start
// (sin, cos)(M theta) is the last block's turned by 13 theta; every 8th is exact, from the integer phase. Analysis is
// the transpose: sums of g w sin(M theta) C_j and g w cos(M theta) S_j, whose sum and difference belong to M + j, M - j.
//
// Harmonics above Nyquist for a whole interval are not computed. Those that cross it inside are few: each is computed
// from its own exact phase and masked, sample by sample, which keeps masks out of the loop.
//
// Forward, a thread has SAMPLES samples of one interval; a team of threads has an interval, and a block a few teams,
// whose p and q it stages in shared memory. Backward, a thread has one block of harmonics and every so many'th of the
// interval's samples, so that its sums stay in registers; a block owns frames and visits every interval that touches
// them, in order. So results depend neither on the grid nor on the order in which blocks run.
#include "envelope.cuh"

#define HALF 6
#define BLOCK (2 * HALF + 1)
#define MIDDLE (HALF + 1)        // the first block's
#define BLOCKS_PER_SEED 8
#define SAMPLES (16 / (int)sizeof(real))  // of a thread, forward
#define THREADS 128              // of a block, forward
#define STAGED 4                 // blocks of harmonics staged at a time

struct Settings {
    int batch, n_harmonics, method;
    turns shift;  // psi
};

__device__ __forceinline__ int blocks_of(int n_plain) { return (n_plain + BLOCK - 1) / BLOCK; }

// (s, c) of an angle, turned by the angle whose sine and cosine are given.
__device__ __forceinline__ void turn(real& s, real& c, real sine, real cosine)
{
    const real turned = fused(s, cosine, c * sine);
    c = fused(c, cosine, -(s * sine));
    s = turned;
}

// psi in fixed point.
__device__ __forceinline__ turns quarter(int quarter_turns)
{
    return (turns)((unsigned_turns)(quarter_turns & 3) << (8 * sizeof(turns) - 2));
}

__device__ __forceinline__ turns harmonic_phase(turns phase, int h, turns shift)
{
    return (turns)((unsigned_turns)phase * (unsigned_turns)h + (unsigned_turns)shift);
}

// ------------------------------------------------------------------------------------------------------------ forward

// p and q of one block of harmonics for two frames; entry 0: a_M of both.
struct __align__(4 * sizeof(real)) Pair {
    real p0, q0, p1, q1;
};

__device__ __forceinline__ real amplitude(const real* row, int h, int n_plain) { return h <= n_plain ? row[h - 1] : 0; }

// Amplitudes of the two frames at hand, of each interval.
struct Rows {
    const real *first[MAX_INTERVALS], *second[MAX_INTERVALS];
};

// Stage blocks first .. first + STAGED - 1 of all teams' intervals.
__device__ inline void stage(const Rows& rows, const Interval* intervals, int n_intervals, int first, Pair* staged)
{
    for (int k = threadIdx.x; k < n_intervals * STAGED * MIDDLE; k += THREADS) {
        const int team = k / (STAGED * MIDDLE), block = k / MIDDLE % STAGED, j = k % MIDDLE;
        const int n_plain = intervals[team].plain, middle = BLOCK * (first + block) + MIDDLE;
        const real *row0 = rows.first[team], *row1 = rows.second[team];
        const real above0 = amplitude(row0, middle + j, n_plain), above1 = amplitude(row1, middle + j, n_plain);
        const real below0 = amplitude(row0, middle - j, n_plain), below1 = amplitude(row1, middle - j, n_plain);
        staged[k] = j == 0 ? Pair{above0, 0, above1, 0}
                           : Pair{above0 + below0, above0 - below0, above1 + below1, above1 - below1};
    }
}

// A thread's samples: cosines and sines of j theta, and where the recurrence over blocks stands.
struct Oscillators {
    turns phase[SAMPLES];
    real cosine[HALF][SAMPLES], sine[HALF][SAMPLES];
    real turn_cosine[SAMPLES], turn_sine[SAMPLES];  // of 13 theta
    real s[SAMPLES], c[SAMPLES];                    // of M theta + psi
};

__device__ __forceinline__ void start(Oscillators& o, int l)
{
    sin_cos_turns(o.phase[l], o.sine[0][l], o.cosine[0][l]);
#pragma unroll
    for (int j = 1; j < HALF; ++j) {  // (j + 1) theta = the sum of two halves: the error grows with log j
        const int low = (j + 1) / 2 - 1, high = (j + 1) - (low + 1) - 1;
        real s = o.sine[low][l], c = o.cosine[low][l];
        turn(s, c, o.sine[high][l], o.cosine[high][l]);
        o.sine[j][l] = s;
        o.cosine[j][l] = c;
    }
    real s = o.sine[HALF - 1][l], c = o.cosine[HALF - 1][l];
    turn(s, c, o.sine[HALF - 1][l], o.cosine[HALF - 1][l]);
    turn(s, c, o.sine[0][l], o.cosine[0][l]);
    o.turn_sine[l] = s;
    o.turn_cosine[l] = c;
}

// Add `count` blocks, staged, to y0 and y1: the sums of the two frames.
__device__ __forceinline__ void add_blocks(Oscillators& o, const Pair* staged, int count, real (&y0)[SAMPLES],
                                           real (&y1)[SAMPLES])
{
#pragma unroll 1
    for (int m = 0; m < count; ++m, staged += MIDDLE) {
        real p0[SAMPLES], q0[SAMPLES], p1[SAMPLES], q1[SAMPLES];
        const Pair middle = staged[0];
#pragma unroll
        for (int j = 0; j < HALF; ++j) {
            const Pair a = staged[j + 1];
#pragma unroll
            for (int l = 0; l < SAMPLES; ++l) {
                p0[l] = fused(a.p0, o.cosine[j][l], j ? p0[l] : middle.p0);
                q0[l] = j ? fused(a.q0, o.sine[j][l], q0[l]) : a.q0 * o.sine[j][l];
                p1[l] = fused(a.p1, o.cosine[j][l], j ? p1[l] : middle.p1);
                q1[l] = j ? fused(a.q1, o.sine[j][l], q1[l]) : a.q1 * o.sine[j][l];
            }
        }
#pragma unroll
        for (int l = 0; l < SAMPLES; ++l) {
            y0[l] = fused(o.s[l], p0[l], fused(o.c[l], q0[l], y0[l]));
            y1[l] = fused(o.s[l], p1[l], fused(o.c[l], q1[l], y1[l]));
            turn(o.s[l], o.c[l], o.turn_sine[l], o.turn_cosine[l]);
        }
    }
}

// audio [batch, n_samples], final_phase [batch] in radians. f0 [batch, n_frames] in Hz, amplitudes [batch, n_frames,
// n_harmonics], initial_phase [batch] in radians; segments: see phase.cuh. A team of `team` threads renders an interval,
// or team * SAMPLES of its samples. Grid: batch x groups of THREADS / team intervals x rounds.
extern "C" __global__ void __launch_bounds__(THREADS, 3)
harmonic_bank(const real* __restrict__ f0, const double* __restrict__ initial_phase,
              const real* __restrict__ all_amplitudes, const word* __restrict__ segments, real* __restrict__ audio,
              double* __restrict__ final_phase, long long n_samples, long long n_intervals, long long hop,
              long long first_frame, long long n_frames, long long segment, double sample_rate, double slope_scale,
              double nyquist, int batch, int n_harmonics, int method, int quarter_turns, int team, int rounds)
{
    __shared__ Pair staged[MAX_INTERVALS * STAGED * MIDDLE];
    __shared__ Interval intervals[MAX_INTERVALS];
    __shared__ Rows rows;
    __shared__ word scratch[THREADS / 32];
    const Timeline t = timeline(n_samples, n_intervals, hop, first_frame, n_frames, segment, sample_rate, slope_scale,
                                nyquist);
    const Settings settings = {batch, n_harmonics, method, quarter(quarter_turns)};
    const int teams = THREADS / team;
    const unsigned n_tiles = gridDim.x / batch, tile = blockIdx.x % n_tiles;
    const long long b = blockIdx.x / n_tiles, first = (long long)(tile / rounds) * teams;
    const int round = tile % rounds;
    const int count = (int)(n_intervals - first < teams ? n_intervals - first : teams);

    f0 += b * n_frames;
    const real* amplitudes = all_amplitudes + b * n_frames * n_harmonics;
    if (segments) segments += b * n_segments(t);
    const word before = phase_before(f0, initial_phase[b], segments, first, t, scratch);
    look_at_all(f0, before, first, count, n_harmonics, t, intervals);
    if (threadIdx.x == 0 && round == 0 && first + count == n_intervals)
        final_phase[b] = to_radians(intervals[count - 1].phase + intervals[count - 1].advance);

    int most = 0;
#pragma unroll 1
    for (int k = 0; k < count; ++k) most = max(most, intervals[k].plain);
    const int most_blocks = blocks_of(most);
    const int mine = threadIdx.x / team < count ? threadIdx.x / team : count - 1;  // idle teams repeat the last
    const Interval& v = intervals[mine];
    const long long i = first + mine;
    const int m0 = round * team * SAMPLES + threadIdx.x % team;
    const int n_blocks = blocks_of(v.plain);

    Oscillators o;
    real y[SAMPLES];
#pragma unroll
    for (int l = 0; l < SAMPLES; ++l) {
        o.phase[l] = sample_phase(v, m0 + l * team);
        start(o, l);
        y[l] = (real)((v.a + v.c) * 0.0);  // NaN where f0 is not finite
    }
#pragma unroll 1
    for (int tap = 0; tap < n_taps(method); tap += 2) {
        const long long frame = first_frame + first + tap_offset(method) + tap;
        if (threadIdx.x < count) {
            rows.first[threadIdx.x] = amplitudes + frame_of(frame + threadIdx.x, n_frames) * n_harmonics;
            rows.second[threadIdx.x] = amplitudes + frame_of(frame + threadIdx.x + 1, n_frames) * n_harmonics;
        }
        real y0[SAMPLES] = {0}, y1[SAMPLES] = {0};
        for (int block = 0; block < most_blocks; block += STAGED) {
            __syncthreads();
            stage(rows, intervals, count, block, staged);
            __syncthreads();
            if (block % BLOCKS_PER_SEED == 0) {
#pragma unroll
                for (int l = 0; l < SAMPLES; ++l)
                    sin_cos_turns(harmonic_phase(o.phase[l], BLOCK * block + MIDDLE, settings.shift), o.s[l], o.c[l]);
            }
            add_blocks(o, staged + mine * STAGED * MIDDLE, min(STAGED, n_blocks - block), y0, y1);
        }
        const real* row0 = amplitudes + frame_of(frame + mine, n_frames) * n_harmonics;
        const real* row1 = amplitudes + frame_of(frame + mine + 1, n_frames) * n_harmonics;
#pragma unroll
        for (int l = 0; l < SAMPLES; ++l) {
            const int limit = v.plain < v.audible ? sample_limit(v, i, m0 + l * team, n_harmonics, t) : 0;
            for (int h = v.plain + 1; h <= min(limit, v.audible); ++h) {
                real sine, cosine;
                sin_cos_turns(harmonic_phase(o.phase[l], h, settings.shift), sine, cosine);
                y0[l] = fused(row0[h - 1], sine, y0[l]);
                y1[l] = fused(row1[h - 1], sine, y1[l]);
            }
            real w0, w1;
            tap_weights(method, tap, v, i, m0 + l * team, t, w0, w1);
            y[l] = fused(w0, y0[l], fused(w1, y1[l], y[l]));
        }
    }
#pragma unroll
    for (int l = 0; l < SAMPLES; ++l)
        if (m0 + l * team < v.count && threadIdx.x / team < count)
            audio[b * n_samples + v.start + m0 + l * team] = y[l];
}

// Sums of the intervals' advances, segment by segment: [batch, segments]. Grid: batch x segments.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
segment_advances(const real* __restrict__ f0, word* __restrict__ segments, long long n_samples, long long n_intervals,
                 long long hop, long long first_frame, long long n_frames, long long segment, double sample_rate,
                 double slope_scale)
{
    __shared__ word scratch[THREADS / 32];
    const Timeline t = {n_samples, n_intervals, first_frame, n_frames, sample_rate, 0, slope_scale, segment, hop, 0};
    const long long b = blockIdx.x / n_segments(t), first = blockIdx.x % n_segments(t) * segment;
    const long long last = first + segment < n_intervals ? first + segment : n_intervals;
    word sum = 0;
    for (long long i = first + threadIdx.x; i < last; i += THREADS)
        sum += look_at(f0 + b * n_frames, i, 0, t).advance;
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) segments[blockIdx.x] = sum;
}

// ----------------------------------------------------------------------------------------------------------- backward

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
        real* mine = memory + 4 * (j ? j - 1 : HALF) * blockDim.x + threadIdx.x;  // the middle's last: two sums, not four
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

// d_amplitudes [batch, n_frames, n_harmonics] and moments [batch, n_intervals, 3] of g [batch, n_samples]. A block owns
// `own` frames of one item: it visits the intervals that touch them, and writes the moments of those that begin there.
template <bool AMPLITUDES, bool PHASE>
__device__ inline void backward(const real* f0, const double* initial_phase, const word* segments, const real* g,
                                const real* amplitudes, real* out, double* moments, const Timeline& t,
                                const Settings& s, int own, Shared& shared, real* memory)
{
    const unsigned n_owners = gridDim.x / s.batch;
    const long long b = blockIdx.x / n_owners, j0 = (long long)(blockIdx.x % n_owners) * own;
    const long long j1 = j0 + own < t.n_frames ? j0 + own : t.n_frames;
    const long long from = t.first_frame + tap_offset(s.method);  // frame of interval 0's first tap
    long long first = j0 == 0 ? 0 : j0 - from - n_taps(s.method) + 1, last = j1 == t.n_frames ? t.n_intervals : j1 - from;
    first = first > 0 ? first : 0;
    last = last < t.n_intervals ? last : t.n_intervals;

    f0 += b * t.n_frames;
    g += b * t.n_samples;
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
            const long long frame0 = frame_of(from + i + tap, t.n_frames), frame1 = frame_of(from + i + tap + 1, t.n_frames);
            const Task task = {&v, i, tap, amplitudes + frame0 * s.n_harmonics, amplitudes + frame1 * s.n_harmonics};
            real* out0 = AMPLITUDES ? owned(out, frame0, j0, j1, s.n_harmonics) : nullptr;
            real* out1 = AMPLITUDES ? owned(out, frame1, j0, j1, s.n_harmonics) : nullptr;
            const int n_blocks = blocks_of(v.plain);
#pragma unroll 1
            for (int block = 0; block < n_blocks; block += blockDim.x)
                do_blocks<AMPLITUDES, PHASE>(block, min(n_blocks - block, (int)blockDim.x), task, g, out0, out1, sums, t,
                                             s, memory);
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

// The three kernels differ in what they are asked for. Grid: batch x owners of frames.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
harmonic_gradients(const real* __restrict__ f0, const double* __restrict__ initial_phase,
                   const word* __restrict__ segments, const real* __restrict__ g, const real* __restrict__ amplitudes,
                   real* __restrict__ d_amplitudes, double* __restrict__ moments, long long n_samples,
                   long long n_intervals, long long hop, long long first_frame, long long n_frames, long long segment,
                   double sample_rate, double slope_scale, double nyquist, int batch, int n_harmonics, int method,
                   int quarter_turns, int own)
{
    extern __shared__ real gradient_memory[];
    __shared__ Shared shared;
    const Timeline t = timeline(n_samples, n_intervals, hop, first_frame, n_frames, segment, sample_rate, slope_scale,
                                nyquist);
    const Settings s = {batch, n_harmonics, method, quarter(quarter_turns)};
    backward<true, true>(f0, initial_phase, segments, g, amplitudes, d_amplitudes, moments, t, s, own, shared,
                         gradient_memory);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
harmonic_analysis(const real* __restrict__ f0, const double* __restrict__ initial_phase,
                  const word* __restrict__ segments, const real* __restrict__ g, real* __restrict__ out,
                  long long n_samples, long long n_intervals, long long hop, long long first_frame, long long n_frames,
                  long long segment, double sample_rate, double slope_scale, double nyquist, int batch, int n_harmonics,
                  int method, int quarter_turns, int own)
{
    extern __shared__ real analysis_memory[];
    __shared__ Shared shared;
    const Timeline t = timeline(n_samples, n_intervals, hop, first_frame, n_frames, segment, sample_rate, slope_scale,
                                nyquist);
    const Settings s = {batch, n_harmonics, method, quarter(quarter_turns)};
    backward<true, false>(f0, initial_phase, segments, g, nullptr, out, nullptr, t, s, own, shared, analysis_memory);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
harmonic_moments(const real* __restrict__ f0, const double* __restrict__ initial_phase,
                 const word* __restrict__ segments, const real* __restrict__ g, const real* __restrict__ amplitudes,
                 double* __restrict__ moments, long long n_samples, long long n_intervals, long long hop,
                 long long first_frame, long long n_frames, long long segment, double sample_rate, double slope_scale,
                 double nyquist, int batch, int n_harmonics, int method, int quarter_turns, int own)
{
    extern __shared__ real moment_memory[];
    __shared__ Shared shared;
    const Timeline t = timeline(n_samples, n_intervals, hop, first_frame, n_frames, segment, sample_rate, slope_scale,
                                nyquist);
    const Settings s = {batch, n_harmonics, method, quarter(quarter_turns)};
    backward<false, true>(f0, initial_phase, segments, g, amplitudes, nullptr, moments, t, s, own, shared, moment_memory);
}

// ---------------------------------------------------------------------------------------------------- gradient of f0

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

// Frame-rate gradients from the intervals' moments: the adjoint in kernels/cpu/phase.py, a block for each item.
// moments [batch, n_intervals, 3], final_cotangent [batch]; sides [batch, n_intervals, 2] is workspace: what an interval
// gives to the frames at its ends; d_f0 [batch, n_frames], d_initial [batch].
extern "C" __global__ void __launch_bounds__(SCAN_THREADS)
phase_gradient(const double* __restrict__ moments, const double* __restrict__ final_cotangent,
               double* __restrict__ sides, real* __restrict__ d_f0, double* __restrict__ d_initial, long long n_samples,
               long long n_intervals, long long hop, long long first_frame, long long n_frames, double sample_rate)
{
    __shared__ double scratch[SCAN_THREADS / 32];
    __shared__ double carried;
    const Timeline t = {n_samples, n_intervals, first_frame, n_frames, sample_rate, 0, 0, n_intervals, hop, 0};
    const long long b = blockIdx.x;
    moments += b * n_intervals * 3;
    sides += b * n_intervals * 2;
    double later = final_cotangent[b];
#pragma unroll 1
    for (long long begin = (n_intervals - 1) / SCAN_THREADS * SCAN_THREADS; begin >= 0; begin -= SCAN_THREADS) {
        const long long i = begin + threadIdx.x;
        const double s = i < n_intervals ? moments[3 * i] : 0;
        const double from_here = sum_from_here(s, scratch);
        if (i < n_intervals) {
            const long long start = interval_start(i, t), count = interval_start(i + 1, t) - start;
            const double offset = (double)(start * n_intervals - i * n_samples), n = (double)n_samples;
            const double x = moments[3 * i + 1], q = moments[3 * i + 2], after = later + (from_here - s);
            const double whole = (count * offset + (double)(n_intervals * (count * (count - 1) / 2))) / n;
            const double right = after * whole + (offset * x + n_intervals * q) / n;
            sides[2 * i] = after * count + x - right;
            sides[2 * i + 1] = right;
        }
        if (threadIdx.x == 0) carried = later + from_here;
        __syncthreads();
        later = carried;
    }
    const double scale = 6.283185307179586 / sample_rate;
    for (long long j = threadIdx.x; j < n_frames; j += SCAN_THREADS) {
        // Frames at the ends are held: they are those of many intervals.
        const bool is_first = j == 0, is_last = j == n_frames - 1;
        double d = 0;
        for (int side = 0; side < 2; ++side) {
            const long long i = j - first_frame - side;
            const long long begin = is_first || i < 0 ? 0 : i, end = is_last || i >= n_intervals ? n_intervals : i + 1;
            for (long long k = begin; k < end; ++k) d += sides[2 * k + side];
        }
        d_f0[b * n_frames + j] = (real)(d * scale);
    }
    if (threadIdx.x == 0) d_initial[b] = later;
}
