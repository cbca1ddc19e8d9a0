"""Measuring: the same items through one way of running or several, with paired differences."""

import sys
from types import ModuleType

from mtiprompt.evaluate.arms import ARMS as ARMS
from mtiprompt.evaluate.arms import Arm as Arm
from mtiprompt.evaluate.arms import draw_demos as draw_demos
from mtiprompt.evaluate.arms import make_arms as make_arms
from mtiprompt.evaluate.outcome import Outcome as Outcome
from mtiprompt.evaluate.run import Comparison as Comparison
from mtiprompt.evaluate.run import compare as compare
from mtiprompt.evaluate.run import evaluate as evaluate
from mtiprompt.evaluate.scores import Scores as Scores
from mtiprompt.evaluate.scores import TaskScores as TaskScores


class _Callable(ModuleType):
    """This package, called as the function of its name.

    Whoever imports it makes `mtiprompt.evaluate` the package, where users expect the function.
    """

    __call__ = staticmethod(evaluate)


sys.modules[__name__].__class__ = _Callable
