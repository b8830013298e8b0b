"""The processors, under the name that magenta/ddsp gives them; they live in `fastddsp.models.processors`."""

from fastddsp.models.processors import *
