// What the C++ made of PTX (ptx.py) needs: PTX's types, its memory accesses, its instructions that C++ lacks.
#pragma once
#include <limits>

#include "cuda.h"

typedef uint8_t u8, b8;
typedef int8_t s8;
typedef uint16_t u16, b16;
typedef int16_t s16;
typedef uint32_t u32, b32;
typedef int32_t s32;
typedef uint64_t u64, b64;
typedef int64_t s64;
typedef float f32;
typedef double f64;

template <class T, class U>
static inline __attribute__((always_inline)) T as(U v) {  // the same bits
    T r{};
    memcpy(&r, &v, sizeof(T) < sizeof(U) ? sizeof(T) : sizeof(U));
    return r;
}

// ---- memory

extern "C" {
extern char cs_dynamic_smem[];
#define ACCESS(N)                                                              \
    void __tsan_read##N(void*);                                                \
    void __tsan_write##N(void*);                                               \
    void __tsan_volatile_read##N(void*);                                       \
    void __tsan_volatile_write##N(void*);
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
}
#ifdef CHECK
#define CHECKED(HOOK, N, P) __tsan_##HOOK##N((void*)(P))
#else
#define CHECKED(HOOK, N, P)
#endif
#define SHARED(OFFSET) ((u64)cs_dynamic_smem + (u32)(OFFSET))
template <class T>
static inline T load(u64 address) {
    T r;
    memcpy(&r, (void*)address, sizeof r);
    return r;
}
template <class T>
static inline void store(u64 address, T v) {
    memcpy((void*)address, &v, sizeof v);
}

// ---- instructions

template <class T>
static inline T shl_(T v, u32 n) {
    return n >= sizeof(T) * 8 ? 0 : v << n;
}
template <class T>
static inline T shr_(T v, u32 n) {
    if (n >= sizeof(T) * 8) return std::is_signed_v<T> && v < 0 ? -1 : 0;
    return v >> n;
}
template <class T>
static inline T min_(T a, T b) {  // of floats: the number where one is NaN
    return a != a ? b : b != b ? a : (a < b || (a == b && std::signbit(a))) ? a : b;
}
template <class T>
static inline T max_(T a, T b) {
    return a != a ? b : b != b ? a : (a > b || (a == b && !std::signbit(a))) ? a : b;
}
template <class T, class F>
static inline T to_integer(F v) {  // saturates; NaN is 0
    using L = std::numeric_limits<T>;
    if (v != v) return 0;
    if ((double)v <= (double)L::min()) return L::min();
    if ((double)v >= (double)L::max()) return L::max();
    return (T)v;
}
static inline u32 lop3_(u32 a, u32 b, u32 c, u32 table) {
    u32 r = 0;
    for (int i = 0; i < 8; ++i)
        if (table >> i & 1) r |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
    return r;
}
static inline u32 prmt_(u32 a, u32 b, u32 c) {
    u64 v = a | (u64)b << 32;
    u32 r = 0;
    for (int i = 0; i < 4; ++i) {
        u32 s = c >> (4 * i) & 15;
        u8 x = v >> (8 * (s & 7));
        if (s & 8) x = (s8)x < 0 ? 255 : 0;
        r |= (u32)x << (8 * i);
    }
    return r;
}
static inline u32 shf_(bool left, bool clamp, u32 a, u32 b, u32 c) {
    u32 n = clamp ? (c > 32 ? 32 : c) : c & 31;
    u64 v = a | (u64)b << 32;
    return left ? (u32)((v << n) >> 32) : (u32)(v >> n);
}
template <class T>
static inline T bfe_(T a, u32 p, u32 l) {
    const u32 w = sizeof(T) * 8;
    p &= 255;
    l &= 255;
    if (!l || p >= w) return std::is_signed_v<T> && l && a < 0 ? -1 : 0;
    if (p + l > w) l = w - p;
    return (T)((T)(a << (w - p - l)) >> (w - l));
}
template <class T>
static inline T bfi_(T a, T b, u32 p, u32 l) {
    const u32 w = sizeof(T) * 8;
    p &= 255;
    l &= 255;
    if (!l || p >= w) return b;
    T m = (l >= w ? ~(T)0 : ((T)1 << l) - 1) << p;
    return (b & ~m) | ((a << p) & m);
}
