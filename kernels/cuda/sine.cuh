// Sine and cosine of an integer phase: the polynomials and the fold of kernels/cpu/sine.py.
//
//     u = phase + 1/4        "ahead": a quarter turn ahead of the phase
//     x = |u| - 1/4          the fold: |x| <= 1/4 and sin(2 pi phase) = sin(2 pi x)
//     sin(2 pi x) = x P(x^2),    cos(2 pi phase) = sign(u) C(x^2)
//
// P: minimax in relative error, 5e-9 for float, 4e-22 for double; C: in absolute error, 2e-10 and 6e-21. The fold and
// the step from sine to cosine are exact, being integer, so tiny phases keep all their digits.
#pragma once
#include "real.cuh"

__device__ __forceinline__ float odd(float t)
{
    float p = fused(t, 39.710918f, -76.574992f);
    p = fused(t, p, 81.602231f);
    p = fused(t, p, -41.341677f);
    return fused(t, p, 6.2831853f);
}

__device__ __forceinline__ float even(float t)
{
    float p = fused(t, -24.982238f, 60.144015f);
    p = fused(t, p, -85.453572f);
    p = fused(t, p, 64.939347f);
    p = fused(t, p, -19.739209f);
    return fused(t, p, 1.0f);
}

__device__ __forceinline__ double odd(double t)
{
    double p = fused(t, -0.0116792456692545744, 0.104182006382936938);
    p = fused(t, p, -0.718118794098761953);
    p = fused(t, p, 3.8199524267398974);
    p = fused(t, p, -15.0946425724002);
    p = fused(t, p, 42.0586939448221227);
    p = fused(t, p, -76.7058597530606423);
    p = fused(t, p, 81.6052492760750505);
    p = fused(t, p, -41.3417022403997602);
    return fused(t, p, 6.28318530717958648);
}

__device__ __forceinline__ double even(double t)
{
    double p = fused(t, -0.035219758172812365, 0.28185230256866222);
    p = fused(t, p, -1.7143794421992887);
    p = fused(t, p, 7.903535871423719);
    p = fused(t, p, -26.426256769642977);
    p = fused(t, p, 60.24464137164698);
    p = fused(t, p, -85.45681720669152);
    p = fused(t, p, 64.93939402266828);
    p = fused(t, p, -19.739208802178717);
    return fused(t, p, 1.0);
}

// ahead: a quarter turn ahead of the phase.
__device__ __forceinline__ void sin_cos_ahead(turns ahead, real& sine, real& cosine)
{
    const unsigned_turns quarter = (unsigned_turns)1 << (8 * sizeof(turns) - 2);
    const bool is_negative = ahead < 0;
    const unsigned_turns size = is_negative ? 0 - (unsigned_turns)ahead : (unsigned_turns)ahead;
    const real x = (real)(turns)(size - quarter) * (sizeof(turns) == 4 ? (real)0x1p-32 : (real)0x1p-64);
    const real t = x * x;
    const real c = even(t);
    sine = x * odd(t);
    cosine = is_negative ? -c : c;
}

__device__ __forceinline__ void sin_cos_turns(turns phase, real& sine, real& cosine)
{
    const unsigned_turns quarter = (unsigned_turns)1 << (8 * sizeof(turns) - 2);
    sin_cos_ahead((turns)((unsigned_turns)phase + quarter), sine, cosine);
}

// The bits of a phase that a sine needs.
__device__ __forceinline__ turns upper(word phase) { return (turns)(phase >> (64 - 8 * (int)sizeof(turns))); }

// psi and the quarter turn that sin_cos_ahead wants, in fixed point, and half a unit of what `upper` keeps.
__device__ __forceinline__ word ahead(int quarter_turns)
{
    return ((word)((quarter_turns + 1) & 3) << 62) + (sizeof(turns) == 4 ? 0x80000000u : 0);
}
