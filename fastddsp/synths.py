"""The synthesizers, under the name that magenta/ddsp gives them; they live in `fastddsp.models.synths`."""

from fastddsp.models.synths import *
