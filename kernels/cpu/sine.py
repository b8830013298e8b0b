"""Sine and cosine of an integer phase, many lanes at once.

A phase is a signed integer whose full range is one turn. The fold to a quarter turn and the step from sine to cosine
happen in integers, exactly; only then is the phase made a float, so tiny phases keep all their digits.

    u = phase + 1/4        "ahead" below: a quarter turn ahead of the phase
    x = |u| - 1/4          the fold: |x| <= 1/4 and sin(2 pi phase) = sin(2 pi x)
    sin(2 pi x) = x P(x^2),    cos(2 pi phase) = sign(u) C(x^2)

P: minimax in relative error (Remez exchange), 5e-9 with 5 coefficients for float32, 4e-22 with 10 for float64.
C: minimax in absolute error, 2e-10 with 6 coefficients for float32, 6e-21 with 10 for float64.
"""

from numba.core import types
from numba.core.extending import overload

from fastddsp.kernels.cpu.compile import helper
from fastddsp.kernels.cpu.simd import Vector, absolute, fma, to_float, with_sign

QUARTER_TURN_32, QUARTER_TURN_64 = 2**30, 2**62


def sin_turns(phase):
    """sin(2 pi phase): a Vector of int32 or int64 phases -> float32 or float64."""


def sin_cos_turns(phase):
    """The sine and the cosine of 2 pi phase, for little more than one of them."""


@helper(forceinline=True)
def sin_ahead(ahead):
    """Sine of the phase that is a quarter turn behind `ahead`: for callers who add the quarter turn elsewhere."""
    x = _folded(ahead)
    return x * _odd(x * x)


@helper(forceinline=True)
def cos_ahead(ahead):
    """Cosine of the phase that is a quarter turn behind `ahead`."""
    x = _folded(ahead)
    return with_sign(_even(x * x), ahead)


@helper(forceinline=True)
def sin_cos_ahead(ahead):
    """Sine and cosine of the phase that is a quarter turn behind `ahead`; they share the fold."""
    x = _folded(ahead)
    t = x * x
    return x * _odd(t), with_sign(_even(t), ahead)


@overload(sin_turns, inline="always")
def _sin_turns(phase):
    if isinstance(phase, Vector):
        quarter = {types.int32: types.int32(QUARTER_TURN_32), types.int64: QUARTER_TURN_64}[phase.element]
        return lambda phase: sin_ahead(phase + quarter)


@overload(sin_cos_turns, inline="always")
def _sin_cos_turns(phase):
    if isinstance(phase, Vector):
        quarter = {types.int32: types.int32(QUARTER_TURN_32), types.int64: QUARTER_TURN_64}[phase.element]
        return lambda phase: sin_cos_ahead(phase + quarter)


def _folded(ahead):
    """x = |ahead| - 1/4 in turns, as floats; the difference wraps, which is right where |ahead| is half a turn."""


def _odd(t):
    """P(t)."""


def _even(t):
    """C(t)."""


@overload(_folded, inline="always")
def _folded_lanes(ahead):
    if ahead.element == types.int32:
        return lambda ahead: to_float(absolute(ahead) - QUARTER_TURN_32) * (1.0 / 4294967296.0)
    return lambda ahead: to_float(absolute(ahead) - QUARTER_TURN_64) * (1.0 / 18446744073709551616.0)


@overload(_odd, inline="always")
def _odd_lanes(t):
    return _odd32 if t.element == types.float32 else _odd64


@overload(_even, inline="always")
def _even_lanes(t):
    return _even32 if t.element == types.float32 else _even64


def _odd32(t):
    p = fma(t, 39.710918, -76.574992)
    p = fma(t, p, 81.602231)
    p = fma(t, p, -41.341677)
    return fma(t, p, 6.2831853)


def _odd64(t):
    p = fma(t, -0.0116792456692545744, 0.104182006382936938)
    p = fma(t, p, -0.718118794098761953)
    p = fma(t, p, 3.8199524267398974)
    p = fma(t, p, -15.0946425724002)
    p = fma(t, p, 42.0586939448221227)
    p = fma(t, p, -76.7058597530606423)
    p = fma(t, p, 81.6052492760750505)
    p = fma(t, p, -41.3417022403997602)
    return fma(t, p, 6.28318530717958648)


def _even32(t):
    p = fma(t, -24.982238, 60.144015)
    p = fma(t, p, -85.453572)
    p = fma(t, p, 64.939347)
    p = fma(t, p, -19.739209)
    return fma(t, p, 1.0)


def _even64(t):
    p = fma(t, -0.035219758172812365, 0.28185230256866222)
    p = fma(t, p, -1.7143794421992887)
    p = fma(t, p, 7.903535871423719)
    p = fma(t, p, -26.426256769642977)
    p = fma(t, p, 60.24464137164698)
    p = fma(t, p, -85.45681720669152)
    p = fma(t, p, 64.93939402266828)
    p = fma(t, p, -19.739208802178717)
    return fma(t, p, 1.0)
