"""The shipped chat server: its protocol, its faults, and chaos that repeats."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
import json_repair
import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.errors import DataError
from mtiprompt.models.via_litellm import LiteLLMModel, litellm_library
from mtiprompt.parse import parse
from mtiprompt.reading import read_object
from mtiprompt.schema import output_schema
from mtiprompt.testing import Chaos, ChatServer, Fault, Received
from mtiprompt.testing.protocol import Said, completion, events
from mtiprompt.testing.spoil import spoil
from tests.strategies import Case, cases, same

TEXT = "Good day, dear sir or madam; grüße 😀."
KEYS = ("urgent", "product", "label", "stars")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "urgent": {"type": "boolean"},
        "product": {"type": "string", "maxLength": 40},
        "label": {"enum": ["late", "lost"]},
        "stars": {"type": "integer", "minimum": 1},
    },
    "required": list(KEYS),
    "additionalProperties": False,
}
ANSWER = {"urgent": False, "product": "...", "label": "late", "stars": 1}


def body(message: str = "Hello", **more: Any) -> dict[str, Any]:
    """A request."""
    return {"model": "any", "messages": [{"role": "user", "content": message}], **more}


def formatted(message: str = "Hello", **more: Any) -> dict[str, Any]:
    """A request for an answer that satisfies the schema."""
    named = {"name": "answers", "schema": SCHEMA, "strict": True}
    asked = {"type": "json_schema", "json_schema": named}
    return body(message, response_format=asked, **more)


class Client:
    """One connection of plain `http.client`."""

    def __init__(self, server: ChatServer) -> None:
        where = urlsplit(server.base_url)
        assert where.hostname is not None
        self.connection = http.client.HTTPConnection(where.hostname, where.port, timeout=10)

    def send(self, sent: Any, method: str = "POST", path: str = "/v1/chat/completions") -> Any:
        """Status, headers and text of the answer."""
        data = sent if isinstance(sent, bytes) or sent is None else json.dumps(sent)
        self.connection.request(method, path, data)
        with self.connection.getresponse() as response:
            return response.status, dict(response.headers), response.read().decode()

    def message(self, sent: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """The message of the answer, and its finish reason."""
        status, _, text = self.send(sent)
        assert status == 200, text
        choice = json.loads(text)["choices"][0]
        return choice["message"], choice["finish_reason"]


@contextmanager
def client_of(server: ChatServer) -> Iterator[Client]:
    """A client that is closed afterwards."""
    client = Client(server)
    try:
        yield client
    finally:
        client.connection.close()


def said_under(fault: Fault, answer: Any = None, sent: Any = None) -> tuple[Any, str, Counter[str]]:
    """The message and finish reason that a fault leads to, and what was injected."""
    function = None if answer is None else (lambda received: answer)
    with ChatServer(function, faults=[fault]) as server, client_of(server) as client:
        return *client.message(sent or formatted()), server.injected


def chunks_of(text: str) -> list[dict[str, Any]]:
    """The chunks of a whole stream."""
    events = text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


# --- the protocol ------------------------------------------------------------------------------


def test_stream_is_chunks_in_order() -> None:
    """A stream has the role, the text in small pieces, the finish, and the usage if asked."""
    asked = body(stream=True, stream_options={"include_usage": True})
    with ChatServer(lambda received: TEXT, pieces=5) as server, client_of(server) as client:
        status, headers, text = client.send(asked)
        plain = chunks_of(client.send(body(stream=True))[2])
        _, _, whole = client.send(body())
        assert [received.streams for received in server.requests] == [True, True, False]
    assert (status, headers["Transfer-Encoding"]) == (200, "chunked")
    assert headers["Content-Type"].startswith("text/event-stream")
    first, *pieces, last, counted = chunks_of(text)
    assert {one["object"] for one in [first, *pieces, last]} == {"chat.completion.chunk"}
    assert len({one["id"] for one in [first, *pieces, last, counted]}) == 1
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    texts = [one["choices"][0]["delta"]["content"] for one in pieces]
    assert "".join(texts) == TEXT
    assert {len(one) for one in texts[:-1]} == {5}
    assert [one["choices"][0]["finish_reason"] for one in [*pieces, last]][-2:] == [None, "stop"]
    assert counted["choices"] == []
    assert counted["usage"] == json.loads(whole)["usage"]
    assert "usage" not in plain[-1]
    assert plain[-1]["choices"][0]["finish_reason"] == "stop"


@given(st.text(max_size=60), st.integers(1, 9), st.one_of(st.none(), st.integers(1, 9)))
def test_stream_says_what_a_whole_reply_says(text: str, pieces: int, limit: int | None) -> None:
    """Whatever the text, the size of the pieces and the limit, both ways say the same."""
    received = Received(0, "/", {}, body(max_tokens=limit))
    whole = completion(received, text)["choices"][0]
    found = chunks_of(b"".join(events(received, Said(text), pieces=pieces)).decode())
    deltas = [one["choices"][0]["delta"].get("content") or "" for one in found]
    assert "".join(deltas) == whole["message"]["content"]
    assert found[-1]["choices"][0]["finish_reason"] == whole["finish_reason"]


async def test_stream_through_httpx_and_aiohttp() -> None:
    """Two independent clients, sync and async, read the same stream."""
    asked = body(stream=True)
    with ChatServer(lambda received: TEXT) as server:
        url = f"{server.base_url}/chat/completions"

        def read() -> str:
            with httpx.Client() as client, client.stream("POST", url, json=asked) as response:
                return "".join(response.iter_text())

        async with aiohttp.ClientSession() as session, session.post(url, json=asked) as response:
            texts = [await response.text(), await asyncio.to_thread(read)]
    for text in texts:
        deltas = [one["choices"][0]["delta"].get("content", "") for one in chunks_of(text)]
        assert "".join(deltas) == TEXT


def test_stream_through_litellm() -> None:
    """litellm reads a stream with its usage, and maps an error before it."""
    library = litellm_library()

    def ask(server: ChatServer) -> Any:
        return library.completion(
            "openai/any",
            [{"role": "user", "content": "x" * 40}],
            api_base=server.base_url,
            api_key="k",
            stream=True,
            stream_options={"include_usage": True},
            max_retries=0,
        )

    with ChatServer(lambda received: TEXT, faults=[None, Fault(429)]) as server:
        found = list(ask(server))
        assert "".join(one.choices[0].delta.content or "" for one in found if one.choices) == TEXT
        assert found[-1].usage.prompt_tokens == 10
        assert [one.choices[0].finish_reason for one in found if one.choices][-1] in {None, "stop"}
        with pytest.raises(library.RateLimitError):
            ask(server)


def test_stream_pauses_between_pieces() -> None:
    """With a pause of the server or a drip of a fault, there is a wait after every event."""
    for options in ({"pause": 0.05}, {"faults": [Fault(drip=0.05)]}):
        with ChatServer(lambda received: "abcdef", pieces=2, **options) as server:
            began = time.monotonic()
            events_sent = len(chunks_of(ask_once(server, body(stream=True)))) + 1
            assert events_sent == 6
            assert time.monotonic() - began >= 0.05 * events_sent


def test_delay_goes_before_every_answer() -> None:
    """The server's own delay is added to that of a fault, and answers wait at the same time."""
    with ChatServer(delay=0.3, faults=[Fault(delay=0.1)]) as server:
        began = time.monotonic()
        ask_once(server, body())
        assert time.monotonic() - began >= 0.4
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: ask_once(server, body(str(number))), range(8)))
        assert server.most_at_once == 8
        assert server.injected == {"delayed": 1}


def ask_once(server: ChatServer, sent: dict[str, Any]) -> str:
    """The outcome of a request on a connection of its own: a status, a text, or an exception."""
    with client_of(server) as client:
        try:
            status, _, text = client.send(sent)
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__
        return text if status == 200 else str(status)


def test_lists_its_model_and_counts_itself() -> None:
    """The list of models and the statistics are there, and count as no request."""
    with (
        ChatServer(model="named", record=False, faults=[Fault(500)]) as server,
        client_of(server) as client,
    ):
        for number in range(3):
            client.send(body(str(number)))
        status, _, text = client.send(None, "GET", "/v1/models")
        assert (status, [one["id"] for one in json.loads(text)["data"]]) == (200, ["named"])
        assert client.send(None, "GET", "/v1/other")[0] == 404
        said = json.loads(client.send(None, "GET", "/stats")[2])
        assert said == {"count": 3, "injected": {"error": 1}, "most_at_once": 1} == server.stats()
        assert (server.requests, server.count) == ([], 3)


@pytest.mark.parametrize("sent", [b"{", b"[1]", b"\xff", b"{}", b'{"messages": 1}'])
def test_bad_requests_get_400(sent: bytes) -> None:
    """What is no request is answered with an error of OpenAI's form, and the connection goes on."""
    with ChatServer() as server, client_of(server) as client:
        status, _, text = client.send(sent)
        assert status == 400
        assert json.loads(text)["error"]["message"]
        assert client.send(body())[0] == 200


def test_headers_on_good_answers() -> None:
    """A fault may add headers to a good answer, as providers report their limits, whole or not."""
    limits = {
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "3",
        "x-ratelimit-remaining-tokens": "9000",
        "x-ratelimit-reset-requests": "120ms",
    }
    with (
        ChatServer(faults=lambda received: Fault(headers=limits)) as server,
        client_of(server) as client,
    ):
        for sent in body(), body(stream=True):
            status, headers, _ = client.send(sent)
            assert status == 200
            assert limits.items() <= headers.items()
        assert server.injected == {}


def test_cached_tokens_of_a_prompt() -> None:
    """Whole blocks of 128 tokens that an earlier prompt began with are cached, from 1,024 on."""
    rules = {"role": "system", "content": "r" * 4 * 1100}

    def cached(client: Client, *messages: dict[str, str]) -> int:
        _, _, text = client.send({"messages": messages})
        found: int = json.loads(text)["usage"]["prompt_tokens_details"]["cached_tokens"]
        return found

    with ChatServer(prefix_cache=True) as server, client_of(server) as client:
        assert cached(client, rules, {"role": "user", "content": "a" * 1000}) == 0
        assert cached(client, rules, {"role": "user", "content": "b" * 1000}) == 1024
        assert cached(client, rules, {"role": "user", "content": "b" * 1000}) == 1280
        assert cached(client, {"role": "user", "content": "b" * 1000}) == 0
    with ChatServer() as server, client_of(server) as client:
        assert "prompt_tokens_details" not in client.send(body())[2]


def test_a_port_that_is_taken() -> None:
    """A port that another server has is refused at once."""
    with (
        ChatServer() as server,
        pytest.raises(OSError, match="in use"),
        ChatServer(port=server.port),
    ):
        pass


# --- faults of the connection ------------------------------------------------------------------


def read_until_it_breaks(server: ChatServer, patience: float = 5) -> tuple[str, str]:
    """The text that a stream brings before it breaks off, and the name of the exception."""
    got, timeout = "", httpx.Timeout(5, read=patience)
    url = f"{server.base_url}/chat/completions"
    try:
        with (
            httpx.Client(timeout=timeout) as client,
            client.stream("POST", url, json=body(stream=True)) as response,
        ):
            for line in response.iter_lines():
                if line.startswith("data: {"):
                    choice = json.loads(line.removeprefix("data: "))["choices"][0]
                    assert choice["finish_reason"] is None
                    got += choice["delta"]["content"]
    except httpx.HTTPError as error:
        return got, type(error).__name__
    return got, ""


@pytest.mark.parametrize("after", [0, 7, 8, 99])
def test_stream_that_breaks_off(after: int) -> None:
    """A dropped stream has so many characters, no finish reason and no end; the next is whole."""
    with ChatServer(lambda received: TEXT, faults=[Fault(drop_after=after)]) as server:
        assert read_until_it_breaks(server) == (TEXT[:after], "RemoteProtocolError")
        assert server.injected == {"dropped": 1}
        assert chunks_of(ask_once(server, body(stream=True)))


def test_stream_that_stops() -> None:
    """A hung stream sends so many characters and stays open; the client's time-out ends it."""
    with ChatServer(lambda received: TEXT, faults=[Fault(hang_after=7)]) as server:
        assert read_until_it_breaks(server, patience=0.5) == (TEXT[:7], "ReadTimeout")
        assert server.injected == {"hung": 1}


def test_whole_reply_that_breaks_off() -> None:
    """A reply that is not streamed breaks off inside its body."""
    with ChatServer(faults=[Fault(drop_after=9), Fault(drop=True)]) as server:
        assert ask_once(server, body()) == "IncompleteRead"
        assert ask_once(server, body()) == "RemoteDisconnected"
        assert server.injected == {"dropped": 2}


def test_hung_requests_end_with_their_client() -> None:
    """A request without an answer is open until its client goes, and not for ever."""
    with ChatServer(faults=[Fault(hang=True), None, Fault(delay=0.05)]) as server:
        patience = httpx.Timeout(5, read=0.1)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.base_url}/chat/completions", json=body(), timeout=patience)
        for _ in range(2):
            ask_once(server, body())
        assert server.most_at_once == 1


@pytest.mark.parametrize("fault", [Fault(500), Fault(429, headers={"Retry-After": "2"})])
def test_errors_come_before_a_stream(fault: Fault) -> None:
    """A status other than 200 is an error in JSON, also where a stream was asked for."""
    with ChatServer(faults=[fault]) as server, client_of(server) as client:
        status, headers, text = client.send(body(stream=True))
    assert (status, headers.get("Retry-After")) == (fault.status, fault.headers.get("Retry-After"))
    assert json.loads(text)["error"]["message"] == "injected"


# --- faults of the text ------------------------------------------------------------------------


def test_cut_off() -> None:
    """So large a share of the text is kept, and the finish reason says that it was cut off."""
    whole = json.dumps(ANSWER, separators=(",", ":"))
    message, reason, injected = said_under(Fault(truncate=0.5))
    assert (message["content"], reason) == (whole[: len(whole) // 2], "length")
    assert injected == {"cut": 1}


def test_fenced_and_wrapped() -> None:
    """A fence and an outer key stand around the same answer, alone or together."""
    message, _, injected = said_under(Fault(fence=True, wrap="output"))
    fenced = re.search(r"\n```json\n(.*)\n```\n", message["content"])
    assert fenced is not None
    assert json.loads(fenced[1]) == {"output": ANSWER}
    assert injected == {"fenced": 1, "wrapped": 1}
    assert json.loads(said_under(Fault(wrap=True))[0]["content"]) == {"response": ANSWER}


@pytest.mark.parametrize("key", KEYS)
def test_duplicated(key: str) -> None:
    """A key comes twice, the second time with another value; the rest is untouched."""
    message, _, injected = said_under(Fault(duplicate=[key]))
    pairs = json.loads(message["content"], object_pairs_hook=list)
    assert [name for name, _ in pairs] == [*KEYS, key]
    assert dict(pairs[:-1]) == ANSWER
    assert pairs[-1][1] != ANSWER[key]
    jsonschema.validate(ANSWER | dict(pairs[-1:]), SCHEMA)
    assert injected == {"duplicated": 1}


@pytest.mark.parametrize(("refuse", "words"), [(True, "sorry"), ("Never.", "Never.")])
def test_refused(refuse: bool | str, words: str) -> None:
    """A refusal has no content, as OpenAI does it, whole and streamed."""
    with ChatServer(faults=[Fault(refuse=refuse)] * 2) as server, client_of(server) as client:
        message, reason = client.message(formatted())
        found = chunks_of(client.send(formatted(stream=True))[2])
        assert server.injected == {"refused": 2}
    assert (message["content"], reason) == (None, "stop")
    assert words in message["refusal"]
    deltas = [one["choices"][0]["delta"] for one in found]
    assert "".join(delta.get("refusal", "") for delta in deltas) == message["refusal"]
    assert not any(delta.get("content") for delta in deltas)


def test_refused_through_litellm() -> None:
    """A refusal reaches the library's client as one."""
    with ChatServer(faults=[Fault(refuse="Never.")]) as server:
        model = LiteLLMModel("openai/any", api_base=server.base_url, api_key="k")
        reply = model.complete(mti.Request((mti.Message("user", "Hello"),)))
    assert (reply.text, reply.finish_reason) == ("Never.", "refused")


@given(
    st.dictionaries(st.sampled_from(KEYS), st.one_of(st.text(), st.integers(), st.booleans())),
    st.integers(),
)
def test_malformed_is_beyond_repair(answer: dict[str, Any], seed: int) -> None:
    """No repair finds a key in a malformed reply."""
    said, done = spoil(json.dumps(answer), Fault(malform=True, seed=seed))
    assert done == {"malformed": 1}
    repaired = json_repair.loads(said.text)
    assert not isinstance(repaired, dict) or not repaired.keys() & set(KEYS)
    assert read_object(said.text, KEYS).values == {}


@given(st.data(), cases(), st.integers(0, 99))
def test_corrupt_slots_fail_and_no_others(data: st.DataObject, case: Case, seed: int) -> None:
    """Whatever the types and values, a corrupted slot is a failure and the others are untouched."""
    answers = data.draw(case.answers())
    slots = case.slots()
    keys = [key for slot in slots for key in slot.keys]
    corrupt = set(data.draw(st.lists(st.sampled_from(keys))))
    twice = set(data.draw(st.lists(st.sampled_from(keys)))) - corrupt
    said, done = spoil(
        json.dumps(case.dumped(answers)),
        Fault(corrupt=corrupt, duplicate=twice, seed=seed),
        output_schema(slots, "openai").schema,
    )
    assert (done["slots"], done["duplicated"]) == (len(corrupt), len(twice))
    for slot, got in zip(slots, parse(mti.Reply(said.text), slots).values(), strict=True):
        if (corrupt | twice) & set(slot.keys):
            assert isinstance(got, mti.Failure)
        else:
            assert isinstance(got, mti.Answer)
            for name, value in answers[slot.task.name].items():
                assert same(got.value[name], value)


def broken(found: Any, schema: dict[str, Any] = SCHEMA) -> set[str]:
    """The slots of an answer that are missing or do not satisfy the schema."""
    valid = jsonschema.Draft202012Validator
    parts = schema["properties"]
    return {key for key in parts if key not in found or not valid(parts[key]).is_valid(found[key])}


def test_which_slots_are_corrupted() -> None:
    """Slots are named, counted, or drawn with a probability; a fault does always the same."""
    whole = json.dumps(ANSWER)

    def hit(which: Any, seed: int = 0) -> set[str]:
        said, done = spoil(whole, Fault(corrupt=which, seed=seed), SCHEMA)
        assert said == spoil(whole, Fault(corrupt=which, seed=seed), SCHEMA)[0]
        found = broken(json.loads(said.text))
        assert done["slots"] == len(found)
        return found

    assert hit("label") == {"label"}
    assert hit(["label", "stars", "other"]) == {"label", "stars"}
    assert [len(hit(number)) for number in (0, 1, 3, 9)] == [0, 1, 3, 4]
    assert (hit(0.0), hit(1.0)) == (set(), set(KEYS))
    assert {next(iter(hit(1, seed))) for seed in range(50)} == set(KEYS)
    assert 300 < sum(len(hit(0.25, seed)) for seed in range(400)) < 500
    assert spoil("no JSON", Fault(corrupt=1, duplicate=1, wrap=True))[1] == {}


def test_ways_of_corruption() -> None:
    """A slot goes missing, has the wrong type, or, where the schema has labels, another one."""
    said = [
        json.loads(spoil(json.dumps(ANSWER), Fault(corrupt="label", seed=seed), SCHEMA)[0].text)
        for seed in range(30)
    ]
    assert {type(one.get("label")) for one in said} == {type(None), dict, str}
    plain = [json.loads(spoil('{"label": "late"}', Fault(corrupt=1, seed=seed))[0].text)
             for seed in range(30)]  # fmt: skip
    assert {type(one.get("label")) for one in plain} == {type(None), dict}


def test_slots_of_several_items() -> None:
    """In an answer for several items a slot is one key of one item."""
    answer = {"1": ANSWER, "2": ANSWER, "3": ANSWER}
    for which, wanted in (
        ("2.label", [set(), {"label"}, set()]),
        ("label", [{"label"}, {"label"}, {"label"}]),
        (1.0, [set(KEYS)] * 3),
    ):
        message, _, injected = said_under(Fault(corrupt=which), answer)
        found = json.loads(message["content"])
        assert [broken(found[number]) for number in "123"] == wanted
        assert injected == {"slots": sum(len(one) for one in wanted)}


def test_labels_behind_a_reference() -> None:
    """The labels of a slot are also found where the schema of an item is a reference."""
    schema = {"$defs": {"one": SCHEMA}, "properties": {"2": {"$ref": "#/$defs/one"}}}
    said = [
        json.loads(spoil(json.dumps({"2": ANSWER}), Fault(corrupt=1.0, seed=seed), schema)[0].text)
        for seed in range(20)
    ]
    assert "no such label" in [one["2"].get("label") for one in said]


# --- chaos -------------------------------------------------------------------------------------

RATES = {"error": 0.1, "limited": 0.1, "dropped": 0.05, "malformed": 0.1, "cut": 0.1,
         "fenced": 0.1, "wrapped": 0.1, "duplicated": 0.1, "refused": 0.1}  # fmt: skip


def outcomes(chaos: Chaos, *, seed: int, threads: int) -> tuple[dict[str, Counter[str]], Any]:
    """The outcomes of 150 requests sent twice, by message, and what was injected."""
    sent = [f"item {number}" for number in range(150)] * 2
    random.Random(seed).shuffle(sent)
    found: dict[str, Counter[str]] = {message: Counter() for message in sent}
    with ChatServer(faults=chaos, delay=0.001) as server, ThreadPoolExecutor(threads) as pool:
        texts = pool.map(lambda one: ask_once(server, formatted(one)), sent)
        for message, text in zip(sent, texts, strict=True):
            found[message][re.sub(r"chatcmpl-\d+", "", text)] += 1
        return found, server.injected


def test_chaos_repeats_in_any_order() -> None:
    """The same seed does the same to the same requests, in another order, from many threads."""
    first = outcomes(Chaos(3, slots=0.1, **RATES), seed=1, threads=1)
    assert outcomes(Chaos(3, slots=0.1, **RATES), seed=2, threads=12) == first
    assert outcomes(Chaos(4, slots=0.1, **RATES), seed=2, threads=12) != first
    assert set(first[1]) == {*RATES, "slots"}


def test_chaos_injects_what_it_counts() -> None:
    """What a client sees is what the server says it injected."""
    found, injected = outcomes(Chaos(5, slots=0.2, error=0.1, limited=0.1), seed=0, threads=4)
    seen = Counter[str]()
    for counts in found.values():
        for text, number in counts.items():
            if text.startswith("{"):
                answer = json.loads(json.loads(text)["choices"][0]["message"]["content"])
                seen["slots"] += number * len(broken(answer))
            else:
                seen[{"500": "error", "429": "limited"}[text]] += number
    assert seen == injected


def test_chaos_has_its_rates() -> None:
    """Each kind of fault comes as often as asked for, and each request sent again is drawn anew."""
    chaos = Chaos(seed=1, hung=0.1, **RATES)
    kinds: Counter[str] = Counter()
    again = 0
    for number in range(4000):
        received = Received(number, "/", {}, body(str(number)))
        first, second = chaos(received), chaos(received)
        again += first != second
        for fault in (first, second):
            if fault is not None:
                kinds.update(fault.kinds() if fault.status != 200 else [])
                kinds.update(spoil(json.dumps(ANSWER), fault)[1])
                kinds.update(kind for kind in fault.kinds() if fault.status == 200)
    for kind, rate in {**RATES, "hung": 0.1}.items():
        assert abs(kinds[kind] / 8000 - rate) < 0.015, kind
    assert again > 3000
    assert Chaos(seed=1)(Received(0, "/", {}, body())) is None


def test_chaos_in_streams() -> None:
    """Streams are broken off and stopped in the middle, and their texts spoilt like any other."""
    chaos = Chaos(dropped=0.5, cut=0.5)
    with ChatServer(faults=chaos) as server:
        texts = [ask_once(server, formatted(str(number), stream=True)) for number in range(40)]
        injected = server.injected
    assert injected["dropped"] + injected["cut"] == 40
    assert sum(text == "IncompleteRead" for text in texts) == injected["dropped"]
    whole = [chunks_of(text) for text in texts if text != "IncompleteRead"]
    assert {one[-1]["choices"][0]["finish_reason"] for one in whole} == {"length"}
    hung = Chaos(hung=1.0)(Received(0, "/", {}, body(stream=True)))
    assert hung is not None
    assert hung.hang_after is not None


def test_chaos_asks_to_wait() -> None:
    """A 429 says how many seconds to wait, also parts of one."""
    chaos = Chaos(limited=1.0, retry_after=0.05)
    with ChatServer(faults=chaos) as server, client_of(server) as client:
        status, headers, _ = client.send(body())
    assert (status, headers["Retry-After"]) == (429, "0.05")


@pytest.mark.parametrize("rates", [{"error": -0.1}, {"cut": 0.6, "hung": 0.6}, {"slots": 1.1}])
def test_rates_that_make_no_sense(rates: dict[str, Any]) -> None:
    """Rates below 0 or above 1 together are refused."""
    with pytest.raises(DataError, match="rates"):
        Chaos(**rates)


# --- a process of its own ----------------------------------------------------------------------


@contextmanager
def process(*options: str) -> Iterator[subprocess.Popen[str]]:
    """The server as a process, ended afterwards."""
    command = [sys.executable, "-m", "mtiprompt.testing", *options]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as running:
        try:
            yield running
        finally:
            running.terminate()


def test_a_process_of_its_own() -> None:
    """The process writes its address, serves with the faults it is given, and ends on a signal."""
    with process("--error", "1", "--delay", "0.01", "--model", "named") as running:
        assert running.stdout is not None
        url = running.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", url)
        with httpx.Client() as client:
            assert client.post(f"{url}/chat/completions", json=body()).status_code == 500
            assert client.get(f"{url}/models").json()["data"][0]["id"] == "named"
            stats = client.get(f"{url.removesuffix('/v1')}/stats").json()
        assert stats == {"count": 1, "injected": {"error": 1}, "most_at_once": 1}
        running.send_signal(signal.SIGINT)
        assert running.wait(10) == 0
        assert (running.stdout.read(), running.stderr and running.stderr.read()) == ("", "")


def test_a_process_that_cannot_start() -> None:
    """A port that is taken, and rates that make no sense, are one line and exit code 2."""
    with ChatServer() as server:
        for options in (["--port", str(server.port)], ["--error", "2"]):
            with process(*options) as running:
                said, complaint = running.communicate(timeout=10)
            assert (running.returncode, said) == (2, "")
            assert complaint.startswith("error: ")
            assert complaint.count("\n") == 1
