"""The clients that `client.py` compares, each in a process of its own, which this file starts.

The process reads commands and writes answers, one line of JSON each. Every row does the same: four
answers on one text (two of a closed list, a string, a list of strings) in one call with an output
schema, validated. Only what a row needs is imported in its process.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from typing import IO, Any, Literal

MODEL = "gpt-4o-mini"
"""A name that all of them know: DSPy sends a schema only to models that it knows to take one."""
SYSTEM = (
    "Read the text and answer as JSON. sentiment: the writer's feeling. topic: what it is about. "
    "product: the product that is named. tags: some words that describe it."
)
WORDS = (
    "The lamp that I bought in May hums at night and nobody at the shop answers my letters. " * 7
)
SENTIMENTS = ("positive", "negative", "mixed")
TOPICS = ("billing", "quality", "delivery", "other")
SHAPES: dict[str, Any] = {
    "sentiment": Literal["positive", "negative", "mixed"],
    "topic": Literal["billing", "quality", "delivery", "other"],
    "product": str,
    "tags": list[str],
}


def text(number: int) -> str:
    """A text of 120 words; each number has its own."""
    return f"{WORDS}{number}"


class Raw:
    """What the rows without a library of answers share: messages, schema and validation."""

    imports: tuple[str, ...] = ()

    def __init__(self, url: str, kind: str, folder: str) -> None:
        pydantic: Any = import_module("pydantic")
        strict = pydantic.ConfigDict(extra="forbid")
        fields = {name: (shape, ...) for name, shape in SHAPES.items()}
        self.answers = pydantic.create_model("Answers", __config__=strict, **fields)
        schema = self.answers.model_json_schema()
        named = {"name": "answers", "schema": schema, "strict": True}
        self.format = {"type": "json_schema", "json_schema": named}
        self.url = url
        self.address = f"{url}/chat/completions"

    def messages(self, asked: str) -> list[dict[str, str]]:
        """The chat."""
        return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}]

    def body(self, asked: str) -> dict[str, Any]:
        """The body of a request."""
        return {"model": MODEL, "messages": self.messages(asked), "response_format": self.format}

    def read(self, content: str) -> dict[str, Any]:
        """The validated answers."""
        answers: dict[str, Any] = self.answers.model_validate_json(content).model_dump()
        return answers


class Httpx(Raw):
    """httpx and nothing else."""

    imports = ("httpx",)

    def __init__(self, url: str, kind: str, folder: str) -> None:
        super().__init__(url, kind, folder)
        httpx: Any = import_module("httpx")
        wide = httpx.Limits(max_connections=None)
        self.client = httpx.Client(trust_env=False, timeout=60)
        self.aclient = httpx.AsyncClient(trust_env=False, timeout=60, limits=wide)

    def call(self, asked: str) -> Any:
        """One sync call."""
        data = self.client.post(self.address, json=self.body(asked)).json()
        return self.read(data["choices"][0]["message"]["content"])

    async def acall(self, asked: str) -> Any:
        """One async call."""
        data = (await self.aclient.post(self.address, json=self.body(asked))).json()
        return self.read(data["choices"][0]["message"]["content"])


class Aiohttp(Raw):
    """aiohttp and nothing else: what the machine can reach."""

    imports = ("aiohttp",)

    def __init__(self, url: str, kind: str, folder: str) -> None:
        super().__init__(url, kind, folder)
        self.session: Any = None

    async def acall(self, asked: str) -> Any:
        """One async call."""
        if self.session is None:
            aiohttp: Any = import_module("aiohttp")
            self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        async with self.session.post(self.address, json=self.body(asked)) as response:
            data = await response.json()
        return self.read(data["choices"][0]["message"]["content"])


class Litellm(Raw):
    """Bare litellm, its retries off."""

    imports: tuple[str, ...] = ("litellm",)

    def __init__(self, url: str, kind: str, folder: str) -> None:
        super().__init__(url, kind, folder)
        self.litellm: Any = import_module("litellm")
        self.fixed = {"api_base": url, "api_key": "k", "max_retries": 0, "timeout": 60}

    def options(self, asked: str) -> dict[str, Any]:
        """What litellm is called with."""
        return {**self.body(asked), **self.fixed, "model": f"openai/{MODEL}"}

    def call(self, asked: str) -> Any:
        """One sync call."""
        response = self.litellm.completion(**self.options(asked))
        return self.read(response.choices[0].message.content)

    async def acall(self, asked: str) -> Any:
        """One async call."""
        response = await self.litellm.acompletion(**self.options(asked))
        return self.read(response.choices[0].message.content)


class Instructor(Litellm):
    """instructor over litellm."""

    imports: tuple[str, ...] = ("instructor", "litellm")

    def __init__(self, url: str, kind: str, folder: str) -> None:
        super().__init__(url, kind, folder)
        instructor: Any = import_module("instructor")
        caches: Any = import_module("instructor.cache")
        mode = instructor.Mode.JSON_SCHEMA
        self.client = instructor.from_litellm(self.litellm.completion, mode=mode)
        self.aclient = instructor.from_litellm(self.litellm.acompletion, mode=mode)
        if kind == "memory":
            self.fixed |= {"cache": caches.AutoCache(maxsize=10_000)}
        elif kind == "disk":  # without a name of its own, no other process would find anything
            cache = caches.DiskCache(f"{folder}/instructor")
            self.fixed |= {"cache": cache, "cache_namespace": "bench"}

    def options(self, asked: str) -> dict[str, Any]:
        """What instructor is called with."""
        given = {"messages": self.messages(asked), "response_model": self.answers}
        return {**given, **self.fixed, "model": f"openai/{MODEL}"}

    def call(self, asked: str) -> Any:
        """One sync call."""
        return self.client.chat.completions.create(**self.options(asked)).model_dump()

    async def acall(self, asked: str) -> Any:
        """One async call."""
        return (await self.aclient.chat.completions.create(**self.options(asked))).model_dump()


class Dspy:
    """DSPy with its own engine and its adapter for JSON."""

    imports = ("dspy",)

    def __init__(self, url: str, kind: str, folder: str) -> None:
        dspy: Any = import_module("dspy")
        dspy.configure_cache(
            enable_memory_cache=kind == "memory",
            enable_disk_cache=kind == "disk",
            disk_cache_dir=f"{folder}/dspy",
        )
        lm = dspy.LM(
            f"openai/{MODEL}", api_base=url, api_key="k", cache=kind != "none", num_retries=0
        )
        dspy.configure(lm=lm, adapter=dspy.JSONAdapter())
        fields: dict[str, Any] = {"text": (str, dspy.InputField())}
        fields |= {name: (shape, dspy.OutputField()) for name, shape in SHAPES.items()}
        self.predict = dspy.Predict(dspy.Signature(fields, SYSTEM))

    def call(self, asked: str) -> Any:
        """One sync call."""
        return dict(self.predict(text=asked).items())

    async def acall(self, asked: str) -> Any:
        """One async call."""
        return dict((await self.predict.acall(text=asked)).items())


class Ours:
    """mtiprompt over litellm: four tasks in one call."""

    imports = ("mtiprompt",)
    provider = "openai"

    def __init__(self, url: str, kind: str, folder: str) -> None:
        mti: Any = import_module("mtiprompt")
        self.program = mti.combine(
            "text -> sentiment: Literal['positive', 'negative', 'mixed']",
            "text -> topic: Literal['billing', 'quality', 'delivery', 'other']",
            "text -> product",
            "text -> tags: list[str]",
        )
        cache = False if kind == "none" else f"{folder}/{self.provider}"
        name = f"{self.provider}/{MODEL}"
        self.using = mti.Model(name, api_base=url, api_key="k", cache=cache, retries=0)

    def call(self, asked: str) -> Any:
        """One sync call."""
        result = self.program(text=asked, model=self.using)
        return {name: getattr(result, name) for name in SHAPES}

    async def acall(self, asked: str) -> Any:
        """One async call."""
        result = await self.program.acall(text=asked, model=self.using)
        return {name: getattr(result, name) for name in SHAPES}


class Direct(Ours):
    """mtiprompt without litellm."""

    provider = "direct"


ADAPTERS: dict[str, Any] = {
    "httpx": Httpx,
    "aiohttp": Aiohttp,
    "litellm": Litellm,
    "instructor": Instructor,
    "dspy": Dspy,
    "mtiprompt (litellm)": Ours,
    "mtiprompt (direct)": Direct,
}
CACHED = ("instructor", "dspy", "mtiprompt (litellm)", "mtiprompt (direct)")
"""Those with a cache that works on a plain install."""


# --- the process --------------------------------------------------------------------------------


class Worker:
    """Does what it is told with one client.

    Args:
        name: Which of `ADAPTERS`.
        kind: Which cache it has: `none`, `memory` or `disk`.
        folder: Where a cache may write.
    """

    def __init__(self, name: str, kind: str, folder: str) -> None:
        self._setup = (kind, folder)
        self._adapter = ADAPTERS[name]
        self._imports = ADAPTERS[name].imports
        self._clients: dict[str, Any] = {}
        self._loop: Any = None

    def _client(self, url: str) -> Any:
        if url not in self._clients:
            self._clients[url] = self._adapter(url, *self._setup)
        return self._clients[url]

    def _run(self, work: Any) -> Any:
        if self._loop is None:
            self._loop = import_module("asyncio").new_event_loop()
        return self._loop.run_until_complete(work)

    def _once(self, url: str, asked: str) -> Any:
        client = self._client(url)
        if hasattr(client, "call"):
            return client.call(asked)
        return self._run(client.acall(asked))

    def cold(self, url: str) -> dict[str, float]:
        """Seconds of the imports, and from before them to the first answer."""
        began = time.perf_counter()
        for name in self._imports:
            import_module(name)
        imported = time.perf_counter() - began
        check(self._once(url, text(0)))
        return {"import": imported, "first": time.perf_counter() - began}

    def one(self, url: str, first: int, number: int) -> list[float]:
        """Seconds of each of so many calls, one after the other."""
        seconds = []
        for place in range(first, first + number):
            began = time.perf_counter()
            answers = self._once(url, text(place))
            seconds.append(time.perf_counter() - began)
            check(answers)
        return seconds

    def many(self, url: str, first: int, number: int, flight: int) -> dict[str, float]:
        """Calls a second, and CPU seconds a call, with so many calls in flight."""
        client, left = self._client(url), iter(range(first, first + number))

        async def lane() -> None:
            for place in left:
                check(await client.acall(text(place)))

        async def all_lanes() -> None:
            await import_module("asyncio").gather(*(lane() for _ in range(flight)))

        began, busy = time.perf_counter(), time.process_time()
        self._run(all_lanes())
        seconds, cpu = time.perf_counter() - began, time.process_time() - busy
        return {"rate": number / seconds, "cpu": cpu / number}

    def equal(self, url: str, number: int) -> None:
        """So many equal calls at the same time."""
        client = self._client(url)

        async def together() -> None:
            calls = (client.acall(text(-1)) for _ in range(number))
            for answers in await import_module("asyncio").gather(*calls):
                check(answers)

        self._run(together())


def check(answers: dict[str, Any]) -> None:
    """Whether these are four answers of the right kind.

    Raises:
        ValueError: They are not.
    """
    good = answers["sentiment"] in SENTIMENTS and answers["topic"] in TOPICS
    if not (good and isinstance(answers["product"], str) and isinstance(answers["tags"], list)):
        raise ValueError(f"a wrong answer: {answers}")


def serve(worker: Worker, told: IO[str]) -> None:
    """Do what standard input says, until it ends."""
    for line in sys.stdin:
        command = json.loads(line)
        value = getattr(worker, command.pop("do"))(**command)
        told.write(json.dumps(value) + "\n")
        told.flush()


if __name__ == "__main__":
    answers_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    worker = Worker(*sys.argv[1:])
    serve(worker, answers_to)
    answers_to.close()
    os._exit(0)  # without the complaints about connections that nobody has closed
