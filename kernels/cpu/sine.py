"""Sine and cosine of an integer phase, many lanes at once.

A phase is a signed integer whose full range is one turn. The fold to a quarter turn and the step from sine to cosine
happen in integers, exactly; only then is the phase made a float, so tiny phases keep all their digits.

    sin(2 pi x) = x P(x^2),  |x| <= 1/4

P: minimax in relative error (Remez exchange), 5e-9 with 5 coefficients for float32, 4e-22 with 10 for float64.
"""

from numba.core import types
from numba.core.extending import overload

from fastddsp.kernels.cpu.simd import Vector, fma, select_ge, to_float

HALF_TURN_32, QUARTER_TURN_32 = -(2**31), 2**30
HALF_TURN_64, QUARTER_TURN_64 = -(2**63), 2**62


def sin_turns(phase):
    """sin(2 pi phase): a Vector of int32 or int64 phases -> float32 or float64."""


def cos_turns(phase):
    """cos(2 pi phase): a Vector of int32 or int64 phases -> float32 or float64."""


@overload(sin_turns, inline="always")
def _sin_turns(phase):
    if isinstance(phase, Vector):
        return {types.int32: _sin32, types.int64: _sin64}[phase.element]


@overload(cos_turns, inline="always")
def _cos_turns(phase):
    if isinstance(phase, Vector):
        quarter = {types.int32: types.int32(QUARTER_TURN_32), types.int64: QUARTER_TURN_64}[phase.element]
        return lambda phase: sin_turns(phase + quarter)


def _sin32(phase):
    mirrored = HALF_TURN_32 - phase
    # Beyond a quarter turn either way, sin(x) = sin(1/2 - x); the subtraction wraps into the quarter.
    folded = select_ge(phase, QUARTER_TURN_32, mirrored, select_ge(phase, -QUARTER_TURN_32, phase, mirrored))
    x = to_float(folded) * (1.0 / 4294967296.0)
    t = x * x
    p = fma(t, 39.710918, -76.574992)
    p = fma(t, p, 81.602231)
    p = fma(t, p, -41.341677)
    p = fma(t, p, 6.2831853)
    return x * p


def _sin64(phase):
    mirrored = HALF_TURN_64 - phase
    folded = select_ge(phase, QUARTER_TURN_64, mirrored, select_ge(phase, -QUARTER_TURN_64, phase, mirrored))
    x = to_float(folded) * (1.0 / 18446744073709551616.0)
    t = x * x
    p = fma(t, -0.0116792456692545744, 0.104182006382936938)
    p = fma(t, p, -0.718118794098761953)
    p = fma(t, p, 3.8199524267398974)
    p = fma(t, p, -15.0946425724002)
    p = fma(t, p, 42.0586939448221227)
    p = fma(t, p, -76.7058597530606423)
    p = fma(t, p, 81.6052492760750505)
    p = fma(t, p, -41.3417022403997602)
    p = fma(t, p, 6.28318530717958648)
    return x * p
