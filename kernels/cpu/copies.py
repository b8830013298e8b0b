"""Runs of numbers, copied, added, weighed, cleared, a register at a time; in arrays or at pointers (see simd)."""

from fastddsp.kernels.cpu.compile import helper, kernel
from fastddsp.kernels.cpu.simd import (
    claim,
    lane_count,
    load_register,
    load_some,
    out_of_line,
    register_width,
    splat,
    splat_register,
    store,
    store_some,
)


@helper(forceinline=True)
def zero(target, i, n):
    """target[i : i + n] = 0."""
    for k in range(0, n, register_width(target)):
        store_some(target, i + k, n - k, splat_register(target, 0.0))


@helper(forceinline=True)
def clear(target, first, last):
    """Zeros from number `first` on, up to `last` or as far beyond as a tile reaches."""
    for i in range(first, last, lane_count(target)):
        store(target, i, splat(target, 0.0))


@helper(forceinline=True)
def clear_rows(rows, first, last):
    """The same, of rows, one register each."""
    clear(rows, first * register_width(rows), last * register_width(rows))


@helper
def negate_rows(rows, first, last, target):
    """Rows target, target + 1, ... = minus rows first..last - 1."""
    width = register_width(rows)
    for i in range(first, last):
        store(rows, (target + i - first) * width, 0.0 - load_register(rows, i * width))


@helper
def claim_run(target, i, n):
    """Have the cache lines of target[i : i + n] come, to be written.

    Stores wait for them one after the other, these requests do not.
    """
    for k in range(i, i + n, register_width(target)):
        claim(target, k)


@helper
def copy(source, i, target, j, n):
    """target[j : j + n] = source[i : i + n]; the two may overlap if j < i."""
    out_of_line()
    some = splat_register(source, 0.0)
    for k in range(0, n, register_width(source)):
        store_some(target, j + k, n - k, load_some(source, i + k, n - k, some))


@helper
def add(source, i, target, j, n):
    """target[j : j + n] += source[i : i + n]."""
    out_of_line()
    some = splat_register(source, 0.0)
    for k in range(0, n, register_width(source)):
        total = load_some(target, j + k, n - k, some) + load_some(source, i + k, n - k, some)
        store_some(target, j + k, n - k, total)


@helper
def weigh(source, target, n):
    """target[:n] *= source[:n]; n: a multiple of a register's lanes."""
    for k in range(0, n, register_width(source)):
        store(target, k, load_register(target, k) * load_register(source, k))


@helper
def copy_window(source, low, high, begin, end, target):
    """target = source[begin:end], with zeros before index `low` and from `high` on."""
    out_of_line()
    first, last = min(max(low, begin), end), max(min(high, end), begin)
    zero(target, 0, first - begin)
    copy(source, first, target, first - begin, last - first)
    zero(target, max(last, first) - begin, end - max(last, first))


@kernel
def add_tails(tails, ends, out):
    """Add what rings on after each of several stretches of `out` to what follows, in order.

    tails: [batch, stretches, samples]; ends: the sample of out [batch, samples] after each, which may lie outside. What
    follows the last one is silent before.
    """
    for b in range(out.shape[0]):
        out[b, max(0, ends[-1]) :] = 0
        for i in range(tails.shape[1]):
            for n in range(max(0, -ends[i]), min(tails.shape[2], out.shape[1] - ends[i])):
                out[b, ends[i] + n] += tails[b, i, n]
