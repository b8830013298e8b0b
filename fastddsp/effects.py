"""The effects, under the name that magenta/ddsp gives them; they live in `fastddsp.models.effects`."""

from fastddsp.models.effects import *
