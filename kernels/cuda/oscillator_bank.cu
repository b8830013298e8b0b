// Oscillators whose frequencies and amplitudes are given for every sample: the operations of
// kernels/cpu/oscillator_bank.py, whose equations these are.
//
//     o_k(n) = m_k(n) A[n, k] sin(theta_k(n) + psi),    y(n) = sum_k o_k(n)
//     dL/dA[n, k] = g_k(n) m_k(n) sin(theta_k(n) + psi)
//     dL/df[n, k] = 2 pi / sample_rate sum_{m >= n} t_k(m),    t_k(n) = g_k(n) m_k(n) A[n, k] cos(theta_k(n) + psi)
//
// Controls are samples x partials here, so that memory is what limits: a phase is the sum of a column. A block has
// WIDTH neighbouring columns, 32 bytes of float32, and walks along all samples; a thread has one of them and a slice of
// the samples. First it adds up its slice's advances, 64-bit integers, as on the CPU bit for bit; slices before it, and
// backward those after it, come through shared memory. So there is one launch each way, and a small one that adds up
// the groups of columns, in their order. Results depend neither on the grid nor on the order in which blocks run.
#include "phase.cuh"
#include "sine.cuh"

#define WIDTH 8                    // columns of a block
#define SLICES 64                  // of the samples, a thread each for every column
#define THREADS (WIDTH * SLICES)
#define STEPS WIDTH                // samples whose oscillators are added up across columns together

// What a thread has: a column, samples begin .. end - 1. All slices have `length` samples, a multiple of STEPS.
struct Slice {
    long long first;  // index of sample 0 in [batch, samples, partials]
    long long begin, end, length;
    int n_partials, column, number;
};

__device__ __forceinline__ Slice slice_of(long long b, int group, long long n_samples, int n_partials)
{
    const int number = threadIdx.x / WIDTH, column = threadIdx.x % WIDTH, k = group * WIDTH + column;
    const long long length = (n_samples + SLICES * STEPS - 1) / (SLICES * STEPS) * STEPS, begin = number * length;
    const long long last = k < n_partials ? n_samples : 0, end = begin + length < last ? begin + length : last;
    return {b * n_samples * n_partials + k, begin, end, length, n_partials, column, number};
}

__device__ __forceinline__ long long index_of(const Slice& slice, long long n)
{
    return slice.first + n * slice.n_partials;
}

__device__ __forceinline__ word advance(real frequency, double per_sample)
{
    return fixed_point(__dmul_rn((double)frequency, per_sample));
}

// The phase just before the slice, but for what all phases have to add. Begins without a barrier.
__device__ inline word phase_before(const real* frequencies, const Slice& slice, double per_sample,
                                    word (*advances)[WIDTH])
{
    word sum = 0;
#pragma unroll 4
    for (long long n = slice.begin; n < slice.end; ++n) sum += advance(frequencies[index_of(slice, n)], per_sample);
    advances[slice.number][slice.column] = sum;
    __syncthreads();
    word phase = 0;
    for (int before = 0; before < slice.number; ++before) phase += advances[before][slice.column];
    return phase;
}

// v where the frequency is below Nyquist, else 0; NaN where it is not finite.
__device__ __forceinline__ real audible(real v, real frequency, real nyquist)
{
    return fused(frequency, 0, frequency >= nyquist ? 0 : v);
}

// Of v[j] of all columns: lane j of a group of WIDTH gets the sum.
__device__ __forceinline__ real sum_of_columns(real (&v)[STEPS], int column)
{
#pragma unroll
    for (int d = WIDTH / 2; d; d >>= 1) {
#pragma unroll
        for (int j = 0; j < d; ++j) {
            const real keep = column & d ? v[j + d] : v[j], give = column & d ? v[j] : v[j + d];
            v[j] = keep + __shfl_xor_sync(0xffffffffu, give, d);
        }
    }
    return v[0];
}

// out [batch, n_samples, n_partials] of frequencies in Hz and amplitudes of that shape; or, unless `each`, sums over
// groups of WIDTH partials, [groups, batch, n_samples]. Grid: batch x groups.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
oscillator_bank(const real* __restrict__ frequencies, const real* __restrict__ amplitudes, real* __restrict__ out,
                long long n_samples, double per_sample, double nyquist, int n_partials, int quarter_turns, int each)
{
    __shared__ word advances[SLICES][WIDTH];
    const int n_groups = (n_partials + WIDTH - 1) / WIDTH, group = blockIdx.x % n_groups;
    const long long b = blockIdx.x / n_groups, batch = gridDim.x / n_groups;
    const Slice slice = slice_of(b, group, n_samples, n_partials);
    word phase = ahead(quarter_turns) + phase_before(frequencies, slice, per_sample, advances);
    if (!each) out += (group * batch + b) * n_samples;
#pragma unroll 1
    for (long long from = slice.begin; from < slice.begin + slice.length; from += STEPS) {
        real o[STEPS];
#pragma unroll
        for (int j = 0; j < STEPS; ++j) {
            o[j] = 0;
            if (from + j >= slice.end) continue;
            const long long at = index_of(slice, from + j);
            const real f = frequencies[at];
            phase += advance(f, per_sample);
            real sine, cosine;
            sin_cos_ahead(upper(phase), sine, cosine);
            o[j] = audible(amplitudes[at], f, (real)nyquist) * sine;
            if (each) out[at] = o[j];
        }
        if (each) continue;
        const real sum = sum_of_columns(o, slice.column);
        if (from + slice.column < n_samples) out[from + slice.column] = sum;
    }
}

// audio [n], the sum of sums [n_groups, n], in their order. Grid: tiles of THREADS samples.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
oscillator_sum(const real* __restrict__ sums, real* __restrict__ audio, long long n, int n_groups)
{
    const long long at = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (at >= n) return;
    real sum = 0;
    for (int group = 0; group < n_groups; ++group) sum += sums[group * n + at];
    audio[at] = sum;
}

// d_frequencies and d_amplitudes [batch, n_samples, n_partials], either may be null, of g: of that shape if `each`,
// else [batch, n_samples]. d_frequencies holds t until all of it is known. Grid: batch x groups.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
oscillator_gradients(const real* __restrict__ g, const real* __restrict__ frequencies,
                     const real* __restrict__ amplitudes, real* __restrict__ d_frequencies,
                     real* __restrict__ d_amplitudes, long long n_samples, double per_sample, double nyquist,
                     int n_partials, int quarter_turns, int each)
{
    __shared__ word advances[SLICES][WIDTH];
    __shared__ double sums[SLICES][WIDTH];
    const int n_groups = (n_partials + WIDTH - 1) / WIDTH;
    const long long b = blockIdx.x / n_groups;
    const Slice slice = slice_of(b, blockIdx.x % n_groups, n_samples, n_partials);
    word phase = ahead(quarter_turns) + phase_before(frequencies, slice, per_sample, advances);
    double sum = 0;
#pragma unroll 4
    for (long long n = slice.begin; n < slice.end; ++n) {
        const long long at = index_of(slice, n);
        const real f = frequencies[at], v = audible(g[each ? at : b * n_samples + n], f, (real)nyquist);
        phase += advance(f, per_sample);
        real sine, cosine;
        sin_cos_ahead(upper(phase), sine, cosine);
        if (d_amplitudes) d_amplitudes[at] = v * sine;
        if (d_frequencies) {
            const real t = v * amplitudes[at] * cosine;
            d_frequencies[at] = t;
            sum += t;
        }
    }
    if (!d_frequencies) return;
    sums[slice.number][slice.column] = sum;
    __syncthreads();
    double later = 0;
    for (int after = SLICES - 1; after > slice.number; --after) later += sums[after][slice.column];
#pragma unroll 4
    for (long long n = slice.end - 1; n >= slice.begin; --n) {
        later += d_frequencies[index_of(slice, n)];
        d_frequencies[index_of(slice, n)] = (real)(later * (6.283185307179586 * per_sample));
    }
}
