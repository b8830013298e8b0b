"""One tile of a harmonic bank, a vector of samples: its harmonics' sum, and its products with each of them.

    sum       y(n)    = sum_h a_h sin(h theta(n) + psi)
    products  L_h     = sum_n g(n) sin(h theta(n) + psi)

A block is the 2J + 1 harmonics c - J .. c + J. With s, q = sin, cos(c theta + psi),

    sum_{|j| <= J} a_{c+j} sin((c + j) theta + psi) = s (a_c + sum_j P_j cos(j theta)) + q sum_j D_j sin(j theta)
    P_j = a_{c+j} + a_{c-j},    D_j = a_{c+j} - a_{c-j},    j = 1..J

so that a harmonic costs one multiply-add a sample and nothing for its sine: every block uses the same few cosines and
sines, which lie in the first cache, and P and D are made once for a whole interval. The adjoint is as cheap:

    U_j = sum_n g s cos(j theta),   V_j = sum_n g q sin(j theta),   L_{c+j} = U_j + V_j,   L_{c-j} = U_j - V_j

Harmonics 1..n are J of block 0 (c = 0, its negative half left out) and M blocks around c = m (2J + 1). `plan` chooses M
and J. Block m's s and q are the previous block's turned by (2J + 1) theta; every 8th block's come from integer phases.

Vectors hold a tile of samples; functions take pointers into arrays that their callers own (see simd.pointer).
"""

from fastddsp.kernels.cpu.compile import helper
from fastddsp.kernels.cpu.intervals import crossing
from fastddsp.kernels.cpu.simd import (
    dot,
    dot_fold,
    fma,
    lane_count,
    load,
    load_register,
    out_of_line,
    ramp,
    register_width,
    select_ge,
    splat,
    store,
    sum_rows,
)
from fastddsp.kernels.cpu.sine import sin_cos_turns, sin_turns
from fastddsp.kernels.cpu.spans import SPAN, load_span, numbers, reverse, store_span

LONGEST = 12
"""J at most. Its sines and cosines, 6 KiB, stay in the first cache with everything else."""
BLOCKS_PER_SEED = 8
TABLE_TILES = 2 * LONGEST
STATE_TILES = 6
"""Of sines and cosines of a block's center and of the turn to the next, and of two frames' sums."""


@helper
def plan(n):
    """M and J for n harmonics: as few blocks as LONGEST allows, and as short as so many blocks allow."""
    m = max(-((LONGEST - n) // (2 * LONGEST + 1)), 0)
    return m, -((m - n) // (2 * m + 1))


@helper
def staged_size(n_harmonics):
    """Elements of a staged frame of up to so many harmonics: a span of P and one of D for every block."""
    return 2 * SPAN * (n_harmonics // (2 * LONGEST + 1) + 2)


@helper
def rows_of(n_harmonics):
    """Rows of products of a frame, for up to so many harmonics, and sums of them.

    J is at most 1 larger than M blocks need, so 2 M + 1 rows may be nobody's; a span more is read beyond the last.
    """
    rows = n_harmonics + 2 * (n_harmonics // (2 * LONGEST + 1) + 1) + 1 + 2 * SPAN
    return rows - rows % SPAN + SPAN


@helper
def stage(row, n, blocks, by_harmonic, staged):
    """P and D of every block for one frame's amplitudes, times the harmonic's number if asked.

    row: pointer to the amplitude of harmonic 1; those beyond n count as zero.
    """
    m, half = blocks
    store(staged, 0, _amplitudes(row, 0, n, by_harmonic))
    for block in range(1, m + 1):
        c, at = block * (2 * half + 1), 2 * SPAN * block
        above = _amplitudes(row, c, n, by_harmonic)
        below = reverse(_amplitudes(row, c - SPAN + 1, n, by_harmonic))
        store(staged, at, above + below)
        store(staged, at + SPAN, above - below)
        staged[at] = staged[at] * 0.5


@helper(forceinline=True)
def _amplitudes(row, h, n, by_harmonic):
    """Of the harmonics from h on, SPAN of them, times their numbers if asked; 0 for those that are not 1..n."""
    a = load_span(row, h - 1, 0, n)
    return a * numbers(row, h) if by_harmonic else a


@helper(forceinline=True)
def _put(table, j, c, s):
    """Entry j of the table."""
    store(table, (2 * j - 2) * lane_count(table), c)
    store(table, (2 * j - 1) * lane_count(table), s)


@helper(forceinline=True)
def _get(table, j):
    """Cos and sin of j theta."""
    return load(table, (2 * j - 2) * lane_count(table)), load(table, (2 * j - 1) * lane_count(table))


@helper(forceinline=True)
def fill_table(phase, half, table):
    """Table: cos(j theta) and sin(j theta), j = 1..half.

    The first four by doubling, 1 - 2 s^2 and 2 s c, which keeps the angle's error small where the recurrence would not
    (near multiples of half a turn); the rest by the recurrence in steps of four, so that it takes two steps at most.
    """
    s1, c1 = sin_cos_turns(phase)
    c2, s2 = fma(s1 * -2.0, s1, 1.0), (s1 + s1) * c1
    c4, s4 = fma(s2 * -2.0, s2, 1.0), (s2 + s2) * c2
    c3, s3 = c2 * c1 - s2 * s1, s2 * c1 + c2 * s1
    _put(table, 1, c1, s1)
    _put(table, 2, c2, s2)
    _put(table, 3, c3, s3)
    _put(table, 4, c4, s4)
    w = c4 + c4
    if half > 4:
        _put(table, 5, w * c1 - c3, fma(w, s1, s3))
        _put(table, 6, w * c2 - c2, fma(w, s2, s2))
    if half > 6:
        _put(table, 7, w * c3 - c1, fma(w, s3, s1))
        _put(table, 8, fma(w, c4, -1.0), w * s4)
        for j in range(9, half + 1):
            (c, s), (c_before, s_before) = _get(table, j - 4), _get(table, j - 8)
            _put(table, j, w * c - c_before, w * s - s_before)


@helper(forceinline=True)
def _start_turning(phase, blocks, psi, state):
    """Sin and cos of c theta + psi for block 1; to the state too, with those of (2J + 1) theta if blocks follow."""
    m, half = blocks
    lanes = lane_count(state)
    sin_turn, cos_turn = sin_cos_turns(phase * (2 * half + 1))
    s, q = fma(cos_turn, psi[1], sin_turn * psi[2]), fma(cos_turn, psi[2], sin_turn * -psi[1])
    store(state, 0, s)
    store(state, lanes, q)
    if m > 1:
        store(state, 2 * lanes, sin_turn)
        store(state, 3 * lanes, cos_turn)
    return s, q


@helper
def _seed(phases, center, shift, state):
    """State: sin and cos of center theta + psi, from the integer phases."""
    out_of_line()
    s, q = sin_cos_turns(load(phases, 0) * center + shift)
    store(state, 0, s)
    store(state, lane_count(state), q)


@helper(forceinline=True)
def _turn(block, half, phases, shift, state):
    """State: sin and cos of c theta + psi for block `block`: exact every 8th, else the previous block's, turned."""
    lanes = lane_count(state)
    if block % BLOCKS_PER_SEED == 0:
        _seed(phases, block * (2 * half + 1), shift, state)
        return
    s, q = load(state, 0), load(state, lanes)
    sin_turn, cos_turn = load(state, 2 * lanes), load(state, 3 * lanes)
    s, q = fma(s, cos_turn, q * sin_turn), fma(q, cos_turn, s * sin_turn * -1.0)
    store(state, 0, s)
    store(state, lanes, q)


@helper(forceinline=True)
def _first_block(table, half, cosines, staged0, staged1):
    """Sums of a_j sin(j theta) for two frames' block 0, or of a_j cos(j theta)."""
    y0, y1 = splat(table, 0.0), splat(table, 0.0)
    for j in range(1, half + 1):
        x = load(table, (2 * j - 1 - cosines) * lane_count(table))
        y0, y1 = fma(staged0[j], x, y0), fma(staged1[j], x, y1)
    return y0, y1


@helper(forceinline=True)
def _with_entry(j, table, at, staged0, staged1, sums):
    """Entry j of the table added to _block_sums."""
    (a0, a1, b0, b1), (c, s) = sums, _get(table, j)
    a0, a1 = fma(staged0[at + j], c, a0), fma(staged1[at + j], c, a1)
    b0, b1 = fma(staged0[at + SPAN + j], s, b0), fma(staged1[at + SPAN + j], s, b1)
    return a0, a1, b0, b1


@helper(forceinline=True)
def _block_sums(table, half, at, staged0, staged1):
    """a_c + sum P_j cos(j theta) for two frames, then sum D_j sin(j theta); at: where the block's P begin."""
    sums = splat(table, staged0[at]), splat(table, staged1[at]), splat(table, 0.0), splat(table, 0.0)
    for j in range(1, half + 1):
        sums = _with_entry(j, table, at, staged0, staged1, sums)
    return sums


@helper(forceinline=True)
def _first_two_blocks(table, half, cosines, staged0, staged1):
    """_first_block and the _block_sums of block 1 in one loop: as many sums as there are registers for."""
    at, y0, y1 = 2 * SPAN, splat(table, 0.0), splat(table, 0.0)
    sums = splat(table, staged0[at]), splat(table, staged1[at]), splat(table, 0.0), splat(table, 0.0)
    for j in range(1, half + 1):
        sums = _with_entry(j, table, at, staged0, staged1, sums)
        x = load(table, (2 * j - 1 - cosines) * lane_count(table))
        y0, y1 = fma(staged0[j], x, y0), fma(staged1[j], x, y1)
    return (y0, y1), sums


@helper
def bank_tile(phases, psi, blocks, table, state, staged, w0, w1, y):
    """y += w0 sum_h a0_h sin + w1 sum_h a1_h sin over one tile.

    psi: as a signed fixed-point phase, its sine and cosine; w0, w1: the samples' weights of the two staged frames.
    """
    phase, lanes = load(phases, 0), lane_count(y)
    shift, sin_psi, cos_psi = psi
    m, half = blocks
    is_cosines, sign = cos_psi == 0, sin_psi + cos_psi
    if m == 0:
        y0, y1 = _first_block(table, half, is_cosines, *staged)
        y0, y1 = y0 * sign, y1 * sign
    else:
        (y0, y1), (a0, a1, b0, b1) = _first_two_blocks(table, half, is_cosines, *staged)
        s, q = _start_turning(phase, blocks, psi, state)
        y0, y1 = fma(s, a0, fma(q, b0, y0 * sign)), fma(s, a1, fma(q, b1, y1 * sign))
    if m > 1:
        store(state, 4 * lanes, y0)
        store(state, 5 * lanes, y1)
        for block in range(2, m + 1):
            _turn(block, half, phases, shift, state)
            a0, a1, b0, b1 = _block_sums(table, half, 2 * SPAN * block, *staged)
            s, q = load(state, 0), load(state, lanes)
            store(state, 4 * lanes, fma(s, a0, fma(q, b0, load(state, 4 * lanes))))
            store(state, 5 * lanes, fma(s, a1, fma(q, b1, load(state, 5 * lanes))))
        y0, y1 = load(state, 4 * lanes), load(state, 5 * lanes)
    store(y, 0, fma(load(w0, 0), y0, fma(load(w1, 0), y1, load(y, 0))))


@helper(forceinline=True)
def _add_to_row(rows, row, a, b):
    """Row `row` of (where rows are read, their step, where they are written) += the products of a and b."""
    source, step, target = rows
    store(target, row * register_width(target), dot_fold(a, b, load_register(source, row * step)))


@helper(forceinline=True)
def _first_block_products(table, half, cosines, g0, g1, rows0, rows1):
    """Products with sin(j theta), or cos(j theta), to rows 0..J - 1."""
    for j in range(1, half + 1):
        x = load(table, (2 * j - 1 - cosines) * lane_count(table))
        _add_to_row(rows0, j - 1, g0, x)
        _add_to_row(rows1, j - 1, g1, x)


@helper(forceinline=True)
def _block_products(table, half, row, sines, cosines, rows0, rows1):
    """U_0..U_J of a block to rows row..row + J, V_1..V_J to the next J; sines, cosines: g s and g q of two frames."""
    (gs0, gs1), (gq0, gq1) = sines, cosines
    one = splat(table, 1.0)
    _add_to_row(rows0, row, gs0, one)
    _add_to_row(rows1, row, gs1, one)
    for j in range(1, half + 1):
        c, s = _get(table, j)
        _add_to_row(rows0, row + j, gs0, c)
        _add_to_row(rows1, row + j, gs1, c)
        _add_to_row(rows0, row + half + j, gq0, s)
        _add_to_row(rows1, row + half + j, gq1, s)


@helper
def gradient_tile(phases, psi, blocks, table, state, g, staged, w0, w1, rows, y):
    """Products of w0 g and w1 g with every harmonic to rows; and y += the bank's derivative in theta.

    rows: (where they are read, their step, where they are written), one register of partial sums a product.
    staged: two frames' amplitudes, times the harmonic's number; None where no derivative in theta is asked for.
    """
    phase, lanes = load(phases, 0), lane_count(y)
    shift, sin_psi, cos_psi = psi
    m, half = blocks
    (rows0, rows1), sign = rows, sin_psi + cos_psi
    g0, g1 = load(w0, 0) * load(g, 0), load(w1, 0) * load(g, 0)
    _first_block_products(table, half, cos_psi == 0, g0 * sign, g1 * sign, rows0, rows1)
    if staged is not None:
        y0, y1 = _first_block(table, half, cos_psi != 0, staged[0], staged[1])
        y0, y1 = y0 * (cos_psi - sin_psi), y1 * (cos_psi - sin_psi)
    if m > 0:
        _start_turning(phase, blocks, psi, state)
        if staged is not None:
            store(state, 4 * lanes, y0)
            store(state, 5 * lanes, y1)
        for block in range(1, m + 1):
            if block > 1:
                _turn(block, half, phases, shift, state)
            row = half + (block - 1) * (2 * half + 1)
            s, q = load(state, 0), load(state, lanes)
            g0, g1 = load(w0, 0) * load(g, 0), load(w1, 0) * load(g, 0)
            _block_products(table, half, row, (g0 * s, g1 * s), (g0 * q, g1 * q), rows0, rows1)
            if staged is not None:
                a0, a1, b0, b1 = _block_sums(table, half, 2 * SPAN * block, staged[0], staged[1])
                s, q = load(state, 0), load(state, lanes)
                store(state, 4 * lanes, fma(q, a0, load(state, 4 * lanes) - s * b0))
                store(state, 5 * lanes, fma(q, a1, load(state, 5 * lanes) - s * b1))
        if staged is not None:
            y0, y1 = load(state, 4 * lanes), load(state, 5 * lanes)
    if staged is not None:
        store(y, 0, fma(load(w0, 0), y0, fma(load(w1, 0), y1, load(y, 0))))


@helper
def collect(rows, blocks, n, sums, unfolded, out):
    """Add L_1..L_n, from rows that gradient_tile filled, to out[0..n - 1]; sums, unfolded: room for them.

    Blocks are unfolded from first to last; what one writes beyond its J harmonics, the next one writes anew.
    """
    m, half = blocks
    for row in range(0, half + m * (2 * half + 1), register_width(rows)):
        store(sums, row, sum_rows(rows, row * register_width(rows)))
    store(unfolded, 1, load_span(sums, 0, 0, half))
    for block in range(1, m + 1):
        c = block * (2 * half + 1)
        u = load_span(sums, c - half - 1, 0, c)
        v = load_span(sums, c - 1, c, c + half)  # V_0 is 0
        store_span(unfolded, c - SPAN + 1, c - half, c, reverse(u - v))
        store(unfolded, c, u + v)
    for h in range(n):
        out[h] += unfolded[h + 1]


# Harmonics that cross Nyquist inside the interval: few. Each is computed from its own exact phase, and masked.


@helper(forceinline=True)
def _headroom(y, h, sweep):
    """Not negative where h f < nyquist; sweep: see fastddsp.kernels.cpu.intervals.crossing."""
    slope, offset = crossing(h, sweep, lane_count(y))
    return fma(ramp(y), slope, splat(y, offset))


@helper(forceinline=True)
def crossing_sine(y, phase, psi, h, sweep):
    """sin(h theta + psi) where h f < nyquist, else 0."""
    return select_ge(_headroom(y, h, sweep), 0.0, sin_turns(phase * h + psi[0]), 0.0)


@helper
def bank_crossing(phases, psi, rows, by_harmonic, audible, sweep, w0, w1, y):
    """bank_tile for the harmonics audible[0] < h <= audible[1]; rows: two frames' amplitudes."""
    phase, (row0, row1) = load(phases, 0), rows
    y0, y1 = splat(y, 0.0), splat(y, 0.0)
    for h in range(audible[0] + 1, audible[1] + 1):
        x = crossing_sine(y, phase, psi, h, sweep)
        factor = h if by_harmonic else 1
        y0, y1 = fma(row0[h - 1] * factor, x, y0), fma(row1[h - 1] * factor, x, y1)
    store(y, 0, fma(load(w0, 0), y0, fma(load(w1, 0), y1, load(y, 0))))


@helper
def gradient_crossing(phases, psi, g, rows, audible, sweep, w0, w1, out0, out1, y):
    """gradient_tile for those harmonics: products go to two frames' gradients; rows: their amplitudes, or None."""
    phase = load(phases, 0)
    g0, g1 = load(w0, 0) * load(g, 0), load(w1, 0) * load(g, 0)
    y0, y1 = splat(g, 0.0), splat(g, 0.0)
    for h in range(audible[0] + 1, audible[1] + 1):
        headroom = _headroom(g, h, sweep)
        s, c = sin_cos_turns(phase * h + psi[0])
        s = select_ge(headroom, 0.0, s, 0.0)
        out0[h - 1] += dot(g0, s)
        out1[h - 1] += dot(g1, s)
        if rows is not None:
            c = select_ge(headroom, 0.0, c, 0.0)
            y0, y1 = fma(rows[0][h - 1] * h, c, y0), fma(rows[1][h - 1] * h, c, y1)
    if rows is not None:
        store(y, 0, fma(load(w0, 0), y0, fma(load(w1, 0), y1, load(y, 0))))
