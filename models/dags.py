"""A model as a list of nodes: which module runs, on which keys of a growing dictionary of outputs.

    node    = [module, [input_key, ...]]  or  [module, [input_key, ...], [output_key, ...]]
    outputs = {"inputs": inputs, **inputs, name_1: outputs_1, name_2: outputs_2, ..., "out": outputs_last}

A key may be nested: "harmonic/controls/f0_hz" is outputs["harmonic"]["controls"]["f0_hz"]. Nodes run in the order of
the list, so a node may read only what stands before it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

__all__ = ["DAGLayer", "nested_lookup"]

Node = Sequence[Any]
DAG = Sequence[Node]
RESERVED = ("inputs", "out")


def nested_lookup(key: str, nested: Mapping[str, Any], delimiter: str = "/") -> Any:
    """Value at a nested key, such as "reverb/signal", of a dictionary of dictionaries.

    Args:
        key: Keys from the outside in, joined by `delimiter`.
        nested: Dictionary of dictionaries.
        delimiter: What separates the keys.

    Returns:
        The value found there.

    Raises:
        KeyError: No such key; the message lists the keys that there are.
    """
    value: Any = nested
    for part in key.split(delimiter):
        if not isinstance(value, Mapping) or part not in value:
            there = sorted(value) if isinstance(value, Mapping) else type(value).__name__
            raise KeyError(f"no {part!r} of {key!r} among {there}")
        value = value[part]
    return value


class DAGLayer(nn.Module):
    """Runs modules one after the other, each on named outputs of the earlier ones.

    Args:
        dag: List of nodes [module, input_keys] or [module, input_keys, output_keys]. `module` is a module with a
            `name`, or the name of one of `modules`. `output_keys` name the returned values of a module that does not
            return a dictionary (default "out").
        **modules: Modules by name; each becomes a sub-module (`dag_layer.reverb`).

    Raises:
        ValueError: A node is malformed, or names a module or an input that does not exist.
    """

    def __init__(self, dag: DAG, **modules: nn.Module):
        super().__init__()
        if not dag:
            raise ValueError("dag must have at least one node")
        self.dag = []
        for node in dag:
            if len(node) not in (2, 3):
                raise ValueError(
                    f"a node of dag must be [module, input_keys] or [module, input_keys, output_keys], got {node}"
                )
            module, *keys = node
            if isinstance(module, nn.Module):
                name = getattr(module, "name", None)
                if not isinstance(name, str):
                    raise ValueError(f"a {type(module).__name__} in a dag must have a name, or be given by keyword")
                if modules.get(name, module) is not module:
                    raise ValueError(f"a dag must not have two modules called {name!r}: give one of them another name")
                modules[name] = module
                module = name
            self.dag.append((module, *(tuple(names) for names in keys)))
        for name, module in modules.items():
            if name in RESERVED or hasattr(type(self), name) or hasattr(self, name):
                raise ValueError(f"a module of a dag must not be called {name!r}: that name is taken")
            self.add_module(name, module)
        self.module_names = list(modules)
        if unknown := {node[0] for node in self.dag} - set(modules):
            raise ValueError(f"dag names {sorted(unknown)}, but the modules are {self.module_names}")

    def run_dag(self, inputs: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        """Runs every node.

        Args:
            inputs: Dictionary of tensors, not modified.
            **options: Settings for this call, such as n_samples; each goes to those processors that know it.

        Returns:
            Nested dictionary of inputs and of every module's outputs; processors give "signal" and "controls".
        """
        outputs: dict[str, Any] = {"inputs": inputs, **inputs}
        for name, input_keys, *output_keys in self.dag:
            module = getattr(self, name)
            arguments = [nested_lookup(key, outputs) for key in input_keys]
            if hasattr(module, "get_signal"):
                known = {key: value for key, value in options.items() if key in module.options}
                result = module(*arguments, return_outputs_dict=True, **known)
            elif hasattr(module, "get_losses_dict"):
                result = module.get_losses_dict(*arguments)
            else:
                result = module(*arguments)
            if not isinstance(result, Mapping):
                values = result if isinstance(result, tuple) else (result,)
                result = dict(zip(output_keys[0] if output_keys else ("out",), values, strict=True))
            outputs[name] = result
        outputs["out"] = result
        return outputs

    def forward(self, inputs: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        """Alias of `run_dag`."""
        return self.run_dag(inputs, **options)

    def extra_repr(self) -> str:
        """The graph, one line a node."""
        return "\n".join(f"{', '.join(keys)} -> {name}" for name, keys, *_ in self.dag)
