"""A plan has demonstrations chosen for what an item has in it."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import bm25s
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.cli import main
from mtiprompt.models.base import Reuse, Support
from mtiprompt.models.cache import CachedModel, ReplyCache
from mtiprompt.optimizer import Progress
from mtiprompt.optimizer.demos import make_pool
from mtiprompt.optimizer.space import Space
from mtiprompt.plan import Select
from mtiprompt.render import GroupPrompt, group_prompt
from mtiprompt.selection.choose import cover
from mtiprompt.selection.parts import Parts
from mtiprompt.selection.select import Kind
from mtiprompt.testing import ChatServer
from mtiprompt.wording import Templates
from tests.test_optimize import KINDS as THINGS
from tests.test_optimize import chance

TRIAGE = mti.combine("message -> mood: Literal['good', 'bad']", "message -> product")
KINDS = get_args(Kind)
GOLD = {"mood": "bad", "product": "kettle"}


def row(text: str, outputs: Mapping[str, Any] = GOLD) -> dict[str, Any]:
    """A labelled message."""
    return {"inputs": {"message": text}, "outputs": outputs}


def selecting(kind: Kind, number: int, *texts: str, **options: Any) -> mti.Plan:
    """All in one call, with demonstrations chosen out of some messages."""
    return mti.Plan.fused(
        TRIAGE, demos=[row(text) for text in texts], select=Select(kind, number), **options
    )


def prompt_of(plan: mti.Plan, program: mti.Program = TRIAGE, group: int = 0) -> GroupPrompt:
    """The prompt of a group, before any item."""
    tasks, grid = plan.call_groups[group].tasks, plan.items_per_call > 1
    return group_prompt(program, plan, tasks, Support(), Templates(), grid=grid)


def shown(plan: mti.Plan, *items: str) -> list[Any]:
    """The messages of the demonstrations that some items are shown, in order."""
    chosen = prompt_of(plan).about([{"message": text} for text in items]).chosen
    assert chosen is not None
    return [demo.inputs["message"] for demo in chosen]


# --- which are chosen ------------------------------------------------------------------------


def test_nearest_comes_last() -> None:
    """The demonstrations most like the item are chosen, and the nearest stands beside it."""
    pool = ["the kettle leaks", "the lamp is bright", "my kettle leaks a lot of water"]
    plan = selecting("nearest", 2, *pool)
    assert shown(plan, "kettle with water leaks") == [pool[0], pool[2]]


def test_covering_takes_what_is_still_uncovered() -> None:
    """Of two alike and one that covers the rest, the set has one of each; the nearest has both."""
    pool = ["kettle leaks water", "kettle leaks water too", "an invoice of last May", "lamp"]
    item = "water leaks, kettle; see invoice"
    assert set(shown(selecting("nearest", 2, *pool), item)) == {pool[0], pool[1]}
    assert shown(selecting("coverage", 2, *pool), item) == [pool[2], pool[0]]


def test_covering_starts_again_when_all_is_covered() -> None:
    """More are chosen than are needed to cover the item, as if the set were empty again."""
    pool = ["kettle leaks", "leaks kettle", "lamp"]
    assert shown(selecting("coverage", 3, *pool), "it leaks, my kettle") == pool[::-1]


def test_items_of_a_call_choose_together() -> None:
    """Where items share a call, what is chosen is like all of them, not like the first alone."""
    pool = ["the kettle leaks", "the kettle is hot", "an invoice is missing"]
    plan = selecting("coverage", 2, *pool, items_per_call=2)
    assert set(shown(plan, "kettle leaks", "invoice")) == {pool[0], pool[2]}
    assert set(shown(plan, "kettle leaks", "hot kettle")) == {pool[0], pool[1]}


def test_parts_are_united_over_the_tasks() -> None:
    """A fused call covers what any of its tasks reads, a call of one task what that one reads."""
    program = mti.combine("title -> topic", "body -> mood")
    gold = {"topic": "t", "mood": "m"}
    demos = [
        {"inputs": {"title": title, "body": body}, "outputs": gold}
        for title, body in [("tea pot", "x"), ("tea", "x"), ("x", "milk"), ("milk", "tea")]
    ]
    item = {"title": "tea pot", "body": "milk"}
    for plan, wanted in [
        (mti.Plan.fused(program, demos=demos, select=Select("coverage", 2)), [2, 0]),
        (mti.Plan.split(program, demos=demos, select=Select("coverage", 2)), [1, 0]),
    ]:
        chosen = prompt_of(plan, program).about([item]).chosen
        assert chosen == tuple(plan.demos[n] for n in wanted)


def test_only_what_a_call_can_show_is_chosen() -> None:
    """Demonstrations that lack an answer of the call take no place; other calls have them."""
    demos = [row("kettle leaks", {"mood": "bad"}), row("a kettle is old")]
    fused = mti.Plan.fused(TRIAGE, demos=demos, select=Select("nearest", 1))
    assert shown(fused, "kettle leaks water") == ["a kettle is old"]
    split = mti.Plan.split(TRIAGE, demos=demos, select=Select("nearest", 1))
    assert shown(split, "kettle leaks water") == ["kettle leaks"]


def test_chained_task_reads_what_it_builds_on() -> None:
    """A task that takes only another's answer looks at the inputs behind that."""
    program = mti.combine("text -> topic", "topic -> advice")
    demos = [
        {"inputs": {"text": one}, "outputs": {"topic": "t", "advice": "a"}}
        for one in ("tea", "milk")
    ]
    plan = mti.Plan.split(program, demos=demos, select=Select("nearest", 1))
    for group in (0, 1):
        prompt = prompt_of(plan, program, group).about([{"text": "milk now"}])
        assert prompt.chosen == (plan.demos[1],)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["", "...", "nothing like it"])
def test_item_without_known_words(kind: Kind, text: str) -> None:
    """An item that shares no word with the pool still gets its demonstrations."""
    assert len(shown(selecting(kind, 2, "kettle leaks", "lamp", "!"), text)) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_pool_without_words_or_members(kind: Kind) -> None:
    """A pool of signs gives its demonstrations, an empty one none."""
    assert len(shown(selecting(kind, 2, "!", "?", "..."), "kettle")) == 2
    assert shown(selecting(kind, 2), "kettle") == []


def test_scripts_without_blanks_have_parts() -> None:
    """Japanese is compared sign by sign, so that sentences share parts."""
    assert shown(selecting("nearest", 1, "電気が暗い", "お茶が熱い"), "お茶です") == ["お茶が熱い"]


def test_values_that_are_no_text() -> None:
    """Numbers and lists are compared by how JSON writes them."""
    program = mti.combine("year: int, tags: list[str] -> era")
    demos = [
        {"inputs": {"year": 1900, "tags": ["steam"]}, "outputs": {"era": "old"}},
        {"inputs": {"year": 2020, "tags": ["chip"]}, "outputs": {"era": "new"}},
    ]
    plan = mti.Plan.fused(program, demos=demos, select=Select("nearest", 1))
    prompt = prompt_of(plan, program).about([{"year": 1, "tags": ["chip", "x"]}])
    assert prompt.chosen == (plan.demos[1],)


messages = st.lists(st.sampled_from("aAbcd !"), max_size=6).map("".join)
pools = st.lists(messages, max_size=8)


def _as_compared(text: str) -> str:
    return " ".join(text.split()).casefold()


@given(st.sampled_from(KINDS), st.integers(1, 5), pools, st.lists(messages, min_size=1, max_size=3))
def test_number_no_leak_and_the_same_again(
    kind: Kind, number: int, pool: list[str], items: list[str]
) -> None:
    """As many are shown as are wanted and can be, none twice and none an item of the call, however
    it is spaced and spelled, and a plan that was saved and read chooses the same.
    """
    plan = selecting(kind, number, *pool, items_per_call=len(items))
    found = shown(plan, *items)
    asked = {_as_compared(item) for item in items}
    able = {_as_compared(text) for text in pool} - asked
    assert len(found) == min(number, len(able))
    assert len({_as_compared(text) for text in found} & able) == len(found)
    assert {*found} <= {*pool}
    assert shown(mti.Plan.from_json(plan.to_json()), *items) == found


def test_inputs_left_out_are_those_of_their_defaults() -> None:
    """An item is known as a demonstration also where only one of them writes a default out."""

    @mti.task
    def mood(message: str, tone: str = "calm") -> str:
        """Judge the mood."""
        raise NotImplementedError

    program = mti.combine(mood)
    demo = {"inputs": {"message": "hi", "tone": "calm"}, "outputs": {"mood": "x"}}
    plan = mti.Plan.fused(program, demos=[demo], select=Select())
    assert prompt_of(plan, program).about([{"message": "hi"}]).chosen == ()


@pytest.mark.parametrize("default", [None, "en"])
@pytest.mark.parametrize("in_item", [True, False])
def test_what_is_left_out_is_known_as_what_stands_for_it(
    default: str | None, in_item: bool
) -> None:
    """An item is not shown its own answer, and not measured, whichever of the two leaves it out."""

    @mti.task(metric="exact")
    def mood(message: str, lang: str | None = default) -> str:
        """Judge the mood."""
        raise NotImplementedError

    program = mti.combine(mood)
    short, whole = {"message": "hi"}, {"message": "Hi", "lang": default}
    item, shown_inputs = (whole, short) if in_item else (short, whole)
    demo = {"inputs": shown_inputs, "outputs": {"mood": "x"}}
    plan = mti.Plan.fused(program, demos=[demo], select=Select())
    model = mti.EchoModel()
    program(**item, plan=plan, model=model)
    assert len(model.requests[0].messages) == 2
    with pytest.raises(mti.DataError, match="is a demonstration"):
        mti.evaluate(program, [{**demo, "inputs": item}], model=model, plan=plan)
    other = {**item, "lang": "de"}
    assert prompt_of(plan, program).about([other]).chosen != ()


def test_texts_that_look_the_same_are_the_same() -> None:
    """An item is known as a demonstration also where Unicode writes its letters in another way."""
    plan = selecting("nearest", 4, "ΐ höchste")
    for item in ("ΐ HÖCHSTE".upper(), unicodedata.normalize("NFD", "ΐ höchste")):
        assert shown(plan, item) == []
    plan = selecting("nearest", 1, "die höchste Prämie", "ein Hund bellt laut")
    for form in ("NFC", "NFD"):
        assert shown(plan, unicodedata.normalize(form, "HÖCHSTE")) == ["die höchste Prämie"]


tables = st.integers(1, 6).flatmap(
    lambda wide: st.lists(
        st.lists(st.integers(0, 3), min_size=wide, max_size=wide), min_size=1, max_size=5
    )
)


@given(tables, st.data())
def test_greedy_cover_is_near_the_best(table: list[list[int]], data: st.DataObject) -> None:
    """Up to where nothing is left to cover it has 1 - 1/e of the best (Nemhauser et al. 1978)."""
    parts = np.array(table, dtype=float)
    number = data.draw(st.integers(1, parts.shape[1]))
    chosen = cover(parts, number)
    assert len(set(chosen)) == len(chosen) == number
    best = max(
        parts[:, list(some)].max(axis=1).sum()
        for some in itertools.combinations(range(parts.shape[1]), number)
    )
    assert parts[:, chosen].max(axis=1).sum() >= (1 - 1 / np.e) * best - 1e-9


@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=5), min_size=1, max_size=5))
def test_parts_are_the_scores_of_bm25s(texts: list[list[str]]) -> None:
    """What is read out of the index of bm25s is what it gives for a query of one word."""
    parts = Parts(texts)
    known = sorted({word for words in texts for word in words})
    rows = parts.of([*known, "zz", *known])
    assert rows.shape == (len(known), len(texts))
    if known:
        index = bm25s.BM25()
        index.index(texts, show_progress=False)
        assert rows.tolist() == [index.get_scores([word]).tolist() for word in known]


# --- in a plan -------------------------------------------------------------------------------


@given(st.sampled_from(KINDS), st.integers(1, 99), pools)
def test_plan_is_a_value(kind: Kind, number: int, pool: list[str]) -> None:
    """A plan that selects is hashable and comes back from JSON; one that does not has no key."""
    plan = selecting(kind, number, *pool)
    assert mti.Plan.from_json(plan.to_json()) == plan
    assert isinstance(hash(plan), int)
    assert json.loads(plan.to_json())["select"] == {"kind": kind, "number": number}
    assert plan.shown == min(number, len(pool))
    fixed = plan.replace(TRIAGE, select=None)
    assert "select" not in json.loads(fixed.to_json())
    assert fixed.shown == len(pool)


@pytest.mark.parametrize(
    "given", ["nearest", 4, ("nearest", 4), {"kind": "nearest"}, True]
)  # fmt: skip
def test_what_is_no_selection_is_refused(given: object) -> None:
    """Only a `Select` is one; the message shows how it is written."""
    with pytest.raises(mti.PlanError, match="expected a Select"):
        mti.Plan.fused(TRIAGE, select=given)


@pytest.mark.parametrize(
    "value",
    [{"kind": "best"}, {"kind": ["nearest"]}, {"number": 0}, {"number": True}, {"number": "4"},
     {"size": 4}, "nearest", [1], "", 0, False],
)  # fmt: skip
def test_saved_selection_that_makes_no_sense(value: object) -> None:
    """A plan whose JSON has another selection than there is one of is refused."""
    saved = json.loads(selecting("nearest", 2, "x").to_json()) | {"select": value}
    with pytest.raises(mti.PlanError):
        mti.Plan.from_json(json.dumps(saved))


@given(pools, messages)
def test_without_selection_nothing_changes(pool: list[str], item: str) -> None:
    """A plan that selects nothing shows all demonstrations, whatever the item, byte for byte as one
    that selects as many in that order would.
    """
    plan = mti.Plan.fused(TRIAGE, demos=[row(text) for text in pool])
    prompt = prompt_of(plan)
    assert prompt.about([{"message": item}]) is prompt
    assert len(prompt.demos) == len(pool)
    chosen = [row(text) for text in shown(selecting("nearest", 3, *pool), item)]
    same = prompt_of(mti.Plan.fused(TRIAGE, demos=chosen))
    selected = prompt_of(selecting("nearest", 3, *pool)).about([{"message": item}])
    assert selected.messages("It.") == same.messages("It.")


def _answered(requests: Sequence[mti.Request]) -> list[list[str]]:
    """Of each request the messages of its demonstrations."""
    return [
        [one.content for one in request.messages[1:-1] if one.role == "user"]
        for request in requests
    ]


@pytest.mark.parametrize("layout", ["item_last", "item_first"])
def test_every_call_has_its_own(layout: str) -> None:
    """A run shows each item what is chosen for it, in calls, streams and `map`, in both layouts."""
    plan = selecting("nearest", 1, "kettle leaks", "lamp is dark", layout=layout)
    for text, wanted, other in [("dark lamp", "lamp is dark", "kettle leaks"),
                                ("old kettle", "kettle leaks", "lamp is dark")]:  # fmt: skip
        model = mti.EchoModel()
        [mapped] = TRIAGE.map([{"message": text}], model=model, plan=plan)
        stream = TRIAGE.stream(message=text, model=model, plan=plan)
        assert len(list(stream)) == 2
        called = TRIAGE(message=text, model=model, plan=plan)
        for result in (mapped, stream.result, called):
            [call] = result.calls
            sent = "\n".join(one.content for one in call.request.messages)
            assert wanted in sent
            assert other not in sent


def test_index_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool is indexed once for a plan and a model, however many items there are."""
    built = []
    build = bm25s.BM25.index

    def counted(self: bm25s.BM25, *given: Any, **options: Any) -> None:
        built.append(self)
        build(self, *given, **options)

    monkeypatch.setattr(bm25s.BM25, "index", counted)
    plan, model = selecting("coverage", 2, "kettle", "lamp", "tea"), mti.EchoModel()
    list(TRIAGE.map([{"message": f"tea {n}"} for n in range(20)], model=model, plan=plan))
    TRIAGE(message="lamp", model=model, plan=plan)
    assert len(built) == 1


def test_repair_chooses_for_what_it_asks() -> None:
    """A task that is asked again alone may be shown what the whole call could not."""
    demos = [row("kettle leaks", {"product": "kettle"}), row("lamp is dark")]
    plan = mti.Plan.fused(TRIAGE, demos=demos, select=Select("nearest", 1))
    model = mti.ScriptedModel(['{"mood": "good"}', '{"product": "kettle"}'])
    result = TRIAGE(message="kettle leaks again", model=model, plan=plan)
    assert result.product == "kettle"
    first, second = _answered([call.request for call in result.calls])
    assert "lamp is dark" in first[0]
    assert "kettle leaks" in second[0]


def test_measured_over_a_server_without_leaks() -> None:
    """Items of a batch, sent to a real server, are never shown as their own demonstrations."""
    texts = [f"kettle number {n} leaks" for n in range(6)]
    plan = selecting("nearest", 3, *texts, items_per_call=2)
    with ChatServer() as server:
        model = mti.Model("direct/any", api_base=server.base_url, cache=False)
        results = list(TRIAGE.map([{"message": one} for one in texts], model=model, plan=plan))
        sent = [one.body["messages"] for one in server.requests]
    assert len(results) == 6
    assert len(sent) >= 3
    for chat in sent:
        item, before = chat[-1]["content"], "\n".join(one["content"] for one in chat[1:-1])
        own = [text for text in texts if text in item]
        assert own
        assert not [text for text in own if text in before]


class _Shelf:
    """Entries in memory, as the cache keeps them."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}

    def get(self, key: str) -> dict[str, Any] | None:
        return self.kept.get(key)

    def set(self, key: str, value: dict[str, Any]) -> None:
        self.kept[key] = value


def test_answers_are_not_mixed_with_those_of_other_demonstrations() -> None:
    """With `reuse`, an answer made with some demonstrations is not taken for one with others."""
    model = mti.EchoModel()
    model.identity, model.reuse = "the same", Reuse(_Shelf())
    pool = ["kettle leaks", "lamp is dark"]
    calls = []
    for select in (Select("nearest", 1), Select("nearest", 2), Select("coverage", 1)):
        plan = selecting(select.kind, select.number, *pool)
        calls.append(TRIAGE(message="kettle", model=model, plan=plan).usage.calls)
    assert calls == [1, 1, 0]  # the third shows what the first showed


def test_optimizer_refuses_to_vary_what_is_chosen() -> None:
    """Fixed demonstrations cannot be searched for a plan that chooses them; all else can."""
    pool = make_pool(TRIAGE, [mti.Row("a", {"message": "x"}, GOLD)])
    base = mti.Plan.fused(TRIAGE, demos=pool.demos, select=Select("nearest", 1))
    with pytest.raises(mti.DataError, match="selects demonstrations"):
        Space(TRIAGE, pool, base)
    space = Space(TRIAGE, pool, base, vary=frozenset({"order"}))
    assert {space.plan(one).select for one in space.starts()} == {Select("nearest", 1)}


# --- in a search -----------------------------------------------------------------------------

LETTERS = mti.combine(
    "title -> topic: Literal['yes', 'no']",
    "title -> tone: Literal['yes', 'no']",
    "body -> mood: Literal['yes', 'no']",
)


def letters(kind: str, number: int, off: int) -> list[dict[str, Any]]:
    """Rows whose body is about what comes so many things after that of their title; the gold is
    always yes.
    """
    gold = dict.fromkeys(LETTERS.tasks, "yes")
    return [
        {
            "inputs": {
                "title": f"{THINGS[n % 6]} {kind}{n}",
                "body": f"{THINGS[(n + off) % 6]} {kind}{n}",
            },
            "outputs": gold,
        }
        for n in range(number)
    ]


def sees_its_like(request: mti.Request) -> bool:
    """Whether all that an item is about is in a demonstration; else true three times of ten."""
    *shown, item = [one.content for one in request.messages]
    about = [thing for thing in THINGS if thing in item]
    like = all(any(thing in one for one in shown) for thing in about)
    return like or chance(item, *shown) < 0.3


def on_letters(request: mti.Request) -> str:
    """Right where the item's like is shown, whatever the tasks of the call are."""
    return json.dumps(dict.fromkeys(LETTERS.tasks, "yes" if sees_its_like(request) else "no"))


def search_letters(model: mti.LanguageModel, **options: Any) -> mti.Tuned:
    """A search in which an item is got right by whoever sees what is like it in what the call
    reads; what is so in its title is not in its body.
    """
    given: dict[str, Any] = {"budget": mti.Budget(calls=240), "most": 2, "concurrency": 1}
    train, dev = letters("old", 72, 1), letters("new", 90, 3)
    return mti.optimize(LETTERS, train, dev, model=model, **{**given, **options})


@pytest.mark.parametrize("groups", [[["topic"], ["tone"], ["mood"]], [["topic", "tone"], ["mood"]]])
def test_each_call_of_a_search_selects_by_its_own_tasks(groups: list[list[str]]) -> None:
    """Where a plan of several calls is improved on, each call is shown what is like the item in
    what its own tasks read, in the search and by the plan that comes of it.
    """
    base = mti.Plan.groups(LETTERS, groups)
    tuned = search_letters(mti.FunctionModel(on_letters), plan=base)
    assert tuned.better
    assert tuned.plan.select
    assert {one.after for one in tuned.tasks.values()} == {1.0}
    assert [set(group.tasks) for group in tuned.plan.call_groups] == list(map(set, groups))
    model = mti.FunctionModel(on_letters)
    [result] = LETTERS.map(
        [{"title": "lamp", "body": "garden"}],
        model=model,
        plan=mti.Plan.from_json(tuned.plan.to_json()),
    )
    assert len(model.requests) == len(result.calls) == len(groups)
    for call, group in zip(result.calls, tuned.plan.call_groups, strict=True):
        read, about = ("body", "garden") if "mood" in group.tasks else ("title", "lamp")
        assert len(_answered([call.request])[0]) == 2
        assert all(one.startswith(f"{read}: {about}") for one in _answered([call.request])[0])


def test_what_the_model_answered_is_shown_but_not_selected() -> None:
    """Bootstrapping feeds the fixed demonstrations; those for an item stay the gold of the rows."""

    def on_messages(request: mti.Request) -> str:
        product = next(one for one in THINGS if one in request.messages[-1].content)
        right = sees_its_like(request)
        return json.dumps({"mood": "bad", "product": product.upper() if right else "?"})

    train, dev = (
        [row(f"{THINGS[n % 6]} {kind}{n}", {"mood": "bad", "product": THINGS[n % 6]})
         for n in range(number)]
        for kind, number in (("old", 72), ("new", 90))
    )  # fmt: skip
    model = mti.FunctionModel(on_messages)
    tuned = mti.optimize(
        TRIAGE, train, dev, model=model, budget=mti.Budget(calls=200), bootstrap=12,
        metrics={"product": lambda answer, gold: float(answer.lower() == gold)},
    )  # fmt: skip
    assert (tuned.spent.of("bootstrap").calls, len(model.requests) <= 200) == (12, True)
    own = {id for id in tuned.space.pool.ids if id.endswith(":own")}
    assert own
    assert any(own & set(one.point.demos) for one in tuned.found.tried)
    assert tuned.better
    assert tuned.plan.select
    products = [demo.outputs["product"]["product"] for demo in tuned.plan.demos]
    assert sorted(products) == sorted(THINGS * 12)


@pytest.mark.parametrize(("stage", "calls"), [("bootstrap", 3), ("search", 70), ("confirm", 215)])
def test_a_search_that_selects_goes_on_where_it_was_stopped(
    tmp_path: Path, stage: str, calls: int
) -> None:
    """Stopped in each of its stages, it ends with all that an undisturbed one finds, and no call is
    paid twice.
    """
    whole = search_letters(mti.FunctionModel(on_letters), bootstrap=6)
    model = mti.FunctionModel(on_letters)

    def stop(now: Progress) -> None:
        if now.calls == calls:
            raise KeyboardInterrupt(now.stage)

    with pytest.raises(KeyboardInterrupt, match=stage):
        search_letters(model, bootstrap=6, record=tmp_path, progress=stop)
    assert 0 < len(model.requests) < whole.spent.calls
    again = search_letters(model, bootstrap=6, record=tmp_path, concurrency=3)
    assert again.plan.select
    assert (again.plan, again.found) == (whole.plan, whole.found)
    paid = [one.key for one in model.requests]
    assert len(paid) == len(set(paid)) == again.spent.calls == whole.spent.calls


def test_a_search_that_selects_is_free_where_a_cache_has_it(tmp_path: Path) -> None:
    """The second of two equal searches finds the same plan and pays for nothing."""
    model = CachedModel(mti.FunctionModel(on_letters), ReplyCache.at(tmp_path))
    first, again = (search_letters(model) for _ in range(2))
    assert again.plan.select
    assert again.plan == first.plan
    assert (again.spent.calls, again.spent.hits) == (0, first.spent.calls)


# --- what stands around it -------------------------------------------------------------------


def test_show_tells_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`mtiprompt show` shows what is chosen for an item, and says out of how many and how."""
    (tmp_path / "triage.py").write_text(
        "import mtiprompt as mti\n"
        "triage = mti.combine(\"message -> mood: Literal['good', 'bad']\", 'message -> product')\n"
    )
    selecting("nearest", 1, "kettle leaks", "lamp is dark").save(tmp_path / "plan.json")
    told = ["show", f"{tmp_path / 'triage.py'}:triage", "--plan", str(tmp_path / "plan.json")]
    assert main([*told, "--input", '{"message": "a dark lamp"}']) == 0
    out = capsys.readouterr().out
    assert "for each item 1 of 2, the nearest (chosen for this item)" in out
    assert ("lamp is dark" in out, "kettle leaks" in out) == (True, False)
    assert main(told) == 0
    assert "here the first" in capsys.readouterr().out
    assert main([*told, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["plan"]["select"]["number"] == 1


def test_nothing_heavy_is_loaded() -> None:
    """Neither the package nor a plan that selects loads bm25s or numpy before the first call."""
    code = (
        "import sys, mtiprompt as mti, mtiprompt.render\n"
        "from mtiprompt.plan import Select\n"
        "mti.Plan.fused(mti.combine('a -> b'), select=Select())\n"
        "print([one for one in ('bm25s', 'numpy') if one in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
