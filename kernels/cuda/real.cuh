// Numbers: `real` is float, or double with -DFLOAT64; a phase is an integer of as many bits, whose full range is a turn.
#pragma once

typedef unsigned long long word;  // a phase in full: 64-bit fraction of a turn, which wraps for free

#ifdef FLOAT64
typedef double real;
typedef long long turns;
typedef unsigned long long unsigned_turns;
#else
typedef float real;
typedef int turns;
typedef unsigned int unsigned_turns;
#endif

__device__ __forceinline__ float fused(float a, float b, float c) { return fmaf(a, b, c); }
__device__ __forceinline__ double fused(double a, double b, double c) { return fma(a, b, c); }
