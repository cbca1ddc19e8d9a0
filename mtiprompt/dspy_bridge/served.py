"""A model of ours as a `dspy.LM`: what DSPy asks goes out through our client."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any

import dspy

from mtiprompt.dspy_bridge.engine import SAMPLES, AsyncEngine, Engine, Samples
from mtiprompt.models.base import LanguageModel, Wrapper
from mtiprompt.models.model import as_model
from mtiprompt.wire import Reply, Request


def serve(model: LanguageModel | str) -> Any:
    """A model as a `dspy.LM`; see `mti.dspy_lm`."""
    return ServedLM(as_model(model))


class ServedLM(dspy.LM):  # type: ignore[misc]  # dspy has no types
    """A `dspy.LM` that asks a model of ours.

    DSPy's own cache and retries are off: the model has its own.

    Args:
        model: Whom to ask.
        **settings: What `dspy.LM` takes besides.
    """

    def __init__(self, model: LanguageModel, **settings: Any) -> None:
        self.served = model
        self._sampled: _Sampled | None = None
        engines = {"engine": Engine(model), "async_engine": AsyncEngine(model)}
        super().__init__(model.name, cache=False, num_retries=0, **engines, **settings)

    @property
    def supports_response_schema(self) -> bool:
        """Whether DSPy may ask for a schema; the model learns which ones it refuses."""
        return self.served.support.level == "json_schema"

    @property
    def supported_params(self) -> set[str]:
        """What DSPy may ask for: a response format, whatever it knows of the model's name."""
        return {*super().supported_params, "response_format"}

    @property
    def answering(self) -> LanguageModel:
        """The model as DSPy has set it, the number of its rollout kept; one for each rollout."""
        rollout = self.kwargs.get("rollout_id") or 0
        if not rollout:
            return self.served
        kept = self._sampled
        if kept is None or kept.rollout != rollout:
            kept = self._sampled = _Sampled(self.served, rollout)
        return kept

    def __call__(self, prompt: Any = None, **options: Any) -> Any:
        """As `dspy.LM`, with the samples told to the engine."""
        with self._numbered(options):
            return super().__call__(prompt, **options)

    async def acall(self, prompt: Any = None, **options: Any) -> Any:
        """As `dspy.LM`, with the samples told to the engine."""
        with self._numbered(options):
            return await super().acall(prompt, **options)

    def dump_state(self) -> dict[str, Any]:
        """Nothing: a file holds no cache, budget or key; set the LM again after loading."""
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """The same LM: optimizers copy programs, and all copies share one model."""
        return self

    @contextmanager
    def _numbered(self, options: Mapping[str, Any]) -> Iterator[None]:
        rollout = options.get("rollout_id") or self.kwargs.get("rollout_id") or 0
        token = SAMPLES.set(Samples(rollout))
        try:
            yield
        finally:
            SAMPLES.reset(token)


class _Sampled(Wrapper):
    """A model whose samples are counted from a rollout on."""

    def __init__(self, inner: LanguageModel, rollout: int) -> None:
        super().__init__(inner)
        self.rollout = rollout

    def _moved(self, request: Request) -> Request:
        return replace(request, sample=request.sample + self.rollout)

    def complete(self, request: Request) -> Reply:
        return self.inner.complete(self._moved(request))

    async def acomplete(self, request: Request) -> Reply:
        return await self.inner.acomplete(self._moved(request))

    def stream(self, request: Request) -> Generator[str | Reply, None, None]:
        yield from self.inner.stream(self._moved(request))

    async def astream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        async with aclosing(self.inner.astream(self._moved(request))) as pieces:
            async for piece in pieces:
                yield piece

    def keep(self, request: Request, reply: Reply) -> None:
        self.inner.keep(self._moved(request), reply)
