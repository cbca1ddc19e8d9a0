"""Tasks and their fields: what the other steps read."""

from mtiprompt.tasks.field import Field as Field
from mtiprompt.tasks.field import as_identifier as as_identifier
from mtiprompt.tasks.field import by_identifier as by_identifier
from mtiprompt.tasks.field import check_name as check_name
from mtiprompt.tasks.field import is_name as is_name
from mtiprompt.tasks.field import without_words as without_words
from mtiprompt.tasks.task import Metric as Metric
from mtiprompt.tasks.task import Task as Task
from mtiprompt.tasks.task import first_line as first_line
from mtiprompt.tasks.task import why as why
from mtiprompt.tasks.values import Values as Values

__all__ = [
    "Field", "Metric", "Task", "Values", "as_identifier", "by_identifier", "check_name",
    "first_line", "is_name", "why", "without_words",
]  # fmt: skip
