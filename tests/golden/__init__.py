"""Numbers of magenta/ddsp 3.7.0 that this project must reproduce, and the means to read and compare them.

    for case in load("core_resample.npz"):
        out = resample(torch.tensor(case.inp["inputs"]), **case.args)   # compare with case.out["out"]

README.md says how the files were made and which rules apply; `compare.check` applies them to one port of one function.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

__all__ = ["Case", "grad_probe", "load", "weight_values"]

FOLDER = Path(__file__).parent
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """One call of the reference: what went in, what came out, and the gradients of sum(out * cot).

    The fields are dictionaries of arrays by name (README.md lists the kinds), empty where the case has none.
    """

    name: str
    meta: dict
    inp: Arrays = field(default_factory=dict)  # in the order of the call
    out: Arrays = field(default_factory=dict)
    cot: Arrays = field(default_factory=dict)
    grad: Arrays = field(default_factory=dict)
    grad_slice: Arrays = field(default_factory=dict)
    grad_norm: Arrays = field(default_factory=dict)
    grad_probe: Arrays = field(default_factory=dict)
    var: Arrays = field(default_factory=dict)
    var_after: Arrays = field(default_factory=dict)
    true64: Arrays = field(default_factory=dict)
    true64_grad: Arrays = field(default_factory=dict)
    true64_grad_slice: Arrays = field(default_factory=dict)
    noise: list[np.ndarray] = field(default_factory=list)  # in the order of the reference's random calls

    @property
    def function(self) -> str:
        """Dotted name of the reference's function, such as `core.resample`."""
        return self.meta["function"]

    @property
    def args(self) -> dict:
        """The arguments of the call that are not arrays."""
        return self.meta["args"]

    def __str__(self) -> str:
        return self.name  # so that a parametrized test shows the case's name


# Stored kind -> field of Case. Keys in the files are `<case>/<kind>/<name>`.
FIELD_OF_KIND = {"in": "inp"} | {
    kind: kind
    for kind in (
        *("out", "cot", "grad", "grad_slice", "grad_norm", "grad_probe", "var", "var_after"),
        *("true64", "true64_grad", "true64_grad_slice", "noise"),
    )
}


def load(file: str, function: str | None = None) -> list[Case]:
    """Read the cases of one golden file.

    Args:
        file: its name in this folder, such as "core_resample.npz".
        function: keep only the cases of this function of the reference, such as "core.fft_convolve".

    Returns:
        The cases, in the order in which they were made.
    """
    with np.load(FOLDER / file) as stored:
        metas = json.loads(str(stored["__meta__"]))
        keys_of_case: dict[str, list[str]] = {name: [] for name in metas}
        for key in stored.files:
            if key != "__meta__":
                keys_of_case[key.split("/")[0]].append(key)
        return [
            _read_case(stored, name, meta, keys_of_case[name])
            for name, meta in metas.items()
            if function is None or meta["function"] == function
        ]


def _read_case(stored: np.lib.npyio.NpzFile, name: str, meta: dict, keys: list[str]) -> Case:
    # An array that repeats is stored once: `same_as` maps "<kind>/<name>" to the full key that holds it.
    source = {key.split("/", 1)[1]: key for key in keys} | meta.get("same_as", {})
    fields: dict[str, Arrays] = {attribute: {} for attribute in FIELD_OF_KIND.values()}
    for kind_and_name, key in source.items():
        kind, array_name = kind_and_name.split("/", 1)
        fields[FIELD_OF_KIND[kind]][array_name] = stored[key]
    call_order = list(meta.get("inputs", fields["inp"]))
    fields["inp"] = {array_name: fields["inp"][array_name] for array_name in call_order}
    noise = [fields["noise"][index] for index in sorted(fields["noise"], key=int)]
    return Case(name, meta, **(fields | {"noise": noise}))


def weight_values(name: str, shape: tuple[int, ...], salt: str = "shared") -> np.ndarray:
    """Weight `name` of the model in models_full_size.npz: a function of its name, so that the file need not hold it.

    Args:
        name: the reference's name of the weight, such as "decoder.rnn.kernel".
        shape: Keras layout.
        salt: part of the seed; "shared" is what the file was made with.

    Returns:
        float32 array of that shape.
    """
    uniform = np.random.RandomState(_seed(salt + name)).uniform(-1.0, 1.0, size=tuple(shape))
    leaf = name.rsplit(".", 1)[-1]
    if leaf in ("kernel", "recurrent_kernel"):
        values = uniform * np.sqrt(3.0 / shape[0])
    elif leaf in ("gamma", "scale"):
        values = 1.0 + 0.2 * uniform
    elif leaf == "ir":
        values = uniform * 0.05 * np.exp(-4.0 * np.arange(shape[0]) / shape[0])
    else:
        values = 0.1 * uniform
    return values.astype(np.float32)


def grad_probe(name: str, grad: np.ndarray) -> float:
    """Inner product of a weight's gradient with a fixed random direction, in float64 (kind `grad_probe`)."""
    direction = np.random.RandomState(_seed("probe" + name)).uniform(-1.0, 1.0, grad.shape)
    return float(np.sum(np.asarray(grad, np.float64) * direction))


def _seed(text: str) -> int:
    return zlib.crc32(text.encode()) & 0x7FFFFFFF
