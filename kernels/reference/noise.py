"""Specification of the noise: Philox4x32-10, a random number for every address.

    four 32-bit words = philox(counter, key)
    key     = seed mod 2^32, seed div 2^32
    counter = q mod 2^32, q div 2^32, b mod 2^32, b div 2^32        q: quadruple of samples; b: row of the batch

Sample n of row b is word n mod 4 of quadruple q = n div 4, its upper 24 bits read as a signed number:

    x = floor(signed(word) / 2^8) / 2^23,   uniform on the multiples of 2^-23 in [-1, 1)

It is exact in float32, so all precisions and devices hear the same noise. No state: any sample can be had at any time.

A round maps the words (x0, x1, x2, x3) to

    (high(M1 x2) xor x1 xor k0,  low(M1 x2),  high(M0 x0) xor x3 xor k1,  low(M0 x0))

and then adds (W0, W1) to the key (k0, k1); high and low are the halves of the 64-bit product.

Source: Salmon, Moraes, Dror, Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011.
"""

import numpy as np

MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEY_STEPS = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10
MASK = 0xFFFFFFFF


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Four random 32-bit words for a counter of four and a key of two."""
    x0, x1, x2, x3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        even, odd = MULTIPLIERS[0] * x0, MULTIPLIERS[1] * x2
        x0, x1, x2, x3 = (odd >> 32) ^ x1 ^ k0, odd & MASK, (even >> 32) ^ x3 ^ k1, even & MASK
        k0, k1 = (k0 + KEY_STEPS[0]) & MASK, (k1 + KEY_STEPS[1]) & MASK
    return x0, x1, x2, x3


def noise(seed: int, row: int, first: int, n_samples: int) -> np.ndarray:
    """Samples first, first + 1, ... of a row's noise, float64."""
    key = seed & MASK, seed >> 32 & MASK
    samples = []
    for n in range(first, first + n_samples):
        quadruple = n // 4
        word = philox((quadruple & MASK, quadruple >> 32, row & MASK, row >> 32), key)[n % 4]
        signed = word - 2**32 if word >= 2**31 else word
        samples.append((signed >> 8) / 2**23)
    return np.array(samples)
