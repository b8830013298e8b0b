"""The picture of docs/filters.md: a low-pass sweeps over a tone, jumps and glides (`python docs/filters_sweep.py`)."""

import math
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import torch

import fastddsp as ddsp

SAMPLE_RATE, FRAME_RATE, SECONDS, TONE_HZ = 16000, 50, 2, 440


def sweep() -> tuple[torch.Tensor, torch.Tensor]:
    """A tone [1, samples], and a low-pass filter [1, frames, 65] whose cutoff goes from 110 Hz to 1760 and back."""
    time = torch.arange(SECONDS * SAMPLE_RATE, dtype=torch.float64) / SAMPLE_RATE
    frame_time = torch.arange(SECONDS * FRAME_RATE, dtype=torch.float64) / FRAME_RATE
    cutoff_hz = TONE_HZ * 4 ** torch.sin(2 * math.pi * frame_time)
    band_hz = torch.linspace(0, SAMPLE_RATE / 2, 65, dtype=torch.float64)
    return torch.sin(2 * math.pi * TONE_HZ * time)[None], (1 + (band_hz / cutoff_hz[None, :, None]) ** 8) ** -0.5


def above(audio: torch.Tensor, hz: float) -> torch.Tensor:
    """What the audio has above a frequency, faded in and out at its ends."""
    spectrum = torch.fft.rfft(audio * torch.signal.windows.blackman(audio.shape[-1], dtype=audio.dtype))
    frequencies = torch.fft.rfftfreq(audio.shape[-1], 1 / SAMPLE_RATE)
    return torch.fft.irfft(spectrum * (frequencies >= hz), audio.shape[-1])


def draw(path: Path) -> None:
    """What is above 1 kHz, where the tone is not, and the spectra."""
    tone, magnitudes = sweep()
    figure, (clicks, spectra) = plt.subplots(2, 1, figsize=(8, 5), layout="constrained")
    for overlap, label, color in ((False, "jumping", "#d9822b"), (True, "gliding (overlap=True)", "#1f77b4")):
        audio = ddsp.frequency_filter(tone, magnitudes, overlap=overlap)[0]
        click, everything = above(audio, 1000), above(audio, 0)
        clicks.plot(torch.arange(len(audio)) / SAMPLE_RATE, click, lw=0.8, color=color, label=label)
        energy = torch.fft.rfft(everything).abs().square()
        db = 10 * torch.log10(energy / energy.max() + 1e-15)
        spectra.plot(torch.fft.rfftfreq(len(audio), 1 / SAMPLE_RATE), db, lw=0.6, color=color)
        ratio = 10 * torch.log10(click.square().sum() / everything.square().sum())
        print(f"{label}: {ratio:.0f} dB of all energy is above 1 kHz")
    clicks.set(xlabel="time (s)", ylabel="above 1 kHz", xlim=(0.3, 0.6), title=f"A low-pass sweeps over {TONE_HZ} Hz")
    spectra.set(xlabel="frequency (Hz)", ylabel="dB", ylim=(-150, 5), xlim=(0, SAMPLE_RATE / 2))
    clicks.legend(loc="upper right")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    draw(Path(__file__).with_name("filters_sweep.png"))
