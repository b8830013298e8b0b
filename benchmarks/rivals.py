"""The same computations in plain torch, in the ways that users of magenta/ddsp and ddsp_pytorch have them.

Written for this comparison, as fast as those ways allow: no step that the original needs is left out, none is added.
"""

import math

import torch


def upsample_linear(frames: torch.Tensor, n_samples: int) -> torch.Tensor:
    """[B, F, C] -> [B, n_samples, C], linear between frames, the last frame held."""
    batch, n_frames, channels = frames.shape
    hop = n_samples // n_frames
    later = torch.cat([frames[:, 1:], frames[:, -1:]], 1)
    rising = (torch.arange(hop, dtype=frames.dtype, device=frames.device) / hop)[None, None, :, None]
    return (frames[:, :, None] * (1 - rising) + later[:, :, None] * rising).reshape(batch, n_samples, channels)


def harmonic_numbers(amplitudes: torch.Tensor) -> torch.Tensor:
    """1 ... K of amplitudes [..., K]."""
    return torch.arange(1, amplitudes.shape[-1] + 1, dtype=amplitudes.dtype, device=amplitudes.device)


def magenta_harmonic(f0_hz, amplitudes, n_samples, sample_rate):
    """magenta/ddsp: a frequency envelope, a Nyquist mask and a phase sum for every harmonic."""
    frequencies = upsample_linear(f0_hz, n_samples) * harmonic_numbers(amplitudes)
    envelopes = upsample_linear(amplitudes, n_samples) * (frequencies < sample_rate / 2)
    phases = torch.cumsum(2 * math.pi * frequencies / sample_rate, 1)
    return (envelopes * torch.sin(phases)).sum(-1)


def ddsp_pytorch_harmonic(f0_hz, amplitudes, n_samples, sample_rate):
    """ddsp_pytorch: one phase sum, multiplied by the harmonics' numbers."""
    phase = torch.cumsum(2 * math.pi * upsample_linear(f0_hz, n_samples) / sample_rate, 1)
    return (torch.sin(phase * harmonic_numbers(amplitudes)) * upsample_linear(amplitudes, n_samples)).sum(-1)


def torch_partials(frequencies_hz, amplitudes, n_samples, sample_rate):
    """Plain torch: envelopes, a Nyquist mask and a phase sum for every partial."""
    frequencies = upsample_linear(frequencies_hz, n_samples)
    envelopes = upsample_linear(amplitudes, n_samples) * (frequencies < sample_rate / 2)
    return (envelopes * torch.sin(torch.cumsum(2 * math.pi * frequencies / sample_rate, 1))).sum(-1)


def zero_phase_response(magnitudes: torch.Tensor) -> torch.Tensor:
    """[B, F, bands] -> windowed impulse responses [B, F, 2 (bands - 1)], centred."""
    response = torch.fft.irfft(torch.complex(magnitudes, torch.zeros_like(magnitudes)))
    size = response.shape[-1]
    return torch.roll(response, size // 2, -1) * torch.hann_window(size, dtype=response.dtype, device=response.device)


def magenta_filter(audio, magnitudes):
    """magenta/ddsp: every frame convolved by FFT and overlap-added, the delay cropped off."""
    response = zero_phase_response(magnitudes)
    n_frames, n_taps = response.shape[1:]
    hop = -(-audio.shape[1] // n_frames)
    frames = torch.nn.functional.pad(audio, (0, n_frames * hop - audio.shape[1])).unflatten(1, (n_frames, hop))
    size = 1 << (hop + n_taps - 2).bit_length()
    frames = torch.fft.irfft(torch.fft.rfft(frames, size) * torch.fft.rfft(response, size), size)
    total = (n_frames - 1) * hop + size
    out = torch.nn.functional.fold(frames.transpose(1, 2), (1, total), (1, size), stride=(1, hop)).flatten(1)
    start = (n_taps - 1) // 2 - 1
    return out[:, start : start + audio.shape[1]]


def ddsp_pytorch_filter(audio, magnitudes):
    """ddsp_pytorch: every frame convolved by FFT with its response, what leaves the frame dropped."""
    response = zero_phase_response(magnitudes)
    n_frames, n_taps = response.shape[1:]
    hop = audio.shape[1] // n_frames
    size = max(hop, n_taps)
    pad = torch.nn.functional.pad
    response = pad(torch.roll(pad(response, (0, size - n_taps)), -n_taps // 2, -1), (size, 0))
    frames = pad(audio.unflatten(1, (n_frames, hop)), (0, 2 * size - hop))
    out = torch.fft.irfft(torch.fft.rfft(frames) * torch.fft.rfft(response))
    return out[..., size : size + hop].flatten(1)


def magenta_spectral_loss(target, audio, sizes):
    """magenta/ddsp: magnitudes and their logarithms at every size, mean absolute differences."""

    def magnitudes(x, size):
        hop = size // 4
        padding = (-(-x.shape[1] // hop) - 1) * hop + size - x.shape[1]
        frames = torch.nn.functional.pad(x, (0, padding)).unfold(1, size, hop)
        return torch.fft.rfft(frames * torch.hann_window(size, dtype=x.dtype, device=x.device)).abs()

    def safe_log(x):
        return torch.log(torch.where(x <= 0, 1e-5, x))

    loss = audio.new_zeros(())
    for size in sizes:
        x, y = magnitudes(audio, size), magnitudes(target, size)
        loss = loss + (x - y).abs().mean() + (safe_log(x) - safe_log(y)).abs().mean()
    return loss


def auraloss_spectral_losses(sizes) -> dict:
    """auraloss's loss of the same terms, as it is and without its phases, which are not used; {} if it is absent."""
    try:
        from auraloss.freq import MultiResolutionSTFTLoss, STFTLoss
    except ImportError:
        return {}

    class WithoutPhases(STFTLoss):
        def stft(self, x):
            z = torch.stft(x, self.fft_size, self.hop_size, self.win_length, self.window, return_complex=True)
            return torch.sqrt(torch.clamp(z.real**2 + z.imag**2, min=self.eps)), None

    def loss(kind):
        hops = [size // 4 for size in sizes]
        module = MultiResolutionSTFTLoss(sizes, hops, sizes, w_sc=0.0, w_log_mag=1.0, w_lin_mag=1.0)
        for part in module.stft_losses:
            part.__class__ = kind
        return lambda target, audio: module(audio[:, None], target[:, None])

    return {"auraloss": loss(STFTLoss), "auraloss without phases": loss(WithoutPhases)}


def magenta_lookup(phase, wavetables):
    """magenta/ddsp: a weight for every point of the table at every sample."""
    wavetables = torch.cat([wavetables, wavetables[..., :1]], -1)
    n_points = wavetables.shape[-1]
    distance = (phase[..., None] - torch.linspace(0, 1, n_points, dtype=phase.dtype, device=phase.device)).abs() * (
        n_points - 1
    )
    return (torch.relu(1 - distance) * wavetables).sum(-1)


def wavetable_phase(f0_hz, n_samples, sample_rate):
    """Phase [B, N] in turns, that of the first sample 0."""
    advances = upsample_linear(f0_hz, n_samples)[..., 0] / sample_rate
    return (torch.cumsum(advances, 1) - advances) % 1.0


def window_envelope(amplitudes, n_samples):
    """[B, F, 1] -> [B, N], by overlapping Hann windows."""
    later = torch.cat([amplitudes[:, 1:], amplitudes[:, -1:]], 1)
    hop = n_samples // amplitudes.shape[1]
    rising = torch.sin(math.pi / 2 * torch.arange(hop, dtype=amplitudes.dtype, device=amplitudes.device) / hop) ** 2
    return (amplitudes * (1 - rising) + later * rising).flatten(1)


def magenta_wavetable(f0_hz, amplitudes, wavetables, n_samples, sample_rate):
    """magenta/ddsp: a table for every sample, and a lookup in it."""
    phase = wavetable_phase(f0_hz, n_samples, sample_rate)
    return magenta_lookup(phase, upsample_linear(wavetables, n_samples)) * window_envelope(amplitudes, n_samples)


def magenta_delay(phase, audio, max_length):
    """magenta/ddsp: the last max_length samples of every sample, newest first, and a lookup in them."""
    past = torch.nn.functional.pad(audio, (max_length - 1, 0)).unfold(1, max_length, 1)
    return magenta_lookup(phase, past.flip(-1))


def gathered_wavetable(f0_hz, amplitudes, wavetables, n_samples, sample_rate):
    """Four points a sample, gathered from the tables of two frames."""
    position = wavetable_phase(f0_hz, n_samples, sample_rate) * wavetables.shape[2]
    hop = n_samples // wavetables.shape[1]
    sample = torch.arange(n_samples, device=position.device)
    frame, share = sample // hop, sample % hop / hop
    later = (frame + 1).clamp(max=wavetables.shape[1] - 1)
    reading, next_reading = (_gathered(wavetables, f, position) for f in (frame, later))
    share = share.to(position).expand_as(position)
    return torch.lerp(reading, next_reading, share) * window_envelope(amplitudes, n_samples)


def _gathered(wavetables, frame, position):
    """Readings [B, N] between two points of closed tables: frames [N], positions in points [B, N]."""
    n_points = wavetables.shape[2]
    point = position.floor().long().clamp(max=n_points - 1)
    tables, row = wavetables.flatten(1), frame * n_points
    return torch.lerp(
        tables.gather(1, row + point), tables.gather(1, row + (point + 1) % n_points), position - position.floor()
    )


def gathered_delay(phase, audio, max_length):
    """Two samples of the past, gathered; magenta's table ends in its first point again, so the length wraps."""
    length = phase * max_length
    steps = length.floor().long()
    now = torch.arange(audio.shape[1], device=audio.device)

    def past(n_steps):
        source = now - n_steps % max_length
        return torch.where(source >= 0, audio.gather(1, source.clamp(min=0)), 0)

    return torch.lerp(past(steps), past(steps + 1), length - steps)
