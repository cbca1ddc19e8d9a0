"""DSPy's optimizers and random search on a program of ours, each cut at a count of calls.

All ask through the same model (`CountedModel`): an optimizer is stopped when its calls are spent,
and what was best until then is what it found. A request that was asked before in the same run is
free, as it would be with DSPy's own cache.

Each of DSPy's that searches is there twice. As it is by default (MIPROv2: light) it is not made for
some hundred calls: random search spends 200 on two candidates, SIMBA on a batch that it does not
learn from yet. *Sized* means set so that its own steps fit into the count; there a demonstration
needs half of the marks, and they come from as many rows as ours do. LabeledFewShot and KNNFewShot
search nothing and make no call; they are there once.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

import dspy
import numpy as np
from dspy.propose.grounded_proposer import GroundedProposer
from dspy.utils.exceptions import AdapterParseError
from numpy.typing import NDArray

import mtiprompt as mti
from mtiprompt.errors import BudgetExceeded
from mtiprompt.models.base import BaseModel, LanguageModel
from mtiprompt.optimizer import Setup
from mtiprompt.optimizer.asked import OnceModel
from mtiprompt.optimizer.found import Ask
from mtiprompt.optimizer.measuring import Measuring
from mtiprompt.optimizer.setup import POOL
from mtiprompt.selection.parts import words
from mtiprompt.wire import Reply, Request

MOST = 4
"""Demonstrations at most, for everyone."""
TRIAL = 16
"""Rows of dev on which random search measures each point."""


class CountedModel(BaseModel):
    """A model that may be asked so many different things; every reply is kept in its cache.

    Args:
        inner: Whom to ask.
        most: How many; None: whatever is asked.
    """

    def __init__(self, inner: LanguageModel, most: int | None = None) -> None:
        self.name, self.identity, self.support = inner.name, inner.identity, inner.support
        self.most = most
        self._inner = inner
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """How many different things it was asked."""
        return len(self._seen)

    def complete(self, request: Request) -> Reply:
        """Ask, if that is still allowed.

        Raises:
            BudgetExceeded: It is not.
        """
        with self._lock:
            if request.key not in self._seen and self.count == self.most:
                raise BudgetExceeded(f"the {self.most} calls are spent")
            self._seen.add(request.key)
        reply = self._inner.complete(request)
        if not reply.from_cache:
            self._inner.keep(request, reply)  # unreadable ones too: the model would write the same
        return reply


@dataclass(frozen=True)
class Way:
    """A way of running: what an optimizer gives back.

    Attributes:
        plan: The plan.
        told: What is to be said of how it was found.
        module: A module of DSPy's that is asked in the place of the program, because it chooses
            demonstrations for each item; the plan is then without them.
    """

    plan: mti.Plan
    told: str = ""
    module: Any = None


@dataclass
class Seen:
    """What an optimizer of DSPy has measured so far, by what the module stood for.

    Attributes:
        ways: By what the plan says.
        scores: Scores by that, and by the inputs of the example.
    """

    ways: dict[str, Way] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)

    def note(self, way: Way, example: str, score: float) -> None:
        """Note the score of an example."""
        key = repr(way.plan)
        self.ways[key] = way
        self.scores.setdefault(key, {})[example] = score

    def best(self) -> Way | None:
        """The best mean among those on as many examples as random search believes."""
        enough = min(TRIAL, max(map(len, self.scores.values()), default=0) / 2)
        able = {key: mean(one.values()) for key, one in self.scores.items() if len(one) >= enough}
        return self.ways[max(able, key=able.__getitem__)] if able else None


class Watched(dspy.Module):  # type: ignore[misc]  # dspy has no types
    """A module that leaves with each prediction what it stood for."""

    def __init__(self, program: mti.Program) -> None:
        super().__init__()
        self.inner = mti.to_dspy(program)

    def forward(self, **inputs: Any) -> Any:
        """The prediction of the module inside."""
        prediction = self.inner(**inputs)
        prediction._way = Way(self.inner.plan)
        return prediction


def watched_metric(program: mti.Program, seen: Seen) -> Callable[..., Any]:
    """The metric of a program, which notes every score."""
    inner = mti.dspy_metric(program)

    def score(gold: Any, pred: Any, trace: Any = None, *rest: Any) -> Any:
        found = inner(gold, pred, trace, *rest)
        if way := getattr(pred, "_way", None):
            seen.note(way, repr(gold.inputs().toDict()), float(found))
        return found

    return score


def dspy_optimizer(name: str) -> Callable[..., Way]:
    """An optimizer of DSPy by its name, as something to be run on a data set."""

    def run(data: mti.Dataset, model: CountedModel, calls: int, seed: int) -> Way:
        seen, program = Seen(), data.program
        train = mti.dspy_examples(program, data.train)
        dev = mti.dspy_examples(program, data.dev)
        random.Random(seed).shuffle(train)  # some draw with a seed of their own
        metric, student = watched_metric(program, seen), Watched(program)
        cut = ""
        adapter = dspy.JSONAdapter()  # the default one asks twice where a small model writes JSON
        with (
            _unread_proposals(),
            dspy.context(lm=mti.dspy_lm(model), adapter=adapter, max_errors=3, num_threads=1),
        ):
            try:
                made = _COMPILE[name](metric, student, train, dev, seed, calls)
            except Exception as error:  # noqa: BLE001  the cut reaches us as whatever DSPy makes of it
                cut, made = f"{type(error).__name__}: {error}".split("\n")[0][:200], None
        if made is not None and model.count < calls:
            return Way(made.inner.plan, "to its end")
        best = seen.best() or Way(mti.Plan.fused(program))
        return Way(best.plan, "cut" if model.count >= calls else f"failed: {cut}")

    return run


@contextmanager
def _unread_proposals() -> Iterator[None]:
    """A proposal that cannot be read leaves the instruction as it is; it would end MIPROv2."""
    propose = GroundedProposer.propose_instruction_for_predictor

    def lenient(self: Any, program: Any, predictor: Any, *rest: Any, **named: Any) -> Any:
        try:
            return propose(self, program, predictor, *rest, **named)
        except AdapterParseError:
            return predictor.signature.instructions

    GroundedProposer.propose_instruction_for_predictor = lenient
    try:
        yield
    finally:
        GroundedProposer.propose_instruction_for_predictor = propose


_SHARED = {"max_bootstrapped_demos": MOST, "max_labeled_demos": MOST, "num_threads": 1,
           "max_errors": 3}  # fmt: skip
_HALF = {"metric_threshold": 0.5}


def _labeled(metric: Any, student: Any, train: Any, dev: Any, seed: int, calls: int) -> Any:
    return dspy.LabeledFewShot(k=MOST).compile(student, trainset=train)


def _bootstrap(metric: Any, student: Any, train: Any, dev: Any, seed: int, calls: int) -> Any:
    search = dspy.BootstrapFewShotWithRandomSearch(metric, **_SHARED)
    return search.compile(student, trainset=train, valset=dev)


def _bootstrap_sized(metric: Any, student: Any, train: Any, dev: Any, seed: int, calls: int) -> Any:
    search = dspy.BootstrapFewShotWithRandomSearch(metric, **_SHARED, **_HALF)
    rows = random.Random(seed).sample(dev, min(len(dev), calls // 10))
    return search.compile(student, trainset=train[:POOL], valset=rows)


def _mipro(metric: Any, student: Any, train: Any, dev: Any, seed: int, calls: int) -> Any:
    search = dspy.MIPROv2(metric, auto="light", seed=seed, **_SHARED)
    return search.compile(student, trainset=train, valset=dev)


def _mipro_sized(metric: Any, student: Any, train: Any, dev: Any, seed: int, calls: int) -> Any:
    search = dspy.MIPROv2(metric, auto=None, num_candidates=6, seed=seed, **_SHARED, **_HALF)
    rows = random.Random(seed).sample(dev, min(len(dev), TRIAL))
    return search.compile(
        student, trainset=train[:POOL], valset=rows, num_trials=calls // TRIAL, minibatch=False,
        program_aware_proposer=False, data_aware_proposer=False,
    )  # fmt: skip


def _simba(metric: Any, student: Any, train: Any, dev: Any, seed: int, calls: int) -> Any:
    search = dspy.SIMBA(metric=metric, max_demos=MOST, num_threads=1)
    return search.compile(student, trainset=[*train, *dev], seed=seed)


def _simba_sized(metric: Any, student: Any, train: Any, dev: Any, seed: int, calls: int) -> Any:
    search = dspy.SIMBA(metric=metric, max_demos=MOST, num_threads=1, bsize=8, num_candidates=4,
                        max_steps=max(1, calls // 80))  # fmt: skip
    return search.compile(student, trainset=[*train, *dev], seed=seed)


_COMPILE: dict[str, Callable[..., Any]] = {
    "LabeledFewShot": _labeled,
    "BootstrapFewShotWithRandomSearch": _bootstrap,
    "BootstrapFewShotWithRandomSearch sized": _bootstrap_sized,
    "MIPROv2": _mipro,
    "MIPROv2 sized": _mipro_sized,
    "SIMBA": _simba,
    "SIMBA sized": _simba_sized,
}
DSPY = tuple(_COMPILE)


class WordVectors:
    """Texts to vectors of TF-IDF: counts of words, each weighed by log(texts / texts with it).

    It is ours, as the words of our own selections are; an embedding model may do better or worse.
    A word is what it is to our own selections.

    Args:
        texts: Those whose words count; one that they all have weighs nothing.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        found = Counter(word for text in texts for word in dict.fromkeys(_words(text)))
        self._columns = {word: place for place, word in enumerate(found)}
        self._weights = np.log(len(texts) / np.array(list(found.values()), dtype=float))

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """One row for each text, of length 1; of length 0 where no word of it weighs anything."""
        rows = np.zeros((len(texts), len(self._columns)))
        for row, text in zip(rows, texts, strict=True):
            for word in _words(text):
                if word in self._columns:
                    row[self._columns[word]] += 1
        rows *= self._weights
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(lengths > 0, lengths, 1.0)


def _words(text: str) -> list[str]:
    return words({"text": text}, ["text"])


def knn_few_shot(data: mti.Dataset, model: CountedModel, calls: int, seed: int) -> Way:
    """DSPy's `KNNFewShot`: each item is shown the rows of train that are nearest to it.

    By default it bootstraps those rows whenever it is asked about an item: four calls more for each
    item of test, which no count of calls before test holds. Here it shows the rows as they are, at
    no call before test and one an item there, as for everyone. That takes little from it: by our
    metric it keeps an answer of the model only where all tasks are right, as in the row.
    """
    texts = [" | ".join(f"{name}: {value}" for name, value in row.inputs.items())
             for row in data.train]  # fmt: skip  # as KNN writes them
    search = dspy.KNNFewShot(
        k=MOST, trainset=mti.dspy_examples(data.program, data.train),
        vectorizer=dspy.Embedder(WordVectors(texts), caching=False),
        max_bootstrapped_demos=0, max_labeled_demos=MOST,
    )  # fmt: skip
    module = search.compile(mti.to_dspy(data.program))
    return Way(mti.Plan.fused(data.program), f"{MOST} nearest for each item", module)


def module_scores(
    module: Any, program: mti.Program, rows: Sequence[mti.Row], model: LanguageModel
) -> dict[str, dict[str, float]]:
    """The score of each task on each row that has gold for it, as a module of DSPy's answers."""
    rows = [row for row in rows if row.outputs]
    metric, examples = mti.dspy_metric(program), mti.dspy_examples(program, rows)
    with dspy.context(lm=mti.dspy_lm(model)):
        answers = [module(**one.inputs()) for one in examples]
    found: dict[str, dict[str, float]] = {name: {} for name in program.order}
    for row, one, answer in zip(rows, examples, answers, strict=True):
        for name, score in metric(one, answer).objective_scores.items():
            found[name][row.id] = float(score)
    return found


def random_search(data: mti.Dataset, model: CountedModel, calls: int, seed: int) -> Way:
    """Random points of our space, each on the same rows of dev; the best mean is believed."""
    setup = Setup.of(data.program, data.train, data.dev, most=MOST, seed=seed)
    rng = np.random.default_rng(seed)
    rows = [int(one) for one in rng.permutation(len(setup.rows))[:TRIAL]]
    measuring, best = Measuring(OnceModel(model)), (-1.0, setup.space.start)
    point = setup.space.start
    for _ in range(calls // TRIAL):
        found = measuring.evaluations(setup.space, setup.rows, [Ask(point, tuple(rows))], "search")
        if not found:
            break
        score = mean(mean(scores) for scores in found[0].scores.values())
        best = max(best, (score, point), key=lambda pair: pair[0])
        point = setup.space.draw(rng)
    return Way(setup.space.plan(best[1]), f"{best[0]:.3f} on {TRIAL} rows")


def as_it_is(data: mti.Dataset, model: CountedModel, calls: int, seed: int) -> Way:
    """All tasks in one call, no demonstrations."""
    return Way(mti.Plan.fused(data.program))
