"""Play a MIDI file on a SoundFont, by the program fluidsynth, without its reverb and chorus.

Sound is made at 48 kHz or more and converted from there: fluidsynth does not filter what lies above the Nyquist
frequency of a lower rate, and it would come back as noise.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from fastddsp.training.audio import read_audio

INSTALL = "apt-get install fluidsynth fluidr3mono-gm-soundfont"
SOUNDFONTS = (
    "/usr/share/sounds/sf3/FluidR3Mono_GM.sf3",
    "/usr/share/fluidr3mono-gm-soundfont/FluidR3Mono_GM.sf3",
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/soundfonts/FluidR3_GM.sf2",
    "/usr/share/sounds/sf2/default-GM.sf2",
    "/usr/share/sounds/sf3/default-GM.sf3",
)
LEAST_RATE = 48000
GAIN = 0.5  # the loudest single notes of General MIDI stay below full scale


def find_fluidsynth() -> str:
    """Path of the program; FileNotFoundError with what to install if there is none."""
    program = shutil.which("fluidsynth")
    if program is None:
        raise FileNotFoundError(f"the program fluidsynth is not installed: {INSTALL}")
    return program


def find_soundfont(path: str | os.PathLike | None = None) -> Path:
    """The SoundFont at `path`, or the first of those that Linux distributions install.

    Args:
      path: a .sf2 or .sf3 file; None to look for one.

    Raises:
      FileNotFoundError: there is none.
      ValueError: the file is no SoundFont.
    """
    found = next((Path(name) for name in ([path] if path else SOUNDFONTS) if Path(name).is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"no such SoundFont: {path}" if path else f"no SoundFont was found: {INSTALL}, or give soundfont=PATH"
        )
    with open(found, "rb") as file:
        head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"sfbk":
        raise ValueError(f"{found} is no SoundFont (.sf2 or .sf3)")
    return found


def render_midi(midi: bytes, soundfont: str | os.PathLike, sample_rate: int) -> np.ndarray:
    """Sound of a MIDI file.

    Args:
      midi: a Standard MIDI File.
      soundfont: a .sf2 or .sf3 file.
      sample_rate: wanted rate in Hz.

    Returns:
      Audio mixed to mono, float32 [n_samples]; it goes on until the last release has died away.

    Raises:
      FileNotFoundError: fluidsynth is not installed.
      RuntimeError: fluidsynth failed.
    """
    program = find_fluidsynth()
    with tempfile.TemporaryDirectory() as folder:
        score, sound = Path(folder, "score.mid"), Path(folder, "sound.wav")
        score.write_bytes(midi)
        quiet = ["-n", "-i", "-q", "-R", "0", "-C", "0", "-g", str(GAIN)]
        written = ["-r", str(max(sample_rate, LEAST_RATE)), "-O", "float", "-T", "wav", "-F", str(sound)]
        done = subprocess.run([program, *quiet, *written, str(soundfont), str(score)], capture_output=True, text=True)
        if done.returncode or not sound.is_file():
            raise RuntimeError(f"fluidsynth failed ({done.returncode}): {(done.stderr or done.stdout).strip()[-500:]}")
        return read_audio(sound, sample_rate)
