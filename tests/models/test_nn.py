"""Layers against the reference."""

import pytest
import torch

from fastddsp.models import nn
from tests.golden import load
from tests.models.golden_modules import cases_of, check_module

CASES = load("nn_layers.npz")


@pytest.mark.parametrize("case", cases_of(CASES, "training.nn.Normalize"), ids=str)
def test_normalize_agrees_with_the_reference(case):
    check_module(case, nn.Normalize(case.inp["x"].shape[-1], **case.meta["init"]))


@pytest.mark.golden
def test_fc_stack_agrees_with_the_reference():
    (case,) = cases_of(CASES, "training.nn.FcStack")
    stack = nn.FcStack(case.inp["x"].shape[-1], **case.meta["init"])
    check_module(case, torch.nn.ModuleDict({"stack": stack}), stack)


@pytest.mark.parametrize("case", cases_of(CASES, "training.nn.Rnn"), ids=str)
def test_rnn_agrees_with_the_reference(case):
    layer = nn.rnn(case.inp["x"].shape[-1], **case.meta["init"])
    if case.meta["init"]["rnn_type"] == "lstm":
        layer.bias_hh_l0.requires_grad_(False)  # torch has two biases that are added, Keras one
    check_module(case, torch.nn.ModuleDict({"rnn": layer}), lambda x: layer(x)[0])


@pytest.mark.golden
def test_rnn_carries_its_state_as_the_reference_does():
    (case,) = cases_of(CASES, "training.nn.StatelessRnn")
    layer = nn.rnn(case.inp["x"].shape[-1], **case.meta["init"])

    def step(x, state):
        y, new_state = layer(x, state[None])
        return y, new_state[0]

    check_module(case, torch.nn.ModuleDict({"rnn": layer}), step)


class Sum(nn.DictLayer):
    def compute(self, a, b, c=None):
        return {"sum": a + b + (0 if c is None else c)}


def test_a_dict_layer_takes_dictionaries_tensors_or_keywords():
    layer, one = Sum(), torch.tensor(1.0)
    assert layer({"a": one, "b": one, "other": one})["sum"] == 2
    assert layer({"a": one}, {"b": one, "c": one})["sum"] == 3
    assert layer(one, one)["sum"] == 2
    assert layer(one, {"b": one}, c=one)["sum"] == 3


def test_a_dict_layer_names_a_missing_input():
    with pytest.raises(KeyError, match=r"Sum needs 'b', but was given \['a', 'c'\]"):
        Sum()({"a": 1, "c": 2})
    with pytest.raises(TypeError, match="got 4 tensors"):
        Sum()(1, 2, 3, 4)


def test_layers_start_from_keras_initial_values():
    torch.manual_seed(0)
    layer = nn.rnn(20, 30, "lstm")
    weight = layer.weight_hh_l0.detach()
    torch.testing.assert_close(weight.T @ weight, torch.eye(30), atol=1e-5, rtol=0)
    assert layer.bias_ih_l0[30:60].eq(1).all() and layer.bias_ih_l0.sum() == 30
    linear = nn.dense(50, 30)
    limit = (6 / 80) ** 0.5
    assert 0.95 * limit < linear.weight.abs().max() <= limit and not linear.bias.any()


@pytest.mark.parametrize(
    ("make", "name"), [(lambda: nn.rnn(1, 1, "elman"), "rnn_type"), (lambda: nn.Normalize(4, "batch"), "norm_type")]
)
def test_unknown_types_are_refused(make, name):
    with pytest.raises(ValueError, match=f"{name} must be one of"):
        make()
