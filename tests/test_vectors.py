"""Demonstrations are chosen by how alike words are, with a real model2vec model."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model2vec import StaticModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

import mtiprompt as mti
from mtiprompt.cli import main
from mtiprompt.errors import DataError, ModelMisconfigured, ModelNotFound, PlanError
from mtiprompt.models.base import Support
from mtiprompt.optimizer import Setup
from mtiprompt.render import group_prompt
from mtiprompt.selection.select import Kind
from mtiprompt.selection.vectors import VectorParts, Vectors, loaded
from mtiprompt.wording import Templates
from tests.conftest_commands import small_set
from tests.test_optimize import TASKS, rows

TRIAGE = mti.combine("message -> mood: Literal['good', 'bad']", "message -> product")
GOLD = {"mood": "bad", "product": "kettle"}
WORDS: Mapping[str, tuple[float, float, float]] = {
    "kettle": (3.0, 0.0, 0.0),
    "teapot": (2.7, 0.3, 0.0),
    "invoice": (0.0, 3.0, 0.0),
    "bill": (0.1, 2.5, 0.0),
    "lamp": (0.0, 0.0, 3.0),
    "the": (0.1, 0.1, 0.1),
    "not": (-2.0, 0.0, 0.0),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a model of seven words, of which one points away from another."""
    folder = tmp_path_factory.mktemp("embeddings")
    places = {word: place for place, word in enumerate([*WORDS, "[UNK]"])}
    tokenizer = Tokenizer(models.WordLevel(places, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    vectors = np.array([*WORDS.values(), (0.0, 0.0, 0.0)], dtype=np.float32)
    StaticModel(vectors, tokenizer, normalize=True).save_pretrained(folder)
    return str(folder)


def row(text: str) -> dict[str, Any]:
    """A labelled message."""
    return {"inputs": {"message": text}, "outputs": GOLD}


def shown(select: mti.Select, pool: list[str], item: str) -> list[Any]:
    """The messages that an item is shown out of a pool, in order."""
    plan = mti.Plan.fused(TRIAGE, demos=[row(text) for text in pool], select=select)
    prompt = group_prompt(TRIAGE, plan, plan.call_groups[0].tasks, Support(), Templates())
    chosen = prompt.about([{"message": item}]).chosen
    assert chosen is not None
    return [demo.inputs["message"] for demo in chosen]


def test_words_that_are_alike_are_near(model: str) -> None:
    """Without a word in common, what means the same is chosen; words alone cannot tell."""
    pool = ["the lamp", "the kettle", "the invoice"]
    for item, wanted in [("my teapot", "the kettle"), ("A BILL!", "the invoice")]:
        assert shown(mti.Select("nearest", 1, model), pool, item) == [wanted]
        assert shown(mti.Select("nearest", 1), pool, item) == ["the lamp"]  # the first of equals


def test_a_set_covers_what_is_alike(model: str) -> None:
    """Two of a kind cover less than one of each."""
    pool = ["kettle", "the kettle", "invoice", "lamp"]
    item = "teapot and kettle with bill"
    assert "invoice" in shown(mti.Select("coverage", 2, model), pool, item)
    assert set(shown(mti.Select("nearest", 2, model), pool, item)) == {"kettle", "the kettle"}


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("item", ["", "...", "nothing known"])
def test_items_and_pools_without_known_words(model: str, kind: Kind, item: str) -> None:
    """They get their demonstrations all the same, and an empty pool none."""
    select = mti.Select(kind, 2, model)
    assert len(shown(select, ["kettle", "!", "unheard of"], item)) == 2
    assert len(shown(select, ["!", "?"], "kettle")) == 2
    assert shown(select, [], "kettle") == []


texts = st.lists(st.lists(st.sampled_from([*WORDS, "unheard"]), max_size=5), max_size=5)


@given(texts, st.lists(st.sampled_from([*WORDS, "unheard"]), max_size=5))
def test_rows_are_the_best_cosines(model: str, pool: list[list[str]], found: list[str]) -> None:
    """A word's row has its length times the best cosine, none below 0; words that are not known
    have no row, and a text without words has nothing."""
    rows = VectorParts(pool, model).of(found)
    known = [word for word in dict.fromkeys(found) if word in WORDS]
    assert rows.shape == (len(known), len(pool))
    for word, told in zip(known, rows, strict=True):
        own = np.array(WORDS[word])
        for text, value in zip(pool, told, strict=True):
            others = [np.array(WORDS[one]) for one in text if one in WORDS]
            best = max((own @ one / np.linalg.norm(one) for one in others), default=0.0)
            assert value == pytest.approx(max(0.0, best), abs=1e-5)


def test_a_plan_is_saved_with_its_model(model: str, tmp_path: Path) -> None:
    """The name of the model comes back; plans without one are written as before."""
    for select in (mti.Select("nearest", 2, model), mti.Select("nearest", 2)):
        plan = mti.Plan.fused(TRIAGE, demos=[row("kettle")], select=select)
        plan.save(tmp_path / "plan.json")
        assert mti.Plan.load(tmp_path / "plan.json") == plan
        assert ("embeddings" in (tmp_path / "plan.json").read_text()) is bool(select.embeddings)


@pytest.mark.parametrize("name", ["", "  ", 3, ["a"]])
def test_what_is_no_name_is_refused(name: Any) -> None:
    """A model is told by a text."""
    with pytest.raises(PlanError, match="expected a model's name"):
        mti.Select("nearest", 2, name)


def test_a_model_that_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    """One line, whatever the package raises, and the search says so before its first call."""
    empty = str(tmp_path)
    with pytest.raises(ModelNotFound, match="cannot be loaded"):
        loaded(empty)
    labelled = [row(f"kettle {n}") for n in range(12)]
    with pytest.raises(ModelNotFound, match="cannot be loaded"):
        Setup.of(TRIAGE, labelled[:6], labelled[6:], embeddings=empty)
    asked = mti.FunctionModel(lambda _: '{"mood": "bad", "product": "kettle"}')
    selecting = mti.Plan.fused(TRIAGE, demos=labelled[:2], select=mti.Select("nearest", 1, empty))
    arms = [mti.Arm("fused", mti.Plan.fused(TRIAGE)), mti.Arm("selecting", selecting)]
    with pytest.raises(ModelNotFound, match="cannot be loaded"):
        mti.compare(TRIAGE, labelled[6:], arms, model=asked)
    with pytest.raises(ModelNotFound, match="cannot be loaded"):
        mti.choose_plan(TRIAGE, labelled[6:], plan=selecting, model=asked)
    assert asked.requests == []


def test_a_model_is_known_by_its_folder(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is loaded once, from wherever it is named, and a name elsewhere is another one."""
    folder = Path(model)
    monkeypatch.chdir(folder.parent)
    assert loaded(folder.name) is loaded(model)
    monkeypatch.chdir(folder)
    with pytest.raises(ModelNotFound, match="cannot be loaded"):
        loaded("./" + folder.name)


def test_loading_says_nothing_and_changes_nothing(
    model: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """No word on standard error, and no variable of the environment, however many words."""
    before = dict(os.environ)
    VectorParts([[f"word{n}" for n in range(10_001)], ["kettle"]], model).of(["kettle"])
    Vectors(model)
    assert (capfd.readouterr().err, caplog.text) == ("", "")
    assert dict(os.environ) == before


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is needed when a model is named, and not before."""
    monkeypatch.setitem(sys.modules, "model2vec", None)
    assert shown(mti.Select("nearest", 1), ["kettle"], "kettle") == []
    with pytest.raises(ModelMisconfigured, match=r"pip install \"mtiprompt\[embeddings\]\""):
        loaded("some/model")


def test_the_search_tries_both_ways(model: str) -> None:
    """With a model, demonstrations are selected by words and by vectors; without one, by words."""
    labelled = [row(f"kettle {n}") for n in range(12)]

    def ways(name: str | None) -> list[str]:
        space = Setup.of(TRIAGE, labelled[:6], labelled[6:], embeddings=name).space
        return [one.way for one in space.selections]

    assert ways(None) == ["nearest", "coverage"]
    assert ways(model) == [*ways(None), f"nearest ({model})", f"coverage ({model})"]
    selecting = mti.Plan.fused(TRIAGE, demos=labelled[:2], select=mti.Select("nearest", 1))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"vary": {"order"}}, "demonstrations are not selected"),
        ({"most": 0}, "demonstrations are not selected"),
        ({"pool": 0}, "demonstrations are not selected"),
        ({"plan": selecting}, "the plan selects demonstrations already"),
    ]
    for options, says in cases:
        with pytest.raises(DataError, match=says):
            Setup.of(TRIAGE, labelled[:6], labelled[6:], embeddings=model, **options)


def test_a_search_finds_what_vectors_select(model: str) -> None:
    """Where only a demonstration about the same thing helps, and no word is the same, the search
    returns the plan that selects by vectors, and its effects name the way."""
    pairs = {"kettle": "teapot", "invoice": "bill"}
    train = [row(f"{word} x{n}") for n, word in enumerate([*pairs] * 6)]
    dev = [row(f"{word} y{n}") for n, word in enumerate([*pairs.values()] * 60)]

    def reply(request: mti.Request) -> str:
        *before, item = [one.content for one in request.messages]
        alike = next(word for word, other in pairs.items() if other in item)
        helped = sum(f"{alike} x" in one for one in before) > 2
        return '{"mood": "bad", "product": "%s"}' % ("kettle" if helped else "lamp")

    tuned = mti.optimize(
        TRIAGE, train, dev, model=mti.FunctionModel(reply), budget=mti.Budget(calls=300),
        vary={"demos", "select"}, embeddings=model,
    )  # fmt: skip
    assert tuned.better
    assert tuned.plan.select is not None
    assert tuned.plan.select.embeddings == model
    ways = {
        which for kind, which in (one.column for one in tuned.found.effects) if kind == "select"
    }
    assert {"nearest", f"nearest ({model})"} <= ways


def test_the_command_takes_a_model(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`mtiprompt show` says by what a plan selects; `optimize` foretells a search with a model, and
    refuses one that is none in a line."""
    (tmp_path / "triage.py").write_text(
        "import mtiprompt as mti\n"
        "triage = mti.combine(\"message -> mood: Literal['good', 'bad']\", 'message -> product')\n"
    )
    mti.Plan.fused(
        TRIAGE, demos=[row("kettle"), row("bill")], select=mti.Select("nearest", 1, model)
    ).save(tmp_path / "plan.json")
    asked = ["--plan", str(tmp_path / "plan.json"), "--input", '{"message": "my teapot"}']
    assert main(["show", f"{tmp_path / 'triage.py'}:triage", *asked]) == 0
    out = capsys.readouterr().out
    assert f"for each item 1 of 2, the nearest by {model} (chosen for this item)" in out
    assert ("kettle" in out, "bill" in out) == (True, False)

    splits = {"train": 4, "dev": 40}
    labelled = [{**one, "split": kind} for kind, n in splits.items() for one in rows(kind, n)]
    data = small_set(tmp_path, TASKS, labelled)
    search = ["optimize", str(data), "--budget", "300", "--dry-run", "--embeddings"]
    assert main([*search, model]) == 0
    capsys.readouterr()
    assert main([*search, str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "cannot be loaded" in said
