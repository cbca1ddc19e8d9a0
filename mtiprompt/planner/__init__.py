"""The planner: what may share a call, decided by measurement and price."""

from mtiprompt.planner.candidate import Candidate as Candidate
from mtiprompt.planner.choice import Choice as Choice
from mtiprompt.planner.choose import choose_plan as choose_plan
from mtiprompt.planner.estimate import Estimate as Estimate
from mtiprompt.planner.estimate import estimate as estimate
from mtiprompt.planner.lens import Lens as Lens
from mtiprompt.planner.lens import Movement as Movement
from mtiprompt.planner.lens import lens as lens
