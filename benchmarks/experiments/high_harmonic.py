"""A training step of 1000 harmonics at 48 kHz: our oscillator bank against those of plain torch, all else the same.

    step = forward, spectral loss, backward, Adam of the preset `high_harmonic`

A rival differs in the bank alone, which is the least it can: network, noise, reverb, loss and optimizer are ours on all
sides. Its tensors are [batch, samples, harmonics], so memory is what limits its batch; the largest that leaves it alive
is what all are compared on. Every figure is of a fresh process.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fastddsp.benchmarks import measure, rivals
from fastddsp.benchmarks.experiments.common import SEED, Outcome, Row, main
from fastddsp.models.autoencoder import Autoencoder
from fastddsp.models.presets import build, load_preset
from fastddsp.models.synths import Harmonic

MODULE = "fastddsp.benchmarks.experiments.high_harmonic"
OURS = "fastddsp"
BANKS = {"magenta's way": rivals.magenta_harmonic, "ddsp_pytorch's way": rivals.ddsp_pytorch_harmonic}
F0_HZ = 21.0  # so that all 1000 harmonics sound at 48 kHz, which is the most work for us
SMALL = 0.1  # seconds of audio in which a process compiles and warms up
TRIAL = 1.0  # seconds of audio from which a rival's memory is foretold
SPARE = 0.85  # of the memory that is free, what a rival may take
LARGER = (32,)  # batches that are ours alone
STEPS, STEPS_LARGER = 5, 2  # of ours; a rival's takes up to a minute: it is timed once


class PlainHarmonic(Harmonic):
    """Harmonic synthesizer whose bank is a rival's."""

    def __init__(self, bank: Callable[..., torch.Tensor], n_samples: int, sample_rate: int):
        super().__init__(n_samples, sample_rate, amp_resample_method="linear")
        self.bank = bank

    def get_signal(self, amplitudes, harmonic_distribution, f0_hz, *, n_samples=None, sample_rate=None):
        """Audio [batch, n_samples] of the controls."""
        n_samples, sample_rate = n_samples or self.n_samples, sample_rate or self.sample_rate
        return self.bank(f0_hz, amplitudes * harmonic_distribution, n_samples, sample_rate)


def model_of(rival: str) -> Autoencoder:
    """The preset with a rival's bank, envelopes linear between frames as the rivals' are; always the same weights."""
    torch.manual_seed(SEED)
    config = load_preset("high_harmonic", amp_resample_method="linear")
    model = build(config)
    if rival != OURS:
        model.processor_group.harmonic = PlainHarmonic(BANKS[rival], config.n_samples, config.sample_rate)
    return model


def features_of(batch: int, seconds: float) -> dict[str, torch.Tensor]:
    """A batch of noise, to be matched at pitches that wander 10 % about F0_HZ."""
    config = load_preset("high_harmonic")
    generator = torch.Generator().manual_seed(SEED)
    n_frames = round(seconds * config.frame_rate)
    return {
        "audio": 0.1 * torch.randn(batch, n_frames * config.hop_size, generator=generator),
        "f0_hz": F0_HZ * (0.9 + 0.2 * torch.rand(batch, n_frames, generator=generator)),
        "loudness_db": -60.0 * torch.rand(batch, n_frames, generator=generator),
    }


def loss_and_gradients(
    rival: str, dtype: torch.dtype, batch: int = 1, seconds: float = SMALL
) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss of a small batch and its gradients by parameter, the noise the same for all."""
    model = model_of(rival).to(dtype)
    features = {key: value.to(dtype) for key, value in features_of(batch, seconds).items()}
    noise = torch.rand(features["audio"].shape, generator=torch.Generator().manual_seed(1)).to(dtype) - 0.5
    loss = model(features, return_losses=True, noise=noise)[1]["total_loss"]
    loss.backward()
    return loss.item(), {name: p.grad.double() for name, p in model.named_parameters() if p.grad is not None}


def check() -> dict[str, dict[str, float]]:
    """Errors of loss and the network's gradients in float32, against plain torch in float64; raises if ours are wrong.

    In float64 all sides must agree to far beyond float32, so that what differs in float32 is rounding.
    """
    true_loss, truth = loss_and_gradients("ddsp_pytorch's way", torch.float64)

    def errors(rival: str, dtype: torch.dtype, part: str) -> dict[str, float]:
        loss, gradients = loss_and_gradients(rival, dtype)
        distances = [float((gradients[n] - g).norm() / g.norm()) for n, g in truth.items() if n.startswith(part)]
        return {"loss": abs(loss / true_loss - 1.0), "gradients": max(distances)}

    exact = errors(OURS, torch.float64, "")
    if not (exact["loss"] < 1e-9 and exact["gradients"] < 1e-6):
        raise RuntimeError(f"a step of ours is wrong, so it is not timed: {exact}")
    return {f"{OURS}, float64": exact} | {rival: errors(rival, torch.float32, "decoder") for rival in (OURS, *BANKS)}


def _step(rival: str, batch: int, seconds: float, steps: int) -> dict[str, Any]:
    """Seconds of every step, and what the first adds to the memory of this process."""
    model = model_of(rival)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)

    def gradients(features: dict[str, torch.Tensor]) -> None:
        optimizer.zero_grad()
        model(features, return_losses=True)[1]["total_loss"].backward()

    gradients(features_of(1, SMALL))
    optimizer.zero_grad()
    features = features_of(batch, seconds)
    before = measure.current_memory()
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        gradients(features)
        optimizer.step()
        times.append(time.perf_counter() - start)
    peak = measure.peak_of_this_process()
    parts = _parts(model, features) if steps == STEPS else {}
    return {"seconds": times, "added_bytes": peak - before, "peak_bytes": peak, "parts": parts}


def _parts(model: Autoencoder, features: dict[str, torch.Tensor]) -> dict[str, float]:
    """Seconds, forward and backward, of parts of such a step: the harmonic synthesizer, the network, the loss."""
    encoded = model.encode(features)
    raw = {key: value.detach().requires_grad_() for key, value in model.decoder(encoded).items()}

    def harmonic() -> None:
        inputs = raw["amps"], raw["harmonic_distribution"], encoded["f0_hz"]
        model.processor_group.harmonic(*inputs, n_samples=features["audio"].shape[1]).sum().backward()

    def network() -> None:
        torch.cat([*model.decoder(encoded).values()], -1).sum().backward()

    def loss() -> None:
        model.loss_objs[0](features["audio"], torch.zeros_like(features["audio"]).requires_grad_()).backward()

    return measure.interleaved({"harmonic": harmonic, "network": network, "loss": loss}, 3)


def step(rival: str, batch: int, seconds: float, steps: int = 1) -> dict[str, Any]:
    """`_step` in a fresh process, on as many threads as there are cores."""
    # By way of a shell: a process inherits the peak of the one that it was forked from.
    command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-m", MODULE, "step", rival]
    run = subprocess.run([*command, *map(str, (batch, seconds, steps))], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(run.stdout.splitlines()[-1])


def free_memory() -> int:
    """Bytes that processes may still take."""
    with open("/proc/meminfo", encoding="utf-8") as meminfo:
        lines = dict(line.split(":") for line in meminfo)
    return 1024 * int(lines["MemAvailable"].split()[0])


def run(work: Path, quick: bool) -> Outcome:
    """Check, find the largest batch that a rival can do, compare on it, and go on with ours alone."""
    torch.set_num_threads(os.cpu_count() or 1)
    seconds = TRIAL if quick else load_preset("high_harmonic").n_samples / load_preset("high_harmonic").sample_rate
    errors = check()
    per_second = max(step(rival, 1, TRIAL)["added_bytes"] / TRIAL for rival in BANKS)
    batch = 1 if quick else max(1, int(SPARE * free_memory() / (per_second * seconds)))
    results = {OURS: step(OURS, batch, seconds, STEPS)} | {rival: step(rival, batch, seconds) for rival in BANKS}
    larger = {n: step(OURS, n, seconds, STEPS_LARGER) for n in LARGER if n > batch and not quick}
    return _outcome(batch, seconds, errors, results, larger, per_second)


def _outcome(batch, seconds, errors, results, larger, per_second) -> Outcome:
    ours, parts, times = results[OURS], results[OURS]["parts"], {name: _middle(r) for name, r in results.items()}
    of = f"examples of {seconds:g} s"
    rows = [Row("a step, fastddsp, in seconds", times[OURS], "", batch, of)]
    for rival in BANKS:
        memory = results[rival]["added_bytes"] / ours["added_bytes"]
        rows += [
            Row(f"time of a step, {rival}, over ours", times[rival] / times[OURS], "x", batch, of, at_least=20),
            Row(f"memory that a step adds, {rival}, over ours", memory, "x", batch, of, at_least=20),
        ]
    for n, result in larger.items():
        rows.append(Row("a step, fastddsp, in seconds: a batch that plain torch cannot do", _middle(result), "", n, of))
    rest = times[OURS] - parts["harmonic"]
    remarks = [
        f"Checked first, on {SMALL:g} s: loss and the network's gradients differ from plain torch in float64 by "
        + "; ".join(f"{e['loss']:.0e} and {e['gradients']:.0e} ({name})" for name, e in errors.items())
        + ". The rivals' errors are of their phases and grow with length, ours do not.",
        f"Of our {times[OURS]:.2f} s the network takes {parts['network']:.2f} s, the loss {parts['loss']:.2f} s and "
        f"the harmonic synthesizer with its scaling {parts['harmonic']:.2f} s. What is not the synthesizer is the same "
        "for the rivals; their synthesizers alone take "
        + " and ".join(f"{(times[rival] - rest) / parts['harmonic']:.0f} x ({rival})" for rival in BANKS)
        + " the time of ours.",
        f"A step adds {ours['added_bytes'] / 1e6:.0f} MB to our process, whose peak with Python, torch and weights is "
        f"{ours['peak_bytes'] / 1e6:.0f} MB; rivals' add "
        + " and ".join(f"{results[rival]['added_bytes'] / 1e9:.1f} GB ({rival})" for rival in BANKS)
        + ".",
    ]
    if larger:
        needs = [
            f"{n} examples: ours {r['added_bytes'] / 1e9:.2f} GB, plain torch {n * seconds * per_second / 1e9:.0f} GB"
            for n, r in larger.items()
        ]
        remarks.append(f"Memory of batches that plain torch cannot do here, its own foretold: {'; '.join(needs)}.")
    text = (
        "Forward, spectral loss, backward and Adam of the preset `high_harmonic`, on noise, at pitches about 21 Hz, "
        f"where all 1000 harmonics sound. The batch, {batch} x {seconds:g} s, is the largest that leaves plain torch "
        "alive on this machine. Plain torch differs from ours in the oscillator bank alone: network, noise, reverb, "
        "loss and optimizer are ours on all sides, and envelopes are linear between frames. Each figure is of a fresh "
        f"process on all cores, warmed up on {SMALL:g} s of audio; ours is the median of {STEPS} steps, a "
        "rival's is one step. Memory is what the peak of a process adds to what it held before the steps."
    )
    details = {"errors": errors, "steps": results, "larger": {str(n): r for n, r in larger.items()}}
    return Outcome("K=1000 at 48 kHz against plain torch", text, rows, remarks=remarks, details=details)


def _middle(result: dict[str, Any]) -> float:
    return sorted(result["seconds"])[len(result["seconds"]) // 2]


if __name__ == "__main__":
    if sys.argv[1:2] == ["step"]:
        _, _, rival, batch, seconds, steps = sys.argv
        print(json.dumps(_step(rival, int(batch), float(seconds), int(steps))))
    else:
        main(run)
