"""Non-uniform FFT: a table of a sum of harmonics, the kernel that reads between its cells, and the error of that.

Harmonics k = 1..K of a phase phi (in turns), their sum tabulated in N cells a half turn, read at p = 2 N phi - 1/2:

    S(phi) = sum_k A[k] sin(2 pi k phi)  ~  sum_m T[m] kernel(p - m)
    T[m]   = sum_k A[k] / spectrum(k / 2N) sin(pi k (2 m + 1) / 2N),    m = 0..N-1

The cells' phases are (2 m + 1) / 4N, so T is a sine transform (DST-III; DCT-III for cosines). S is odd (even) about 0
and 1/2, which gives the other half turn and the cells beyond the table's ends. `kernel` is TAPS cells wide, `spectrum`
its Fourier transform, by which what the kernel smooths away is put back in advance. The adjoint is the transpose, step
by step: spread samples to TAPS cells each, DST-II, divide by the spectrum.

Error. The kernel also passes the images of harmonic k at k + 2 N l. Relative to sum |A| that is at most

    max_k sum_{l != 0} |spectrum(k / 2N + l)| / |spectrum(k / 2N)|,    k <= N / OVERSAMPLING    (`alias_bound`)

With a Kaiser-Bessel kernel of 8 cells, its pieces replaced by polynomials (which can be no more exact than the images
are small: degree 7 here, 6 would triple the error):

    OVERSAMPLING          1.25    1.5     1.75    2
    highest harmonic      1e-4    5e-6    1e-6    2e-7
    the lower 80 %                8e-7    2e-7    7e-8

Rounding adds a few eps times spectrum(0) / spectrum(K / 2N) = 4, by which the highest harmonic is raised before the
transform. That is float32's level, with one register of taps for two samples; float64's is not in reach.

Source: Greengard and Lee, Accelerating the nonuniform fast Fourier transform, SIAM Review 46, 2004; Barnett, Magland
and af Klinteberg, A parallel nonuniform fast Fourier transform library based on an "exponential of semicircle" kernel,
SIAM Journal on Scientific Computing 41, 2019.
"""

from functools import lru_cache

import numpy as np

TAPS = 8
DEGREE = 7
OVERSAMPLING = 1.75


@lru_cache(maxsize=1)
def kernel_polynomials() -> np.ndarray:
    """[DEGREE + 1, TAPS] float32: coefficients, in x = frac(p) - 1/2, of the weight of cell floor(p) - 3 + tap.

    A Kaiser-Bessel window whose main lobe ends just before the first image of the highest harmonic. Shared: read only.
    """
    shape = 0.99 * np.pi * TAPS * (1 - 0.5 / OVERSAMPLING)
    x = np.cos(np.pi * (np.arange(64) + 0.5) / 64) / 2
    distance = _tap_distance(x) / (TAPS / 2)
    weights = np.i0(shape * np.sqrt(1 - distance**2)) / np.i0(shape)
    return np.ascontiguousarray(np.polynomial.polynomial.polyfit(x, weights.T, DEGREE), np.float32)


def _tap_distance(x: np.ndarray) -> np.ndarray:
    """[TAPS, len(x)]: cells from p to each tap."""
    return np.arange(TAPS)[:, None] - (TAPS // 2 - 1) - (x + 0.5)


def kernel_spectrum(frequency: np.ndarray) -> np.ndarray:
    """Fourier transform of the kernel, as its polynomials have it, at frequencies in turns a cell."""
    nodes, node_weights = np.polynomial.legendre.leggauss(24)
    values = np.polynomial.polynomial.polyval(nodes / 2, kernel_polynomials().astype(np.float64)) * (node_weights / 2)
    return np.cos(2 * np.pi * np.multiply.outer(frequency, _tap_distance(nodes / 2).ravel())) @ values.ravel()


def alias_bound() -> float:
    """Largest error of reading between cells, relative to the sum of the amplitudes."""
    frequency = np.linspace(0, 0.5 / OVERSAMPLING, 100)
    images = sum(np.abs(kernel_spectrum(frequency + l)) for l in range(-8, 9) if l)
    return float((images / np.abs(kernel_spectrum(frequency))).max())


@lru_cache(maxsize=16)
def table_plan(n_harmonics: int) -> tuple[int, np.ndarray]:
    """N, and the factors of amplitudes before scipy's transforms, which have one of 2. Shared: read only."""
    from scipy.fft import next_fast_len

    n_cells = next_fast_len(int(np.ceil(OVERSAMPLING * (n_harmonics + 1))), real=True)
    return n_cells, (0.5 / kernel_spectrum(np.arange(1, n_harmonics + 1) / (2 * n_cells))).astype(np.float32)
