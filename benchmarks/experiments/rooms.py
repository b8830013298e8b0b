"""A room that is known, and how much of it is in a sound.

A response h [n_samples] begins with the direct sound, h[0] = 1; what follows is the room. A sound x in it is x * h.

    DRR             direct-to-reverberant ratio: energy of h in the first 2.5 ms over that of the rest, in dB
    leak            mean energy of the cells where the dry truth is silent over that where it sounds, in dB. A cell is a
                    third of an octave for 8 ms; the truth is silent in it if it is 30 dB below its loudest in that band
                    over the last half second: a note sounded there, and what is heard now is what a room kept of it
    equivalent DRR  the DRR of the mixture of truth and room that has the sound's leak. With the room scaled by g, the
                    mixture x + g (x * h - x) has a DRR that falls and a leak that rises with g

The equivalent DRR needs no phases: a resynthesis has its own, so a waveform deconvolved from it would say nothing. All
that a resynthesis gets wrong where the truth is silent counts as room, so it errs on the reverberant side.

`python -m fastddsp.benchmarks.experiments.rooms` computes room.flac anew, by pyroomacoustics (pip install
pyroomacoustics==0.10.1): images of the source up to the 25th order and rays, in a room whose walls absorb each octave
differently. Its rays cannot be seeded, so every computation gives another tail of the same decay.
"""

from pathlib import Path

import numpy as np
from scipy.signal import butter, fftconvolve, sosfiltfilt, stft

from fastddsp.training.audio import read_audio

RATE = 16000
ROOM = Path(__file__).parent / "room.flac"
SECONDS = 1.2  # where 70 dB of the energy have gone
SIZE_M = (9.0, 7.0, 4.0)
SOURCE_M, TOWARDS = (2.1, 1.9, 1.5), (0.8, 0.55, 0.0)
DISTANCE_SAMPLES = 187  # 4 m: a whole number, so that the direct sound is one sample
SOUND_M_PER_S = 343.0
WALLS = {
    "east": "wooden_lining",
    "west": "wooden_lining",
    "north": "curtains_cotton_0.33",
    "south": "curtains_cotton_0.33",
    "ceiling": "ceiling_plasterboard",
    "floor": "carpet_thin",
}

DIRECT_SAMPLES = RATE // 400  # 2.5 ms
WINDOW, HOP = 512, 128
BAND_EDGES_HZ = 160.0 * 2.0 ** (np.arange(17) / 3)
SILENT_DB, SOUNDING_DB, BEFORE_SECONDS = -30.0, -10.0, 0.5
HEARD_DB = -40.0  # below the loudest cell of all: a note that is quieter counts for nothing
GAINS_DB = np.arange(-40.0, 7.0, 2.0)
OCTAVES_HZ = (250.0, 500.0, 1000.0, 2000.0, 4000.0)
ENVELOPE_SAMPLES = RATE // 50


def known_room() -> np.ndarray:
    """The response of the known room, [1.2 s]."""
    response = read_audio(ROOM, RATE).astype(np.float64)
    return response / response[0]


def put_in_room(dry: np.ndarray, response: np.ndarray) -> np.ndarray:
    """A dry sound [n_samples] in a room, [n_samples]."""
    return fftconvolve(dry, response)[: len(dry)].astype(np.float32)


def drr_db(response: np.ndarray) -> float:
    """Direct-to-reverberant ratio of a response that begins with the direct sound."""
    return _ratio_db(np.sum(response[:DIRECT_SAMPLES] ** 2), np.sum(response[DIRECT_SAMPLES:] ** 2))


def band_power(audio: np.ndarray) -> np.ndarray:
    """Power of the cells, [bands, frames]."""
    _, _, spectrum = stft(audio, RATE, nperseg=WINDOW, noverlap=WINDOW - HOP)
    frequency = np.arange(WINDOW // 2 + 1) * RATE / WINDOW
    band = np.digitize(frequency, BAND_EDGES_HZ) - 1
    return np.stack([np.sum(np.abs(spectrum[band == b]) ** 2, axis=0) for b in range(len(BAND_EDGES_HZ) - 1)])


def silent_and_sounding(dry: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cells in which a dry sound is silent after a note, and those in which it sounds, bool [bands, frames]."""
    power = band_power(dry)
    n_before = round(BEFORE_SECONDS * RATE / HOP)
    padded = np.pad(power, ((0, 0), (n_before, 0)))
    loudest = np.lib.stride_tricks.sliding_window_view(padded, n_before + 1, axis=1).max(axis=-1)
    heard = loudest > power.max() * 10 ** (HEARD_DB / 10)
    silent = heard & (power < loudest * 10 ** (SILENT_DB / 10))
    return silent, heard & (power > loudest * 10 ** (SOUNDING_DB / 10))


def leak_db(cells: tuple[np.ndarray, np.ndarray], audio: np.ndarray) -> float:
    """How loud a sound is where its truth is silent.

    Args:
        cells: What `silent_and_sounding` says of the truth.
        audio: The sound, as long as its truth.
    """
    silent, sounding = cells
    power = band_power(audio)
    return _ratio_db(power[silent].mean(), power[sounding].mean())


def equivalent_drr_db(dry: np.ndarray, audio: np.ndarray, response: np.ndarray) -> float:
    """Equivalent DRR of a sound, of which `dry` is the truth, in the room of `response`; GAINS_DB bound it."""
    cells, room = silent_and_sounding(dry), put_in_room(dry, response) - dry
    gains = 10.0 ** (GAINS_DB / 20.0)
    leaks = [leak_db(cells, dry + gain * room) for gain in gains]
    ratios = [drr_db(np.concatenate([response[:1], gain * response[1:]])) for gain in gains]
    return float(np.interp(leak_db(cells, audio), leaks, ratios))


def decay_curve_db(response: np.ndarray) -> np.ndarray:
    """Energy that is still to come at each sample, 0 dB at the first (Schroeder's integral), [n_samples]."""
    energy = np.cumsum(response[::-1] ** 2)[::-1]
    return 10.0 * np.log10(energy / energy[0] + 1e-12)


def octave(response: np.ndarray, centre_hz: float) -> np.ndarray:
    """A response's octave around a frequency, [n_samples]."""
    band = butter(3, [centre_hz / 2**0.5, centre_hz * 2**0.5], "bandpass", fs=RATE, output="sos")
    return sosfiltfilt(band, response)


def envelope_db(response: np.ndarray) -> np.ndarray:
    """Level of every 20 ms in dB, [n]."""
    whole = len(response) // ENVELOPE_SAMPLES * ENVELOPE_SAMPLES
    return 10.0 * np.log10(np.mean(response[:whole].reshape(-1, ENVELOPE_SAMPLES) ** 2, axis=1) + 1e-12)


def reverberation_time(response: np.ndarray) -> float:
    """RT60 in seconds, from the decay between -5 and -25 dB."""
    curve = decay_curve_db(response)
    return float(3.0 * (np.argmax(curve < -25.0) - np.argmax(curve < -5.0)) / RATE)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation of two curves."""
    return float(np.corrcoef(a, b)[0, 1])


def _ratio_db(a: float, b: float) -> float:
    return float(10.0 * np.log10(max(a, 1e-20) / max(b, 1e-20)))


def compute_room() -> np.ndarray:
    """The response of the known room, computed."""
    import pyroomacoustics

    pyroomacoustics.constants.set("num_threads", 1)
    walls = {wall: pyroomacoustics.Material(material) for wall, material in WALLS.items()}
    room = pyroomacoustics.ShoeBox(
        SIZE_M, fs=RATE, materials=walls, max_order=25, ray_tracing=True, air_absorption=True
    )
    room.set_ray_tracing(n_rays=20000, receiver_radius=0.3)
    towards = np.array(TOWARDS) / np.linalg.norm(TOWARDS)
    room.add_source(SOURCE_M)
    room.add_microphone(np.array(SOURCE_M) + towards * DISTANCE_SAMPLES * SOUND_M_PER_S / RATE)
    np.random.seed(0)
    room.compute_rir()
    response = np.asarray(room.rir[0][0])
    direct = int(np.argmax(np.abs(response)))
    return response[direct : direct + round(SECONDS * RATE)] / response[direct]


if __name__ == "__main__":
    import soundfile

    soundfile.write(ROOM, compute_room(), RATE, subtype="PCM_24")
