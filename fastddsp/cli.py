"""The command line: `fastddsp COMMAND ...`.

A command's modules are imported when it runs, so that help comes at once. What the user can set right ends as one line
on stderr and exit code 2; FASTDDSP_DEBUG=1 shows where it was raised.
"""

import os
import sys
from argparse import ArgumentError
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple


class Command(NamedTuple):
    """A command: what it does, in a line, and the function that runs it on its arguments."""

    summary: str
    run: Callable[[list[str]], None]


def _parser(command: str, function: Callable, positional: dict[str, Any], skip: set[str]) -> Any:
    """A parser of the named positional arguments and of the function's other parameters as options."""
    from fastddsp.training.extras import needs_extra

    with needs_extra():
        import jsonargparse
    summary = (function.__doc__ or "").strip().splitlines()[0]
    parser = jsonargparse.ArgumentParser(prog=f"fastddsp {command}", description=summary, exit_on_error=False)
    for name, options in positional.items():
        parser.add_argument(name, **options)
    parser.add_function_arguments(function, skip={*(name.lstrip("-") for name in positional), *skip})
    return parser


def _one_of(command: str, parts: dict[str, Command], argv: list[str]) -> None:
    """Run the part of a command that the first argument names, such as `room extract`."""
    if not argv or argv[0] in ("-h", "--help"):
        width = max(map(len, parts))
        lines = [f"  {name:{width}}  {part.summary}" for name, part in parts.items()]
        print("\n".join([f"usage: fastddsp {command} {{{','.join(parts)}}} ...", "", *lines]))
        raise SystemExit(0)
    if argv[0] not in parts:
        raise ValueError(f"there is no '{argv[0]}'; there are {', '.join(parts)}")
    parts[argv[0]].run(argv[1:])


def _prepare(argv: list[str]) -> None:
    from fastddsp.training.prepare import prepare

    arguments = {
        "paths": {"nargs": "+", "metavar": "AUDIO", "help": "sound files, and folders of them, of NSynth or of URMP"},
        "--out": {"required": True, "metavar": "DIR", "help": "folder of the data set"},
    }
    parser = _parser("prepare", prepare, arguments, {"progress"})
    args = parser.instantiate(parser.parse_args(argv))
    done = prepare(**args.as_dict())
    minutes = sum(sound.n_frames for sound in done.sounds) / args.frame_rate / 60
    print(
        f"{args.out}: {len(done.sounds)} recordings, {minutes:.1f} minutes; {done.n_cached} were already there, "
        f"{len(done.skipped)} skipped"
    )


def _render_phrases(argv: list[str]) -> None:
    from fastddsp.training.render import render_phrases

    _render("dataset render phrases", render_phrases, {}, argv)


def _render_notes(argv: list[str]) -> None:
    from fastddsp.training.render import VELOCITIES, render_notes

    velocities = {"nargs": "+", "type": int, "default": list(VELOCITIES), "help": "of each key, 1 to 127"}
    _render("dataset render notes", render_notes, {"--velocities": velocities}, argv)


def _render(command: str, render: Callable, options: dict[str, Any], argv: list[str]) -> None:
    keys = "lowest and highest MIDI note; by default an instrument's usual range"
    arguments = {
        "--out": {"required": True, "metavar": "DIR", "help": "folder to make; new or empty"},
        "--instrument": {
            "nargs": "+",
            "required": True,
            "metavar": "NAME",
            "help": "names of General MIDI, or programs from 0 to 127",
        },
        "--keys": {"nargs": 2, "type": int, "metavar": ("LOW", "HIGH"), "help": keys},
        **options,
    }
    args = _parser(command, render, arguments, {"progress"}).parse_args(argv)
    made = render(**args.as_dict())
    silent = f"; {len(made.silent)} notes made no sound: {', '.join(made.silent)}" if made.silent else ""
    print(f"{args.out}: {made.n_recordings} recordings, {made.minutes:.1f} minutes{silent}")


def _train(argv: list[str]) -> None:
    from fastddsp.training.train import main as train

    train(argv)


def _resynthesize(argv: list[str]) -> None:
    from fastddsp.training.resynthesize import resynthesize

    arguments = {
        "run": {"metavar": "RUN", "help": "folder of the run that trained the instrument"},
        "audio": {"nargs": "?", "metavar": "AUDIO", "help": "recording whose tune is played, unless curves say all"},
        "--out": {"required": True, "metavar": "WAV", "help": "sound file to write; its suffix names the format"},
    }
    args = _parser("resynthesize", resynthesize, arguments, set()).parse_args(argv)
    print(resynthesize(**args.as_dict()))


def _dereverb(argv: list[str]) -> None:
    from fastddsp.training.room import dereverb

    arguments = {
        "run": {"metavar": "RUN", "help": "folder of the run that trained the instrument, with its room"},
        "audio": {"metavar": "AUDIO", "help": "recording from that room"},
        "--out": {"required": True, "metavar": "WAV", "help": "sound file to write; its suffix names the format"},
    }
    print(dereverb(**_parser("dereverb", dereverb, arguments, set()).parse_args(argv).as_dict()))


def _extract_room(argv: list[str]) -> None:
    from fastddsp.training.room import extract_room

    arguments = {
        "run": {"metavar": "RUN", "help": "folder of the run that trained the instrument"},
        "--out": {"required": True, "metavar": "WAV", "help": ".wav file to write, of 32-bit floats"},
    }
    print(extract_room(**_parser("room extract", extract_room, arguments, set()).parse_args(argv).as_dict()))


def _apply_room(argv: list[str]) -> None:
    from fastddsp.training.room import apply_room

    arguments = {
        "response": {"metavar": "WAV_IR", "help": "impulse response with its direct sound, at any sample rate"},
        "audio": {"metavar": "AUDIO", "help": "recording to put into the room"},
        "--out": {"required": True, "metavar": "WAV", "help": "sound file to write; its suffix names the format"},
    }
    print(apply_room(**_parser("room apply", apply_room, arguments, set()).parse_args(argv).as_dict()))


def _transfer(argv: list[str]) -> None:
    from fastddsp.training.transfer import transfer

    arguments = {
        "run": {"metavar": "RUN", "help": "folder of the run that trained the instrument"},
        "audio": {"metavar": "AUDIO", "help": "recording whose tune is played"},
        "--out": {"required": True, "metavar": "WAV", "help": "sound file to write; its suffix names the format"},
        "--no_adjust": {"action": "store_true", "help": "leave register and level as they are"},
    }
    args = _parser("transfer", transfer, arguments, {"adjust"}).parse_args(argv).as_dict()
    print(transfer(adjust=not args.pop("no_adjust"), **args))


def _evaluate(argv: list[str]) -> None:
    from fastddsp.training.evaluate import evaluate

    arguments = {
        "run": {"metavar": "RUN", "help": "folder of the run that trained the instrument"},
        "--data": {"required": True, "metavar": "DIR", "help": "data set to measure it on"},
        "--out": {"required": True, "metavar": "DIR", "help": "folder for the results, new or empty"},
    }
    parser = _parser("evaluate", evaluate, arguments, {"progress"})
    print(evaluate(**parser.instantiate(parser.parse_args(argv)).as_dict()))


def _demo(argv: list[str]) -> None:
    from fastddsp.demo import demo

    args = _parser("demo", demo, {}, set()).parse_args(argv)
    demo(**args.as_dict())


def _bench(argv: list[str]) -> None:
    from fastddsp.benchmarks.sweep import bench

    arguments = {"--quick": {"action": "store_true", "help": "the first case only, and no sweep over harmonics"}}
    bench(**_parser("bench", bench, arguments, set()).parse_args(argv).as_dict())


def _warmup(argv: list[str]) -> None:
    from fastddsp.warmup import warmup

    arguments = {"--float32_only": {"action": "store_true", "help": "leave the float64 kernels out"}}
    warmup(**_parser("warmup", warmup, arguments, set()).parse_args(argv).as_dict())


RENDER = {
    "phrases": Command("long expressive phrases, with their true pitch beside each", _render_phrases),
    "notes": Command("single notes, every key at every velocity, in the layout of NSynth", _render_notes),
}
DATASET = {
    "render": Command("play instruments of a SoundFont", partial(_one_of, "dataset render", RENDER)),
}
ROOM = {
    "extract": Command("write the impulse response of the room that an instrument has learnt", _extract_room),
    "apply": Command("put a room on a recording", _apply_room),
}

COMMANDS = {
    "dataset": Command("make recordings out of a SoundFont's instruments", partial(_one_of, "dataset", DATASET)),
    "prepare": Command("make a data set out of sound files", _prepare),
    "train": Command("train an instrument on a data set, or resume", _train),
    "resynthesize": Command("play a recording, or curves, on a trained instrument", _resynthesize),
    "dereverb": Command("play a recording again without the room that an instrument has learnt with it", _dereverb),
    "room": Command(
        "write a learnt room's impulse response, or put one on other audio", partial(_one_of, "room", ROOM)
    ),
    "transfer": Command("play a recording in an instrument's own register and dynamics", _transfer),
    "evaluate": Command("measure an instrument's resynthesis of a data set", _evaluate),
    "bench": Command("measure the kernels against plain torch on this machine", _bench),
    "warmup": Command("compile every kernel now, not at its first call", _warmup),
    "demo": Command("train a small violin on bundled phrases and play it", _demo),
}


def _with_underscores(arg: str) -> str:
    """`--pitch-shift=-12` is `--pitch_shift=-12`: options are named after parameters."""
    name, equals, value = arg.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value if arg.startswith("--") else arg


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        ["usage: fastddsp COMMAND ...", "", *lines, "", "fastddsp COMMAND --help tells its options; fastddsp --version"]
    )


def main(argv: list[str] | None = None) -> int:
    """Run a command line.

    Args:
      argv: arguments after the program's name; those of the process if None.

    Returns:
      Exit code: 0; 2 if the input was wrong; 1 if the work failed for another reason.
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(_help())
        return 0
    if argv[0] == "--version":
        from fastddsp import __version__

        print(__version__)
        return 0
    if argv[0] not in COMMANDS:
        print(f"fastddsp: there is no command '{argv[0]}'; there are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        COMMANDS[argv[0]].run([_with_underscores(arg) for arg in argv[1:]])
    except (ArgumentError, ValueError, OSError, ImportError, RuntimeError) as error:
        if os.environ.get("FASTDDSP_DEBUG"):
            raise
        print(f"fastddsp {argv[0]}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1 if isinstance(error, RuntimeError) else 2
    except KeyboardInterrupt:
        print(f"\nfastddsp {argv[0]}: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
