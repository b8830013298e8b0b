"""Fixtures of the models' tests."""

import pytest

from fastddsp.autograd import oscillators, partials, wavetable
from tests.models import float32_phase


@pytest.fixture
def reference_phase(monkeypatch):
    """Oscillators with the reference's float32 phase, so that all the rest can be compared tightly."""
    monkeypatch.setattr(oscillators, "harmonic_synthesis", float32_phase.harmonic_synthesis)
    monkeypatch.setattr(partials, "sinusoidal_bank", float32_phase.sinusoidal_bank)
    monkeypatch.setattr(wavetable, "wavetable_synthesis", float32_phase.wavetable_synthesis)
