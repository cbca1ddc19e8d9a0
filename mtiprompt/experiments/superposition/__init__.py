"""Superposition: how likely each task's answer is after examples of several tasks."""

from mtiprompt.experiments.superposition.fake import FunctionTokens as FunctionTokens
from mtiprompt.experiments.superposition.figures import ConfigFigures as ConfigFigures
from mtiprompt.experiments.superposition.figures import TaskFigures as TaskFigures
from mtiprompt.experiments.superposition.findings import Findings as Findings
from mtiprompt.experiments.superposition.prompts import Cell as Cell
from mtiprompt.experiments.superposition.prompts import cells as cells
from mtiprompt.experiments.superposition.prompts import draw as draw
from mtiprompt.experiments.superposition.prompts import write as write
from mtiprompt.experiments.superposition.record import Seen as Seen
from mtiprompt.experiments.superposition.run import PROMPTS as PROMPTS
from mtiprompt.experiments.superposition.run import QUICK as QUICK
from mtiprompt.experiments.superposition.run import run as run
from mtiprompt.experiments.superposition.run import steps as steps
from mtiprompt.experiments.superposition.score import Score as Score
from mtiprompt.experiments.superposition.score import score as score
from mtiprompt.experiments.superposition.search import Likeliest as Likeliest
from mtiprompt.experiments.superposition.search import likeliest as likeliest
from mtiprompt.experiments.superposition.sizes import beside as beside
from mtiprompt.experiments.superposition.sizes import load as load
from mtiprompt.experiments.superposition.tasks import CONFIGS as CONFIGS
from mtiprompt.experiments.superposition.tokens import local_workers as local_workers
from mtiprompt.models.local_tokens import LocalTokens as LocalTokens
from mtiprompt.models.local_tokens import Next as Next
from mtiprompt.models.local_tokens import TokenModel as TokenModel
