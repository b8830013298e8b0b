"""Presets: the settings of a whole model, each given once, and the model made of them.

    model = build(load_preset("solo_instrument", n_harmonics=100))       # a YAML file of models/presets, or any path
    model = build(ModelConfig(sample_rate=48000, n_harmonics=400))       # the same without YAML

Everything else follows: hop_size = sample_rate / frame_rate, the length of a training excerpt in frames, the sizes of
the decoder's outputs, Nyquist.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastddsp.models.autoencoder import Autoencoder
from fastddsp.models.decoders import RnnFcDecoder
from fastddsp.models.effects import Reverb
from fastddsp.models.encoders import MfccTimeDistributedRnnEncoder
from fastddsp.models.losses import SpectralLoss
from fastddsp.models.preprocessing import F0LoudnessPreprocessor
from fastddsp.models.processors import Add, ProcessorGroup
from fastddsp.models.synths import FilteredNoise, Harmonic

__all__ = ["ModelConfig", "build", "load_preset", "preset_names"]

FOLDER = Path(__file__).parent / "presets"
ALIASES = {"tiny": "tiny_instrument", "solo": "solo_instrument"}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Settings of a supervised autoencoder; the defaults are the solo instrument of the paper.

    Args:
        sample_rate: Of the audio in and out, in Hz.
        frame_rate: Of features and controls, in Hz; divides sample_rate.
        n_samples: Length of a training excerpt; a multiple of sample_rate / frame_rate. Calls may be of any length.
        n_harmonics: Harmonics of the oscillator bank.
        n_noise_bands: Bands of the filtered noise.
        noise_window_size: Taps of the noise filter; 0 for 2 (n_noise_bands - 1).
        noise_overlap: Let the noise filter glide from frame to frame instead of jumping.
        amp_resample_method: "window", "linear", "nearest" or "cubic": harmonic amplitudes between frames.
        reverb_length: Samples of the learnt impulse response; 0 for no reverb.
        rnn_type: "gru" or "lstm".
        rnn_channels: Channels of the decoder's recurrent layer.
        fc_channels: Channels of the decoder's Fc layers.
        layers_per_stack: Fc layers in each stack of the decoder.
        compute_loudness: Compute loudness from the audio at each call instead of taking the feature.
        z_dims: Channels of z; 0 for no encoder.
        z_time_steps: Time resolution of z, see MfccTimeDistributedRnnEncoder.
        z_rnn_channels: Channels of the encoder's recurrent layer.
        fft_sizes: Of the spectral loss.
        loss_type: "L1", "L2" or "COSINE".
        mag_weight: Weight of magnitudes in the loss.
        logmag_weight: Weight of log magnitudes in the loss.

    Raises:
        ValueError: A setting is out of range, or two of them contradict each other.
    """

    sample_rate: int = 16000
    frame_rate: int = 250
    n_samples: int = 64000
    n_harmonics: int = 60
    n_noise_bands: int = 65
    noise_window_size: int = 0
    noise_overlap: bool = False
    amp_resample_method: str = "window"
    reverb_length: int = 48000
    rnn_type: str = "gru"
    rnn_channels: int = 512
    fc_channels: int = 512
    layers_per_stack: int = 3
    compute_loudness: bool = True
    z_dims: int = 0
    z_time_steps: int = 125
    z_rnn_channels: int = 512
    fft_sizes: tuple[int, ...] = (2048, 1024, 512, 256, 128, 64)
    loss_type: str = "L1"
    mag_weight: float = 1.0
    logmag_weight: float = 1.0

    def __post_init__(self):
        object.__setattr__(self, "fft_sizes", tuple(self.fft_sizes))
        for name in ("sample_rate", "frame_rate", "n_samples", "n_harmonics", "rnn_channels", "fc_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("reverb_length", "layers_per_stack", "z_dims", "noise_window_size"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.n_noise_bands < 2:
            raise ValueError(f"n_noise_bands must be at least 2, got {self.n_noise_bands}")
        if self.sample_rate % self.frame_rate:
            raise ValueError(f"frame_rate must divide sample_rate ({self.sample_rate}), got {self.frame_rate}")
        if self.n_samples % self.hop_size:
            raise ValueError(f"n_samples must be a multiple of the hop, {self.hop_size} samples, got {self.n_samples}")

    @property
    def hop_size(self) -> int:
        """Samples of audio per frame."""
        return self.sample_rate // self.frame_rate

    @property
    def n_frames(self) -> int:
        """Frames of a training excerpt."""
        return self.n_samples // self.hop_size

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values, for YAML or JSON; `ModelConfig(**config.to_dict())` equals `config`."""
        return {**dataclasses.asdict(self), "fft_sizes": list(self.fft_sizes)}


def preset_names() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_preset(name_or_path: str | Path, **overrides: Any) -> ModelConfig:
    """Settings from a YAML file.

    Args:
        name_or_path: "solo_instrument", "tiny_instrument" (or "tiny"), "nsynth_ae", or a path of a YAML file.
        **overrides: Fields of ModelConfig that replace the file's.

    Returns:
        The settings.

    Raises:
        FileNotFoundError: There is no such preset or file.
        ValueError: There is no such field, or a value is out of range.
        ImportError: PyYAML is not installed.
    """
    name = str(name_or_path)
    path = FOLDER / f"{ALIASES.get(name, name)}.yaml"
    if not path.exists():
        path = Path(name_or_path)
    if not path.is_file():
        raise FileNotFoundError(f"no preset and no file {name!r}; presets are {', '.join(preset_names())}")
    return _config({**_read_yaml(path), **overrides})


def build(config: ModelConfig) -> Autoencoder:
    """The model of some settings, with fresh weights.

    Args:
        config: Settings.

    Returns:
        An Autoencoder whose processors are `harmonic`, `filtered_noise`, `add` and, if reverb_length > 0, `reverb`.
    """
    rate = config.sample_rate
    encoder = None
    if config.z_dims:
        encoder = MfccTimeDistributedRnnEncoder(
            config.z_rnn_channels, config.rnn_type, config.z_dims, config.z_time_steps, sample_rate=rate
        )
    latents = (("z", config.z_dims),) if config.z_dims else ()
    decoder = RnnFcDecoder(
        rnn_channels=config.rnn_channels,
        rnn_type=config.rnn_type,
        ch=config.fc_channels,
        layers_per_stack=config.layers_per_stack,
        input_keys=("ld_scaled", "f0_scaled", *latents),
        output_splits=(
            ("amps", 1),
            ("harmonic_distribution", config.n_harmonics),
            ("noise_magnitudes", config.n_noise_bands),
        ),
    )
    return Autoencoder(
        preprocessor=F0LoudnessPreprocessor(None, config.frame_rate, rate, config.compute_loudness),
        encoder=encoder,
        decoder=decoder,
        processor_group=_processor_group(config),
        losses=SpectralLoss(
            config.fft_sizes,
            config.loss_type,
            mag_weight=config.mag_weight,
            logmag_weight=config.logmag_weight,
            sample_rate=rate,
        ),
        hop_size=config.hop_size,
    )


def _processor_group(config: ModelConfig) -> ProcessorGroup:
    harmonic = Harmonic(config.n_samples, config.sample_rate, amp_resample_method=config.amp_resample_method)
    noise = FilteredNoise(config.n_samples, config.noise_window_size, overlap=config.noise_overlap)
    dag = [
        [harmonic, ["amps", "harmonic_distribution", "f0_hz"]],
        [noise, ["noise_magnitudes"]],
        [Add(), ["filtered_noise/signal", "harmonic/signal"]],
    ]
    if config.reverb_length:
        dag.append([Reverb(trainable=True, reverb_length=config.reverb_length), ["add/signal"]])
    return ProcessorGroup(dag)


def _config(settings: Mapping[str, Any]) -> ModelConfig:
    fields = [field.name for field in dataclasses.fields(ModelConfig)]
    for name in settings:
        if name not in fields:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(fields)}"
            raise ValueError(f"a model has no setting {name!r}: {hint}")
    return ModelConfig(**settings)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise ImportError('reading a preset needs PyYAML: pip install "fastddsp[train]"') from error
    settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(settings, dict):
        raise ValueError(f"{path} must hold a mapping of settings, got {type(settings).__name__}")
    return settings
