"""`mtiprompt optimize --reflect`: instructions that a model proposes ahead of the search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mtiprompt.cli.output import counted, note
from mtiprompt.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mtiprompt.dataset import Dataset, Row
    from mtiprompt.evaluation.prices import Price
    from mtiprompt.models.base import LanguageModel
    from mtiprompt.optimizer import Foreseen, Setup
    from mtiprompt.optimizer.found import Options


@dataclass(frozen=True, slots=True)
class Proposing:
    """What is proposed before a search.

    Attributes:
        setup: What the search has at hand.
        rows: The rows to propose from, none that plans are scored on.
        number: Proposals for each task with mistakes; 0: nothing is proposed.
        calls: Calls that it takes, at most.
    """

    setup: Setup
    rows: Sequence[Row]
    number: int
    calls: int

    @classmethod
    def of(cls, setup: Setup, data: Dataset, number: int) -> Proposing:
        """Draw the rows.

        Raises:
            DataError: There is none, or instructions are not varied.
            SettingsError: The package that asks for proposals is not installed.
        """
        if not number:
            return cls(setup, (), 0, 0)
        from mtiprompt.optimizer.bootstrap import draw_rows
        from mtiprompt.optimizer.reflect import ROWS, check_installed, reflect_calls

        check_installed()
        if "instructions" not in setup.space.vary:
            raise DataError(
                "--reflect proposes instructions, and --vary leaves them as they are",
                hint="--vary instructions, among others",
            )
        train = data.train
        rows = draw_rows(data.program, train, len(train), seed=0, barred=setup.rows)
        if not rows:
            raise DataError(
                f"{data.name} has no labelled train rows that are not in dev too",
                hint="instructions are proposed from those; leave --reflect out",
            )
        asked, base = min(ROWS, len(rows)), setup.space.base
        return cls(
            setup, rows, number, reflect_calls(setup.program, asked, plan=base, number=number)
        )

    def foresee(self, bounds: Mapping[str, Any], price: Price | None, options: Options) -> Foreseen:
        """What the search takes at most, in what is left by as many calls before it."""
        from mtiprompt.models.budget import Budget
        from mtiprompt.optimizer import foresee

        whole = foresee(self.setup, Budget(**bounds), price=price, options=options)
        if not self.calls:
            return whole
        rest = {**bounds, "calls": max(0, whole.calls - self.calls)}
        try:
            return foresee(self.setup, Budget(**rest), price=price, options=options)
        except DataError as error:
            raise DataError(
                f"after up to {counted(self.calls, 'call')} of --reflect, {error.message}",
                hint=error.hint,
            ) from None

    def variants(self, better: LanguageModel | None, **given: Any) -> dict[str, tuple[str, ...]]:
        """The instructions to try: those at hand, and those that a model proposes.

        Args:
            better: Who proposes, if that is another than who answers.
            **given: Further arguments for `reflected`.
        """
        from mtiprompt.optimizer.reflect import reflected

        space = self.setup.space
        proposed = reflected(
            self.setup.program,
            self.rows,
            reflect=better,
            plan=space.base,
            number=self.number,
            **given,
        )
        texts = sum(map(len, proposed.values()))
        calls = counted(given["budget"].spent.calls, "call")
        note(f"{counted(texts, 'instruction')} proposed in {calls}")
        known, names = space.variants, dict.fromkeys([*space.variants, *proposed])
        return {name: (*known.get(name, ()), *proposed.get(name, ())) for name in names}
