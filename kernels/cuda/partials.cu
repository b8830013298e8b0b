// Bank of partials with frequencies of their own: the operations of kernels/cpu/partials.py, whose equations these are.
//
//     bank      y(n)    = sum_k a_k(n) sin(theta_k(n) + psi),   a_k(n) = m_k(n) sum_t w_t(n) A[frame_t, k]
//     products  of interval i: sum_n g(n) m_k(n) w_t(n) sin(theta_k(n) + psi), and the moments of
//               v_k(n) = g(n) a_k(n) cos(theta_k(n) + psi), from which the gradients of all frames are made
//
// Phases are 64-bit integers, bit for bit those of kernels/cpu/partial_phases.py: in an interval
// phi(m) = P + (m + 1) A + m (m + 1)/2 D, so that samples T apart follow from two additions,
//
//     phi(m + T) = phi(m) + S,   S(m) = T A + (m T + T (T + 1) / 2) D,   S(m + T) = S(m) + T T D
//
// Forward, a thread has SAMPLES samples of one interval, a team of threads apart, and adds up all partials. The team
// stages them, a partial a thread, in shared memory: P, A, D and two frames' amplitudes. For float32 the additions keep
// the upper 32 bits: at most 6 units of 2^-32 turns are lost.
//
// Backward, a thread has one partial and every so many'th sample of one interval, its phase exact, its sums in
// registers; samples' weights are staged. Intervals are visited once: `partials_frames` gathers the frames' gradients
// from the intervals' products, on the way back through the phases' prefix sum. Results depend neither on the grid nor
// on the order in which blocks run.
#include "blend.cuh"
#include "partial_intervals.cuh"

#define SAMPLES (16 / (int)sizeof(real))  // of a thread, forward
#define THREADS 128                       // of a block, forward
#define MOST_THREADS 256                  // of a block, backward
#define TILE 256                          // samples that are staged together, backward
#define SCAN_WARPS 16                     // of a block that walks along all intervals, a partial for each lane

// --------------------------------------------------------------------------------------------------- phases, by a scan

// phases [batch, n_intervals, n_partials]: just before every interval. Grid: batch x groups of 32 partials.
extern "C" __global__ void __launch_bounds__(32 * SCAN_WARPS)
partial_phases(const real* __restrict__ frequencies, const double* __restrict__ initial_phase,
               word* __restrict__ phases, LINE_PARAMETERS)
{
    __shared__ word advances[SCAN_WARPS][32];
    const Line line = LINE;
    const int n_groups = (n_partials + 31) / 32, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const long long b = blockIdx.x / n_groups;
    const int k = blockIdx.x % n_groups * 32 + lane;
    const long long begin = n_intervals * warp / SCAN_WARPS, end = n_intervals * (warp + 1) / SCAN_WARPS;

    frequencies += b * n_frames * n_partials;
    phases += b * n_intervals * n_partials;
    word sum = 0;
    if (k < n_partials)
#pragma unroll 1
        for (long long i = begin; i < end; ++i) sum = advanced(sum, frequencies, i, k, line);
    advances[warp][lane] = sum;
    __syncthreads();
    if (k >= n_partials) return;
    word phase = from_radians(initial_phase[b * n_partials + k]);
#pragma unroll 1
    for (int w = 0; w < warp; ++w) phase += advances[w][lane];
#pragma unroll 1
    for (long long i = begin; i < end; ++i) {
        phases[i * n_partials + k] = phase;
        phase = advanced(phase, frequencies, i, k, line);
    }
}

// ------------------------------------------------------------------------------------------------------------- forward

// What a thread's samples m, m + team, ... need of every partial: factors of A and D.
struct Places {
    int m;
    word curve, step, step_curve, bend;
};

// Add one partial to the sums of two frames, y0 and y1.
template <bool CROSSES>
__device__ __forceinline__ void add_partial(const Partial& p, const Places& at, int team, real (&y0)[SAMPLES],
                                            real (&y1)[SAMPLES])
{
    turns phase = upper(p.phase + (word)(unsigned)(at.m + 1) * p.base + at.curve * p.slope);
    turns step = upper(at.step * p.base + at.step_curve * p.slope);
    const turns bend = upper(at.bend * p.slope);
#pragma unroll
    for (int l = 0; l < SAMPLES; ++l) {
        real sine, cosine;
        sin_cos_ahead(phase, sine, cosine);
        if (CROSSES && at.m + l * team - p.from >= p.length) sine = 0;
        y0[l] = fused(p.a0, sine, y0[l]);
        y1[l] = fused(p.a1, sine, y1[l]);
        phase = (turns)((unsigned_turns)phase + (unsigned_turns)step);
        step = (turns)((unsigned_turns)step + (unsigned_turns)bend);
    }
}

// audio [batch, n_samples], final_phase [batch, n_partials] in radians. frequencies [batch, n_frames, n_partials] in
// Hz, initial_phase [batch, n_partials] in radians, amplitudes like frequencies; phases: of partial_phases, or null
// where intervals are few. A team of `team` threads renders an interval, or team * SAMPLES of its samples. Grid: batch
// x groups of THREADS / team intervals x rounds.
extern "C" __global__ void __launch_bounds__(THREADS, 3)
partials_bank(const real* __restrict__ frequencies, const double* __restrict__ initial_phase,
              const real* __restrict__ amplitudes, const word* __restrict__ phases, real* __restrict__ audio,
              double* __restrict__ final_phase, LINE_PARAMETERS, int method, int quarter_turns, int team, int rounds)
{
    __shared__ Partial staged[THREADS];
    const Line line = LINE;
    const int teams = THREADS / team, member = threadIdx.x % team;
    const long long n_groups = (n_intervals + teams - 1) / teams;
    const long long b = blockIdx.x / (n_groups * rounds), first = blockIdx.x / rounds % n_groups * teams;
    const int round = blockIdx.x % rounds;
    const bool is_there = first + threadIdx.x / team < n_intervals;  // idle teams repeat the last interval
    const long long i = is_there ? first + threadIdx.x / team : n_intervals - 1;
    const Span span = span_of(i, line);

    frequencies += b * n_frames * n_partials;
    amplitudes += b * n_frames * n_partials;
    initial_phase += b * n_partials;
    if (phases) phases += b * n_intervals * n_partials;

    Places at;
    at.m = round * team * SAMPLES + member;
    at.curve = triangle(at.m);
    at.step = team;
    at.step_curve = (word)at.m * team + triangle(team);
    at.bend = (word)team * team;
    const Partial* mine = staged + (threadIdx.x - member);
    real y[SAMPLES] = {0};
#pragma unroll 1
    for (int tap = 0; tap < n_taps(method); tap += 2) {
        const long long frame = first_frame + i + tap_offset(method) + tap;
        real y0[SAMPLES] = {0}, y1[SAMPLES] = {0};
#pragma unroll 1
        for (int begin = 0; begin < n_partials; begin += team) {
            const int k = begin + member, size = min(team, n_partials - begin);
            __syncthreads();
            if (k < n_partials) {
                Partial p = look_at(frequencies, initial_phase, phases, i, k, span, line);
                if (is_there && i == n_intervals - 1 && round == 0 && tap == 0)
                    final_phase[b * n_partials + k] = to_radians(after(p.phase, p.base, p.slope, span.count));
                p.phase += ahead(quarter_turns);
                p.a0 += row(amplitudes, frame, line)[k];
                p.a1 += row(amplitudes, frame + 1, line)[k];
                staged[threadIdx.x] = p;
            }
            __syncthreads();
#pragma unroll 1
            for (int j = 0; j < size; ++j) {
                const Partial p = mine[j];
                if (p.length == ALWAYS)
                    add_partial<false>(p, at, team, y0, y1);
                else if (p.length > 0)
                    add_partial<true>(p, at, team, y0, y1);
            }
        }
#pragma unroll
        for (int l = 0; l < SAMPLES; ++l) {
            real w0, w1;
            const long long n = span.start + at.m + l * team;
            blend(method, tap, n * n_intervals - i * n_samples, n_samples, w0, w1);
            y[l] = fused(w0, y0[l], fused(w1, y1[l], y[l]));
        }
    }
#pragma unroll
    for (int l = 0; l < SAMPLES; ++l)
        if (is_there && at.m + l * team < span.count) audio[b * n_samples + span.start + at.m + l * team] = y[l];
}

// ------------------------------------------------------------------------------------------------------------ backward

// What all partials share of a sample: the signal times two frames' weights; m + 1 and m (m + 1) / 2.
struct __align__(4 * sizeof(real)) Sample {
    real g0, g1, after, triangle;
};

// Sums of g0 sin, g1 sin, and of v, (m + 1) v, m (m + 1) / 2 v.
struct Sums {
    real s0, s1, v, x, q;
};

__device__ __forceinline__ void add(Sums& to, const Sums& more)
{
    to.s0 += more.s0;
    to.s1 += more.s1;
    to.v += more.v;
    to.x += more.x;
    to.q += more.q;
}

// Samples begin .. begin + size - 1 of interval i. Begins and ends with a barrier.
__device__ inline void stage(const real* g, long long i, const Span& span, int begin, int size, int method, int tap,
                             const Line& line, Sample* tile)
{
    __syncthreads();
#pragma unroll 1
    for (int s = threadIdx.x; s < size; s += blockDim.x) {
        const long long n = span.start + begin + s;
        const real m = (real)(begin + s);
        real w0, w1;
        blend(method, tap, n * line.n_intervals - i * line.n_samples, line.n_samples, w0, w1);
        tile[s] = {w0 * g[n], w1 * g[n], m + 1, m * (m + 1) * (real)0.5};
    }
    __syncthreads();
}

// The sum over slices of one number of every thread.
__device__ inline real over_slices(real number, int width, int slices, real* room)
{
    if (slices == 1) return number;
    __syncthreads();
    room[threadIdx.x] = number;
    __syncthreads();
    real sum = 0;
    if ((int)threadIdx.x < width)
#pragma unroll 1
        for (int slice = 0; slice < slices; ++slice) sum += room[slice * width + threadIdx.x];
    return sum;
}

// products [batch, n_intervals, kinds, n_partials]: of every tap if AMPLITUDES, then S, X and Q if PHASE. A block has
// one interval and `width` partials, a thread one of them and a slice of the samples.
template <bool AMPLITUDES, bool PHASE>
__device__ inline void gradient(const real* frequencies, const double* initial_phase, const word* phases, const real* g,
                                const real* amplitudes, real* products, const Line& line, int method, int quarter_turns,
                                int width, Sample* tile, real* room)
{
    const int n_chunks = (line.n_partials + width - 1) / width, chunk = blockIdx.x % n_chunks;
    const long long b = blockIdx.x / n_chunks / line.n_intervals, i = blockIdx.x / n_chunks % line.n_intervals;
    const int slices = blockDim.x / width, slice = threadIdx.x / width, k = chunk * width + threadIdx.x % width;
    const int n_kinds = (AMPLITUDES ? n_taps(method) : 0) + (PHASE ? 3 : 0);
    const Span span = span_of(i, line);

    frequencies += b * line.n_frames * line.n_partials;
    if (PHASE) amplitudes += b * line.n_frames * line.n_partials;
    if (phases) phases += b * line.n_intervals * line.n_partials;
    g += b * line.n_samples;
    products += (b * line.n_intervals + i) * n_kinds * line.n_partials + k;

    Partial p = {0, 0, 0, 0, 0, 0, 0};
    if (k < line.n_partials)
        p = look_at(frequencies, initial_phase + b * line.n_partials, phases, i, k, span, line);
    const real broken = span.count ? p.a0 : 0;  // NaN where a frequency is not finite
    const int end = (int)min((unsigned)span.count, p.length == ALWAYS ? ALWAYS : p.from + p.length);
    const int start = slice + max((int)p.from - slice + slices - 1, 0) / slices * slices;  // the first that sounds
    Sums moments = {0, 0, 0, 0, 0};
#pragma unroll 1
    for (int tap = 0; tap < n_taps(method); tap += 2) {
        real a0 = 0, a1 = 0;
        if (PHASE && p.length) {
            const long long frame = line.first_frame + i + tap_offset(method) + tap;
            a0 = row(amplitudes, frame, line)[k];
            a1 = row(amplitudes, frame + 1, line)[k];
        }
        int m = start;
        word phase = p.phase + ahead(quarter_turns) + (word)(m + 1) * p.base + triangle(m) * p.slope;
        word step = (word)slices * p.base + ((word)m * slices + triangle(slices)) * p.slope;
        const word bend = (word)slices * slices * p.slope;
        Sums total = {0, 0, moments.v, moments.x, moments.q};
#pragma unroll 1
        for (int begin = 0; begin < span.count; begin += TILE) {
            const int size = min(TILE, span.count - begin);
            stage(g, i, span, begin, size, method, tap, line, tile);
            Sums sums = {0, 0, 0, 0, 0};  // of a tile, so that rounding does not grow with the interval
#pragma unroll 2
            for (; m < min(begin + size, end); m += slices) {
                const Sample at = tile[m - begin];
                real sine, cosine;
                sin_cos_ahead(upper(phase), sine, cosine);
                phase += step;
                step += bend;
                if (AMPLITUDES) {
                    sums.s0 = fused(at.g0, sine, sums.s0);
                    sums.s1 = fused(at.g1, sine, sums.s1);
                }
                if (PHASE) {
                    const real v = fused(at.g0, a0, at.g1 * a1) * cosine;
                    sums.v += v;
                    sums.x = fused(at.after, v, sums.x);
                    sums.q = fused(at.triangle, v, sums.q);
                }
            }
            add(total, sums);
        }
        moments = total;
        if (AMPLITUDES) {
            const real s0 = over_slices(total.s0 + broken, width, slices, room);
            const real s1 = over_slices(total.s1 + broken, width, slices, room);
            if ((int)threadIdx.x < width && k < line.n_partials) {
                products[tap * line.n_partials] = s0;
                products[(tap + 1) * line.n_partials] = s1;
            }
        }
    }
    if (PHASE) {
        const real v = over_slices(moments.v + broken, width, slices, room);
        const real x = over_slices(moments.x + broken, width, slices, room);
        const real q = over_slices(moments.q + broken, width, slices, room);
        if ((int)threadIdx.x < width && k < line.n_partials) {
            products[(n_kinds - 3) * line.n_partials] = v;
            products[(n_kinds - 2) * line.n_partials] = x;
            products[(n_kinds - 1) * line.n_partials] = q;
        }
    }
}

#define GRADIENT_PARAMETERS                                                                                           \
    const real *__restrict__ frequencies, const double *__restrict__ initial_phase, const word *__restrict__ phases,  \
        const real *__restrict__ g, const real *__restrict__ amplitudes, real *__restrict__ products,                 \
        LINE_PARAMETERS, int method, int quarter_turns, int width
#define GRADIENT_ARGUMENTS                                                                                            \
    frequencies, initial_phase, phases, g, amplitudes, products, LINE, method, quarter_turns, width, tile, room

// The three kernels differ in what they are asked for. Grid: batch x intervals x groups of `width` partials.
extern "C" __global__ void __launch_bounds__(MOST_THREADS, 1)
partials_gradients(GRADIENT_PARAMETERS)
{
    __shared__ Sample tile[TILE];
    __shared__ real room[MOST_THREADS];
    gradient<true, true>(GRADIENT_ARGUMENTS);
}

extern "C" __global__ void __launch_bounds__(MOST_THREADS, 1)
partials_analysis(GRADIENT_PARAMETERS)
{
    __shared__ Sample tile[TILE];
    __shared__ real room[MOST_THREADS];
    gradient<true, false>(GRADIENT_ARGUMENTS);
}

extern "C" __global__ void __launch_bounds__(MOST_THREADS, 1)
partials_moments(GRADIENT_PARAMETERS)
{
    __shared__ Sample tile[TILE];
    __shared__ real room[MOST_THREADS];
    gradient<false, true>(GRADIENT_ARGUMENTS);
}

// ------------------------------------------------------------------------------------------------ gradients of frames

// What the intervals have, in rows of `stride`, whose frame first_frame + i + shift is frame j. Frames at the ends are
// held: they are those of many intervals.
__device__ inline double of_frame(const real* rows, long long stride, long long j, long long shift, const Line& line)
{
    const long long i = j - line.first_frame - shift;
    const long long begin = j == 0 || i < 0 ? 0 : i;
    const long long end = j == line.n_frames - 1 || i >= line.n_intervals ? line.n_intervals : i + 1;
    double sum = 0;
#pragma unroll 1
    for (long long k = begin; k < end; ++k) sum += rows[k * stride];
    return sum;
}

// Gradients of the frames from the intervals' products: those of amplitudes by a sum over taps, those of frequencies by
// the adjoint in kernels/cpu/phase.py. Either is null where it is not asked for; products are then without it.
// final_cotangent and d_initial [batch, n_partials]; sides [batch, n_intervals, 2, n_partials] is workspace: what an
// interval gives to the frames at its ends. Grid: batch x groups of 32 partials.
extern "C" __global__ void __launch_bounds__(32 * SCAN_WARPS)
partials_frames(const real* __restrict__ products, const double* __restrict__ final_cotangent, real* __restrict__ sides,
                real* __restrict__ d_amplitudes, real* __restrict__ d_frequencies, double* __restrict__ d_initial,
                LINE_PARAMETERS, int method)
{
    __shared__ double sums[SCAN_WARPS][32];
    const Line line = LINE;
    const int n_groups = (n_partials + 31) / 32, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int tap_kinds = d_amplitudes ? n_taps(method) : 0;
    const long long b = blockIdx.x / n_groups, stride = (long long)(tap_kinds + (d_frequencies ? 3 : 0)) * n_partials;
    const int k = blockIdx.x % n_groups * 32 + lane;
    const long long begin = n_intervals * warp / SCAN_WARPS, end = n_intervals * (warp + 1) / SCAN_WARPS;

    products += b * n_intervals * stride + k;
    if (d_amplitudes && k < n_partials)
#pragma unroll 1
        for (long long j = warp; j < n_frames; j += SCAN_WARPS) {
            double d = 0;
#pragma unroll 1
            for (int tap = 0; tap < tap_kinds; ++tap)
                d += of_frame(products + (long long)tap * n_partials, stride, j, tap_offset(method) + tap, line);
            d_amplitudes[(b * n_frames + j) * n_partials + k] = (real)d;
        }
    if (!d_frequencies) return;

    const real* moments = products + (long long)tap_kinds * n_partials;
    sides += b * n_intervals * 2 * n_partials + k;
    double sum = 0;
    if (k < n_partials)
#pragma unroll 1
        for (long long i = begin; i < end; ++i) sum += moments[i * stride];
    sums[warp][lane] = sum;
    __syncthreads();
    if (k < n_partials) {
        double later = final_cotangent[b * n_partials + k];
        const double ratio = (double)n_intervals / (double)n_samples;
#pragma unroll 1
        for (int w = SCAN_WARPS - 1; w > warp; --w) later += sums[w][lane];
#pragma unroll 1
        for (long long i = end - 1; i >= begin; --i) {
            const Span span = span_of(i, line);
            const real* moment = moments + i * stride;
            const double count = span.count, x = moment[n_partials], q = moment[2 * n_partials];
            const double whole = count * span.fraction + ratio * (count * (count - 1) / 2);
            const double right = later * whole + span.fraction * x + ratio * q;
            sides[i * 2 * n_partials] = (real)(later * count + x - right);
            sides[(i * 2 + 1) * n_partials] = (real)right;
            later += *moment;
        }
        if (warp == 0) d_initial[b * n_partials + k] = later;
    }
    __syncthreads();
    if (k < n_partials)
#pragma unroll 1
        for (long long j = warp; j < n_frames; j += SCAN_WARPS) {
            const double left = of_frame(sides, 2 * n_partials, j, 0, line);
            const double d = left + of_frame(sides + n_partials, 2 * n_partials, j, 1, line);
            d_frequencies[(b * n_frames + j) * n_partials + k] = (real)(d * 6.283185307179586 * per_sample);
        }
}
