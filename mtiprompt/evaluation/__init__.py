"""Measuring: the same items through one way of running or several, with paired differences."""

from mtiprompt.evaluation.arms import ARMS as ARMS
from mtiprompt.evaluation.arms import Arm as Arm
from mtiprompt.evaluation.arms import draw_demos as draw_demos
from mtiprompt.evaluation.arms import make_arms as make_arms
from mtiprompt.evaluation.judge import Judge as Judge
from mtiprompt.evaluation.outcome import Outcome as Outcome
from mtiprompt.evaluation.run import Comparison as Comparison
from mtiprompt.evaluation.run import compare as compare
from mtiprompt.evaluation.run import evaluate as evaluate
from mtiprompt.evaluation.scores import Scores as Scores
from mtiprompt.evaluation.scores import TaskScores as TaskScores
