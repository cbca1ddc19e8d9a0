"""Declare tasks apart, run them together, know that nothing got worse.

Importing the package loads what declares and combines tasks; models, measuring, dspy and litellm
come with their first use.
"""

from typing import TYPE_CHECKING, Any

from mtiprompt.declare import task as task
from mtiprompt.dspy_bridge import dspy_examples as dspy_examples
from mtiprompt.dspy_bridge import dspy_lm as dspy_lm
from mtiprompt.dspy_bridge import dspy_metric as dspy_metric
from mtiprompt.dspy_bridge import from_dspy as from_dspy
from mtiprompt.dspy_bridge import to_dspy as to_dspy
from mtiprompt.errors import BudgetExceeded as BudgetExceeded
from mtiprompt.errors import CombineError as CombineError
from mtiprompt.errors import DataError as DataError
from mtiprompt.errors import DeclarationError as DeclarationError
from mtiprompt.errors import IncompleteResult as IncompleteResult
from mtiprompt.errors import IncompleteRun as IncompleteRun
from mtiprompt.errors import ModelError as ModelError
from mtiprompt.errors import MTIError as MTIError
from mtiprompt.errors import PlanError as PlanError
from mtiprompt.errors import SettingsError as SettingsError
from mtiprompt.errors import TemplateError as TemplateError
from mtiprompt.models.base import LanguageModel as LanguageModel
from mtiprompt.plan import Demo as Demo
from mtiprompt.plan import Group as Group
from mtiprompt.plan import Plan as Plan
from mtiprompt.plan import Select as Select
from mtiprompt.program import Program as Program
from mtiprompt.program import combine as combine
from mtiprompt.repair import Repair as Repair
from mtiprompt.result import Answer as Answer
from mtiprompt.result import Call as Call
from mtiprompt.result import Failure as Failure
from mtiprompt.result import Result as Result
from mtiprompt.result import plain as plain
from mtiprompt.result import slots as slots
from mtiprompt.settings import Settings as Settings
from mtiprompt.settings import using as using
from mtiprompt.tasks import Field as Field
from mtiprompt.tasks import Task as Task
from mtiprompt.tasks import Values as Values
from mtiprompt.wire import Message as Message
from mtiprompt.wire import OutputSchema as OutputSchema
from mtiprompt.wire import Reply as Reply
from mtiprompt.wire import Request as Request
from mtiprompt.wire import Usage as Usage

if TYPE_CHECKING:
    from dspy import InputField as InputField
    from dspy import OutputField as OutputField
    from dspy import Signature as Signature

    from mtiprompt.dataset import Dataset as Dataset
    from mtiprompt.dataset import Row as Row
    from mtiprompt.evaluation import Arm as Arm
    from mtiprompt.evaluation import Comparison as Comparison
    from mtiprompt.evaluation import Judge as Judge
    from mtiprompt.evaluation import Scores as Scores
    from mtiprompt.evaluation import compare as compare
    from mtiprompt.evaluation import evaluate as evaluate
    from mtiprompt.evaluation import make_arms as make_arms
    from mtiprompt.models.budget import Budget as Budget
    from mtiprompt.models.fakes import EchoModel as EchoModel
    from mtiprompt.models.fakes import FunctionModel as FunctionModel
    from mtiprompt.models.fakes import ScriptedModel as ScriptedModel
    from mtiprompt.models.limits import Limits as Limits
    from mtiprompt.models.model import Model as Model
    from mtiprompt.models.replay import Recording as Recording
    from mtiprompt.models.replay import ReplayModel as ReplayModel
    from mtiprompt.models.trace import read_trace as read_trace
    from mtiprompt.optimizer import Tuned as Tuned
    from mtiprompt.optimizer import optimize as optimize
    from mtiprompt.planner import Choice as Choice
    from mtiprompt.planner import choose_plan as choose_plan
    from mtiprompt.watch import DriftWarning as DriftWarning
    from mtiprompt.watch import Shadow as Shadow

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Arm",
    "Budget",
    "BudgetExceeded",
    "Call",
    "Choice",
    "CombineError",
    "Comparison",
    "DataError",
    "Dataset",
    "DeclarationError",
    "Demo",
    "DriftWarning",
    "EchoModel",
    "Failure",
    "Field",
    "FunctionModel",
    "Group",
    "IncompleteResult",
    "IncompleteRun",
    "InputField",
    "Judge",
    "LanguageModel",
    "Limits",
    "MTIError",
    "Message",
    "Model",
    "ModelError",
    "OutputField",
    "OutputSchema",
    "Plan",
    "PlanError",
    "Program",
    "Recording",
    "Repair",
    "ReplayModel",
    "Reply",
    "Request",
    "Result",
    "Row",
    "Scores",
    "ScriptedModel",
    "Select",
    "Settings",
    "SettingsError",
    "Shadow",
    "Signature",
    "Task",
    "TemplateError",
    "Tuned",
    "Usage",
    "Values",
    "choose_plan",
    "combine",
    "compare",
    "dspy_examples",
    "dspy_lm",
    "dspy_metric",
    "evaluate",
    "from_dspy",
    "make_arms",
    "optimize",
    "plain",
    "read_trace",
    "slots",
    "task",
    "to_dspy",
    "using",
]


_LATE = {
    "Dataset": "dataset",
    "Row": "dataset",
    "Arm": "evaluation",
    "Comparison": "evaluation",
    "Judge": "evaluation",
    "Scores": "evaluation",
    "compare": "evaluation",
    "evaluate": "evaluation",
    "make_arms": "evaluation",
    "Tuned": "optimizer",
    "optimize": "optimizer",
    "Choice": "planner",
    "choose_plan": "planner",
    "Budget": "models.budget",
    "EchoModel": "models.fakes",
    "FunctionModel": "models.fakes",
    "ScriptedModel": "models.fakes",
    "Limits": "models.limits",
    "Model": "models.model",
    "Recording": "models.replay",
    "ReplayModel": "models.replay",
    "read_trace": "models.trace",
    "DriftWarning": "watch",
    "Shadow": "watch",
}


def __getattr__(name: str) -> Any:
    """What comes at its first use."""
    from mtiprompt.dspy_bridge import SHARED, shared

    if name in SHARED:
        return shared(name)
    if name in _LATE:
        from importlib import import_module

        found = getattr(import_module(f"mtiprompt.{_LATE[name]}"), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, the lazy ones included."""
    return [*__all__, "__version__"]
