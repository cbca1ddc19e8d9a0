"""Scaling: what more tasks or more items in a call do to each answer, and where the loss begins."""

from mtiprompt.experiments.scaling.curve import Curve as Curve
from mtiprompt.experiments.scaling.design import Design as Design
from mtiprompt.experiments.scaling.design import Job as Job
from mtiprompt.experiments.scaling.design import design as design
from mtiprompt.experiments.scaling.findings import Findings as Findings
from mtiprompt.experiments.scaling.findings import Line as Line
from mtiprompt.experiments.scaling.run import run as run
from mtiprompt.experiments.scaling.slots import Cost as Cost
from mtiprompt.experiments.scaling.slots import Slot as Slot
