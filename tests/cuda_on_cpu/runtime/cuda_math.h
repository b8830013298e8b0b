// CUDA's mathematics on the CPU. What CUDA has to 1 or 2 units in the last place is correctly rounded here or better;
// fast intrinsics have an error of the documented size, so that no test relies on an accuracy that a GPU lacks.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

static inline void sincospi(double x, double* s, double* c) {
    double r = x - 2.0 * nearbyint(x * 0.5);
    *s = sin(M_PI * r);
    *c = cos(M_PI * r);
}
static inline void sincospif(float x, float* s, float* c) {
    double a, b;
    sincospi(x, &a, &b);
    *s = (float)a;
    *c = (float)b;
}
static inline float sinpif(float x) {
    float s, c;
    sincospif(x, &s, &c);
    return s;
}
static inline float cospif(float x) {
    float s, c;
    sincospif(x, &s, &c);
    return c;
}
static inline float rsqrtf(float x) { return 1.f / sqrtf(x); }
static inline double rsqrt(double x) { return 1. / sqrt(x); }
static inline float __saturatef(float x) { return x < 0.f ? 0.f : x > 1.f ? 1.f : x; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
// What is never contracted into a multiply-add, whatever the compiler's flags.
#define CS_ROUNDED(T, NAME, EXPRESSION) \
    static inline T NAME(T a, T b) {    \
        T r = EXPRESSION;               \
        asm("" : "+x"(r));              \
        return r;                       \
    }
CS_ROUNDED(float, __fadd_rn, a + b)
CS_ROUNDED(float, __fsub_rn, a - b)
CS_ROUNDED(float, __fmul_rn, a* b)
CS_ROUNDED(double, __dadd_rn, a + b)
CS_ROUNDED(double, __dsub_rn, a - b)
CS_ROUNDED(double, __dmul_rn, a* b)
CS_ROUNDED(double, __ddiv_rn, a / b)
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __frcp_rn(float a) { return 1.f / a; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }

// Fast intrinsics (#defines, because glibc declares its own __sinf): a pseudo-random error that depends on the value.
static inline float cs_err(float x, float mag) {
    uint32_t h;
    memcpy(&h, &x, 4);
    h *= 2654435761u;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    return mag * ((float)(int32_t)h * 4.6566129e-10f);
}
static inline float cs_fast_sinf(float x) {
    return (float)sin((double)x) + cs_err(x, 3.6e-7f * fmaxf(1.f, fabsf(x) * 0.3183f));
}
static inline float cs_fast_cosf(float x) {
    return (float)cos((double)x) + cs_err(x, 3.6e-7f * fmaxf(1.f, fabsf(x) * 0.3183f));
}
static inline void cs_fast_sincosf(float x, float* s, float* c) {
    *s = cs_fast_sinf(x);
    *c = cs_fast_cosf(x);
}
static inline float cs_fast_expf(float x) { return expf(x) * (1.f + cs_err(x, 1.2e-7f * (2.f + fabsf(x)))); }
static inline float cs_fast_exp2f(float x) { return exp2f(x) * (1.f + cs_err(x, 2.4e-7f)); }
static inline float cs_fast_logf(float x) { return logf(x) + cs_err(x, 4.2e-7f); }
static inline float cs_fast_log2f(float x) { return log2f(x) + cs_err(x, 4.2e-7f); }
static inline float cs_fast_powf(float a, float b) { return exp2f(b * cs_fast_log2f(a)); }
#define __sinf cs_fast_sinf
#define __cosf cs_fast_cosf
#define __sincosf cs_fast_sincosf
#define __expf cs_fast_expf
#define __exp2f cs_fast_exp2f
#define __logf cs_fast_logf
#define __log2f cs_fast_log2f
#define __powf cs_fast_powf
static inline float __fdividef(float a, float b) { return a / b * (1.f + cs_err(b, 1.2e-7f)); }
static inline int __float2int_rn(float x) { return (int)nearbyintf(x); }
static inline int __float2int_rd(float x) { return (int)floorf(x); }
static inline int __float2int_rz(float x) { return (int)x; }
static inline float __int2float_rn(int x) { return (float)x; }
static inline double __ll2double_rn(long long x) { return (double)x; }
static inline int __float_as_int(float x) {
    int r;
    memcpy(&r, &x, 4);
    return r;
}
static inline unsigned __float_as_uint(float x) {
    unsigned r;
    memcpy(&r, &x, 4);
    return r;
}
static inline float __int_as_float(int x) {
    float r;
    memcpy(&r, &x, 4);
    return r;
}
static inline float __uint_as_float(unsigned x) {
    float r;
    memcpy(&r, &x, 4);
    return r;
}
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline unsigned __brev(unsigned x) {
    unsigned r = 0;
    for (int i = 0; i < 32; ++i) r |= (x >> i & 1u) << (31 - i);
    return r;
}
static inline int __mulhi(int a, int b) { return (int)(((long long)a * b) >> 32); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((unsigned long long)a * b) >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
#define CS_MM(T)                                            \
    static inline T min(T a, T b) { return b < a ? b : a; } \
    static inline T max(T a, T b) { return a < b ? b : a; }
CS_MM(int)
CS_MM(unsigned)
CS_MM(long)
CS_MM(unsigned long)
CS_MM(long long)
CS_MM(unsigned long long)
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }
