"""Processors and their graph against the reference, and what the reference cannot do."""

import pytest
import torch

from fastddsp.models.effects import Reverb
from fastddsp.models.processors import Add, Crop, Mix, Processor, ProcessorGroup
from fastddsp.models.synths import FilteredNoise, Harmonic
from tests.golden import compare, load
from tests.models.golden_modules import check_module, noise_of

CASES = {case.name: case for case in load("processors_all.npz")}


def solo_group(n_samples=640, reverb_length=100):
    return ProcessorGroup(
        [
            [Harmonic(n_samples=n_samples), ["amps", "harmonic_distribution", "f0_hz"]],
            [FilteredNoise(n_samples=n_samples, window_size=0), ["noise_magnitudes"]],
            (Add(), ("filtered_noise/signal", "harmonic/signal")),
            [Reverb(trainable=True, reverb_length=reverb_length), ["add/signal"]],
        ]
    )


def group_inputs(frames=10):
    return {
        "amps": torch.zeros(2, frames, 1),
        "harmonic_distribution": torch.zeros(2, frames, 6),
        "f0_hz": torch.full((2, frames, 1), 220.0),
        "noise_magnitudes": torch.zeros(2, frames, 9),
    }


def flat(nested, prefix=""):
    for key, value in nested.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


@pytest.mark.parametrize(
    "case", [case for name, case in CASES.items() if not name.startswith("processor_group")], ids=str
)
def test_routing_processors_agree_with_the_reference(case):
    processor = {"processors.Add": Add, "processors.Mix": Mix, "processors.Crop": Crop}[case.function]
    check_module(case, processor(**case.meta.get("init", {})))


@pytest.mark.golden
def test_group_agrees_with_the_reference(reference_phase):
    case, group = CASES["processor_group"], solo_group()
    compare_case = compare.Case(case.name, {**case.meta, "args": {}}, **fields(case))

    def play(*inputs):
        return group(dict(zip(case.inp, inputs, strict=True)), **noise_of(case))

    check_module(compare_case, group, play, arrays_of=group.reverb)


@pytest.mark.golden
def test_group_returns_every_control_and_signal_on_the_way(reference_phase):
    case, group = CASES["processor_group_controls"], solo_group()
    group.reverb.ir.data = torch.tensor(case.var["_ir"])
    inputs = {name: torch.tensor(x) for name, x in case.inp.items()}
    outputs = dict(flat(group.get_controls(inputs, **noise_of(case))))
    assert outputs.keys() == case.out.keys()
    for name, output in outputs.items():
        compare.assert_close(output.detach().numpy(), case.out[name], 1e-5, case=case, what=name)
    assert list(inputs) == list(case.inp)


def fields(case):
    return {k: getattr(case, k) for k in ("inp", "out", "cot", "grad", "var", "noise")}


def test_group_registers_its_processors_as_modules():
    group = solo_group()
    assert list(group.state_dict()) == ["reverb.ir"]
    assert group.processors == [group.harmonic, group.filtered_noise, group.add, group.reverb]
    assert "add = Add(filtered_noise/signal, harmonic/signal) -> signal, controls" in repr(group)


def test_processors_may_be_named_by_keyword():
    group = ProcessorGroup([["sum", ["one", "two"]], ["cut", ["sum/signal"]]], sum=Add(), cut=Crop(frame_size=2))
    outputs = group({"one": torch.ones(1, 5), "two": torch.ones(1, 5)}, return_outputs_dict=True)
    assert torch.equal(outputs["signal"], torch.full((1, 3), 2.0))
    assert outputs["controls"]["out"]["signal"] is outputs["signal"]


def test_settings_of_one_call_reach_the_processors_that_know_them():
    audio = solo_group()(group_inputs(), n_samples=321, sample_rate=8000, seed=3)
    assert audio.shape == (2, 321)


def test_a_setting_that_no_processor_knows_is_refused():
    with pytest.raises(TypeError, match=r"no processor takes .'n_sample'"):
        solo_group()(group_inputs(), n_sample=320)


def test_one_processor_may_run_twice_and_a_group_may_run_in_a_group():
    add = Add()
    inner = ProcessorGroup([[add, ["a", "b"]], [add, ["add/signal", "b"]]])
    outer = ProcessorGroup([["inner", ["inputs"]], [Crop(frame_size=2), ["inner/signal"]]], inner=inner)
    assert torch.equal(outer({"a": torch.ones(1, 4), "b": torch.ones(1, 4)}), torch.full((1, 2), 3.0))


def test_mix_needs_signals_of_one_length():
    with pytest.raises(ValueError, match="signal_two must be as long as signal_one"):
        Mix()(torch.zeros(1, 4, 1), torch.zeros(1, 5, 1), torch.zeros(1, 2, 1))


def test_crop_needs_a_known_location():
    with pytest.raises(ValueError, match="crop_location must be"):
        Crop(frame_size=2, crop_location="middle")


def test_crop_of_nothing_keeps_everything():
    audio = torch.arange(6.0)[None]
    for location in ("front", "center", "back"):
        assert torch.equal(Crop(frame_size=1, crop_location=location)(audio), audio)


def test_a_processor_of_ones_own_declares_settings_by_keyword_only_arguments():
    class Gain(Processor):
        def get_controls(self, audio, gain_db, *, trim_db=0.0):
            return {"audio": audio, "gain": 10.0 ** ((gain_db + trim_db) / 20.0)}

        def get_signal(self, audio, gain, *, invert=False):
            return -audio * gain if invert else audio * gain

    gain = Gain("gain")
    assert gain.options == {"trim_db", "invert"}
    audio, level = torch.ones(1, 3), torch.tensor(20.0)
    assert torch.equal(gain(audio, gain_db=level, trim_db=-20.0, invert=True), -audio)
