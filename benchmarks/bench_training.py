"""What training costs: the DSP's share of a step, and the wait for kernels before the first one."""

import os
import statistics
import subprocess
import sys

import pytest
import torch

from fastddsp.benchmarks import measure

STEP = """
import time, torch
from fastddsp.models.presets import build, load_preset
torch.manual_seed(0)
def step():
    model = build(load_preset("tiny", n_samples=3200))
    frames = torch.full((1, 50), 220.0), torch.zeros(1, 50)
    _, losses = model(dict(audio=torch.randn(1, 3200), f0_hz=frames[0], loudness_db=frames[1]), return_losses=True)
    losses["total_loss"].backward()
start = time.perf_counter(); step(); first = time.perf_counter() - start
start = time.perf_counter(); step(); again = time.perf_counter() - start
print(first - again)
"""


def bench_dsp_share_of_a_training_step(benchmark):
    """Synths, filter and loss against the whole step of `solo_instrument`, B=16, 4 s; the reverb stands beside them."""
    from fastddsp.models.presets import build, load_preset

    torch.manual_seed(0)
    model = build(load_preset("solo_instrument"))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    features = {
        "audio": 0.1 * torch.randn(16, 64000),
        "f0_hz": 440 * (0.9 + 0.2 * torch.rand(16, 1000)),
        "loudness_db": torch.rand(16, 1000),
    }
    encoded = model.encode(features)
    raw = {key: value.detach().requires_grad_() for key, value in model.decoder(encoded).items()}
    dry = torch.randn(16, 64000, requires_grad=True)

    def step():
        optimizer.zero_grad()
        model(features, return_losses=True)[1]["total_loss"].backward()
        optimizer.step()

    def harmonic():
        synth = model.processor_group.harmonic
        controls = synth.get_controls(raw["amps"], raw["harmonic_distribution"], encoded["f0_hz"])
        synth.get_signal(**controls, n_samples=64000).sum().backward()

    def noise():
        synth = model.processor_group.filtered_noise
        synth.get_signal(**synth.get_controls(raw["noise_magnitudes"]), n_samples=64000).sum().backward()

    def reverb():
        model.processor_group.reverb(dry).sum().backward()

    def loss():
        model.loss_objs[0](features["audio"], dry).backward()

    parts = {"step": step, "harmonic": harmonic, "noise": noise, "loss": loss, "reverb": reverb}
    seconds = measure.interleaved(parts, 3)
    benchmark.extra_info["seconds"] = seconds
    benchmark.extra_info["dsp_share"] = (seconds["harmonic"] + seconds["noise"] + seconds["loss"]) / seconds["step"]
    benchmark.pedantic(loss, rounds=3)


@pytest.mark.parametrize("cached", [False, True])
def bench_kernels_before_the_first_training_step(cached, benchmark, tmp_path):
    """The first step's time beyond the second's, in a fresh process: compiling without caches, loading with them."""

    def wait(cache) -> float:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
        run = subprocess.run([sys.executable, "-c", STEP], env=environment, check=True, capture_output=True, text=True)
        return float(run.stdout)

    if cached:
        wait(tmp_path)
    seconds = [wait(tmp_path if cached else tmp_path / str(i)) for i in range(3)]
    benchmark.extra_info["seconds"] = statistics.median(seconds)
    benchmark.pedantic(lambda: None, rounds=1)  # the figure is in extra_info: it was taken in another process
