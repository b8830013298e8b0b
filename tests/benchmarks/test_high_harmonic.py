"""The training step of 1000 harmonics is compared with what computes the same."""

import pytest
import torch

pytest.importorskip("lightning", reason='experiments need pip install "fastddsp[train]"')

from fastddsp.benchmarks.experiments import high_harmonic
from fastddsp.models.synths import Harmonic


@pytest.mark.parametrize("rival", high_harmonic.BANKS)
def test_a_rival_makes_the_same_sound_of_the_same_raw_controls(rival):
    torch.manual_seed(0)
    raw = torch.randn(2, 4, 1).double(), torch.randn(2, 4, 30).double(), 100 + 10 * torch.rand(2, 4, 1).double()
    rate = {"n_samples": 4 * 64, "sample_rate": 16000}
    ours = Harmonic(**rate, amp_resample_method="linear")(*raw)
    plain = high_harmonic.PlainHarmonic(high_harmonic.BANKS[rival], **rate)(*raw)
    # A rival's phase is a sum of 256 rounded numbers up to 2 pi 30 turns; float64 keeps 1e-12 of that.
    torch.testing.assert_close(plain, ours, rtol=0, atol=1e-10)


def test_all_sides_start_with_the_same_weights_and_hear_the_same_batch():
    ours, plain = (high_harmonic.model_of(name).state_dict() for name in (high_harmonic.OURS, "magenta's way"))
    assert ours.keys() == plain.keys() and all(torch.equal(ours[name], plain[name]) for name in ours)
    first, again = (high_harmonic.features_of(2, 0.02) for _ in range(2))
    assert first["audio"].shape == (2, 960) and all(torch.equal(first[name], again[name]) for name in first)
    assert first["f0_hz"].max() * 1000 < 24000  # every harmonic sounds


def test_a_page_can_be_made_of_what_was_measured():
    def result(seconds, added):
        return {"seconds": [seconds], "added_bytes": added, "peak_bytes": 2 * added}

    parts = {"harmonic": 0.1, "network": 0.5, "loss": 0.2}
    results = {name: result(30.0, 2e10) for name in high_harmonic.BANKS}
    results[high_harmonic.OURS] = result(1.0, 5e8) | {"parts": parts}
    errors = {name: {"loss": 1e-9, "gradients": 1e-7} for name in results}
    found = high_harmonic._outcome(5, 4.0, errors, results, {16: result(3.0, 1e9)}, 1e9)
    times = [row for row in found.rows if row.what.startswith("time of a step, magenta's way")]
    assert times[0].value == 30.0 and times[0].met()
    assert "plain torch 64 GB" in " ".join(found.remarks)
    assert "291 x (magenta's way)" in " ".join(found.remarks)  # (30 - 0.9) / 0.1
