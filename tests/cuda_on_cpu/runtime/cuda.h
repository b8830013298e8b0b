// CUDA C as C++: what a kernel needs to compile unchanged with g++ and to run in executor.cpp.
// Every CUDA thread is a fiber; barriers and warp collectives are real rendezvous.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <type_traits>
#include <utility>

#include "cuda_math.h"

#define __CUDA_ON_CPU__ 1
#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __maxnreg__(...)
#define __grid_constant__
#define __align__(n) alignas(n)
// executor.py rewrites "extern __shared__" to CS_DYN_SHARED and "__shared__" to this:
#define CS_SHARED static __attribute__((section("cs_shared")))
#define CS_DYN_SHARED extern

#define CS_VEC(T, N)                                                                \
    struct alignas(sizeof(T) * 2) N##2 { T x, y; };                                 \
    struct N##3 { T x, y, z; };                                                     \
    struct alignas(sizeof(T) * 4 > 16 ? 16 : sizeof(T) * 4) N##4 { T x, y, z, w; }; \
    static inline N##2 make_##N##2(T x, T y) { return {x, y}; }                     \
    static inline N##3 make_##N##3(T x, T y, T z) { return {x, y, z}; }             \
    static inline N##4 make_##N##4(T x, T y, T z, T w) { return {x, y, z, w}; }
CS_VEC(float, float)
CS_VEC(double, double)
CS_VEC(int, int)
CS_VEC(unsigned, uint)
struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

struct CsFiber {  // what kernels may see of the running thread
    uint3 tid;
    int lane;
};
extern "C" {
extern CsFiber* cs_cur;
extern uint3 cs_block;
extern dim3 cs_bdim, cs_gdim;
int cs_barrier(int kind, int pred, int line);  // kind 0 plain, 1 or, 2 and, 3 count
void cs_syncwarp(unsigned mask, int line);
// kind: 0 idx 1 up 2 down 3 xor; returns the bits of the source lane
uint64_t cs_shfl(int kind, unsigned mask, uint64_t bits, int arg, int width, int line);
unsigned cs_vote(unsigned mask, int pred, int line);  // ballot
unsigned cs_match(unsigned mask, uint64_t bits, int line);
unsigned cs_activemask();
void cs_atomic(const void* p, int size, void* pc);  // checker + preemption point
void cs_yield();
[[noreturn]] void cs_fail(const char* what, int line);
}
#define threadIdx (cs_cur->tid)
#define blockIdx cs_block
#define blockDim cs_bdim
#define gridDim cs_gdim
static constexpr int warpSize = 32;

#define __syncthreads() ((void)cs_barrier(0, 0, __LINE__))
#define __syncthreads_or(p) cs_barrier(1, (p), __LINE__)
#define __syncthreads_and(p) cs_barrier(2, (p), __LINE__)
#define __syncthreads_count(p) cs_barrier(3, (p), __LINE__)
static inline void __syncwarp(unsigned mask = 0xffffffffu, int line = __builtin_LINE()) { cs_syncwarp(mask, line); }
template <class T>
static inline T cs_shfl_t(int k, unsigned m, T v, int a, int line, int w = 32) {
    static_assert(sizeof(T) <= 8, "shuffle of more than 8 bytes");
    uint64_t b = 0;
    T r;
    memcpy(&b, &v, sizeof v);
    b = cs_shfl(k, m, b, a, w, line);
    memcpy(&r, &b, sizeof r);
    return r;
}
#define __shfl_sync(m, v, a, ...) cs_shfl_t(0, m, v, a, __LINE__, ##__VA_ARGS__)
#define __shfl_up_sync(m, v, a, ...) cs_shfl_t(1, m, v, a, __LINE__, ##__VA_ARGS__)
#define __shfl_down_sync(m, v, a, ...) cs_shfl_t(2, m, v, a, __LINE__, ##__VA_ARGS__)
#define __shfl_xor_sync(m, v, a, ...) cs_shfl_t(3, m, v, a, __LINE__, ##__VA_ARGS__)
#define __ballot_sync(m, p) cs_vote(m, !!(p), __LINE__)
#define __any_sync(m, p) (cs_vote(m, !!(p), __LINE__) != 0)
#define __all_sync(m, p) (cs_vote(m, !(p), __LINE__) == 0)
#define __activemask() cs_activemask()
template <class T>
static inline unsigned cs_match_t(unsigned m, T v, int line) {
    uint64_t b = 0;
    memcpy(&b, &v, sizeof v);
    return cs_match(m, b, line);
}
#define __match_any_sync(m, v) cs_match_t(m, v, __LINE__)
template <class T, class F>
static inline T cs_reduce(unsigned m, T v, int line, F f) {
    T r{};
    bool first = true;
    for (int l = 0; l < 32; ++l)
        if (m >> l & 1) {
            T o = cs_shfl_t(0, m, v, l, line);
            r = first ? o : f(r, o);
            first = false;
        }
    return r;
}
#define __reduce_add_sync(m, v) cs_reduce(m, v, __LINE__, [](auto a, auto b) { return a + b; })
#define __reduce_max_sync(m, v) cs_reduce(m, v, __LINE__, [](auto a, auto b) { return a > b ? a : b; })
#define __reduce_min_sync(m, v) cs_reduce(m, v, __LINE__, [](auto a, auto b) { return a < b ? a : b; })

static inline void __threadfence() {}
static inline void __threadfence_block() {}
static inline void __threadfence_system() {}
static inline void __nanosleep(unsigned) { cs_yield(); }
static inline long long clock64() { return 0; }
#define __trap() cs_fail("__trap", __LINE__)

#define CS_NOSAN __attribute__((no_sanitize("thread"), noinline))
#define CS_ATOMIC(NAME, EXPR)                                 \
    template <class T>                                        \
    CS_NOSAN T NAME(T* p, std::common_type_t<T> v) {          \
        cs_atomic(p, sizeof(T), __builtin_return_address(0)); \
        T o = *p;                                             \
        *p = (EXPR);                                          \
        return o;                                             \
    }
CS_ATOMIC(atomicAdd, o + v)
CS_ATOMIC(atomicSub, o - v)
CS_ATOMIC(atomicExch, v)
CS_ATOMIC(atomicMax, o > v ? o : v)
CS_ATOMIC(atomicMin, o < v ? o : v)
CS_ATOMIC(atomicAnd, (o & v))
CS_ATOMIC(atomicOr, (o | v))
CS_ATOMIC(atomicXor, (o ^ v))
template <class T>
CS_NOSAN T atomicCAS(T* p, std::common_type_t<T> c, std::common_type_t<T> v) {
    cs_atomic(p, sizeof(T), __builtin_return_address(0));
    T o = *p;
    if (o == c) *p = v;
    return o;
}
CS_NOSAN inline unsigned atomicInc(unsigned* p, unsigned v) {
    cs_atomic(p, 4, __builtin_return_address(0));
    unsigned o = *p;
    *p = o >= v ? 0 : o + 1;
    return o;
}

template <class T>
static inline T __ldg(const T* p) {
    return *p;
}
template <class T>
static inline T __ldcs(const T* p) {
    return *p;
}
template <class T>
static inline T __ldcg(const T* p) {
    return *p;
}
template <class T>
static inline void __stcs(T* p, T v) {
    *p = v;
}

// ---- launching: CS_KERNEL(name) exports the argument layout and a type-correct caller.
namespace cs {
template <class A>
constexpr char code() {
    return std::is_pointer_v<A>        ? (std::is_const_v<std::remove_pointer_t<A>> ? 'r' : 'w')
           : std::is_same_v<A, float>  ? 'f'
           : std::is_same_v<A, double> ? 'd'
           : sizeof(A) == 4            ? (std::is_unsigned_v<A> ? 'I' : 'i')
           : sizeof(A) == 8            ? (std::is_unsigned_v<A> ? 'L' : 'l')
           : sizeof(A) == 1            ? 'b'
                                       : '?';
}
template <class... A>
const char* sig(void (*)(A...)) {
    static const char s[] = {code<A>()..., 0};
    return s;
}
template <class... A, size_t... I>
CS_NOSAN void call(void (*f)(A...), void** a, std::index_sequence<I...>) {
    f(*(std::remove_reference_t<A>*)a[I]...);
}
template <class... A>
CS_NOSAN void call(void (*f)(A...), void** a) {
    call(f, a, std::index_sequence_for<A...>{});
}
}  // namespace cs
#define CS_KERNEL(name)                                                        \
    extern "C" CS_NOSAN void cs_invoke_##name(void** a) { cs::call(name, a); } \
    extern "C" const char* cs_sig_##name() { return cs::sig(name); }
