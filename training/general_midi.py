"""The 128 instruments of General MIDI: names, ranges, and the families that NSynth sorts instruments into.

Names are those of the standard (General MIDI Level 1, 1991) in lower case with underscores: `violin`, `tenor_sax`.
Programs count from 0, as they are sent. Ranges are those that players of the instrument call usual, in MIDI notes.
"""

import difflib
from typing import NamedTuple

_NAMES = """
acoustic_grand_piano bright_acoustic_piano electric_grand_piano honky_tonk_piano
electric_piano_1 electric_piano_2 harpsichord clavinet
celesta glockenspiel music_box vibraphone marimba xylophone tubular_bells dulcimer
drawbar_organ percussive_organ rock_organ church_organ reed_organ accordion harmonica tango_accordion
acoustic_guitar_nylon acoustic_guitar_steel electric_guitar_jazz electric_guitar_clean
electric_guitar_muted overdriven_guitar distortion_guitar guitar_harmonics
acoustic_bass electric_bass_finger electric_bass_pick fretless_bass
slap_bass_1 slap_bass_2 synth_bass_1 synth_bass_2
violin viola cello contrabass tremolo_strings pizzicato_strings orchestral_harp timpani
string_ensemble_1 string_ensemble_2 synth_strings_1 synth_strings_2 choir_aahs voice_oohs synth_voice orchestra_hit
trumpet trombone tuba muted_trumpet french_horn brass_section synth_brass_1 synth_brass_2
soprano_sax alto_sax tenor_sax baritone_sax oboe english_horn bassoon clarinet
piccolo flute recorder pan_flute blown_bottle shakuhachi whistle ocarina
lead_square lead_sawtooth lead_calliope lead_chiff lead_charang lead_voice lead_fifths lead_bass
pad_new_age pad_warm pad_polysynth pad_choir pad_bowed pad_metallic pad_halo pad_sweep
fx_rain fx_soundtrack fx_crystal fx_atmosphere fx_brightness fx_goblins fx_echoes fx_sci_fi
sitar banjo shamisen koto kalimba bagpipe fiddle shanai
tinkle_bell agogo steel_drums woodblock taiko_drum melodic_tom synth_drum reverse_cymbal
guitar_fret_noise breath_noise seashore bird_tweet telephone_ring helicopter applause gunshot
"""
PROGRAMS = tuple(_NAMES.split())

DEFAULT_RANGE = (48, 84)
RANGES = {
    "harmonica": (60, 84),
    "violin": (55, 88),
    "viola": (48, 79),
    "cello": (36, 72),
    "trumpet": (55, 82),
    "trombone": (40, 70),
    "tuba": (29, 58),
    "muted_trumpet": (55, 82),
    "french_horn": (41, 74),
    "soprano_sax": (56, 87),
    "alto_sax": (49, 80),
    "tenor_sax": (46, 74),
    "baritone_sax": (37, 68),
    "oboe": (60, 86),
    "english_horn": (52, 79),
    "bassoon": (34, 70),
    "clarinet": (52, 86),
    "piccolo": (74, 98),
    "flute": (62, 91),
    "recorder": (65, 91),
}

# In NSynth's order, whose numbers its files carry.
FAMILIES = ("bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "synth_lead", "vocal")
SOURCES = ("acoustic", "electronic", "synthetic")

# Programs up to and with the first number, beyond those of the line above.
_FAMILY_ENDS = (
    *((7, "keyboard"), (15, "mallet"), (23, "organ"), (31, "guitar"), (39, "bass"), (51, "string"), (54, "vocal")),
    *((55, "string"), (63, "brass"), (71, "reed"), (79, "flute"), (103, "synth_lead"), (108, "guitar"), (109, "reed")),
    *((110, "string"), (111, "reed"), (127, "mallet")),
)
_ELECTRONIC = {*range(2, 3), *range(4, 6), 7, *range(16, 19), *range(26, 32), *range(33, 38)}
_SYNTHETIC = {38, 39, 50, 51, 54, 62, 63, *range(80, 104), 118}


class Program(NamedTuple):
    """An instrument: its number, its name, its family and source in NSynth's words, its usual range."""

    number: int
    name: str
    family: str
    source: str
    keys: tuple[int, int]


def find_program(instrument: int | str) -> Program:
    """The instrument of a name or a number.

    Args:
      instrument: program, 0 to 127, or a name of General MIDI ("violin", "Tenor Sax").

    Raises:
      ValueError: there is none.
    """
    text = str(instrument).strip().lower().replace(" ", "_").replace("-", "_")
    number = int(text) if text.isdecimal() else PROGRAMS.index(text) if text in PROGRAMS else -1
    if not 0 <= number < len(PROGRAMS):
        near = difflib.get_close_matches(text, PROGRAMS, n=3, cutoff=0.5)
        hint = f": did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(
            f"instrument must be a name of General MIDI or a program from 0 to 127, got '{instrument}'{hint}"
        )
    name = PROGRAMS[number]
    family = next(family for end, family in _FAMILY_ENDS if number <= end)
    source = "electronic" if number in _ELECTRONIC else "synthetic" if number in _SYNTHETIC else "acoustic"
    return Program(number, name, family, source, RANGES.get(name, DEFAULT_RANGE))
