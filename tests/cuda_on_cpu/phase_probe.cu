// Phases as kernels/cuda/phase.cuh has them, for tests: of all intervals, and of every interval's samples, all 64 bits.
extern "C" __global__ void phases(const real* f0, const double* initial_phase, const word* segments, word* before,
                                  word* samples, int* plain, int* audible, long long n_samples, long long n_intervals, long long hop,
                                  long long first_frame, long long n_frames, long long segment, double sample_rate,
                                  double slope_scale, double nyquist, int n_harmonics)
{
    __shared__ word scratch[32];
    __shared__ Interval interval[1];
    const Timeline t = timeline(n_samples, n_intervals, hop, first_frame, n_frames, segment, sample_rate, slope_scale,
                                nyquist);
    const long long i = blockIdx.x;
    look_at_all(f0, phase_before(f0, initial_phase[0], segments, i, t, scratch), i, 1, n_harmonics, t, interval);
    if (threadIdx.x == 0) {
        before[i] = interval->phase;
        plain[i] = interval->plain;
        audible[i] = interval->audible;
    }
    for (int m = threadIdx.x; m < interval->count; m += blockDim.x)
        samples[interval->start + m] = (word)sample_phase(*interval, m);
}
