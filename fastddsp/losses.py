"""The losses, under the name that magenta/ddsp gives them; they live in `fastddsp.models.losses`."""

from fastddsp.models.losses import *
