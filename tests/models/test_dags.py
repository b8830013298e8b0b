"""Graphs of modules."""

import pytest
import torch

from fastddsp.models.dags import DAGLayer, nested_lookup
from fastddsp.models.processors import Add, ProcessorGroup


def test_nested_keys_reach_into_outputs():
    layer = DAGLayer([["add", ["one", "inputs/two"]]], add=Add())
    outputs = layer({"one": torch.ones(1), "two": torch.ones(1)})
    assert nested_lookup("add/controls/signal_two", outputs) is outputs["two"]
    assert nested_lookup("out.signal", outputs, delimiter=".").item() == 2.0


def test_a_missing_key_is_named_with_those_that_there_are():
    layer = DAGLayer([["add", ["one", "add/signal"]]], add=Add())
    with pytest.raises(KeyError, match=r"no 'add' of 'add/signal' among \['inputs', 'one'\]"):
        layer({"one": torch.ones(1)})
    with pytest.raises(KeyError, match="no 'b' of 'a/b' among Tensor"):
        nested_lookup("a/b", {"a": torch.ones(1)})


@pytest.mark.parametrize("name", ["modules", "forward", "dag", "processors", "inputs", "out"])
def test_a_processor_must_not_take_a_name_that_is_taken(name):
    with pytest.raises(ValueError, match=f"must not be called '{name}'"):
        ProcessorGroup([[Add(name=name), ["a", "b"]]])


def test_two_processors_must_not_share_a_name():
    with pytest.raises(ValueError, match="two modules called 'add'"):
        ProcessorGroup([[Add(), ["a", "b"]], [Add(), ["add/signal", "b"]]])


def test_an_empty_or_malformed_graph_is_refused():
    with pytest.raises(ValueError, match="at least one node"):
        ProcessorGroup([])
    with pytest.raises(ValueError, match="a node of dag must be"):
        ProcessorGroup([[Add()]])
    with pytest.raises(ValueError, match="a Linear in a dag must have a name"):
        ProcessorGroup([[torch.nn.Linear(1, 1), ["a"]]])


def test_modules_that_are_no_processors_run_in_a_graph_too():
    group = ProcessorGroup([["net", ["a"], ["b"]], [Add(), ["a", "net/b"]]], net=torch.nn.Identity())
    assert torch.equal(group({"a": torch.ones(2)}), torch.full((2,), 2.0))


def test_a_graph_that_names_no_processor_is_refused():
    with pytest.raises(ValueError, match=r"dag names .'reverb'"):
        ProcessorGroup([["reverb", ["a"]]], add=Add())
