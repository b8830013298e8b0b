"""The losses, under the name that magenta/ddsp gives them; they live in `fastddsp.models.losses` and `consistency`."""

from fastddsp.models.consistency import *
from fastddsp.models.losses import *
