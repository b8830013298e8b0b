"""The ops of sample-wise oscillators on CUDA tensors: results from torch's allocator, kernels on torch's stream."""

from fastddsp.autograd import dispatch


def _bank(frequencies, sample_rate, nyquist, quarter_turns):
    from fastddsp.kernels.cuda.oscillator_bank import Bank

    return Bank(frequencies.contiguous(), sample_rate, nyquist, quarter_turns, dispatch.queue(frequencies))


def bank(frequencies, amplitudes, sample_rate, nyquist, sum_sinusoids, quarter_turns):
    """Audio, or every oscillator: `fastddsp::oscillator_bank`."""
    shape = amplitudes.shape[:2] if sum_sinusoids else amplitudes.shape
    if amplitudes.numel() == 0:
        return amplitudes.new_zeros(shape)
    out = amplitudes.new_empty(shape)
    kernels = _bank(frequencies, sample_rate, nyquist, quarter_turns)
    render = kernels.render_sum if sum_sinusoids else kernels.render
    render(amplitudes.contiguous(), out)
    return out


def bank_backward(g, frequencies, amplitudes, sample_rate, nyquist, sum_sinusoids, quarter_turns, *needs):
    """The gradients that are needed, the others empty: `fastddsp::oscillator_bank_backward`."""
    new = amplitudes.new_empty  # the kernels write whole gradients
    results = tuple(new(amplitudes.shape if need else 0) for need in needs)
    if amplitudes.numel() and any(needs):
        wanted = (d if need else None for d, need in zip(results, needs, strict=True))
        kernels = _bank(frequencies, sample_rate, nyquist, quarter_turns)
        kernels.gradient(g.contiguous(), amplitudes.contiguous(), *wanted)
    return results
