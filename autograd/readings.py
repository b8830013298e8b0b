"""Reading a source at given phases, differentiable to any order: a table (wavetable.py) or past audio (delay.py).

    y = R_q[s](phi)     linear in the source s; between its points linear in phi too, so that the derivatives of order
                        q in phi are R_0, R_1, and 0 from R_2 on

With S_q the adjoint of R_q in s, the first backward is  ds = S_q[g],  dphi = g R_{q+1}[s]:  one kernel call. Its own
backward, for the cotangents v_s and v_phi, stays inside the family:

    dg = R_q[v_s] + v_phi R_{q+1}[s],   dphi = g R_{q+1}[v_s],   ds = S_{q+1}[g v_phi]        (R_{q+2} = 0)
"""

import torch


def backward_of_backward(ctx, v_phase, v_source, read, read_backward) -> tuple:
    """Backward of a Function (g, phase, source, *settings, order, need_phase, need_source) -> their gradients."""
    g, phase, source = ctx.saved_tensors
    *same, order = ctx.settings
    need_phase, need_source = ctx.needs
    d_g, d_phase, d_source = torch.zeros_like(g), torch.zeros_like(phase), torch.zeros_like(source)
    if need_source:
        d_g = read(phase, v_source, *same, order)
        d_phase, _ = read_backward(g, phase, v_source, *same, order, True, False)
    if need_phase:
        d_g = d_g + v_phase * read(phase, source, *same, order + 1)
        _, d_source = read_backward(g * v_phase, phase, source, *same, order + 1, False, True)
    return d_g, d_phase, d_source, *[None] * (len(ctx.settings) + 2)
