"""The doors: a call written for magenta/ddsp finds its name, its arguments and their defaults."""

import ast
import inspect
from functools import reduce
from pathlib import Path

import pytest
import torch

import fastddsp
from fastddsp import core, dags, effects, losses, processors, spectral_ops, synths
from fastddsp.models import preprocessing
from tests.golden import FOLDER, load

DOORS = {"core": core, "spectral_ops": spectral_ops}
TENSORFLOW_ONLY = {"use_tf"}

# magenta/ddsp 3.7.0's public names with their arguments (those of `call` under `__call__`), by module.
MAGENTA = Path(__file__).with_name("magenta_names.txt")
ALL_DOORS = {
    **DOORS,
    "synths": synths,
    "effects": effects,
    "processors": processors,
    "losses": losses,
    "dags": dags,
    "preprocessing": preprocessing,
}
# docs/parity.md quotes these reasons.
LEFT_OUT = {
    "TensorFlow's types and layers: here torch.Tensor and torch.nn": (
        "core.Number",
        "core.copy_if_tf_function",
        "core.tf_float32",
        "dags.KeyOrModule",
        "dags.TensorDict",
        "dags.split_keras_kwargs",
        "dags.tfkl",
        "effects.tf_float32",
        "losses.TensorDict",
        "losses.tfd",
        "losses.tfkl",
        "preprocessing.tfkl",
        "processors.TensorDict",
        "processors.tfkl",
    ),
    "distributions of TensorFlow Probability; `viterbi_decode`, `nll` and `predict_f0` compute the same without them": (
        "losses.KDEConsistencyLoss.kernel_density_estimate",
        "losses.TWMLoss.get_candidate_harmonics",
        "losses.TWMLoss.get_p_harmonics_given_sinusoids",
        "losses.TWMLoss.get_p_sinusoids_given_harmonics",
        "spectral_ops.PretrainedCREPE.create_hmm",
    ),
    "for NumPy arrays: `stft` takes torch.from_numpy(audio)": ("spectral_ops.stft_np",),
    "CREPE is no global state here, nothing is to be reset": ("spectral_ops.reset_crepe",),
    "steps of a constructor or of a call, not for callers": (
        "dags.DAGLayer.format_dag",
        "dags.filter_by_value",
        "preprocessing.F0LoudnessPreprocessor.resample",
    ),
    "torch's nn.Module has a method of that name; `module_names` and `children()` list the modules": (
        "dags.DAGLayer.modules",
    ),
}
MEAN_SOMETHING_ELSE = {"dags.DAGLayer.modules", "preprocessing.F0LoudnessPreprocessor.resample"}
LEFT_OUT_ARGUMENTS = {
    "use_tf": "all functions take tensors; unit conversions take Python numbers too",
    "Processor.trainable": "parameters say themselves whether they are trained (requires_grad_)",
}


def calls():
    """One (door, function name, argument names) for every way in which the golden data call a function of a door."""
    found = set()
    for file in sorted(path.name for path in FOLDER.glob("*.npz")):
        for case in load(file):
            door, _, name = case.function.split()[0].partition(".")
            described = {"pairs", "rows", "table"} & {*case.inp, *case.args}  # several calls in one case
            if door in DOORS and not described:
                found.add((door, name, (*case.inp, *(set(case.args) - TENSORFLOW_ONLY))))
    return sorted(found)


@pytest.mark.parametrize(("door", "name", "arguments"), calls())
def test_functions_take_magentas_arguments_by_name(door, name, arguments):
    inspect.signature(getattr(DOORS[door], name)).bind(**dict.fromkeys(arguments))


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_a_door_holds_what_it_announces(door):
    public = {name for name, value in vars(door).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert public == set(door.__all__)


def test_functions_of_core_stand_at_the_top_level():
    assert fastddsp.resample is core.resample


def magentas_names():
    """(door, name, {argument: default in words, or None}; None where there is nothing to call)."""
    found, door = [], ""
    for line in MAGENTA.read_text("utf-8").split("\n"):
        if line.startswith("["):
            door = line.strip("[]")
        elif line:
            name, is_called, rest = line.partition("(")
            arguments = None
            if is_called:
                signature = ast.parse(f"def f({rest}: ...").body[0].args
                names = [argument.arg for argument in signature.args]
                defaults = [None] * (len(names) - len(signature.defaults)) + [*map(ast.unparse, signature.defaults)]
                arguments = dict(zip(names, defaults, strict=True))
            found.append((door, name, arguments))
    return found


def left_out():
    return {name for names in LEFT_OUT.values() for name in names}


def find(door, name):
    """What stands behind a door under a name."""
    holder, _, method = name.rpartition(".")
    found = reduce(getattr, holder.split("."), ALL_DOORS[door]) if holder else ALL_DOORS[door]
    if method == "__call__":
        method = "compute" if hasattr(found, "compute") else "forward"
    return getattr(found, method)


def in_words(default):
    """A default as the list of names writes it: functions and dtypes by their last name."""
    if callable(default) or isinstance(default, torch.dtype):
        return getattr(default, "__name__", str(default).removeprefix("torch."))
    return repr(default)


@pytest.mark.parametrize(("door", "name", "arguments"), magentas_names(), ids=lambda x: x if isinstance(x, str) else "")
def test_every_public_name_of_magenta_is_here_with_its_arguments_or_left_out_for_a_reason(door, name, arguments):
    if f"{door}.{name}" in left_out():
        return
    found = find(door, name)
    if arguments is None:
        return
    ours = {key: p for key, p in inspect.signature(found).parameters.items() if key != "self"}
    wanted = [key for key in arguments if not {key, f"{name}.{key}"} & LEFT_OUT_ARGUMENTS.keys()]
    assert [key for key, p in ours.items() if p.kind is p.POSITIONAL_OR_KEYWORD][: len(wanted)] == wanted
    for key in wanted:
        if arguments[key] is not None:
            assert in_words(ours[key].default) == arguments[key] or ours[key].default == ast.literal_eval(
                arguments[key]
            )


def test_what_is_left_out_is_a_name_of_magenta_and_not_here():
    assert left_out() <= {f"{door}.{name}" for door, name, _ in magentas_names()}
    for path in left_out() - MEAN_SOMETHING_ELSE:
        with pytest.raises(AttributeError):
            find(*path.split(".", 1))
