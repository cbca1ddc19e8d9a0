"""The templates that word a prompt: where they are, and how they are filled.

The only importer of jinja2. Instructions and user text enter templates as values and are never
compiled.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtiprompt.errors import TemplateError
from mtiprompt.tasks import first_line

if TYPE_CHECKING:
    import jinja2


def template_root() -> Path:
    """The folder of the shipped templates: in the package, or beside it in an editable install."""
    packed = Path(__file__).parent / "templates"
    return packed if packed.is_dir() else Path(__file__).resolve().parents[1] / "templates"


@lru_cache(maxsize=8)
def _environment(front: Path | None) -> jinja2.Environment:
    import jinja2

    folders = [*([front] if front else []), template_root()]
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # prompts are text, not HTML
        keep_trailing_newline=False,
        auto_reload=False,  # what is prepared from a template is kept, so all of it is
    )


_IN_TEMPLATES = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What the expressions of a template raise, and the reading of its file."""


class Templates:
    """The templates in force.

    Args:
        front: A folder whose templates go before the shipped ones.
    """

    def __init__(self, front: str | Path | None = None) -> None:
        folder = None if front is None else Path(front)
        if folder and not folder.is_dir():
            raise TemplateError(f"there is no template folder {folder}")
        self._environment = _environment(folder)
        self._loaded: dict[str, jinja2.Template] = {}

    def fill(self, name: str, **values: Any) -> str:
        """The text of a template with its values.

        Raises:
            TemplateError: The template is missing or malformed, names a value that does not exist,
                or does with one what cannot be done.
        """
        import jinja2

        try:
            template = self._loaded.get(name)
            if template is None:
                template = self._loaded[name] = self._environment.get_template(f"{name}.jinja")
                template.globals = dict(template.globals)  # a chain of them is slow to fill in
            return template.render(values)
        except jinja2.TemplateSyntaxError as error:
            place = f"{error.filename or name}, line {error.lineno}"
            raise TemplateError(f"{place}: {error.message}") from None
        except jinja2.TemplateError as error:
            raise TemplateError(f"template {name}.jinja: {error.message}") from None
        except _IN_TEMPLATES as error:
            what = f"{type(error).__name__}: {first_line(error)}"
            raise TemplateError(f"template {name}.jinja: {what}") from None
