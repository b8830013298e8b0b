"""The picture of the README, drawn by the engine itself (`python docs/picture.py`).

What it shows is computed, not painted: a violin-like phrase is set down as controls at 250 frames a second, the
synthesizers play it, and the spectrogram is that of their audio.
"""

from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

import fastddsp as ddsp

SAMPLE_RATE, FRAME_RATE, SECONDS = 16000, 250, 4
INK, HARMONIC, NOISE, GRADIENT = "#22313f", "#1f77b4", "#d9822b", "#b03a5b"


def phrase() -> tuple[torch.Tensor, ...]:
    """Four notes with vibrato: f0_hz, amplitudes [1, F, 1], harmonic_distribution [1, F, 40], magnitudes [1, F, 65]."""
    t = torch.arange(SECONDS * FRAME_RATE) / FRAME_RATE
    position = t % 1.0
    notes = torch.tensor([62.0, 69.0, 66.0, 74.0])[t.long()]
    glide = torch.cat([torch.full((25,), 62.0), notes]).unfold(0, 26, 1).mean(-1)  # 0.1 s
    midi = glide + 0.35 * torch.sin(2 * torch.pi * 5.5 * t) * (position > 0.25)
    loudness = torch.sin(torch.pi * position.clamp(0.02, 0.98)) ** 0.6

    k = torch.arange(1, 41)
    body = 1 + 0.8 * torch.cos(1.9 * k) * torch.exp(-0.03 * k)  # resonances
    slope = 1.1 + 1.2 * (1 - loudness)
    distribution = body * k ** -slope[:, None]

    bow = torch.exp(-position / 0.06) + 0.1 * loudness
    band = torch.linspace(0, 1, 65)
    magnitudes = 0.06 * bow[:, None] * torch.exp(-(((band - 0.45) / 0.35) ** 2))
    controls = ddsp.midi_to_hz(midi)[:, None], 0.5 * loudness[:, None], distribution, magnitudes
    f0_hz, amplitudes, distribution, magnitudes = (control[None].float() for control in controls)
    return f0_hz, amplitudes, ddsp.normalize_harmonics(distribution, f0_hz, SAMPLE_RATE), magnitudes


def main() -> None:
    """Write docs/picture.png."""
    f0_hz, amplitudes, distribution, magnitudes = phrase()
    n_samples = SECONDS * SAMPLE_RATE
    tone = ddsp.harmonic_synthesis(f0_hz, amplitudes, None, distribution, n_samples, SAMPLE_RATE)
    audio = (tone + ddsp.filtered_noise(magnitudes, n_samples, seed=0))[0].numpy()

    plt.rcParams.update({"font.size": 10, "font.family": "DejaVu Sans", "text.color": INK, "axes.edgecolor": INK})
    figure = plt.figure(figsize=(11.5, 4.9), dpi=140)
    canvas = figure.add_axes((0, 0, 1, 1))
    canvas.set(xlim=(0, 1), ylim=(0, 1))
    canvas.axis("off")

    box(canvas, 0.015, 0.20, 0.105, 0.625, INK, "network", "pitch and\nloudness in,\ncontrols out")
    panel(figure, 0.165, 0.68, "f0_hz  [B, F, 1]", HARMONIC).plot(f0_hz[0, :, 0], color=HARMONIC, lw=1.2)
    spectrum = (amplitudes * distribution)[..., :28]
    image(panel(figure, 0.165, 0.44, "harmonic amplitudes  [B, F, K]", HARMONIC), spectrum, "Blues")
    image(panel(figure, 0.165, 0.20, "magnitudes  [B, F, 65]", NOISE), magnitudes, "Oranges")
    bank = r"$\sum_k\, a_k(n)\,\sin 2\pi k\varphi(n)$" "\nphase in integers,\none fused loop"
    box(canvas, 0.415, 0.44, 0.205, 0.385, HARMONIC, "harmonic bank", bank)
    box(canvas, 0.415, 0.20, 0.205, 0.20, NOISE, "filtered noise", "frequency-sampled FIR")
    spectrogram(figure.add_axes((0.745, 0.26, 0.24, 0.565)), audio)

    for start, end, colour in [
        ((0.122, 0.74), (0.160, 0.74), HARMONIC),
        ((0.122, 0.50), (0.160, 0.50), HARMONIC),
        ((0.122, 0.27), (0.160, 0.27), NOISE),
        ((0.372, 0.74), (0.409, 0.74), HARMONIC),
        ((0.372, 0.50), (0.409, 0.50), HARMONIC),
        ((0.372, 0.27), (0.409, 0.27), NOISE),
        ((0.624, 0.66), (0.648, 0.555), HARMONIC),
        ((0.624, 0.30), (0.648, 0.485), NOISE),
        ((0.669, 0.52), (0.704, 0.52), INK),
    ]:
        arrow(canvas, start, end, colour)
    canvas.text(0.657, 0.52, "+", size=17, weight="bold", ha="center", va="center")

    canvas.text(0.268, 0.93, "controls: 250 frames a second", ha="center", weight="bold")
    canvas.text(0.5175, 0.93, "kernels", ha="center", weight="bold")
    canvas.text(0.865, 0.93, "audio: 16000 samples a second", ha="center", weight="bold")
    arrow(canvas, (0.93, 0.10), (0.068, 0.18), GRADIENT, "angle,angleA=180,angleB=90,rad=8", linestyle=(0, (4, 2)))
    backward = "backward: the sines once more, gradients summed to frame rate, never a tensor [B, samples, K]"
    canvas.text(0.50, 0.035, backward, ha="center", color=GRADIENT)
    figure.savefig(Path(__file__).with_suffix(".png"))


def box(canvas, x: float, y: float, width: float, height: float, colour: str, title: str, text: str) -> None:
    """A rounded box with a bold title and a line of text."""
    shape = {"boxstyle": "round,pad=0,rounding_size=0.012", "mutation_aspect": 2.3}
    canvas.add_patch(FancyBboxPatch((x, y), width, height, fc=colour, alpha=0.10, lw=0, **shape))
    canvas.add_patch(FancyBboxPatch((x, y), width, height, fc="none", ec=colour, lw=1.3, **shape))
    canvas.text(x + width / 2, y + height - 0.07, title, ha="center", va="center", weight="bold", color=colour)
    canvas.text(x + width / 2, y + (height - 0.07) / 2, text, ha="center", va="center", linespacing=1.6)


def panel(figure, x: float, y: float, title: str, colour: str):
    """Axes without ticks for one control."""
    axes = figure.add_axes((x, y, 0.205, 0.145))
    axes.set(xticks=[], yticks=[], xmargin=0)
    axes.set_title(title, size=9.5, loc="left", color=colour, pad=3)
    return axes


def image(axes, control: torch.Tensor, colours: str) -> None:
    """A control [1, frames, channels] in decibels, frames to the right."""
    level_db = 20 * np.log10(control[0].numpy().T + 1e-6)
    axes.imshow(level_db, origin="lower", aspect="auto", cmap=colours, vmin=level_db.max() - 50, vmax=level_db.max())


def spectrogram(axes, audio: np.ndarray) -> None:
    """Level of the audio over seconds and kHz."""
    frames = torch.stft(torch.tensor(audio), 1024, 128, window=torch.hann_window(1024), return_complex=True)
    level_db = 20 * torch.log10(frames.abs() + 1e-4)
    extent = (0, SECONDS, 0, SAMPLE_RATE / 2000)
    axes.imshow(level_db, origin="lower", aspect="auto", cmap="magma", vmin=-40, vmax=35, extent=extent)
    axes.set(xlabel="seconds", ylabel="kHz")
    axes.tick_params(labelsize=8.5)


def arrow(canvas, start, end, colour: str, curve: str = "arc3", **style) -> None:
    """An arrow from start to end."""
    head = {"arrowstyle": "-|>", "mutation_scale": 13, "shrinkA": 0, "shrinkB": 0}
    canvas.add_patch(FancyArrowPatch(start, end, color=colour, lw=1.5, connectionstyle=curve, **head, **style))


if __name__ == "__main__":
    main()
