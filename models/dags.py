"""A model as a list of nodes: which module runs, on which keys of a growing dictionary of outputs; its drawings.

    node    = [module, [input_key, ...]]  or  [module, [input_key, ...], [output_key, ...]]
    outputs = {"inputs": inputs, **inputs, name_1: outputs_1, name_2: outputs_2, ..., "out": outputs_last}

A key may be nested: "harmonic/controls/f0_hz" is `outputs["harmonic"]["controls"]["f0_hz"]`. Nodes run in the order
of the list, so a node may read only what stands before it.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from fastddsp.models.nested import map_shape, nested_lookup, to_dict

__all__ = ["DAG", "DAGLayer", "Node", "is_loss", "is_module", "is_processor"]

Node = Sequence[Any]
DAG = Sequence[Node]
RESERVED = ("inputs", "out")
log = logging.getLogger(__name__)


def is_module(v: Any) -> bool:
    """Whether v can stand in a graph."""
    return isinstance(v, nn.Module)


def is_loss(v: Any) -> bool:
    """Whether v runs as a loss: by `get_losses_dict`."""
    return hasattr(v, "get_losses_dict")


def is_processor(v: Any) -> bool:
    """Whether v runs as a processor: it gives controls and a signal."""
    return hasattr(v, "get_signal") and hasattr(v, "get_controls")


class DAGLayer(nn.Module):
    """Runs modules one after the other, each on named outputs of the earlier ones.

    Args:
        dag: List of nodes [module, input_keys] or [module, input_keys, output_keys]. `module` is a module with a
            `name`, or the name of one of `modules`. `output_keys` name the returned values of a module that does not
            return a dictionary (default "out").
        name: Key of this layer's outputs in another graph; by default that of its class, such as "processor_group".
        **modules: Modules by name; each becomes a sub-module (`dag_layer.reverb`).

    Raises:
        ValueError: A node is malformed, or names a module or an input that does not exist.
    """

    def __init__(self, dag: DAG, *, name: str | None = None, **modules: nn.Module):
        super().__init__()
        self.name = name or _snake_case(type(self).__name__)
        if not dag:
            raise ValueError("dag must have at least one node")
        self.dag = []
        for node in dag:
            if len(node) not in (2, 3):
                raise ValueError(
                    f"a node of dag must be [module, input_keys] or [module, input_keys, output_keys], got {node}"
                )
            module, *keys = node
            if is_module(module):
                its_name = getattr(module, "name", None)
                if not isinstance(its_name, str):
                    raise ValueError(f"a {type(module).__name__} in a dag must have a name, or be given by keyword")
                if modules.setdefault(its_name, module) is not module:
                    raise ValueError(f"a dag must not have two modules called {its_name!r}: give one another name")
                module = its_name
            self.dag.append((module, *(tuple(names) for names in keys)))
        for given_name, given in modules.items():
            if given_name in RESERVED or hasattr(type(self), given_name) or hasattr(self, given_name):
                raise ValueError(f"a module of a dag must not be called {given_name!r}: that name is taken")
            self.add_module(given_name, given)
        self.module_names = list(modules)
        if unknown := {node[0] for node in self.dag} - set(modules):
            raise ValueError(f"dag names {sorted(unknown)}, but the modules are {self.module_names}")

    def run_dag(self, inputs: Mapping[str, Any], verbose: bool = False, **options: Any) -> dict[str, Any]:
        """Runs every node.

        Args:
            inputs: Dictionary of tensors, not modified.
            verbose: Log the shapes that go into and come out of every node, at level INFO.
            **options: Settings for this call, such as n_samples; each goes to those processors that know it.

        Returns:
            Nested dictionary of inputs and of every module's outputs; processors give "signal" and "controls".
        """
        outputs: dict[str, Any] = {"inputs": inputs, **inputs}
        for name, input_keys, *output_keys in self.dag:
            module = getattr(self, name)
            arguments = [nested_lookup(key, outputs) for key in input_keys]
            if is_processor(module):
                known = {key: value for key, value in options.items() if key in module.options}
                result = module(*arguments, return_outputs_dict=True, **known)
            elif is_loss(module):
                result = module.get_losses_dict(*arguments)
            else:
                result = module(*arguments)
            if not isinstance(result, Mapping):
                result = to_dict(result, output_keys[0] if output_keys else ("out",))
            if verbose:
                log.info(
                    "%s%s -> %s", name, map_shape(dict(zip(input_keys, arguments, strict=True))), map_shape(result)
                )
            outputs[name] = result
        outputs["out"] = result
        return outputs

    def forward(self, inputs: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        """Alias of `run_dag`."""
        return self.run_dag(inputs, **options)

    def extra_repr(self) -> str:
        """The graph, one line a node: name = module(inputs) -> outputs."""
        return "\n".join(
            f"{node[0]} = {self._kind(node)}({', '.join(node[1])}) -> {', '.join(self._output_keys(node))}"
            for node in self.dag
        )

    def mermaid(self) -> str:
        """The graph as a Mermaid flowchart, which GitHub and GitLab draw in a block marked `mermaid`."""
        names, edges = self._drawing()
        lines = ["flowchart LR"]
        for i, (name, kind) in enumerate(names):
            label = _mermaid_text(name) + (f"<br/><i>{kind}</i>" if kind else "")
            lines.append(f'    n{i}["{label}"]' if kind else f'    n{i}(["{label}"])')
        for source, key, target in edges:
            lines.append(
                f'    n{source} -- "{_mermaid_text(key)}" --> n{target}' if key else f"    n{source} --> n{target}"
            )
        return "\n".join(lines) + "\n"

    def graphviz(self) -> str:
        """The graph in the DOT language, which `dot -Tsvg` and the graphviz package draw."""
        names, edges = self._drawing()
        lines = [
            "digraph {",
            "    rankdir=LR",
            "    node [shape=box, fontname=Helvetica]",
            "    edge [fontname=Helvetica]",
        ]
        for i, (name, kind) in enumerate(names):
            label = _dot_text(name) + (f"\\n{kind}" if kind else "")
            lines.append(f'    n{i} [label="{label}"]' if kind else f'    n{i} [label="{label}", shape=oval]')
        lines += [f'    n{source} -> n{target} [label="{_dot_text(key)}"]' for source, key, target in edges]
        return "\n".join([*lines, "}"]) + "\n"

    def _kind(self, node: Node) -> str:
        return type(getattr(self, node[0])).__name__

    def _output_keys(self, node: Node) -> Sequence[str]:
        """What a node's module returns, as far as that can be known before it runs."""
        module = getattr(self, node[0])
        if is_processor(module):
            return ("signal", "controls")
        if is_loss(module):
            return ("losses",)
        return node[2] if len(node) > 2 else ("...",)

    def _drawing(self) -> tuple[list[tuple[str, str]], list[tuple[int, str, int]]]:
        """What is drawn: [(name, kind of module; "" for inputs and the result)], [(source, key, target)] by number."""
        inputs = dict.fromkeys(source for _, source, _ in self._arrows() if isinstance(source, str))
        names = [(name, "") for name in inputs] + [(node[0], self._kind(node)) for node in self.dag] + [("out", "")]
        number = {name: i for i, name in enumerate(inputs)}
        place = [*range(len(inputs), len(names))]
        edges = [
            (number[source] if isinstance(source, str) else place[source], key, place[target])
            for target, source, key in self._arrows()
        ]
        return names, [*edges, (place[-2], "", place[-1])]

    def _arrows(self) -> Iterator[tuple[int, str | int, str]]:
        """(place in the list of nodes, its source: an input's name or another place, key of the source's outputs)."""
        latest: dict[str, int] = {}
        for place, (name, input_keys, *_) in enumerate(self.dag):
            for nested_key in input_keys:
                first, _, rest = nested_key.partition("/")
                if first in latest:
                    yield place, latest[first], rest
                else:
                    yield place, rest if first == "inputs" and rest else nested_key, ""
            latest[name] = place


def _snake_case(name: str) -> str:
    """Keras' name of a layer of this class: "DAGLayer" is "dag_layer"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _mermaid_text(text: str) -> str:
    return text.replace("#", "#35;").replace('"', "#quot;")


def _dot_text(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
