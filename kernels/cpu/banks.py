"""Which algorithm runs a harmonic bank on the CPU: the first row of ALGORITHMS that applies.

Time of the direct kernel over that of the non-uniform FFT, forward + backward, 48 kHz, all harmonics audible
(docs/performance_nufft.md has the figures, and what f0 that leaps or crosses Nyquist does to them):

    K        100    150    250    400    500    1000   2000   4000
    hop  96  0.47   0.56   0.67   0.88   0.95   1      0.99   0.93
        192  0.61   0.71   1.1    1.2  | 1.2    1.4    1.5    1.3
        480  0.88   1.2  | 1.6    2      2.2    2.7    3      2.3
        960  1.1  | 1.5    1.9    2.6    2.8    4      3.8    3.6

Chosen right of the bars (`least_harmonics`, a cost model of four measured times).
The choice depends on the number of harmonics, the hop and the precision, never on the length of the call or the batch,
so that rendering in blocks equals rendering whole. Frame by frame, NufftBank goes on choosing by what is audible.
"""

from fastddsp.kernels.cpu.harmonic import Bank
from fastddsp.kernels.cpu.harmonic_nufft import NufftBank, least_harmonics


def _nufft_pays(n_harmonics, timeline, dtype) -> bool:
    return dtype.char == "f" and n_harmonics >= least_harmonics(n_harmonics, timeline.longest_interval)


def _always(*_) -> bool:
    return True


ALGORITHMS = ((_nufft_pays, NufftBank), (_always, Bank))


def bank(n_harmonics: int, f0, initial_phase, timeline, *settings) -> Bank:
    """A bank for so many harmonics; the other arguments are Bank's."""
    algorithm = next(algorithm for applies, algorithm in ALGORITHMS if applies(n_harmonics, timeline, f0.dtype))
    return algorithm(f0, initial_phase, timeline, *settings)
