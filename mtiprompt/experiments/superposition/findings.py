"""What a measurement of superposition found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mtiprompt import stats
from mtiprompt.experiments.superposition import calibration, resample
from mtiprompt.experiments.superposition.figures import ConfigFigures, figures_of
from mtiprompt.experiments.superposition.record import Seen, busy
from mtiprompt.experiments.superposition.sizes import comparable
from mtiprompt.experiments.superposition.tasks import CONFIGS
from mtiprompt.stats import CONFIDENCE, Estimate

if TYPE_CHECKING:
    from mtiprompt.report.parts import Part, Table


@dataclass(frozen=True)
class Findings:
    """What was measured.

    Attributes:
        seen: What was seen of every prompt.
        model: The name of the model.
        prompts: In a cell.
        examples: In a prompt; None: as many as in the paper.
        seed: Of the prompts.
        confidence: Of the intervals.
        others: Figures of other models, as `plain` gives them, to be shown beside these.
    """

    seen: tuple[Seen, ...] = field(repr=False)
    model: str
    prompts: int
    examples: int | None = None
    seed: int = 0
    confidence: float = CONFIDENCE
    others: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    def beside(self, others: Sequence[Mapping[str, Any]]) -> Findings:
        """The same, to be shown beside the figures of other models.

        Raises:
            DataError: One was measured on other prompts.
        """
        for one in others:
            comparable(one, seed=self.seed, examples=self.examples)
        return replace(self, others=tuple(others))

    @cached_property
    def configs(self) -> dict[str, ConfigFigures]:
        """The figures by configuration."""
        found: dict[str, list[Seen]] = {}
        for one in self.seen:
            found.setdefault(one.config, []).append(one)
        return {
            name: figures_of(CONFIGS[name], rows, self.confidence) for name, rows in found.items()
        }

    def tables(self) -> tuple[Table, ...]:
        """The claims, then tasks, shares and labels of each configuration, to be shown."""
        from mtiprompt.experiments.superposition.shown import tables

        return tables(self)

    def parts(self) -> tuple[Part, ...]:
        """A report: the claims, the tables, the charts, the methods."""
        from mtiprompt.experiments.superposition.shown import parts

        return parts(self)

    def plain(self) -> dict[str, Any]:
        """All figures as plain JSON data.

        `seconds` is for how long somebody was at work, without the pauses of a run that was
        stopped; `worker_seconds` adds up all workers.
        """
        return {
            "model": self.model,
            "prompts": self.prompts,
            "examples": self.examples,
            "seed": self.seed,
            "confidence": self.confidence,
            "probability_method": resample.METHOD,
            "frequency_method": stats.MEAN_METHOD,
            "divergence_method": calibration.METHOD,
            "seconds": busy(self.seen),
            "worker_seconds": sum(one.seconds for one in self.seen),
            "configs": _plain(self.configs),
        }


def _plain(value: Any) -> Any:
    if isinstance(value, Estimate):
        return value.plain()
    if is_dataclass(value):
        return _plain(vars(value))
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
