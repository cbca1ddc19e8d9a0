"""The optimizer: demonstrations, the order of tasks and what shares a call, under a budget."""

from mtiprompt.optimizer.confirm import TaskGain as TaskGain
from mtiprompt.optimizer.foresee import Foreseen as Foreseen
from mtiprompt.optimizer.foresee import foresee as foresee
from mtiprompt.optimizer.setup import Setup as Setup
from mtiprompt.optimizer.tune import Progress as Progress
from mtiprompt.optimizer.tune import optimize as optimize
from mtiprompt.optimizer.tuned import SearchStopped as SearchStopped
from mtiprompt.optimizer.tuned import Tuned as Tuned
