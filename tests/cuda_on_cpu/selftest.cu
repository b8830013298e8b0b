// Instructions of many kinds: test_executor.py compares what both executors make of them with NumPy.

extern "C" __global__ void float32_functions(const float* __restrict__ x, float* __restrict__ out, int n)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float v = x[i];
    float *q = out + (size_t)i * 21, s, c;
    sincospif(v, &s, &c);
    q[0] = s; q[1] = c;
    q[2] = sinf(v); q[3] = cosf(v); q[4] = expf(v); q[5] = logf(fabsf(v) + 1e-6f); q[6] = tanhf(v);
    q[7] = powf(fabsf(v) + 0.1f, 1.7f); q[8] = sqrtf(fabsf(v)); q[9] = rsqrtf(fabsf(v) + 1e-3f);
    q[10] = 1.f / (v + 20.f); q[11] = floorf(v); q[12] = roundf(v); q[13] = rintf(v); q[14] = fmodf(v, 0.7f);
    q[15] = exp2f(v); q[16] = log10f(fabsf(v) + 1e-3f); q[17] = log1pf(fabsf(v)); q[18] = expm1f(v);
    q[19] = (float)(int)(v * 3.f); q[20] = fminf(v, 0.25f) + fmaxf(v, -0.5f);
}

extern "C" __global__ void float64_functions(const double* __restrict__ x, double* __restrict__ out, int n)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const double v = x[i];
    double *q = out + (size_t)i * 8, s, c;
    sincospi(v, &s, &c);
    q[0] = s; q[1] = c; q[2] = sin(v); q[3] = exp(v); q[4] = sqrt(fabs(v)); q[5] = v / (fabs(v) + 0.1);
    q[6] = log(fabs(v) + 0.1); q[7] = floor(v) + (double)(long long)v;
}

extern "C" __global__ void integers(const int* __restrict__ x, const int* __restrict__ y, long long* __restrict__ out,
                                    int n)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const int a = x[i], b = y[i] | 1;
    const unsigned u = a, v = b;
    long long* q = out + (size_t)i * 9;
    q[0] = a / b; q[1] = a % b; q[2] = u / v; q[3] = u % v; q[4] = (long long)a * b; q[5] = __mulhi(a, b);
    q[6] = __umulhi(u, v); q[7] = __popc(u); q[8] = __clz(a);
}

struct __align__(16) Four { float a, b, c, d; };
__constant__ float table[8] = {1, 2, 3, 4, 5, 6, 7, 8};

template <int N>
__device__ float polynomial(const float (&c)[N], float x)
{
    float r = 0;
    for (int k = N - 1; k >= 0; --k) r = fmaf(r, x, c[k]);
    return r;
}

// Votes, shuffles, reductions, atomics, shared and constant memory, arrays and templates.
extern "C" __global__ void cooperation(const float* __restrict__ x, float* __restrict__ out,
                                       unsigned* __restrict__ ballots, int* __restrict__ histogram,
                                       int* __restrict__ largest, int n, int seed)
{
    __shared__ float s[64][33];
    __shared__ int count;
    const int t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
    if (t == 0) count = 0;
    const float4 v = reinterpret_cast<const float4*>(x)[i];
    float local[8];
    for (int k = 0; k < 8; ++k) local[k] = v.x * k + table[(k + seed) & 7];
    float r = local[(t + seed) & 7] + polynomial({1.f, 2.f, 3.f}, v.y);
    s[t][t & 31] = v.w;
    __syncthreads();
    r += s[(t + 1) % blockDim.x][(t + 1) % blockDim.x & 31];
    const unsigned b = __ballot_sync(0xffffffffu, v.x > 0.f);
    if ((t & 31) == 0) ballots[i >> 5] = b;
    if (__any_sync(0xffffffffu, v.x > 0.9f)) r += 1.f;
    if (__all_sync(0xffffffffu, v.x > -2.f)) r += 2.f;
    r += __shfl_sync(0xffffffffu, v.y, 5) + __shfl_down_sync(0xffffffffu, v.y, 3, 8);
    r += __shfl_up_sync(0xffffffffu, v.y, 2, 16) + __shfl_xor_sync(0xffffffffu, v.y, 1);
    r += __syncthreads_count(v.x > 0.f);
    atomicAdd(&histogram[(int)((v.x + 1.f) * 4.f) & 7], 1);
    atomicAdd(&count, 1);
    atomicMax(largest, (int)(v.x * 1e6f));
    __syncthreads();
    reinterpret_cast<Four*>(out)[i] = Four{r, (float)count, (float)(t / 7), (float)__popc(b)};
}
