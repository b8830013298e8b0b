"""Fixtures of the models' tests."""

import pytest

from fastddsp.autograd import oscillators
from tests.models import float32_phase


@pytest.fixture
def reference_phase(monkeypatch):
    """Harmonic synthesis with the reference's float32 phase, so that all the rest can be compared tightly."""
    monkeypatch.setattr(oscillators, "harmonic_synthesis", float32_phase.harmonic_synthesis)
