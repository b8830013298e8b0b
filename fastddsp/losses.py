"""The losses, under the name that magenta/ddsp gives them.

They live in `fastddsp.models.losses`, `consistency`, `embedding_losses` and `hmm`.
"""

from fastddsp.models.consistency import *
from fastddsp.models.embedding_losses import *
from fastddsp.models.hmm import HmmTranscriber as HmmTranscriber
from fastddsp.models.losses import *
