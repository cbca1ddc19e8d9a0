"""The shadow: in production a share of rows is also run split, and what gets worse is told.

`shadow` has the face and what outlives a run, `record` what is known of one task, `run` holds the
second conversation behind the first, `unfuse` takes tasks out of their calls.
"""

from mtiprompt.watch.record import Event as Event
from mtiprompt.watch.run import Run as Run
from mtiprompt.watch.shadow import DriftWarning as DriftWarning
from mtiprompt.watch.shadow import Shadow as Shadow
