"""The command line: the only part that prints, and the only importer of typer and rich.

Exit codes: 0 done, 1 done with some rows failed or skipped, 2 bad usage or input, 130 interrupted.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from mtiprompt.cli.app import app
from mtiprompt.cli.output import Interrupted, complain
from mtiprompt.errors import MTIError

# of typer itself in newer releases, of click in older ones
_UsageError: Any = typer.BadParameter.__mro__[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; what is wrong becomes one line on standard error.

    Args:
        arguments: The words after the program's name; by default those it was started with.

    Returns:
        The exit code.
    """
    with _warnings_in_one_line():
        try:
            code = app(arguments, prog_name="mtiprompt", standalone_mode=False)
        except MTIError as error:
            complain("error", str(error))
            return 2
        except _UsageError as error:
            where = error.ctx.command_path if error.ctx else "mtiprompt"
            text = error.format_message().rstrip(".")
            complain("error", f"{text[:1].lower()}{text[1:]} ({where} --help says more)")
            return 2
        except Interrupted as stop:
            complain("interrupted", str(stop))
            return 130
        except (KeyboardInterrupt, typer.Abort):
            code = 130
    if code == 130:
        complain("interrupted")
    return code if isinstance(code, int) else 0


class _OneLine(logging.Handler):
    """Prints what the library logs."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line for a record."""
        complain("warning", record.getMessage())


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Show warnings, and what the library logs, as the command line shows everything else."""
    handler, logger = _OneLine(logging.WARNING), logging.getLogger("mtiprompt")
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    complain("warning", str(message))
