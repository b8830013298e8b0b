"""Presets: the settings of a whole model, each given once, and the model made of them.

    model = build(load_preset("solo_instrument", n_harmonics=100))       # a YAML file of models/presets, or any path
    model = build(ModelConfig(sample_rate=48000, n_harmonics=400))       # the same without YAML

A file is about an autoencoder (ModelConfig) unless it says `model: inverse_synthesis` (InverseConfig) or
`model: midi_autoencoder` (MidiConfig).

Everything else follows: hop_size = sample_rate / frame_rate, the length of a training excerpt in frames, the sizes of
the decoder's outputs, Nyquist.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from fastddsp.models.autoencoder import Autoencoder
from fastddsp.models.control_encoders import ResnetF0Encoder
from fastddsp.models.convolutions import RESNET_SIZES
from fastddsp.models.crepe import SAMPLE_RATE as CREPE_SAMPLE_RATE
from fastddsp.models.decoders import DilatedConvDecoder, RnnFcDecoder
from fastddsp.models.effects import FilteredNoiseReverb, Reverb
from fastddsp.models.embedding_losses import PretrainedCREPEEmbeddingLoss
from fastddsp.models.encoders import EncoderChain, MfccRnnEncoder, MfccTimeDistributedRnnEncoder
from fastddsp.models.inverse_synthesis import InverseConfig, ddsp_inv
from fastddsp.models.losses import Loss, SpectralLoss
from fastddsp.models.midi_autoencoder import MidiConfig, midi_ae
from fastddsp.models.preprocessing import (
    F0LoudnessPreprocessor,
    F0PowerPreprocessor,
    F0Preprocessor,
    LoudnessPreprocessor,
)
from fastddsp.models.processors import Add, ProcessorGroup
from fastddsp.models.synths import FilteredNoise, Harmonic

__all__ = ["AnyConfig", "ModelConfig", "build", "config_of", "load_preset", "preset_names"]

FOLDER = Path(__file__).parent / "presets"
ALIASES = {"tiny": "tiny_instrument", "solo": "solo_instrument", "vst": "vst_16k"}
POWER_SECONDS = 0.064  # over which power is averaged: 1024 samples at 16 kHz
CHOICES = {
    "reverb_type": ("impulse_response", "filtered_noise"),
    "decoder": ("rnn_fc", "dilated_conv"),
    "level": ("loudness", "power"),
    "f0_encoder": ("none", *RESNET_SIZES),
    "z_encoder": ("time_distributed", "global"),
}
AT_LEAST_1 = (
    *("sample_rate", "frame_rate", "n_samples", "n_harmonics", "rnn_channels", "fc_channels"),
    *("conv_channels", "conv_layers", "conv_stacks", "z_rnn_channels", "reverb_frames"),
)
NOT_NEGATIVE = (
    *("reverb_length", "reverb_rt60", "reverb_octaves"),
    *("layers_per_stack", "z_dims", "noise_window_size"),
)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Settings of an autoencoder; the defaults are the solo instrument of the paper.

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
        reverb_type: "impulse_response": every sample is learnt; "filtered_noise": so are its bands, frame by frame.
        reverb_rt60: Seconds in which an "impulse_response" falls by 60 dB at first, when it is noise: it begins as a
            room and is learnt in units of its decay; 0.0: it begins silent.
        reverb_db: Energy of such a room at first, over that of the direct sound, in dB.
        reverb_octaves: Octaves below Nyquist of which such a room learns the decay besides; 0: every sample alone.
        reverb_frames: Frames of a response of filtered noise.
        reverb_bands: Bands of a response of filtered noise.
        reverb_bias: Added to its raw magnitudes, so that it starts quiet.
        decoder: "rnn_fc" or "dilated_conv".
        rnn_type: "gru" or "lstm".
        rnn_channels: Channels of the decoder's recurrent layer.
        fc_channels: Channels of the decoder's Fc layers.
        layers_per_stack: Fc layers in each stack of the decoder.
        conv_channels: Channels of a convolutional decoder.
        conv_layers: Convolutions in each of its stacks.
        conv_stacks: Its stacks.
        level: What the decoder reads beside f0: "loudness" (A-weighted) or "power" (mean square over 64 ms).
        compute_loudness: Compute loudness from the audio at each call instead of taking the feature.
        f0_encoder: "none": f0 is given; "tiny", "small", "medium" or "large": such a ResNet hears it in the audio.
        z_dims: Channels of z; 0 for no encoder of z.
        z_encoder: "time_distributed": z changes in time; "global": one z for a whole recording.
        z_time_steps: Time resolution of z, see MfccTimeDistributedRnnEncoder.
        z_rnn_channels: Channels of the encoder's recurrent layer.
        fft_sizes: Of the spectral loss.
        loss_type: "L1", "L2" or "COSINE".
        mag_weight: Weight of magnitudes in the loss.
        logmag_weight: Weight of log magnitudes in the loss.
        delta_time_weight: Weight of magnitudes' differences in time.
        delta_freq_weight: Weight of magnitudes' differences in frequency.
        cumsum_freq_weight: Weight of magnitudes' cumulative sums over frequency.
        loudness_weight: Weight of A-weighted loudness.
        perceptual_weight: Weight of the difference in what CREPE makes of the sounds; needs its weights.

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
    reverb_type: str = "impulse_response"
    reverb_rt60: float = 0.0
    reverb_db: float = 6.0
    reverb_octaves: int = 0
    reverb_frames: int = 500
    reverb_bands: int = 32
    reverb_bias: float = -3.0
    decoder: str = "rnn_fc"
    rnn_type: str = "gru"
    rnn_channels: int = 512
    fc_channels: int = 512
    layers_per_stack: int = 3
    conv_channels: int = 256
    conv_layers: int = 5
    conv_stacks: int = 2
    level: str = "loudness"
    compute_loudness: bool = True
    f0_encoder: str = "none"
    z_dims: int = 0
    z_encoder: str = "time_distributed"
    z_time_steps: int = 125
    z_rnn_channels: int = 512
    fft_sizes: tuple[int, ...] = (2048, 1024, 512, 256, 128, 64)
    loss_type: str = "L1"
    mag_weight: float = 1.0
    logmag_weight: float = 1.0
    delta_time_weight: float = 0.0
    delta_freq_weight: float = 0.0
    cumsum_freq_weight: float = 0.0
    loudness_weight: float = 0.0
    perceptual_weight: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "fft_sizes", tuple(self.fft_sizes))
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {list(choices)}, got {getattr(self, name)!r}")
        for name in AT_LEAST_1:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.reverb_octaves and not self.reverb_rt60:
            raise ValueError(f"reverb_octaves needs a reverb_rt60 above 0 to begin with, got {self.reverb_octaves}")
        if self.n_noise_bands < 2:
            raise ValueError(f"n_noise_bands must be at least 2, got {self.n_noise_bands}")
        if self.sample_rate % self.frame_rate:
            raise ValueError(f"frame_rate must divide sample_rate ({self.sample_rate}), got {self.frame_rate}")
        if self.n_samples % self.hop_size:
            raise ValueError(f"n_samples must be a multiple of the hop, {self.hop_size} samples, got {self.n_samples}")
        if self.f0_encoder != "none" and self.level != "loudness":
            raise ValueError(f'level must be "loudness" with an f0_encoder, got {self.level!r}')
        if self.perceptual_weight and self.sample_rate != CREPE_SAMPLE_RATE:
            raise ValueError(
                f"sample_rate must be {CREPE_SAMPLE_RATE}, which CREPE hears, for a perceptual_weight, "
                f"got {self.sample_rate}"
            )

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


AnyConfig = ModelConfig | InverseConfig | MidiConfig
KINDS: dict[str, Any] = {"autoencoder": ModelConfig, InverseConfig.kind: InverseConfig, MidiConfig.kind: MidiConfig}


def preset_names() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_preset(name_or_path: str | Path, **overrides: Any) -> Any:
    """Settings from a YAML file.

    Args:
        name_or_path: One of `preset_names()` ("tiny", "solo" and "vst" for short), or the path of a YAML file.
        **overrides: Fields that replace the file's.

    Returns:
        The settings: a ModelConfig, InverseConfig or MidiConfig.

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
    return config_of({**_read_yaml(path), **overrides})


def build(config: AnyConfig) -> Any:
    """The model of some settings, with fresh weights.

    Args:
        config: Settings.

    Returns:
        Of a ModelConfig, an Autoencoder whose processors are `harmonic`, `filtered_noise`, `add` and, if reverb_length
        > 0, `reverb`; of an InverseConfig what `ddsp_inv`, of a MidiConfig what `midi_ae` makes.
    """
    if isinstance(config, InverseConfig):
        return ddsp_inv(**dataclasses.asdict(config))
    if isinstance(config, MidiConfig):
        return midi_ae(**dataclasses.asdict(config))
    return Autoencoder(
        preprocessor=_preprocessor(config),
        encoder=_encoder(config),
        decoder=_decoder(config),
        processor_group=_processor_group(config),
        losses=_losses(config),
        hop_size=config.hop_size,
    )


def _preprocessor(config: ModelConfig) -> F0Preprocessor:
    rates = None, config.frame_rate, config.sample_rate
    if config.level == "power":
        return F0PowerPreprocessor(*rates, frame_size=round(POWER_SECONDS * config.sample_rate))
    if config.f0_encoder != "none":
        return LoudnessPreprocessor(*rates, config.compute_loudness)
    return F0LoudnessPreprocessor(*rates, config.compute_loudness)


def _encoder(config: ModelConfig) -> nn.Module | None:
    """What hears f0 and z in the audio, in this order: z comes at the frames of f0."""
    rate, channels, kind = config.sample_rate, config.z_rnn_channels, config.rnn_type
    encoders: list[nn.Module] = []
    if config.f0_encoder != "none":
        encoders.append(ResnetF0Encoder(config.f0_encoder, sample_rate=rate))
    if config.z_dims and config.z_encoder == "global":
        encoders.append(MfccRnnEncoder(channels, kind, config.z_dims, sample_rate=rate))
    elif config.z_dims:
        encoders.append(MfccTimeDistributedRnnEncoder(channels, kind, config.z_dims, config.z_time_steps, rate))
    return EncoderChain(*encoders) if len(encoders) > 1 else encoders[0] if encoders else None


def _decoder(config: ModelConfig) -> RnnFcDecoder | DilatedConvDecoder:
    inputs = ("pw_scaled" if config.level == "power" else "ld_scaled", "f0_scaled")
    latents = (("z", config.z_dims),) if config.z_dims else ()
    outputs = (
        ("amps", 1),
        ("harmonic_distribution", config.n_harmonics),
        ("noise_magnitudes", config.n_noise_bands),
    )
    if config.decoder == "dilated_conv":
        return DilatedConvDecoder(
            config.conv_channels,
            layers_per_stack=config.conv_layers,
            stacks=config.conv_stacks,
            input_keys=inputs,
            output_splits=outputs,
            conditioning_keys=latents,
        )
    return RnnFcDecoder(
        rnn_channels=config.rnn_channels,
        rnn_type=config.rnn_type,
        ch=config.fc_channels,
        layers_per_stack=config.layers_per_stack,
        input_keys=(*inputs, *latents),
        output_splits=outputs,
    )


def _processor_group(config: ModelConfig) -> ProcessorGroup:
    harmonic = Harmonic(config.n_samples, config.sample_rate, amp_resample_method=config.amp_resample_method)
    noise = FilteredNoise(config.n_samples, config.noise_window_size, overlap=config.noise_overlap)
    dag = [
        [harmonic, ["amps", "harmonic_distribution", "f0_hz"]],
        [noise, ["noise_magnitudes"]],
        [Add(), ["filtered_noise/signal", "harmonic/signal"]],
    ]
    if config.reverb_length and config.reverb_type == "filtered_noise":
        reverb = FilteredNoiseReverb(
            trainable=True,
            reverb_length=config.reverb_length,
            n_frames=config.reverb_frames,
            n_filter_banks=config.reverb_bands,
            initial_bias=config.reverb_bias,
            name="reverb",
        )
        dag.append([reverb, ["add/signal"]])
    elif config.reverb_length:
        room = Reverb(
            trainable=True,
            reverb_length=config.reverb_length,
            decay_length=round(config.reverb_rt60 * config.sample_rate),
            decay_db=config.reverb_db,
            decay_octaves=config.reverb_octaves,
        )
        dag.append([room, ["add/signal"]])
    return ProcessorGroup(dag)


def _losses(config: ModelConfig) -> list[Loss]:
    spectral = SpectralLoss(
        config.fft_sizes,
        config.loss_type,
        config.mag_weight,
        config.delta_time_weight,
        config.delta_freq_weight,
        config.cumsum_freq_weight,
        config.logmag_weight,
        config.loudness_weight,
        sample_rate=config.sample_rate,
    )
    if not config.perceptual_weight:
        return [spectral]
    return [spectral, PretrainedCREPEEmbeddingLoss(config.perceptual_weight, config.loss_type)]


def config_of(settings: Mapping[str, Any]) -> Any:
    """The ModelConfig, InverseConfig or MidiConfig of plain values, such as `to_dict` gives.

    Raises:
        ValueError: There is no such kind of model or setting, or a value is out of range.
    """
    settings = dict(settings)
    kind = settings.pop("model", "autoencoder")
    if kind not in KINDS:
        raise ValueError(f"model must be one of {list(KINDS)}, got {kind!r}")
    fields = [field.name for field in dataclasses.fields(KINDS[kind])]
    for name in settings:
        if name not in fields:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(fields)}"
            raise ValueError(f"a model has no setting {name!r}: {hint}")
    return KINDS[kind](**settings)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise ImportError('reading a preset needs PyYAML: pip install "fastddsp[train]"') from error
    settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(settings, dict):
        raise ValueError(f"{path} must hold a mapping of settings, got {type(settings).__name__}")
    return settings
