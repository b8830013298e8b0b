"""Random sounds whose controls are known: what an encoder of pitch can learn from without a single label.

    level of harmonic k (dB) = slope log2(k) + resonances(k f0) + evens(k) + jitter_k     within a note
    audio = harmonics at f0(t), faded in and dying away, + noise of a smooth random spectrum
            + partials at multiples of f0 / m, far below the tone, + a white floor

Everything is drawn anew for each example: notes and rests, their pitch with vibrato, level, decay and timbre. The
ranges are wide on purpose: a network that finds the pitch of all of these finds that of instruments among them.
The partials at f0 / m are what a looped sample of m periods that are not quite alike has (m is 2 to 6). In a log
spectrogram they stand out, and who never met them takes a trombone at f0 for a sound at f0 / 3.
Frames are hop_size samples apart, the first at the first sample.

Source: after Engel et al., Self-supervised pitch detection by inverse audio synthesis, ICML 2020 workshop, section 3,
which draws from simpler distributions.
"""

import math
from dataclasses import dataclass

import torch

from fastddsp.autograd.filters import filtered_noise
from fastddsp.autograd.harmonics import harmonic_to_sinusoidal, normalize_harmonics
from fastddsp.autograd.oscillators import harmonic_synthesis
from fastddsp.autograd.scaling import db_to_amplitude, midi_to_hz

RESONANCE_POINTS = 24  # of a random curve over the logarithm of frequency
RESONANCE_HZ = (40.0, 12000.0)
SILENT_DB = -120.0


@dataclass(frozen=True)
class RandomNotes:
    """Draws random notes; call it for a batch.

    Args:
      sample_rate: of the audio in Hz.
      hop_size: samples from frame to frame.
      n_harmonics: of the harmonic synthesizer.
      n_noise_bands: of the noise, from 0 to Nyquist.
      keys: lowest and highest pitch in MIDI notes.
      level_db: lowest and highest level of a note, in dB of full scale.
      notes: of an example, rests among them.
      rest_share: of the notes that are rests.
      loop_db: lowest and highest level of the partials at multiples of f0 / m, in dB of the tone.
    """

    sample_rate: int = 16000
    hop_size: int = 512
    n_harmonics: int = 100
    n_noise_bands: int = 65
    keys: tuple[float, float] = (40.0, 90.0)
    level_db: tuple[float, float] = (-50.0, -3.0)
    notes: int = 2
    rest_share: float = 0.1
    loop_db: tuple[float, float] = (-80.0, -30.0)

    def __call__(self, batch: int, n_frames: int, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """Draw a batch.

        Args:
          batch: examples.
          n_frames: of each.
          generator: of random numbers; torch's own by default.

        Returns:
          "audio" [batch, n_frames hop_size] and what it is made of: "f0_hz" and "harm_amp" [batch, n_frames, 1],
          "harm_dist" [batch, n_frames, n_harmonics], "sin_freqs" and "sin_amps" of the same shape, and
          "noise_magnitudes" [batch, n_frames, n_noise_bands]. harm_amp is 0 in rests. Floor and loop are in no control.
        """
        draw = _Draw(batch, generator)
        note, since = self._notes(draw, n_frames)
        midi = draw.of_notes(self.notes, *self.keys).gather(1, note) + self._vibrato(draw, n_frames)
        f0_hz = midi_to_hz(midi)[..., None]
        level_db = self._levels(draw, note, since)
        harm_dist = normalize_harmonics(db_to_amplitude(self._timbre(draw, note, f0_hz)), f0_hz, self.sample_rate)
        # A level is that of the sound, whose power is the sum of its harmonics'.
        rms = (0.5 * harm_dist.square().sum(-1, keepdim=True)).sqrt().clamp(min=1e-3)
        harm_amp = torch.where(level_db > SILENT_DB, db_to_amplitude(level_db), 0.0)[..., None] / rms
        noise_magnitudes = self._noise(draw, note, level_db)
        sin_amps, sin_freqs = harmonic_to_sinusoidal(harm_amp, harm_dist, f0_hz, self.sample_rate)
        n_samples = n_frames * self.hop_size
        tone = harmonic_synthesis(f0_hz, harm_amp, None, harm_dist, n_samples, self.sample_rate)
        noise = filtered_noise(noise_magnitudes, n_samples, 0, noise=draw.uniform(n_samples, low=-1.0, high=1.0))
        loop = self._loop(draw, note, level_db, f0_hz, n_samples)
        floor = db_to_amplitude(draw.uniform(1, low=-110.0, high=-55.0)) * draw.normal(n_samples)
        return {
            "audio": tone + noise + loop + floor,
            "f0_hz": f0_hz,
            "harm_amp": harm_amp,
            "harm_dist": harm_dist,
            "sin_freqs": sin_freqs,
            "sin_amps": sin_amps,
            "noise_magnitudes": noise_magnitudes,
        }

    def _notes(self, draw: "_Draw", n_frames: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Number of the note of each frame, and seconds since it began, [batch, n_frames] each."""
        starts = draw.uniform(self.notes - 1, high=n_frames).sort(-1).values
        starts = torch.cat([draw.uniform(1, low=-n_frames, high=0.3 * n_frames), starts.ceil()], -1)
        frames = torch.arange(n_frames).expand(len(starts), -1)
        note = (frames[:, None] >= starts[:, 1:, None]).sum(1)
        return note, (frames - starts.gather(1, note)) * (self.hop_size / self.sample_rate)

    def _vibrato(self, draw: "_Draw", n_frames: int) -> torch.Tensor:
        """Semitones [batch, n_frames]: a vibrato, in half of the examples, and a slow drift."""
        seconds = torch.arange(n_frames) * (self.hop_size / self.sample_rate)
        depth = draw.uniform(1, high=0.6) * draw.chance(1, 0.5)
        turns = draw.uniform(1, low=4.0, high=7.5) * seconds + draw.uniform(1)
        return depth * torch.sin(2.0 * math.pi * turns) + draw.normal(1) * 0.3 * (seconds - 0.5)

    def _levels(self, draw: "_Draw", note: torch.Tensor, since: torch.Tensor) -> torch.Tensor:
        """Level in dB [batch, n_frames], SILENT_DB in rests."""
        level = draw.of_notes(self.notes, *self.level_db).gather(1, note)
        fade = draw.of_notes(self.notes, 1e-3, 0.15).gather(1, note)
        decay = (draw.of_notes(self.notes, 0.0, 30.0) * draw.chance(self.notes, 0.5)).gather(1, note)
        faded = 20.0 * torch.log10((since / fade).clamp(1e-2, 1.0)) - decay * since.clamp(min=0.0)
        rest = draw.chance(self.notes, self.rest_share).gather(1, note).bool() | (since < 0)
        return torch.where(rest, SILENT_DB, level + faded)

    def _timbre(self, draw: "_Draw", note: torch.Tensor, f0_hz: torch.Tensor) -> torch.Tensor:
        """Levels of the harmonics in dB, [batch, n_frames, n_harmonics]."""
        number = torch.arange(1, self.n_harmonics + 1)
        slope = draw.of_notes(self.notes, -18.0, 0.0)[..., None]
        evens = draw.of_notes(self.notes, -35.0, 0.0) * draw.chance(self.notes, 0.3)
        first = draw.of_notes(self.notes, -30.0, 0.0) * draw.chance(self.notes, 0.3)
        jitter = draw.of_notes(self.notes, 0.0, 8.0)[..., None] * draw.normal(self.notes, self.n_harmonics)
        steady = slope * torch.log2(number) + jitter + evens[..., None] * (number % 2 == 0)
        steady = steady + first[..., None] * (number == 1)
        by_frame = steady.gather(1, note[..., None].expand(-1, -1, self.n_harmonics))
        return by_frame + self._resonances(draw, f0_hz * number)

    def _resonances(self, draw: "_Draw", hz: torch.Tensor) -> torch.Tensor:
        """A smooth random curve of the example in dB, read at frequencies [batch, ...]."""
        knots = draw.uniform(1, high=12.0) * draw.normal(RESONANCE_POINTS)
        low, high = (math.log(edge) for edge in RESONANCE_HZ)
        place = ((torch.log(hz) - low) / (high - low)).clamp(0.0, 1.0) * (RESONANCE_POINTS - 1)
        left = place.long().clamp(max=RESONANCE_POINTS - 2).flatten(1)
        share = place.flatten(1) - left
        return (knots.gather(1, left) * (1.0 - share) + knots.gather(1, left + 1) * share).view_as(hz)

    def _loop(
        self, draw: "_Draw", note: torch.Tensor, level_db: torch.Tensor, f0_hz: torch.Tensor, n_samples: int
    ) -> torch.Tensor:
        """Faint partials at multiples of a whole fraction of f0, in half of the notes, [batch, n_samples]."""
        periods = draw.of_notes(self.notes, 2.0, 6.99).floor().gather(1, note)[..., None]
        below = torch.where(draw.chance(self.notes, 0.5) > 0, draw.of_notes(self.notes, *self.loop_db), SILENT_DB)
        slope = draw.uniform(1, 1, low=-12.0, high=0.0) * torch.log2(torch.arange(1, self.n_harmonics + 1))
        shares = db_to_amplitude(slope + 6.0 * draw.normal(1, self.n_harmonics)).expand(-1, note.shape[1], -1)
        shares = normalize_harmonics(shares, f0_hz / periods, self.sample_rate)
        level = db_to_amplitude(level_db + below.gather(1, note))[..., None]
        return harmonic_synthesis(f0_hz / periods, 5.0 * level, None, shares, n_samples, self.sample_rate)

    def _noise(self, draw: "_Draw", note: torch.Tensor, level_db: torch.Tensor) -> torch.Tensor:
        """Magnitudes [batch, n_frames, n_noise_bands] of noise that follows the tone's level, far below it or near."""
        below = draw.of_notes(self.notes, -70.0, -10.0).gather(1, note)
        hz = torch.linspace(RESONANCE_HZ[0], self.sample_rate / 2.0, self.n_noise_bands)
        tilt = draw.uniform(1, low=-9.0, high=3.0) * torch.log2(hz / 1000.0)
        spectrum = tilt + self._resonances(draw, hz.expand(len(note), -1))
        return db_to_amplitude(level_db.clamp(min=-80.0) + below)[..., None] * db_to_amplitude(spectrum)[:, None]


class _Draw:
    """Random numbers [batch, ...] of one generator."""

    def __init__(self, batch: int, generator: torch.Generator | None):
        self.batch, self.generator = batch, generator

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        return low + (high - low) * torch.rand(self.batch, *shape, generator=self.generator)

    def of_notes(self, notes: int, low: float, high: float) -> torch.Tensor:
        return self.uniform(notes, low=low, high=high)

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(self.batch, *shape, generator=self.generator)

    def chance(self, n: int, probability: float) -> torch.Tensor:
        """1.0 with a probability, else 0.0, [batch, n]."""
        return (self.uniform(n) < probability).float()
