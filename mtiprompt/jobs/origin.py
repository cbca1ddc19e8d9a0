"""What the lines of a result file are from, so that a stopped run is gone on with by its like.

Another model may go on, as the first may be gone; that is said, and no reason to refuse.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mtiprompt.errors import DataError
from mtiprompt.kept_lines import digest
from mtiprompt.whole_files import read_json

if TYPE_CHECKING:
    from mtiprompt.files import ResultFile
    from mtiprompt.models.base import LanguageModel
    from mtiprompt.plan import Plan
    from mtiprompt.program import Program

ANEW = "--force starts anew"
logger = logging.getLogger(__name__)


class Origin:
    """What a run answers, and with what; of the rows there is one digest, which grows with them.

    Args:
        program: The program.
        model: As in a call of the program.
        plan: As in a call of the program.
        output: Where the lines are written; opened.

    Raises:
        DataError: The output goes on from a run of something else, or that cannot be told.
    """

    def __init__(
        self,
        program: Program,
        model: LanguageModel | str | None,
        plan: Plan | None,
        output: ResultFile,
    ) -> None:
        self._terms = _terms(program, model, plan)
        self._output = output
        self._rows = ""
        self._due, self._expected = self._read() if output.resumes else (0, "")
        if not self._due:
            self.keep(0, "")

    def add(self, number: int, name: Any, inputs: Mapping[str, Any]) -> str:
        """Take note of a row.

        Args:
            number: Its number.
            name: Its id; None if it has none.
            inputs: Its inputs, plain JSON data.

        Returns:
            A digest of all rows up to this one, for `keep`.

        Raises:
            DataError: The earlier run had other rows up to this one.
        """
        self._rows = digest(self._rows, number, name, inputs)
        if self._due and number >= self._due:
            if (number, self._rows) != (self._due, self._expected):
                raise self._other("input")
            self._due = 0
        return self._rows

    def end(self) -> None:
        """Take note that there are no more rows.

        Raises:
            DataError: The earlier run had more.
        """
        if self._due:
            raise self._other("input")

    def keep(self, number: int, rows: str) -> None:
        """Keep beside the output what its lines are from.

        Args:
            number: The number of the row of its last line; 0 if it has none.
            rows: What `add` gave for that row.

        Raises:
            DataError: It cannot be written.
        """
        self._output.mark({**self._terms, "row": number, "rows": rows})

    def _read(self) -> tuple[int, str]:
        """The number of the last row that is known of the earlier run, and the digest up to it."""
        path = self._output.origin
        if not path.exists():  # of an earlier version
            return 0, ""
        try:
            known = read_json(path)
            found = {name: str(known[name]) for name in self._terms}
            number, rows = int(known["row"]), str(known["rows"])
        except (DataError, KeyError, TypeError, ValueError):
            raise DataError(f"{path} does not tell what was run", hint=ANEW) from None
        for name, value in self._terms.items():
            if found[name] == value:
                continue
            if name != "model":
                raise self._other(name)
            logger.warning("%s has answers of another model", self._output.partial)
        return number, rows

    def _other(self, what: str) -> DataError:
        hint = f"--resume goes on with the same input, program and plan; {ANEW}"
        return DataError(f"{self._output.partial} is of another {what}", hint=hint)


def _terms(
    program: Program, model: LanguageModel | str | None, plan: Plan | None
) -> dict[str, str]:
    """Digests of what answers depend on besides the row; the first that differs is named."""
    ready = program.ready(model, plan)
    grid = ready.plan.items_per_call > 1
    groups = enumerate(ready.plan.call_groups)
    prompts = [ready.prompt(number, group.tasks, grid=grid) for number, group in groups]
    return {
        "program": digest(program.fingerprint),
        "plan": digest(ready.plan.to_json()),
        "wording": digest([one.system for one in prompts]),
        "model": digest([one.identity for one in ready.models]),
    }
