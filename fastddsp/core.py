"""magenta/ddsp's `core` on torch tensors: the door onto the rooms of `fastddsp.autograd`, which say what each does."""

# FFT convolution and windowed-sinc filters.
from fastddsp.autograd.convolution import (
    crop_and_compensate_delay,
    fft_convolve,
    get_fft_size,
    sinc,
    sinc_filter,
    sinc_impulse_response,
)

# Delays whose length changes from sample to sample.
from fastddsp.autograd.delay import variable_length_delay

# Which kernels there are, and which would run; ours.
from fastddsp.autograd.dispatch import backends

# Filters and noise shaped by magnitudes over frequency; `filtered_noise` is ours.
from fastddsp.autograd.filters import (
    apply_window_to_impulse_response,
    filtered_noise,
    frequency_filter,
    frequency_impulse_response,
)

# Network outputs to frequencies; the Bark, mel and ERB scales.
from fastddsp.autograd.frequency_scaling import (
    bark_to_hz,
    frequencies_critical_bands,
    frequencies_sigmoid,
    frequencies_softmax,
    hz_to_bark,
    hz_to_erb,
    hz_to_mel,
    mel_to_hz,
)

# Banks of harmonics and of partials with an amplitude each, in blocks if wanted; ours.
from fastddsp.autograd.harmonic_bank import harmonic_bank

# Harmonic controls, and phases.
from fastddsp.autograd.harmonics import (
    angular_cumsum,
    get_harmonic_frequencies,
    harmonic_to_sinusoidal,
    normalize_harmonics,
    remove_above_nyquist,
    sinusoidal_to_harmonic,
)

# Oscillators and harmonic synthesis.
from fastddsp.autograd.oscillator_bank import oscillator_bank
from fastddsp.autograd.oscillators import (
    harmonic_oscillator_bank,
    harmonic_synthesis,
    streaming_harmonic_synthesis,
)
from fastddsp.autograd.partials import sinusoidal_bank

# Frames to samples, padding and cropping.
from fastddsp.autograd.resampling import center_crop, pad_axis, resample, upsample_with_windows

# Safe mathematics, scaling of controls, unit conversions.
from fastddsp.autograd.scaling import (
    DB_RANGE,
    amplitude_to_db,
    db_to_amplitude,
    db_to_power,
    diff,
    exp_sigmoid,
    gradient_reversal,
    hz_to_midi,
    hz_to_unit,
    log10,
    log_scale,
    logb,
    midi_to_hz,
    midi_to_unit,
    nan_to_num,
    power_to_db,
    safe_divide,
    safe_log,
    soft_limit,
    sym_exp_sigmoid,
    unit_to_hz,
    unit_to_midi,
)

# Wavetables.
from fastddsp.autograd.wavetable import harmonic_distribution_to_wavetable, linear_lookup, wavetable_synthesis

# Nested dictionaries, as graphs of modules return them.
from fastddsp.models.nested import leaf_key, make_iterable, map_shape, nested_keys, nested_lookup, to_dict

__all__ = [
    "DB_RANGE",
    "amplitude_to_db",
    "angular_cumsum",
    "apply_window_to_impulse_response",
    "backends",
    "bark_to_hz",
    "center_crop",
    "crop_and_compensate_delay",
    "db_to_amplitude",
    "db_to_power",
    "diff",
    "exp_sigmoid",
    "fft_convolve",
    "filtered_noise",
    "frequencies_critical_bands",
    "frequencies_sigmoid",
    "frequencies_softmax",
    "frequency_filter",
    "frequency_impulse_response",
    "get_fft_size",
    "get_harmonic_frequencies",
    "gradient_reversal",
    "harmonic_bank",
    "harmonic_distribution_to_wavetable",
    "harmonic_oscillator_bank",
    "harmonic_synthesis",
    "harmonic_to_sinusoidal",
    "hz_to_bark",
    "hz_to_erb",
    "hz_to_mel",
    "hz_to_midi",
    "hz_to_unit",
    "leaf_key",
    "linear_lookup",
    "log10",
    "log_scale",
    "logb",
    "make_iterable",
    "map_shape",
    "mel_to_hz",
    "midi_to_hz",
    "midi_to_unit",
    "nan_to_num",
    "nested_keys",
    "nested_lookup",
    "normalize_harmonics",
    "oscillator_bank",
    "pad_axis",
    "power_to_db",
    "remove_above_nyquist",
    "resample",
    "safe_divide",
    "safe_log",
    "sinc",
    "sinc_filter",
    "sinc_impulse_response",
    "sinusoidal_bank",
    "sinusoidal_to_harmonic",
    "soft_limit",
    "streaming_harmonic_synthesis",
    "sym_exp_sigmoid",
    "to_dict",
    "unit_to_hz",
    "unit_to_midi",
    "upsample_with_windows",
    "variable_length_delay",
    "wavetable_synthesis",
]
