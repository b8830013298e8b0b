"""Effects against the reference."""

import math

import pytest
import torch

from fastddsp.autograd.filters import frequency_filter
from fastddsp.models import effects
from tests.golden import load
from tests.models.golden_modules import cases_of, check_module, noise_of

EFFECTS = ("Reverb", "ExpDecayReverb", "FilteredNoiseReverb", "FIRFilter", "ModDelay")
CASES = [c for effect in EFFECTS for c in cases_of(load("effects_all.npz"), f"effects.{effect}.")]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_effects_agree_with_the_reference(case):
    effect = getattr(effects, case.function.split(".")[1])(**case.meta.get("init", {}))
    function = effect if case.function.endswith("__call__") else effect.get_controls
    check_module(case, effect, lambda *inputs: function(*inputs, **noise_of(case, "reverb_noise")))


@pytest.mark.parametrize("effect", [effects.Reverb, effects.ExpDecayReverb, effects.FilteredNoiseReverb])
def test_reverb_that_learns_nothing_needs_its_inputs(effect):
    with pytest.raises(ValueError, match=r"must be given to an? \w+Reverb|must be given to a Reverb"):
        effect()(torch.zeros(1, 10))


def test_a_learnt_reverb_starts_almost_dry():
    audio = torch.randn(2, 500, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(effects.Reverb(trainable=True, reverb_length=100)(audio), audio, atol=1e-4, rtol=0)


def test_a_learnt_reverb_may_begin_as_a_room():
    torch.manual_seed(0)
    reverb = effects.Reverb(trainable=True, reverb_length=1600, decay_length=1600)
    parts_db = 10.0 * torch.log10(reverb.impulse_response()[0].detach().square().reshape(4, 400).sum(1))
    # 400 samples are 15 dB; the energy of so many of noise is known to sqrt(2 / 400), 0.3 dB.
    torch.testing.assert_close(parts_db.diff(), torch.full((3,), -15.0), rtol=0, atol=1.2)
    assert 10.0 * torch.log10(reverb.impulse_response().square().sum()).item() == pytest.approx(6.0, abs=0.6)
    reverb.impulse_response().sum().backward()  # a step late means as much as the response there is large
    torch.testing.assert_close(reverb.ir.grad, 10.0 ** (-3.0 * torch.arange(1600) / 1600))
    assert list(reverb.state_dict()) == ["ir"]


@pytest.mark.parametrize("n_octaves", [1, 5])
def test_octaves_share_every_frequency(n_octaves):
    frequency = torch.tensor([[0.0, 1e-3, 0.25], [0.7, 1.0, 1.5]])
    weights = effects.octave_weights(frequency, n_octaves)
    assert weights.shape == (2, 3, n_octaves) and (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3))
    assert weights[0, 0, -1] == weights[1, 1, 0] == weights[1, 2, 0] == weights[0, 2, min(2, n_octaves - 1)] == 1


def test_every_octave_of_a_room_learns_its_own_decay():
    torch.manual_seed(0)
    alike = effects.Reverb(trainable=True, reverb_length=3200, decay_length=1600)
    octaves = effects.Reverb(trainable=True, reverb_length=3200, decay_length=1600, decay_octaves=3)
    with torch.no_grad():
        octaves.ir.copy_(alike.ir)
    torch.testing.assert_close(octaves.impulse_response(), alike.impulse_response(), rtol=1e-4, atol=1e-6)

    with torch.no_grad():
        octaves.octave_decay.fill_(-math.log(2.0))  # all fall twice as fast
    twice_as_fast = 10.0 ** (-6.0 * torch.arange(3200) / 1600) * alike.ir[None]
    torch.testing.assert_close(octaves.impulse_response(), twice_as_fast, rtol=1e-4, atol=1e-6)

    with torch.no_grad():
        octaves.octave_decay.copy_(torch.tensor([-math.log(2.0), 0.0, 0.0]))  # what is near Nyquist
    spectra_db = 20.0 * torch.log10(torch.fft.rfft(octaves.impulse_response()[0].detach().reshape(8, 400)).abs())
    fall_db = (spectra_db[0] - spectra_db[2]) / 2.0  # in 400 samples, which are 15 dB of the decay it began with
    assert fall_db[190:].mean() > 20.0  # a share of what is below in frequency, and falls as before, is left in the end
    assert fall_db[5:90].mean().item() == pytest.approx(15.0, abs=2.0)


def test_the_decay_of_an_octave_is_differentiable():
    reverb = effects.Reverb(trainable=True, reverb_length=50, decay_length=30, decay_octaves=2).double()
    reverb.decay = reverb.decay.double()

    audio = torch.ones(1, 50, dtype=torch.float64)

    def response(ir, octave_decay):
        return torch.func.functional_call(reverb, {"ir": ir, "octave_decay": octave_decay}, (audio,))

    torch.autograd.gradcheck(response, (reverb.ir, reverb.octave_decay), atol=1e-6)


@pytest.mark.parametrize(
    "settings", [{"decay_octaves": -1}, {"decay_octaves": 3}, {"decay_octaves": 3, "trainable": False}]
)
def test_octaves_of_no_decay_are_refused(settings):
    with pytest.raises(ValueError, match="decay_octaves must be 0"):
        effects.Reverb(**{"trainable": True, **settings})


def test_the_first_sample_of_a_response_is_the_dry_path_and_does_not_count():
    impulse = torch.zeros(1, 8)
    impulse[0, 0] = 1.0
    response = torch.tensor([5.0, 1.0, 0.5])
    wet = effects.Reverb()(impulse, response)
    torch.testing.assert_close(wet, torch.tensor([[1.0, 1.0, 0.5, 0, 0, 0, 0, 0]]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("effect", [effects.Reverb, effects.ExpDecayReverb, effects.FilteredNoiseReverb])
def test_every_learnt_reverb_tells_the_response_that_it_plays(effect):
    reverb = effect(trainable=True, reverb_length=300)
    impulse = torch.zeros(2, 300)
    impulse[:, 0] = 1.0
    torch.manual_seed(0)  # of the noise that some of them draw
    response = reverb.impulse_response()
    torch.manual_seed(0)
    played = reverb(impulse)
    assert response.shape == (1, 300)
    torch.testing.assert_close(played[:, 1:], response[:, 1:].expand(2, -1), atol=1e-6, rtol=0)


def test_a_filter_glides_from_frame_to_frame_if_told_to():
    audio, magnitudes = torch.randn(2, 50), torch.rand(2, 5, 9)
    gliding = effects.FIRFilter(scale_fn=None, overlap=True)(audio, magnitudes)
    assert torch.equal(gliding, frequency_filter(audio, magnitudes, 257, overlap=True))


def test_a_modulated_delay_goes_from_its_center_to_center_and_depth():
    impulse = torch.zeros(1, 100)
    impulse[0, 0] = 1.0
    vibrato = effects.ModDelay(3.0, 2.0, 10_000, None, None, add_dry=False, wrap=False)
    for phase, expected in (0.0, 30), (0.5, 40), (1.0, 50):
        wet = vibrato(impulse, torch.ones(1, 100, 1), torch.full((1, 100, 1), phase))
        assert wet.argmax() == expected and wet[0, expected] == pytest.approx(1.0, abs=1e-4)  # 50 eps of its length


def test_at_its_end_a_modulated_delay_turns_back_unless_told_not_to():
    audio, ones = torch.randn(1, 100, generator=torch.Generator().manual_seed(0)), torch.ones(1, 100, 1)
    settings = {"center_ms": 0.0, "depth_ms": 5.0, "sample_rate": 2000, "phase_scale_fn": None, "add_dry": False}
    as_magenta, straight = (
        effects.ModDelay(gain_scale_fn=None, wrap=wrap, **settings)(audio, ones, ones) for wrap in (True, False)
    )
    assert torch.equal(as_magenta, audio)
    assert torch.equal(straight[:, 10:], audio[:, :-10]) and not straight[:, :10].any()
