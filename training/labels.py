"""What is known of a recording beside its sound, and choosing recordings by it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Labels:
    """What is known of a recording; None where it is not.

    Args:
      instrument: its name.
      family: of instruments (NSynth's: bass, brass, flute, guitar, keyboard, mallet, organ, reed, string, ...).
      source: how the sound was made (NSynth's: acoustic, electronic, synthetic).
      split: train, valid or test.
      pitch: MIDI note, of a recording of one note.
      velocity: MIDI velocity, of a recording of one note.
    """

    instrument: str | None = None
    family: str | None = None
    source: str | None = None
    split: str | None = None
    pitch: int | None = None
    velocity: int | None = None


UNKNOWN = Labels()


@dataclass(frozen=True)
class Selection:
    """Recordings to choose: those that have every label that is asked for. One without the label is not chosen.

    Args:
      instrument: names, of which the recording has one.
      family: families.
      source: sources.
      split: splits (train, valid, test).
      min_pitch: lowest MIDI note.
      max_pitch: highest MIDI note.
      min_velocity: lowest velocity.
      max_velocity: highest velocity.
    """

    instrument: list[str] | str | None = None
    family: list[str] | str | None = None
    source: list[str] | str | None = None
    split: list[str] | str | None = None
    min_pitch: int | None = None
    max_pitch: int | None = None
    min_velocity: int | None = None
    max_velocity: int | None = None

    def __post_init__(self) -> None:
        for name in ("instrument", "family", "source", "split"):
            value = getattr(self, name)
            if isinstance(value, str):
                object.__setattr__(self, name, [value])

    def accepts(self, labels: Labels) -> bool:
        """Whether a recording with these labels is chosen."""
        named = all(
            wanted is None or getattr(labels, name) in wanted
            for name, wanted in (
                ("instrument", self.instrument),
                ("family", self.family),
                ("source", self.source),
                ("split", self.split),
            )
        )
        return (
            named
            and _within(labels.pitch, self.min_pitch, self.max_pitch)
            and _within(labels.velocity, self.min_velocity, self.max_velocity)
        )

    def __str__(self) -> str:
        asked = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return ", ".join(f"{name} {_listed(value)}" for name, value in asked if value is not None) or "everything"


EVERYTHING = Selection()


def _within(value: int | None, lowest: int | None, highest: int | None) -> bool:
    if lowest is None and highest is None:
        return True
    return value is not None and (lowest is None or value >= lowest) and (highest is None or value <= highest)


def _listed(value: int | Sequence[str]) -> str:
    return str(value) if isinstance(value, int) else " or ".join(value)
