"""Nested dictionaries."""

import pytest
import torch

from fastddsp import core

NESTED = {"a": 1, "b": {"c": 2, "d": {"e": 3}}}


def test_every_nested_key_leads_to_its_value():
    assert core.nested_keys(NESTED) == ["a", "b/c", "b/d/e"]
    assert [core.nested_lookup(key, NESTED) for key in core.nested_keys(NESTED)] == [1, 2, 3]
    assert core.nested_keys(NESTED, delimiter=".", prefix="top") == ["top.a", "top.b.c", "top.b.d.e"]


def test_the_leaf_is_the_last_key():
    assert core.leaf_key("b/d/e") == "e"
    assert core.leaf_key("b.d", delimiter=".") == "d"


def test_tensors_are_one_value_and_lists_several():
    x = torch.ones(2)
    assert core.make_iterable(None) == []
    assert core.make_iterable(x) == [x]
    assert len(core.make_iterable(x.numpy())) == 1
    assert core.make_iterable(3) == [3]
    assert core.make_iterable((x, x)) == (x, x)


def test_values_get_names():
    x = torch.ones(2)
    assert core.to_dict(x, ["x"]) == {"x": x}
    assert core.to_dict([1, 2], ["a", "b"]) == {"a": 1, "b": 2}
    assert core.to_dict(NESTED, ["ignored"]) is NESTED
    with pytest.raises(ValueError, match=r"keys must be as many as the values, 2, got \['a'\]"):
        core.to_dict([1, 2], ["a"])


def test_shapes_take_the_place_of_tensors():
    x = torch.ones(2, 3)
    assert core.map_shape({"a": x, "b": {"c": [x, x[0]]}}) == {"a": [2, 3], "b": {"c": [[2, 3], [3]]}}
