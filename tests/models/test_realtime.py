"""A plug-in's model and its frame-by-frame playing, made of our parts, against the reference's real-time modules."""

import math

import pytest
import torch

from fastddsp.autograd.filters import filtered_noise
from fastddsp.autograd.oscillators import streaming_harmonic_synthesis
from fastddsp.models.autoencoder import Autoencoder
from fastddsp.models.decoders import RnnFcDecoder
from fastddsp.models.effects import FilteredNoiseReverb
from fastddsp.models.losses import SpectralLoss
from fastddsp.models.preprocessing import OnlineF0PowerPreprocessor, inv_scale_f0_hz
from fastddsp.models.presets import build, load_preset
from fastddsp.models.processors import Add, Crop, ProcessorGroup
from fastddsp.models.synths import FilteredNoise, Harmonic
from fastddsp.models.weights import load_magenta_arrays, to_magenta_arrays
from tests.golden import compare, load

TRAINED, *CASES = load("models_vst.npz")
HOP, SAMPLE_RATE = 320, 16000
TURN = 2 * math.pi
GRAD_L2 = 5e-2  # a loss with logarithms, as in test_autoencoder.py


def cases(name):
    return [case for case in CASES if case.function == f"training.inference.{name}.call"]


def decoder(stateless=False):
    splits = (("amps", 1), ("harmonic_distribution", 12), ("noise_magnitudes", 9))
    return RnnFcDecoder(8, "gru", 8, 1, stateless, ("pw_scaled", "f0_scaled"), splits)


def synths():
    return Harmonic(3520, SAMPLE_RATE, amp_resample_method="linear"), FilteredNoise(3520, window_size=0)


def model():
    harmonic, noise = synths()
    reverb = FilteredNoiseReverb(True, 1280, n_frames=10, n_filter_banks=8, name="reverb")
    dag = [
        [harmonic, ["amps", "harmonic_distribution", "f0_hz"]],
        [noise, ["noise_magnitudes"]],
        [Add(), ["filtered_noise/signal", "harmonic/signal"]],
        [reverb, ["add/signal"]],
        [Crop(HOP, "back"), ["reverb/signal"]],
    ]
    preprocessor = OnlineF0PowerPreprocessor(50, 1024, compute_f0=False)
    loss = SpectralLoss((512, 128), logmag_weight=1.0)
    return Autoencoder(preprocessor, None, decoder(), ProcessorGroup(dag), loss)


def lookup(nested, key):
    for part in key.split("."):
        nested = nested[part]
    return nested


@pytest.mark.golden
def test_the_model_of_a_plug_in_trains_as_the_references_does(reference_phase):
    autoencoder = model()
    load_magenta_arrays(autoencoder, TRAINED.var)
    noise, reverb_noise = map(torch.tensor, TRAINED.noise)
    features = {name: torch.tensor(x) for name, x in TRAINED.inp.items()}
    outputs, losses = autoencoder(features, return_losses=True, n_samples=3520, noise=noise, reverb_noise=reverb_noise)
    outputs["loss"] = losses
    for name, expected in TRAINED.out.items():
        compare.assert_close(lookup(outputs, name).detach().numpy(), expected, 1e-5, case=TRAINED, what=name)
    losses["total_loss"].backward()
    grads = to_magenta_arrays(autoencoder, {name: p.grad for name, p in autoencoder.named_parameters()})
    for name, grad in grads.items():
        compare.assert_close_l2(grad, TRAINED.grad[name], GRAD_L2, case=TRAINED, what=name)


@pytest.mark.golden
def test_the_preset_is_the_references_model_up_to_the_last_hop(reference_phase):
    frames, n_samples = 10, 3200  # of 11 frames, whose last hop the reference crops
    sizes = {"n_samples": n_samples, "n_harmonics": 12, "n_noise_bands": 9, "rnn_channels": 8, "fc_channels": 8}
    preset = build(load_preset("vst_16k", **sizes, reverb_length=1280, reverb_frames=10, reverb_bands=8))
    load_magenta_arrays(preset, TRAINED.var)
    noise, reverb_noise = map(torch.tensor, TRAINED.noise)
    features = {"f0_hz": torch.tensor(TRAINED.inp["f0_hz"]), "power_db": torch.tensor(TRAINED.out["pw_db"])}
    given = {name: x[:, :frames] for name, x in features.items()}
    outputs = preset(given, noise=noise[:, :n_samples], reverb_noise=reverb_noise)
    for name in ("f0_scaled", "pw_scaled", "amps", "harmonic_distribution", "noise_magnitudes"):
        expected = TRAINED.out[name][:, :frames]
        compare.assert_close(outputs[name].detach().numpy(), expected, 1e-5, case=TRAINED, what=name)
    alike = n_samples - HOP - 8  # half a noise filter reaches back into the hop before its own
    audio = outputs["audio_synth"].detach().numpy()[:, :alike]
    compare.assert_close(audio, TRAINED.out["audio_synth"][:, :alike], 1e-5, case=TRAINED, what="audio_synth")


@pytest.mark.parametrize("case", cases("VSTStatelessPredictControls"), ids=str)
def test_a_stateless_decoder_gives_the_controls_of_one_frame(case):
    weights = {name.removeprefix("decoder."): x for name, x in TRAINED.var.items() if name.startswith("decoder.")}
    stateless, (harmonic, noise) = decoder(stateless=True), synths()
    load_magenta_arrays(stateless, weights)

    def predict(f0_scaled, pw_scaled, state):
        raw = stateless(pw_scaled.view(1, 1, 1), f0_scaled.view(1, 1, 1), state[None])
        tone = harmonic.get_controls(
            raw["amps"], raw["harmonic_distribution"], inv_scale_f0_hz(f0_scaled.view(1, 1, 1))
        )
        hiss = noise.get_controls(raw["noise_magnitudes"])
        controls = tone["amplitudes"], tone["harmonic_distribution"], hiss["magnitudes"]
        return *(x[0, 0] for x in controls), raw["state"][0]

    compare.check(case, predict)


def play_harmonics(case, amps, prev_amps, hd, prev_hd, f0, prev_f0, prev_phase):
    """One hop of harmonics between two frames, and the final phase on the turn that the reference does not wrap."""
    f0_hz, amplitudes, distribution = (torch.stack(x)[None] for x in ((prev_f0, f0), (prev_amps, amps), (prev_hd, hd)))
    audio, phase = streaming_harmonic_synthesis(
        f0_hz, amplitudes, distribution, prev_phase.view(1, 1, 1), HOP, SAMPLE_RATE, "linear"
    )
    expected = torch.tensor(case.out["out1"])
    turns = ((expected - phase[0, 0].detach()) / TURN).round()
    return audio[0], phase[0, 0] + TURN * turns


def rtol_of_float32_phases(case):
    """What it costs that the reference adds up the hop's phases in float32.

    Each of the additions rounds by up to 2^-24 of the sum so far, which grows to `end`; harmonic k is off by k times
    the sum of that, weighted by its amplitude.
    """
    end = TURN * max(case.inp["f0"].item(), case.inp["prev_f0"].item()) * HOP / SAMPLE_RATE
    phase_error = 2.0**-24 * end * HOP / 2
    by_number = [(hd * range(1, len(hd) + 1)).sum() / hd.sum() for hd in (case.inp["hd"], case.inp["prev_hd"])]
    amplitude = max(case.inp["amps"].item(), case.inp["prev_amps"].item())
    return phase_error * max(by_number) * amplitude / abs(case.out["out0"]).max()


def play_noise(case, magnitudes):
    """One hop of noise, its filter held."""
    return filtered_noise(magnitudes.expand(1, 2, -1), HOP, 0, noise=torch.tensor(case.noise[0]))[0]


@pytest.mark.parametrize("case", cases("VSTSynthesizeHarmonic"), ids=str)
def test_one_hop_of_harmonics(case):
    compare.check(case, lambda *inputs: play_harmonics(case, *inputs), rtol=rtol_of_float32_phases(case))


@pytest.mark.parametrize("case", cases("VSTSynthesizeNoise"), ids=str)
def test_one_hop_of_noise(case):
    compare.check(case, lambda magnitudes: play_noise(case, magnitudes))


@pytest.mark.parametrize("case", cases("VSTSynthesize"), ids=str)
def test_one_hop_of_both(case):
    def play(amps, prev_amps, hd, prev_hd, f0, prev_f0, noise, prev_phase, **settings):
        assert settings == {"hop_size": HOP, "sample_rate": SAMPLE_RATE, "resample": "linear"}
        audio, phase = play_harmonics(case, amps, prev_amps, hd, prev_hd, f0, prev_f0, prev_phase)
        return audio + play_noise(case, noise), phase

    compare.check(case, play, rtol=rtol_of_float32_phases(case))
