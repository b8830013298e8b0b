"""Graphs of modules."""

import re
from pathlib import Path

import pytest
import torch

from fastddsp.dags import DAGLayer
from fastddsp.losses import LossGroup, SpectralLoss
from fastddsp.models.nested import nested_lookup
from fastddsp.processors import Add, Crop, ProcessorGroup


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


def test_a_group_may_stand_in_another_under_its_name():
    inner = ProcessorGroup([[Add(), ["one", "two"]]])
    assert (inner.name, DAGLayer([[Add(), ["a", "b"]]]).name) == ("processor_group", "dag_layer")
    both = {"one": torch.ones(1), "two": torch.ones(1)}
    for name in ("processor_group", "sum"):
        group = ProcessorGroup([[Add(), ["one", "two"]]], name=name)
        outer = ProcessorGroup([[group, ["inputs"]], [Add(), [f"{name}/signal", "one"]]])
        assert outer(both).item() == 3.0


def test_modules_that_are_no_processors_run_in_a_graph_too():
    group = ProcessorGroup([["net", ["a"], ["b"]], [Add(), ["a", "net/b"]]], net=torch.nn.Identity())
    assert torch.equal(group({"a": torch.ones(2)}), torch.full((2,), 2.0))


def test_a_graph_that_names_no_processor_is_refused():
    with pytest.raises(ValueError, match=r"dag names .'reverb'"):
        ProcessorGroup([["reverb", ["a"]]], add=Add())


def group_of_three():
    """A network and two processors, the second of which reads an input and both outputs before it."""
    net = torch.nn.Linear(1, 1)
    return ProcessorGroup([["net", ["inputs/a"], ["b"]], [Add(), ["a", "net/b"]], [Crop(2), ["add/signal"]]], net=net)


def test_a_graph_prints_a_line_for_every_node():
    assert group_of_three().extra_repr().splitlines() == [
        "net = Linear(inputs/a) -> b",
        "add = Add(a, net/b) -> signal, controls",
        "crop = Crop(add/signal) -> signal, controls",
    ]
    assert "  net = Linear(inputs/a) -> b\n" in repr(group_of_three())
    assert LossGroup([[SpectralLoss(), ["x", "y"]]]).extra_repr() == "spectral_loss = SpectralLoss(x, y) -> losses"


def test_a_graph_draws_itself_in_mermaid():
    assert group_of_three().mermaid().splitlines() == [
        "flowchart LR",
        '    n0(["a"])',
        '    n1["net<br/><i>Linear</i>"]',
        '    n2["add<br/><i>Add</i>"]',
        '    n3["crop<br/><i>Crop</i>"]',
        '    n4(["out"])',
        "    n0 --> n1",
        "    n0 --> n2",
        '    n1 -- "b" --> n2',
        '    n2 -- "signal" --> n3',
        "    n3 --> n4",
    ]


def test_a_graph_draws_itself_in_dot():
    assert group_of_three().graphviz().splitlines()[4:] == [
        '    n0 [label="a", shape=oval]',
        '    n1 [label="net\\nLinear"]',
        '    n2 [label="add\\nAdd"]',
        '    n3 [label="crop\\nCrop"]',
        '    n4 [label="out", shape=oval]',
        '    n0 -> n1 [label=""]',
        '    n0 -> n2 [label=""]',
        '    n1 -> n2 [label="b"]',
        '    n2 -> n3 [label="signal"]',
        '    n3 -> n4 [label=""]',
        "}",
    ]


def test_a_module_that_runs_twice_is_drawn_twice():
    group = ProcessorGroup([["add", ["a", "b"]], ["add", ["add/signal", 'the "b"']]], add=Add())
    assert group({"a": torch.ones(1), "b": torch.ones(1), 'the "b"': torch.ones(1)}).item() == 3.0
    assert '    n3 -- "signal" --> n4' in group.mermaid()
    assert '    n2(["the #quot;b#quot;"])' in group.mermaid()
    assert '    n2 [label="the \\"b\\"", shape=oval]' in group.graphviz()


def test_shapes_are_logged_when_asked_for(caplog):
    caplog.set_level("INFO")
    DAGLayer([["net", ["a"], ["b"]]], net=torch.nn.Identity()).run_dag({"a": torch.ones(2, 3)}, verbose=True)
    assert caplog.messages == ["net{'a': [2, 3]} -> {'b': [2, 3]}"]


def test_values_and_names_of_a_node_must_be_as_many():
    layer = DAGLayer([["net", ["a"], ["b", "c"]]], net=torch.nn.Identity())
    with pytest.raises(ValueError, match=r"keys must be as many as the values, 1, got \['b', 'c'\]"):
        layer({"a": torch.ones(2)})


def test_the_page_on_graphs_shows_what_its_example_draws():
    page = (Path(__file__).parents[2] / "docs" / "dags.md").read_text("utf-8")
    example, drawing = (
        re.search(rf"^```{kind}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[1] for kind in ("python", "mermaid")
    )
    names = {}
    exec(example, names)
    assert names["group"].mermaid() == drawing
