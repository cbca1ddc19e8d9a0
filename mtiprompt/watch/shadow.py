"""The face of the shadow, and what of it outlives a run."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mtiprompt.combine import Combined
from mtiprompt.errors import DataError, SettingsError
from mtiprompt.plan import Plan
from mtiprompt.watch.record import Event, Record, Terms
from mtiprompt.watch.unfuse import in_company, unfused
from mtiprompt.whole_files import read_json, write_text

logger = logging.getLogger(__name__)

FORMAT = 1
"""The version of the JSON format of states."""

Score = Callable[[Mapping[str, Any], str, Any], float | None]
"""How good an answer is, from 0 to 1, of (item, task name, answer as plain data); None: that is
not known."""


class DriftWarning(UserWarning):
    """A task that shares a call has become worse than it may be."""


class Shadow:
    """A share of rows is also run split; a test that never ends tells when a task gets worse.

    For each row in the shadow and each task that has company in the plan there is a *loss*. With
    `score` it is what the split answer scores minus what the answer in company scores, 0 for one
    that fails. Without, it is the disagreement of the two: 1 minus the task's metric, with the
    split answer as gold; 1 if only the split plan has an answer, nothing if it has none. Two good
    answers may differ, so what is asked is whether the mean loss rises above what was `allowed` by
    more than the margin. The probability that any task is ever called worse that has not risen is
    at most `1 - confidence`, for however many rows it runs (a betting test for each task, begun
    anew all the time; `mtiprompt.gate.LateBet`).

    Args:
        share: The share of rows in the shadow, above 0 and at most 1; a hash of seed and row number
            says which.
        margin: The rise of a task's loss that is put up with, above 0.
        confidence: How sure a warning is, above 0 and below 1.
        allowed: The mean loss that was there when the plan was chosen, for all tasks or by task.
            What is not given is 0 with `score`. Without, it is learned from the first rows: the
            bound that the mean of the first `learn` losses is below, with half of the error. Until
            then nothing is tested, and what is wrong from the start is taken for granted. A task
            that is found to differ so often that nothing could be above it is named in the log,
            and not watched.
        score: How good an answer is, if that can be told.
        unfuse: Whether a task that is found worse gets a call of its own from then on.
        learn: How many losses are learned from.
        state: A file that keeps what is known, for the next run; it is for one plan.
        seed: Another one takes other rows.
        warn: What is called with each event; by default it is a `DriftWarning`.

    Attributes:
        events: The tasks that were found worse, in the order of finding.
        rows: Rows whose results were given, over all runs.
        seen: How many of them had a shadow.

    Raises:
        SettingsError: An argument makes no sense.
        DataError: The state cannot be read.
    """

    def __init__(
        self,
        share: float = 0.01,
        *,
        margin: float = 0.05,
        confidence: float = 0.95,
        allowed: float | Mapping[str, float] | None = None,
        score: Score | None = None,
        unfuse: bool = False,
        learn: int = 100,
        state: str | Path | None = None,
        seed: int = 0,
        warn: Callable[[Event], object] | None = None,
    ) -> None:
        _check("share", share, 0 < _number(share) <= 1, "above 0 and at most 1")
        _check("margin", margin, 0 < _number(margin) < 1, "above 0 and below 1")
        _check("confidence", confidence, 0 < _number(confidence) < 1, "above 0 and below 1")
        _check("learn", learn, _number(learn) >= 1 and learn % 1 == 0, "1 or more")
        for one in allowed.values() if isinstance(allowed, Mapping) else [allowed]:
            fits = one is None or 0 <= _number(one) < 1 - margin
            _check("allowed", one, fits, "from 0, and below 1 together with the margin")
        self.share, self.score, self.unfuse, self.seed = share, score, unfuse, seed
        self.events: list[Event] = []
        self.rows = self.seen = 0
        self._margin, self._confidence, self._learn = margin, confidence, learn
        self._allowed = allowed
        self._state = None if state is None else Path(state)
        self._warn = warn
        self._records: dict[str, Record] = {}
        self._for: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._known = _read(self._state)
        if self._known:
            self.events = list(self._known["events"])
            self.rows, self.seen = int(self._known["rows"]), int(self._known["seen"])

    @property
    def apart(self) -> frozenset[str]:
        """The tasks that were taken out of their calls."""
        return frozenset(one["task"] for one in self.events) if self.unfuse else frozenset()

    def plan(self, program: Combined, plan: Plan) -> Plan:
        """The plan by which rows are run from now on.

        Args:
            program: The program.
            plan: The plan that is watched.
        """
        return unfused(program, plan, self.apart)

    def watched(self, plan: Plan) -> tuple[str, ...]:
        """The tasks about which a row that is run by a plan would tell anything.

        Args:
            plan: As `plan` gives it.
        """
        records = self._records
        return tuple(name for name in in_company(plan) if name in records and records[name].is_open)

    def takes(self, number: int) -> bool:
        """Whether a row is in the shadow, by its number."""
        digest = hashlib.sha256(f"{self.seed}:{number}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.share * 2**64

    def begin(self, program: Combined, plan: Plan) -> None:
        """Watch a plan, from where an earlier run has stopped.

        Args:
            program: The program.
            plan: The plan, which fits it.

        Raises:
            SettingsError: `allowed` names a task that is not there, or nothing can be learned from
                so few losses as `learn` says.
            DataError: This shadow, or its state, is for another plan or has other settings; or the
                state cannot be written.
        """
        wanted = self._terms_for(program, plan)
        with self._lock:
            if self._for and self._for != wanted:
                raise DataError("the shadow watches another plan", hint="make one for each plan")
            if not self._for:
                records = self._fresh(in_company(plan))
                self._restore(wanted, records)
                self._for, self._records = wanted, records
            self._save()

    def look(self, losses: Mapping[str, float]) -> None:
        """Take note of a row that had a shadow, once its result is given.

        Args:
            losses: What it tells of each task, where it tells anything.
        """
        with self._lock:
            self.rows += 1
            self.seen += 1
            found, blind = [], []
            for name, loss in losses.items():
                record = self._records[name]
                if not record.is_open:
                    continue
                if record.add(loss):
                    record.alarm = self.rows
                    found.append(record.event(name, self.rows, unfused=self.unfuse))
                elif record.is_blind:
                    blind.append(name)
            self.events += found
            self._save()
        for name in blind:
            logger.warning(
                "task %r cannot be watched: in the first %d rows in the shadow its answers differ "
                "so much that no rise could be told; give score=, or the task a metric with grades",
                name, self._learn,
            )  # fmt: skip
        for event in found:
            self._tell(event)

    def skip(self) -> None:
        """Take note of a row that had none."""
        with self._lock:
            self.rows += 1

    def save(self) -> None:
        """Write the state, if there is a file for it.

        Raises:
            DataError: The file cannot be written.
        """
        with self._lock:
            self._save()

    def _tell(self, event: Event) -> None:
        low, high = event["interval"]
        text = (
            f"task {event['task']!r} has become worse in company: its loss is {event['mean']:.3f} "
            f"[{low:.3f}, {high:.3f}] over the last {event['recent']} rows in the shadow, "
            f"{event['allowed']:.3f} + {event['margin']:.3f} may be; found at row {event['row']}"
        )
        text += "; from now on it is asked alone" if event["unfused"] else ""
        logger.warning("%s", text)
        if self._warn is None:
            warnings.warn(text, DriftWarning, stacklevel=4)
        else:
            self._warn(event)

    # --- what outlives a run -----------------------------------------------------------------

    def _terms_for(self, program: Combined, plan: Plan) -> dict[str, Any]:
        """What a state must agree with."""
        allowed = dict(self._allowed) if isinstance(self._allowed, Mapping) else self._allowed
        for name in allowed if isinstance(allowed, dict) else ():
            if name not in program.tasks:
                hint = f"tasks: {', '.join(program.tasks)}"
                raise SettingsError(f"allowed names {name!r}, which is no task", hint=hint)
        return {
            "program": plan.program,
            "plan": hashlib.sha256(plan.to_json().encode()).hexdigest()[:16],
            "margin": self._margin,
            "confidence": self._confidence,
            "allowed": allowed,
            "learn": self._learn,
            "scored": self.score is not None,
        }

    def _fresh(self, tasks: tuple[str, ...]) -> dict[str, Record]:
        alpha = (1 - self._confidence) / max(1, len(tasks))
        terms = Terms(self._margin, alpha, -1.0 if self.score else 0.0, self._learn)
        return {name: Record(terms, self._allowed_for(name)) for name in tasks}

    def _allowed_for(self, task: str) -> float | None:
        allowed = self._allowed
        given = allowed.get(task) if isinstance(allowed, Mapping) else allowed
        return 0.0 if given is None and self.score else given

    def _restore(self, wanted: Mapping[str, Any], records: Mapping[str, Record]) -> None:
        """Go on from an earlier run; what is refused must not become the state of this shadow."""
        if not self._known:
            return
        for name, value in wanted.items():
            if (found := self._known["for"].get(name)) != value:
                other = "plan" if name in {"program", "plan"} else f"{name} ({found!r:.40})"
                raise DataError(
                    f"{self._state} is the state of a shadow with another {other}",
                    hint="keep a file for each, or remove it to begin anew",
                )
        try:
            for name, record in records.items():
                record.restore(self._known["tasks"][name])
        except (KeyError, TypeError, ValueError):
            raise _no_state(self._state) from None

    def _save(self) -> None:
        if self._state is None or not self._for:
            return
        value = {
            "format": FORMAT,
            "for": self._for,
            "rows": self.rows,
            "seen": self.seen,
            "events": self.events,
            "tasks": {name: record.plain() for name, record in self._records.items()},
        }
        write_text(self._state, json.dumps(value, ensure_ascii=False) + "\n")


def _check(name: str, value: Any, fits: bool, expected: str) -> None:
    if not fits:
        raise SettingsError(
            f"the shadow has {name}={value!r:.80}", hint=f"give a number {expected}"
        )


def _number(value: Any) -> float:
    """A number; not a number where something else stands."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else math.nan


def _read(path: Path | None) -> dict[str, Any]:
    """What an earlier run has left; empty if there was none."""
    if path is None or not path.exists():
        return {}
    value = read_json(path)
    try:
        if value["format"] != FORMAT:
            raise _no_state(path)
        _ = [one["task"] for one in value["events"]], value["for"].items(), value["tasks"].items()
        _ = int(value["rows"]), int(value["seen"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _no_state(path) from None
    return value  # type: ignore[no-any-return]


def _no_state(path: Path | None) -> DataError:
    return DataError(f"{path} is no state of a shadow", hint="remove it to begin anew")
