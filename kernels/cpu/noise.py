"""Noise on the CPU: Philox4x32-10, many counters at once. The stream is defined in fastddsp.kernels.reference.noise.

Words are kept in 64-bit integers whose upper half is zero: then LLVM knows that a product is one instruction
(vpmuludq), and vectorizes the loop over counters.
"""

import numpy as np

from fastddsp.kernels.cpu.compile import helper

M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
MASK, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


@helper(forceinline=True)
def philox(x0, x1, x2, x3, k0, k1):
    """Four random 32-bit words, in uint64, for a counter of four and a key of two."""
    for _ in range(10):
        even, odd = M0 * x0, M1 * x2
        x0, x1, x2, x3 = (odd >> HALF) ^ x1 ^ k0, odd & MASK, (even >> HALF) ^ x3 ^ k1, even & MASK
        k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    return x0, x1, x2, x3


@helper(forceinline=True)
def _sample(word):
    """The word's upper 24 bits as a signed number, in units of 2^-23."""
    return np.float32(np.int32(np.uint32(word)) >> np.int32(8)) * np.float32(2.0**-23)


@helper(forceinline=True)
def fill(seed, row, first, n, out):
    """out[:n] = samples first, first + 1, ... of the noise of a seed and row, in quadruples: 4 divides first and n.

    out: array or pointer, float32 or float64.
    """
    k0, k1 = np.uint64(seed) & MASK, np.uint64(seed) >> HALF
    r0, r1 = np.uint64(row) & MASK, np.uint64(row) >> HALF
    for i in range(n // 4):
        q = np.uint64(first // 4 + i)
        x0, x1, x2, x3 = philox(q & MASK, q >> HALF, r0, r1, k0, k1)
        out[4 * i] = _sample(x0)
        out[4 * i + 1] = _sample(x1)
        out[4 * i + 2] = _sample(x2)
        out[4 * i + 3] = _sample(x3)
