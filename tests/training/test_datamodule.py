from itertools import chain

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from fastddsp.models.encoders import OneHotEncoder
from fastddsp.models.midi_autoencoder import midi_ae
from fastddsp.training.datamodule import InstrumentData, Mixture, Shuffle, StepSampler
from fastddsp.training.labels import Selection
from fastddsp.training.prepare import prepare
from tests.training.layouts import write_nsynth
from tests.training.models import two_tones


def test_every_window_comes_once_before_any_comes_twice():
    order = list(chain.from_iterable(StepSampler(Shuffle(7, 0), batch_size=3, n_steps=14)))
    assert len(order) == 42
    for epoch in range(6):
        assert sorted(order[7 * epoch : 7 * epoch + 7]) == list(range(7))
    assert order[:7] != order[7:14]


def test_a_resumed_run_sees_the_batches_it_would_have_seen():
    whole = list(StepSampler(Shuffle(5, 3), 2, n_steps=20))
    assert list(StepSampler(Shuffle(5, 3), 2, n_steps=20, first_step=13)) == whole[13:]
    assert list(StepSampler(Shuffle(5, 4), 2, n_steps=20)) != whole


def test_processes_share_the_stream_without_overlap():
    alone = StepSampler(Shuffle(12, 0), 4, n_steps=6)
    ranks = [StepSampler(Shuffle(12, 0), 2, n_steps=6, rank=rank, n_ranks=2) for rank in (0, 1)]
    assert [a + b for a, b in zip(*ranks, strict=True)] == list(alone)


@pytest.mark.parametrize("first_step", [0, 5])
def test_its_length_counts_the_whole_run(first_step):
    assert len(StepSampler(Shuffle(5, 0), 2, n_steps=20, first_step=first_step)) == 20


def drawn(order, n):
    return [order[position] for position in range(n)]


def test_a_mixture_has_the_proportions_asked_for_and_every_window_in_its_turn():
    order = Mixture([5, 2, 3], [6, 3, 1], seed=4)
    windows = np.array(drawn(order, 20_000))
    shares = [np.mean((windows >= a) & (windows < b)) for a, b in ((0, 5), (5, 7), (7, 10))]
    # Standard deviation of a share p of n draws: sqrt(p (1 - p) / n) <= 0.0035; five of them.
    np.testing.assert_allclose(shares, [0.6, 0.3, 0.1], atol=0.018)
    first = windows[windows < 5]
    for epoch in range(len(first) // 5):
        assert sorted(first[5 * epoch : 5 * epoch + 5]) == [0, 1, 2, 3, 4]


def test_a_mixture_is_read_at_any_position_and_the_seed_decides():
    whole = drawn(Mixture([5, 8], [0.5, 0.5], seed=1), 10_000)
    later = Mixture([5, 8], [0.5, 0.5], seed=1)
    assert [later[position] for position in range(9_990, 10_000)] == whole[9_990:]
    assert [later[position] for position in (4096, 4095, 0)] == [whole[4096], whole[4095], whole[0]]
    assert drawn(Mixture([5, 8], [0.5, 0.5], seed=2), 100) != whole[:100]


def test_a_set_of_no_proportion_is_left_out():
    assert set(drawn(Mixture([5, 0, 3], [1, 0, 0], seed=0), 100)) == set(range(5))


@pytest.mark.parametrize(
    ("sizes", "proportions", "message"),
    [
        ([5, 8], [1.0], "as many as the data sets, 2, got 1"),
        ([5, 8], [1.0, -1.0], "0 or more"),
        ([5, 8], [0.0, 0.0], "not all 0"),
        ([5, 8], [1.0, float("nan")], "0 or more"),
        ([5, 0], [1.0, 1.0], "data set 2 has a proportion, but no window"),
    ],
)
def test_impossible_proportions_are_refused(sizes, proportions, message):
    with pytest.raises(ValueError, match=message):
        Mixture(sizes, proportions, seed=0)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Two prepared data sets: notes of NSynth with splits, and two tones of which nothing is known."""
    folder = tmp_path_factory.mktemp("sets")
    write_nsynth(folder / "nsynth-train", [("violin", key, 100) for key in (60, 66, 72, 78)])
    write_nsynth(folder / "nsynth-valid", [("violin", 61, 100), ("flute", 79, 100)])
    write_nsynth(folder / "nsynth-test", [("violin", 62, 100)])
    prepare([folder], folder / "notes", f0="labels", progress=False)
    return str(folder / "notes"), str(two_tones(folder / "tones"))


def data(folder, **options):
    return InstrumentData(folder, batch_size=4, window_seconds=0.2, hop_seconds=0.2, **options)


def pitches(windows):
    return sorted({sound.labels.pitch for sound in windows.sounds}) if windows else []


@pytest.mark.parametrize(
    ("options", "trained", "held_out"),
    [
        ({}, [60, 66, 72, 78], [61, 79]),
        ({"select": Selection(max_pitch=72)}, [60, 66, 72], [61]),
        (
            {"select": Selection(max_pitch=72), "valid_select": Selection(min_pitch=73, max_pitch=84)},
            [60, 66, 72],
            [78, 79],
        ),
        ({"valid_select": Selection(split="test")}, [60, 66, 72, 78], [62]),
        ({"select": Selection(split=["train", "valid"]), "valid_share": 0}, [60, 61, 66, 72, 78, 79], []),
        (
            {"select": Selection(split=["train", "test"]), "valid_select": Selection(min_pitch=70)},
            [60, 62, 66],
            [72, 78, 79],
        ),
    ],
)
def test_what_is_held_out_or_a_test_is_not_trained_on(sets, options, trained, held_out):
    batches = data(sets[0], **options)
    assert pitches(batches.train_windows) == trained
    assert pitches(batches.valid_windows) == held_out
    assert batches.instruments == ["flute", "violin"]


def test_without_splits_the_end_of_every_recording_is_held_out(sets):
    batches = data(sets[1], valid_share=0.2)
    assert {end for _, _, end in batches.train_windows.windows} <= set(range(201))
    assert {start for _, start, _ in batches.valid_windows.windows} == {200}


def test_data_sets_are_mixed_in_batches(sets):
    batches = data(list(sets), proportions=[3, 1], valid_share=0)
    windows = batches.train_windows
    numbers = drawn(batches.order, 4000)
    from_tones = np.mean([number >= windows.set_sizes[0] for number in numbers])
    assert from_tones == pytest.approx(0.25, abs=5 * np.sqrt(0.25 * 0.75 / 4000))
    batch = default_collate([windows[0], windows[len(windows) - 1]])
    assert batch["instrument"].tolist() == [1, -1]
    assert batch["f0_hz"].shape == (2, 50, 1)


def test_batches_are_what_encoders_and_midi_models_read(sets):
    windows = data(sets[0], scores=True).train_windows
    batch = default_collate([windows[0], windows[1]])
    assert OneHotEncoder(vocab_size=2, n_dims=3)(batch)["z"].shape == (2, 1, 3)
    torch.manual_seed(0)
    model = midi_ae(ch=4, n_harmonics=4, n_noise_bands=5, n_samples=3200, reverb_length=0)
    outputs, losses = model(batch, return_losses=True)
    assert outputs["midi_audio"].shape == (2, 3200)
    torch.testing.assert_close(outputs["q_pitch"][:, 0, 0], batch["pitch"].float())
    assert losses["total_loss"].isfinite()
