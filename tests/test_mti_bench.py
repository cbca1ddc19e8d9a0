"""MTI Bench: the file, its flaws, reading of answers, formats and arms, scores, taking up again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt import stats
from mtiprompt.errors import (
    ContentRefused,
    ContextTooLong,
    DataError,
    IncompleteRun,
    ModelAccessDenied,
    ModelUnavailable,
)
from mtiprompt.experiments import mti_bench
from mtiprompt.experiments.mti_bench import ARMS, FORMATS, Bench, Findings, Instance, flaws
from mtiprompt.experiments.mti_bench.ours import Ours, bare
from mtiprompt.experiments.mti_bench.paper import word
from mtiprompt.experiments.mti_bench.scores import Cell
from mtiprompt.experiments.mti_bench.values import kind_of, options_in, read, score
from mtiprompt.report.parts import Chart, Table, Text
from mtiprompt.testing import ChatServer
from tests.conftest_models import MODEL, ROOT, SIZES

QUERY = "Read the text and follow the steps."


def tagged(text: str, tag: int, form: str = "N") -> str:
    return f"{text} Return the answer in <task{tag}>{form}<task{tag}/> format."


def made(contexts: Mapping[str, str], answers: list[Any], *instructions: str) -> dict[str, Any]:
    """An instance as the file has it."""
    numbered = {str(n): text for n, text in enumerate(instructions, start=1)}
    return {
        "query": QUERY,
        "instruction": numbered,
        "context": dict(contexts),
        "answers": answers,
    }


def content() -> dict[str, Any]:
    """A small benchmark; the id of each instance stands in its first text."""
    primes = {
        f"022_{n}": made(
            {},
            [found, total],
            tagged(f"[022_{n}] Choose all prime numbers: {numbers}.", 1, "[N, N, ...]"),
            tagged("Sum your choices at step#1.", 2),
        )
        for n, numbers, found, total in [
            (1, "(1) 4 (2) 7 (3) 11", [2, 3], 18),
            (2, "(1) 9 (2) 5", [2], 5),
            (3, "(1) 8 (2) 6", [], 0),
        ]
    }
    tags = {
        f"011_{n}": made(
            {"1_0": f"[011_{n}]\n(1) Who? (2) Where?", "2_0": "(A) here (B) there"},
            [n, letter],
            tagged("Choose the question.", 1),
            tagged("Choose the option.", 1),
        )
        for n, letter in [(1, "A"), (2, "B")]
    }
    orders = {
        "002_1": made(
            {"1_0": "[002_1]\n(1) Then. (2) First. (3) Last.", "3_0": "Is it over?"},
            ["(2)-(1)-(3)", 1, 2.0],
            tagged("Put them in order.", 1, "(1)-(2)-(3)"),
            tagged("Count the swaps.", 2),
            tagged("Double it.", 3),
        )
    }
    films = {
        "018_1": made(
            {"1_0": "[018_1]\n(1) a (2) b (3) c", "2_0": "What is stolen?"},
            [2, "(3)-(1)", "the golden egg"],
            tagged("Find the intruder.", 1),
            tagged("Order the rest.", 2, "(1)-(2)"),
            tagged("Answer.", 3),
        )
    }
    return {
        "002": {"instance": orders, "sample": ""},
        "011": {"instance": tags, "sample": "Pick. <task1>1<task1/>"},
        "018": {"instance": films, "sample": ""},
        "022": {"instance": primes, "sample": ""},
    }


def flawed() -> dict[str, Any]:
    """Instances of the tasks that have something unsound."""
    ask = [tagged("Do.", n) for n in (1, 2, 3)]
    return {
        "001": {"instance": {"001_1": made({"1_0": "[001_1]"}, [1, "x"], *ask[:2])}},
        "013": {
            "instance": {
                "013_1": made({"1_0": "[013_1]", "2_1": "###Task"}, [1, 4], ask[0], ask[0])
            }
        },
        "016": {"instance": {"016_1": made({"1_0": "[016_1]"}, [[1], 1, 2], *ask)}},
        "019": {"instance": {"019_1": made({"1_0": "[019_1]"}, [1, "B"], *ask[:2])}},
        "020": {
            "instance": {
                "020_1": made(
                    {"1_0": "[020_1]"}, [[2], "2"], tagged("All in category 9.", 1), ask[1]
                )
            }
        },
    }  # fmt: skip


def bench_of(tmp_path: Path, value: Any) -> Bench:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(value))
    return mti_bench.load(path)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return bench_of(tmp_path, content())


# --- a model that knows the answers ---------------------------------------------------------------

Said = Callable[[str, int, Any], Any]
"""What is answered for an instance id and a step, given its gold."""


def knowing(bench: Bench, said: Said = lambda id, step, gold: gold) -> mti.FunctionModel:
    """A model that finds out what it is asked, in every format and arm, and answers in its form."""
    known = {one.id: one for one in bench.instances}

    def answer(request: mti.Request) -> str:
        text = "\n".join(one.content for one in request.messages)
        ids = list(dict.fromkeys(re.findall(r"\[(\d{3}_\d+)\]", text)))
        if request.schema is None:
            return in_tags(text, [known[id] for id in ids], said)
        properties = request.schema.schema["properties"]
        if set(properties) <= {"1", "2"}:
            keys = request.schema.schema["$defs"]["answers"]["properties"]
            parts = [in_json(known[id], keys, said) for id in ids]
            return json.dumps({str(n): part for n, part in enumerate(parts, start=1)})
        return json.dumps(in_json(known[ids[0]], properties, said))

    return mti.FunctionModel(answer)


def saying(said: str | mti.Reply) -> mti.FunctionModel:
    """A model that always says the same."""
    return mti.FunctionModel(lambda request: said)


def in_json(one: Instance, keys: Mapping[str, Any], said: Said) -> dict[str, Any]:
    """The answers as our format wants them."""
    return {key: typed(one, int(key[-1]), said) for key in keys}


def typed(one: Instance, step: int, said: Said) -> Any:
    value = read(one.kind(step), said(one.id, step, one.answers[step - 1]))
    if one.kind(step) == "order":
        return [int(mark) for mark in value]
    return sorted(value) if isinstance(value, frozenset) else value


def in_tags(text: str, ones: list[Instance], said: Said) -> str:
    """The answers as the paper's format wants them."""
    only = re.findall(r"Answer #(\d) only", text)
    turns = re.findall(r"### \((\d)\) Instruction", text)
    steps = [int((only or turns or "1")[-1])]
    if "\n#1: " in text and not only:
        steps = list(ones[0].steps)
    lines = []
    for place, one in enumerate(ones, start=1):
        for n in steps:
            tag = place if len(ones) > 1 else flaws.ALSO_TAG.get((one.task, n), n)
            lines.append(f"So: <task{tag}>{said(one.id, n, one.answers[n - 1])}<task{tag}/>")
    return "\n".join(lines)


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        ("option", "(3)", 3),
        ("option", "3.", 3),
        ("option", " 3 ", 3),
        ("option", "3.0", 3),
        ("option", 3.0, 3),
        ("option", [3], 3),
        ("option", "Option 3", 3),
        ("option", "(3) Why is this her first show ?", 3),
        ("option", "3 or 4", None),
        ("option", "3.5", None),
        ("option", "N", None),
        ("option", True, None),
        ("letter", "b", "B"),
        ("letter", "(B) there", "B"),
        ("letter", "'B'", "B"),
        ("letter", "Bed", None),
        ("order", "(2)-(1)-(3)", ("2", "1", "3")),
        ("order", "2, 1, 3", ("2", "1", "3")),
        ("order", "(2)(1)(3)", ("2", "1", "3")),
        ("order", [2, 1, 3], ("2", "1", "3")),
        ("order", "(B)-(a)", ("b", "a")),
        ("order", "", None),
        ("set", "[1, 2]", {1, 2}),
        ("set", "2 and 1", {1, 2}),
        ("set", "(1), (2)", {1, 2}),
        ("set", "[]", set()),
        ("set", "", None),
        ("set", "[N, N, ...]", None),
        ("number", "2.0", 2.0),
        ("number", 2, 2.0),
        ("number", "1,234.5", 1234.5),
        ("number", "-3.", -3.0),
        ("number", "1/4", 0.25),
        ("number", "__import__('os').abort()", None),
        ("fraction", "4/7", Fraction(4, 7)),
        ("fraction", " (4 / 7) ", Fraction(4, 7)),
        ("fraction", r"\frac{4}{7}", Fraction(4, 7)),
        ("fraction", "4/0", None),
        ("words", "The golden Egg!", "golden egg"),
    ],
)  # fmt: skip
def test_ways_of_writing(kind: Any, written: Any, value: Any) -> None:
    """Each way of writing an answer gives its value, and what is no such answer gives None."""
    assert read(kind, written) == value


KINDS = st.sampled_from(["option", "letter", "order", "set", "number", "fraction", "words"])
NUMBERS = st.integers(1, 99)


@given(KINDS, st.text() | st.floats() | st.lists(st.text() | st.integers()) | st.none())
def test_reading_never_raises(kind: Any, written: Any) -> None:
    """Whatever a model writes is read as something or as nothing, and scored from 0 to 1; so it is
    whatever the item lists.
    """
    read(kind, written)
    assert 0 <= score(kind, written, "1") <= 1
    assert 0 <= score(kind, f"(1) {written}", "1", options_in([f"(1) {written}", "A: b"])) <= 1


@given(NUMBERS, st.sampled_from(["{}", "({})", "{}.", "[{}]", "{}.0", '"{}"', "**{}**", "no. {}"]))
def test_an_option_reads_back(number: int, form: str) -> None:
    """An option's number is read back from all its forms."""
    assert read("option", form.format(number)) == number


@given(
    st.lists(NUMBERS, min_size=1, max_size=8),
    st.sampled_from(["-", ", ", " ", " -> ", " - ", ";"]),
    st.sampled_from(["({})", "{}", "[{}]"]),
)
def test_orders_and_sets_read_back(numbers: list[int], between: str, form: str) -> None:
    """A sequence is read back from all its forms, as an order and as a set."""
    written = between.join(form.format(one) for one in numbers)
    assert read("order", written) == tuple(map(str, numbers))
    assert read("set", written) == set(numbers)
    assert read("set", f"[{', '.join(map(str, numbers))}]") == set(numbers)


@given(st.floats(-1e9, 1e9), st.integers(0, 999), st.integers(1, 999))
def test_numbers_read_back(number: float, above: int, below: int) -> None:
    """Numbers and ratios are read back from what Python writes."""
    assert score("number", str(number), number) == 1
    assert read("fraction", f"{above}/{below}") == Fraction(above, below)


def test_comparison_fits_the_kind() -> None:
    """Sets ignore order and orders do not; decimals have a tolerance and whole numbers none."""
    assert score("set", "[2, 1]", [1, 2]) == 1
    assert score("order", "(2)-(1)", "(1)-(2)") == 0
    assert score("number", "0.222", 2 / 9) == 1
    assert score("number", "0.23", 2 / 9) == 0
    assert score("number", "4410", 4409) == 0
    assert score("fraction", "1/2", "5/10") == 1
    assert score("words", "O'Leary's credit card", "O'learys credit card") == 1
    assert score("words", "golden egg of Rome", "the golden egg") == pytest.approx(2 / 3)
    assert score("number", "-2*a", "-2*a") == 1  # a gold that is no number is compared as words
    assert score("option", "None of them", 1) == 0


@pytest.mark.parametrize(
    "written",
    [
        "(3) or (4)", "(3), (4)", "[3][4]", "[3], [4]", "(3)(4)", "(3)/(4)", "3) is wrong, so 4",
        "3) 4)", "3. or 4.", "3.\n4.", "(3) and (4)", "3), 4", "3) - 4", "(3) & 4",
        "(3) or maybe 4", "3. No, 4.", "3: it is 4", "3) wrong, 4 is right or 4",
        "Option 3. Rather option 4", "(3) Why? (4) Who?", "3) Why?\n4) Who?", "(3) or 4 or 5",
        "(3) Not so. 4", "3. Actually, 4!", "3. Both 3 and 4", "(3). Answer: 4", "3: 4", "(3) 4",
        "3. 4", "3) then 4", "3. Correction: 4", "3. = 4", "(3), 4 or 100", "(3) apples, (4) pears",
    ],
)  # fmt: skip
def test_several_options_are_none(written: str) -> None:
    """An answer that names two options of its item is no answer, however it is spelled, for letters
    too.
    """
    lettered = written.replace("3", "A").replace("4", "B").replace("5", "C")
    numbers = {"3": ["apples"], "4": ["pears"], "5": ["plums"]}
    letters = {"a": ["apples"], "b": ["pears"], "c": ["plums"]}
    for gold, text in (("3", written), ("4", written)):
        assert score("option", text, int(gold), numbers) == 0
    for gold, text in (("A", lettered), ("B", lettered), ("A", lettered.lower())):
        assert score("letter", text, gold, letters) == 0


@pytest.mark.parametrize(
    "written",
    ["(3) or (4)", "(3), (4)", "[3][4]", "(3)/(4)", "3) 4)", "3.\n4.", "(3) Why? (4) Who?",
     "3) Why?\n4) Who?", "3: why\n4: who", "(3) is wrong, [4] is right"],
)  # fmt: skip
def test_two_marks_are_none_without_an_item(written: str) -> None:
    """Where nothing says which options there are, another mark behind the first makes it none."""
    assert read("option", written) is None
    assert read("letter", written.replace("3", "A").replace("4", "I")) is None


@given(
    NUMBERS, NUMBERS,
    st.sampled_from(["({}) or ({})", "({}), ({})", "[{}][{}]", "({}) - ({})", "{}) {})",
                     "{}. so {}", "{} or {}", "{}, {}", "({}) it is {}", "{}.\n{}.",
                     "({}) rather than ({})"]),
)  # fmt: skip
def test_two_numbers_are_one_option_if_they_are_the_same(one: int, other: int, form: str) -> None:
    """A hedge between two options of an item reads as nothing; an option said twice is at most
    itself.
    """
    options = {str(number): ["some text"] for number in (one, other)}
    written = form.format(one, other)
    assert read("option", written, options) in ({one, None} if one == other else {None})


@pytest.mark.parametrize(
    ("kind", "written", "gold"),
    [
        ("option", "3) the third answer", 3),
        ("option", "(3) Why is this her first show ?", 3),
        ("option", "(2) is playstation 3 blu ray?", 2),
        ("option", "(1) Solve 119 - 14 = -15*r for r.", 1),
        ("option", "(5) In base 10, what is -1 - -239?", 5),
        ("option", "(1) Calculate prob of picking 1 y and 2 v when three letters picked", 1),
        ("option", "(2) Calculate gcd(12, 4).", 2),
        ("option", "(3) 12", 3),
        ("option", "(3) 4 apples or 5 pears", 3),
        ("option", "(3) In 1998, or in 2001", 3),
        ("option", "(3) Titanic (1997)", 3),
        ("option", "(3). I choose (3)", 3),
        ("option", "(1) -4", 1),
        ("option", "(1) 5 or 6", 1),
        ("option", "(1) Obama (44)", 1),
        ("option", "1) She was 12, not 13.", 1),
        ("option", "(5) (3325/(-57))/(-25) + 1", 5),
        ("letter", "(D)69.6", "D"),
        ("letter", "(A) Paris.", "A"),
        ("letter", "A. an apple", "A"),
        ("letter", "(B) \u221217.4", "B"),
        ("letter", "(A) My friend and I", "A"),
        ("letter", "(C) so a dog, not a cat", "C"),
        ("letter", "(C) answer a question", "C"),
        ("letter", "(B) f(b) or d'Artagnan", "B"),
    ],
)
def test_an_option_with_its_text_counts(kind: Any, written: str, gold: Any) -> None:
    """An option that is followed by its own text counts, with the numbers and letters in that."""
    assert score(kind, written, gold) == 1


LISTS = """###List of Questions
(1) Is 2 more than (3)?
(A)None (B)One (C)4 (D)69.6
(2) Both (1) and 3, or 1)?
(A) Bed (B) A dog (C) vitamin C or (A) (D) I
(3) A point $(x,y)$ is picked with vertices $(3,0)$, $(3,2)$. Is
$x < y$, or 1?"""


@pytest.mark.parametrize(
    ("kind", "written", "gold"),
    [
        ("option", "(3) A point $(x,y)$ is picked with vertices $(3,0)$, $(3,2)$. Is $x < y$, or 1",
         3),
        ("option", "(3) A point. 2", None),
        ("option", "[1] Is 2 more than (3)?", 1),
        ("option", "(1) Is 2 more than (3)? Or (3)?", None),
        ("option", "2: Both (1) and 3, or 1)?", 2),
        ("option", "(2) Both (1) and 3", 2),
        ("option", "(2) Both 1 and 3", 2),
        ("option", "(2): Both (1) and 3", 2),
        ("option", "(2) - Both (1) and 3", 2),
        ("option", "**(2)** Both (1) and 3", 2),
        ("option", "(2), Both (1) and 3", 2),
        ("option", "2. (2) Both (1) and 3", 2),
        ("option", "(2) It has 3 apples. Step 1: I read the text.", 2),
        ("option", "(2) because of what the answer of Task 1 is", 2),
        ("option", "(2) There are 3.", 2),
        ("option", "(2) 1 and 2 and then 3", None),
        ("option", "(3) 4 or 5", 3),
        ("letter", "(D)69.6", "D"),
        ("letter", "(C) 4", "C"),
        ("letter", "(C) vitamin C or (A)", "C"),
        ("letter", "(B) A dog", "B"),
        ("letter", "(B) a cat, not a dog", "B"),
        ("letter", "(D) I", "D"),
        ("letter", "(A) One (B)", None),
        ("letter", "A. B", None),
        ("letter", "A. bed or b", None),
        ("letter", "(B) it is a 5-star hotel", "B"),
        ("letter", "B. An American one, e.g. Chase", "B"),
        ("letter", "D) Because A is wrong", "D"),
        ("letter", "B. It is a right answer", "B"),
        ("letter", "(B) I think it is a right option", "B"),
        ("letter", "B. It was a right answer", "B"),
        ("letter", "B. It is a or b", None),
        ("letter", "B: wrong, a right answer", None),
        ("letter", "B: no, a right", None),
    ],
)  # fmt: skip
def test_an_options_own_text_may_name_others(kind: Any, written: str, gold: Any) -> None:
    """Where the item lists its options, what an answer has of the option's own text is no hedge,
    and the rest must name no other option of the item.
    """
    assert read(kind, written, options_in([LISTS])) == gold


def test_options_are_found_in_every_form() -> None:
    """A list of options begins with 1 or A and goes on by one, a second one at the head of a line;
    marks in formulas are none.
    """
    texts = [
        "Of: 1. in, 2. out. Use f(1) and 3.5.",
        "###Options\n1: Sunday\n2: movies",
        "[A] x [B] y",
    ]
    found = options_in(texts)
    assert {mark: [one.strip() for one in own] for mark, own in found.items()} == {
        "1": ["in,", "Sunday"],
        "2": ["out. Use f(1) and 3.5.", "movies"],
        "a": ["x"],
        "b": ["y"],
    }
    assert options_in(["no list (4), 7. or B:"]) == {}


def test_a_step_is_scored_with_the_options_of_its_item(tmp_path: Path) -> None:
    """An option whose text names another one counts, a plain hedge does not, in a whole run."""
    lists = {"1_0": "(1) Who? (2) Both (1) and 3? (3) Why?"}
    value = {"003": {"instance": {"003_1": made(lists, [2], tagged("Choose.", 1))}}}
    for said, right in [("(2) Both (1) and 3?", 1), ("(2). Answer: 3", 0)]:
        model = mti.FunctionModel(lambda request, said=said: f"<task1>{said}<task1/>")  # type: ignore[misc]
        found = mti_bench.run(bench_of(tmp_path, value), model, arms=["multi"], formats=["paper"])
        assert found.scores("paper", "multi").final.mean == right


@pytest.mark.parametrize(("gold", "other"), [(True, "false"), (False, "TRUE")])
def test_truths_are_words(gold: bool, other: str) -> None:
    """A gold that is a truth value is met by its word in any case, and by nothing else."""
    kind = kind_of(gold)
    right = [str(gold), str(gold).lower(), str(gold).upper(), gold, f"{gold}."]
    assert [score(kind, one, gold) for one in right] == [1] * 5
    assert [score(kind, one, gold) for one in (other, "none", "", None, not gold)] == [0] * 5


def test_a_decimal_may_be_off_by_a_share_of_itself() -> None:
    """The tolerance is 0.2 percent of the gold, whatever the number of digits."""
    gold = 0.10471204188481675
    assert score("number", gold * 1.0019, gold) == 1
    assert score("number", gold * 1.0021, gold) == 0
    assert (score("number", "9.98", 9.99), score("number", "0.105", gold)) == (1, 0)


def test_kinds_of_unknown_tasks() -> None:
    """A task that is in no table gets its kinds from its gold."""
    golds = [[1], 2.0, "(1)-(2)", "A", "4/7", "12", "some words"]
    kinds = ["set", "number", "order", "letter", "fraction", "number", "words"]
    assert [kind_of(one) for one in golds] == kinds
    assert flaws.kind("030", 1, "Guten Tag") == "words"


# --- the file and its flaws -----------------------------------------------------------------------


def test_load_gives_what_the_file_has(bench: Bench) -> None:
    """Tasks, instances, steps and samples are those of the file."""
    assert bench.tasks == ("002", "011", "018", "022")
    assert len(bench.instances) == 7
    assert bench.samples == {"011": "Pick. <task1>1<task1/>"}
    first = bench.instances[0]
    assert (first.id, first.task, list(first.steps)) == ("002_1", "002", [1, 2, 3])
    assert [one.id for one in bench.chosen(limit=1)] == ["002_1", "011_1", "018_1", "022_1"]


def broken(**changes: Any) -> dict[str, Any]:
    """The file with one instance changed."""
    value = content()
    value["022"]["instance"]["022_1"] |= changes
    return value


ONE = {"instance": {"1": made({}, [1], "Do.")}}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "bench.json: there are no tasks"),
        ({"022": 1}, "bench.json, task 022: there are no instances"),
        ({"022": {"instance": {"022_1": 1}}}, "022_1: 1 is no instance"),
        (broken(answers=None), "022_1: there are 2 instructions, and `answers` is None"),
        (broken(instruction=[]), "022_1: `instruction` is no object"),
        (broken(context={"a": ""}), "the context 'a' names no step"),
        (broken(context={"1_0": "", "3_0": ""}), "022_1: the context '3_0' names no step"),
        (broken(context={"1_0": 1}), "`context` or `query` is no text"),
        (broken(instruction={"2": "", "3": ""}), "instructions are numbered 2, 3"),
        (broken(instruction={"1": ""}, answers=[1]), "task 022: instances differ"),
        ({"a": ONE, "b": ONE}, "two instances are called '1'"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, value: Any, said: str) -> None:
    """The error says where the file is wrong."""
    with pytest.raises(DataError, match=re.escape(said)):
        bench_of(tmp_path, value)


def test_the_table_of_flaws_is_whole() -> None:
    """All 25 tasks have their kinds, and what is said of a step is said of one that exists."""
    assert list(flaws.KINDS) == [f"{n:03}" for n in range(1, 26)]
    for task, step in [*flaws.UNSOUND, *flaws.ALSO_TAG]:
        assert step <= len(flaws.KINDS[task])
    assert set(flaws.CAUTION) | set(flaws.MENDED) <= set(flaws.KINDS)


def test_flaws_are_handled(tmp_path: Path) -> None:
    """Unsound steps are left out, tasks without a sound one too; `score_all` takes everything."""
    found = bench_of(tmp_path, flawed())
    sound = {one.id: one.scored() for one in found.instances}
    assert sound == {"001_1": (1,), "013_1": (1,), "016_1": (), "019_1": (1,), "020_1": (1, 2)}
    assert "016_1" not in {one.id for one in found.chosen()}
    assert len(found.chosen(score_all=True)) == 5
    assert all(len(one.scored(score_all=True)) == len(one.steps) for one in found.instances)


def test_flaws_of_the_text_are_mended(tmp_path: Path) -> None:
    """020 names the category that its gold means, and 013 shows its task to step 1."""
    found = {one.task: one for one in bench_of(tmp_path, flawed()).instances}
    assert "in category 10." in found["020"].instructions[0]
    assert found["013"].contexts == {"1_0": "[013_1]", "1_1": "###Task"}


def test_no_text_is_overwritten(tmp_path: Path) -> None:
    """Where 013 has a text of its own at the place to which one is moved, both are kept."""
    texts = {"1_0": "A", "1_1": "B", "2_1": "C"}
    value = {"013": {"instance": {"013_1": made(texts, [1, 4], "Do.", "Sum.")}}}
    [one] = bench_of(tmp_path, value).instances
    assert one.contexts == texts


def test_texts_keep_their_order(tmp_path: Path) -> None:
    """Twelve texts of a step are shown in the order of their numbers, in both formats."""
    texts = {f"1_{n}": f"TEXT{n}." for n in range(12)}
    value = {"030": {"instance": {"030_1": made(texts, [1], tagged("Count.", 1))}}}
    model = mti.FunctionModel(lambda request: '<task1>1<task1/> {"step1": 1}')
    mti_bench.run(bench_of(tmp_path, value), model, arms=["single", "multi"])
    assert len(model.requests) == 4
    for request in model.requests:
        shown = re.findall(r"TEXT\d+\.", request.messages[-1].content)
        assert shown == list(texts.values())


def test_only_flaws_of_the_file_are_listed(tmp_path: Path) -> None:
    """What is said to be unsound are steps of tasks that the file has, run or not."""
    bench = bench_of(tmp_path, {**content(), "016": flawed()["016"]})
    found = mti_bench.run(bench, knowing(bench), arms=["multi"], formats=["paper"])
    assert list(found.plain()["unsound"]) == [f"016, step {n}" for n in (1, 2, 3)]
    sound = bench_of(tmp_path, content())
    found = mti_bench.run(sound, knowing(sound), arms=["multi"], formats=["paper"])
    assert found.plain()["unsound"] == {}
    assert not any(table.heading.startswith("Unsound") for table in found.tables())


def test_nothing_sound_is_an_error(tmp_path: Path) -> None:
    """A file of unsound steps alone is refused, and so is a limit of none."""
    only = bench_of(tmp_path, {"016": flawed()["016"]})
    with pytest.raises(DataError, match="has no sound step"):
        mti_bench.run(only, mti.EchoModel())
    with pytest.raises(DataError, match="the limit is 0"):
        mti_bench.run(only, mti.EchoModel(), limit=0)


# --- wording --------------------------------------------------------------------------------------


def test_prompts_of_the_paper(bench: Bench) -> None:
    """Each arm is worded as in the released scripts; only `batch` renames tags."""
    one, two, *_ = [one for one in bench.instances if one.task == "022"]
    single = word("single", [one], [2], ["gen"], "")
    assert single.startswith("### Task:\n\n### (1) Instruction: [022_1] Choose")
    assert "### Answer:\n\ngen\n\n### (2) Instruction: Sum" in single
    assert single.endswith("\n\n### Answer:\n\n")
    assert QUERY not in single
    multi = word("multi", [one], [1, 2], [], "shown")
    assert multi.startswith("### Example:\n\n### Instruction: shown\n\n### Task:\n\n")
    assert f"{QUERY}\n#1: [022_1]" in multi
    assert "\n#2: Sum" in multi
    control = word("all_context", [one], [2], ["gen"], "")
    assert "### Answer to #1:\n\ngen" in control
    assert "Answer #2 only." in control
    batch = word("batch", [one, two], [2], ["gen"], "")
    assert "### Instruction 2: Sum your choices at step#1. Return the answer in <task2>" in batch
    assert "### Instruction 1: Sum your choices at step#1. Return the answer in <task1>" in batch


def test_single_sees_the_texts_of_its_step(bench: Bench) -> None:
    """A single-task call has the texts of its step and of those before it, `multi` has all."""
    one = next(one for one in bench.instances if one.task == "011")
    assert "(A) here" not in word("single", [one], [1], [], "")
    assert "(A) here" in word("single", [one], [2], ["gen"], "")
    assert "(A) here" in word("multi", [one], [1, 2], [], "")


def test_programs_of_ours(bench: Bench) -> None:
    """Steps are tasks: types by kind, earlier answers fed forward, tags gone, varying texts in."""
    ours = Ours(bench.instances)
    primes = ours.program("022")
    assert list(primes.inputs) == ["instruction_1"]
    assert primes.tasks["step2"].instruction == "Sum your choices at step#1."
    assert primes.upstream("step2") == {"step1"}
    films = ours.program("018")
    assert [one.outputs[0].schema["type"] for one in films.tasks.values()] == [
        "integer",
        "array",
        "string",
    ]
    assert {one.name for one in films.tasks["step1"].inputs} == {"context_1_0"}
    assert {one.name for one in films.tasks["step3"].inputs} == {
        "context_1_0", "context_2_0", "step1", "step2",
    }  # fmt: skip


def test_orders_of_letters_have_letters(tmp_path: Path) -> None:
    """An order whose gold has letters is asked for in letters."""
    asked = made({"1_0": "x"}, ["(b)-(a)", 1], tagged("Order.", 1, "(1)-(2)"), tagged("Choose.", 2))
    found = bench_of(tmp_path, {"008": {"instance": {"008_1": asked}}})
    schema = Ours(found.instances).program("008").tasks["step1"].outputs[0].schema
    assert "a" in schema["items"]["enum"]


def test_the_tag_sentence_goes() -> None:
    """The sentence about tags is taken away, whatever its form, and nothing else."""
    assert bare("Sum.Return the answer in <task2>N<task2/> format.") == "Sum."
    assert bare("Do. Return the answer in <task1>[N, N, ..]<task1/> format. More.") == "Do. More."
    assert bare("Return it.") == "Return it."


# --- runs -----------------------------------------------------------------------------------------


def without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: without_seconds(one)
            for key, one in value.items()
            if key not in {"seconds", "time_ratio"}
        }
    return value


def test_a_model_that_knows_is_right_everywhere(bench: Bench) -> None:
    """With right answers every step of every arm in both formats is right."""
    found = mti_bench.run(bench, knowing(bench))
    assert found.ways == {name: list(ARMS) for name in FORMATS}
    for name in FORMATS:
        for arm in ARMS:
            scores = found.scores(name, arm)
            assert (scores.final.mean, scores.average.mean, scores.failures) == (1, 1, {}), (
                name,
                arm,
            )
            assert {step: one.n for step, one in scores.steps.items()} == {1: 7, 2: 7, 3: 2}
            # 2 instances have 3 steps, 5 have 2; of 022 and of the others one stands alone
            calls = {"single": 16, "all_context": 16, "multi": 7, "batch": 3 + 2 + 3 + 4}
            assert scores.usage.calls == calls[arm]
            assert scores.asked == 16


@pytest.mark.parametrize("end", [r"<task\1/>", r"</task\1>", r"</task\1/>"])
def test_answers_in_many_shapes(bench: Bench, end: str) -> None:
    """Right answers count in whatever shape they are written, with all ways of closing a tag."""

    def shaped(id: str, step: int, gold: Any) -> Any:
        return f" ({gold}) " if isinstance(gold, int | float) else str(gold).replace("-", " - ")

    def answer(request: mti.Request) -> str:
        return re.sub(r"<task(\d)/>", end, inner.complete(request).text)

    inner = knowing(bench, shaped)
    found = mti_bench.run(bench, mti.FunctionModel(answer), formats=["paper"])
    assert [found.scores("paper", arm).final.mean for arm in ARMS] == [1, 1, 1, 1]


WRONG = {("022_1", 1), ("022_1", 2), ("022_2", 2), ("002_1", 2), ("018_1", 3), ("011_2", 1)}


def erring(arm_is_wrong: Callable[[str, int], bool]) -> Said:
    def said(id: str, step: int, gold: Any) -> Any:
        if not arm_is_wrong(id, step):
            return gold
        wrong = {
            "(2)-(1)-(3)": "(1)-(2)-(3)",
            "A": "B",
            "B": "A",
            "the golden egg": "a golden calf",
        }
        return [9] if isinstance(gold, list) else wrong.get(str(gold), 9)

    return said


def test_scores_are_those_of_hand_arithmetic(bench: Bench) -> None:
    """Step, conditional and final accuracy equal what is counted by hand."""
    model = knowing(bench, erring(lambda id, step: (id, step) in WRONG))
    found = mti_bench.run(bench, model, arms=["single"])
    for name in FORMATS:
        scores = found.scores(name, "single")
        # step 1: wrong in 022_1 and 011_2; step 2: in 022_1, 022_2, 002_1; step 3: golden calf of
        # golden egg has F1 1/2, and 002_1 is right
        assert scores.steps[1].mean == pytest.approx(5 / 7)
        assert scores.steps[2].mean == pytest.approx(4 / 7)
        assert scores.steps[3].mean == pytest.approx((1 + 0.5) / 2)
        # both of the first two right: 022_3, 011_1, 018_1
        assert scores.conditional[2].mean == pytest.approx(3 / 7)
        assert scores.conditional[3].mean == 0
        # all right: 022_3 and 011_1
        assert scores.final.mean == pytest.approx(2 / 7)
        assert scores.final.interval == stats.mean([0, 0, 1, 0, 0, 1, 0]).interval
        # means of steps: 022: 0, 1/2, 1; 011: 1, 1/2; 002: 2/3; 018: 5/6
        assert scores.average.mean == pytest.approx((0 + 0.5 + 1 + 1 + 0.5 + 2 / 3 + 2.5 / 3) / 7)
        assert found.by_task(name, "single")["022"][2].mean == pytest.approx(1 / 3)


def test_differences_are_paired(bench: Bench) -> None:
    """An arm's difference from `single` is that of the pairs, with the interval for pairs."""
    known = knowing(bench)
    spoilt = knowing(bench, erring(lambda id, step: id == "022_2"))

    def answer(request: mti.Request) -> str:
        is_multi = "#2:" in request.messages[-1].content
        return (spoilt if is_multi else known).complete(request).text

    found = mti_bench.run(
        bench, mti.FunctionModel(answer), arms=["single", "multi"], formats=["paper"]
    )
    apart = found.differences("paper", "multi")
    assert apart["final"].mean == pytest.approx(-1 / 7)
    assert apart["final"].interval == stats.difference([0, *[1] * 6], [1] * 7).interval
    assert apart["step 3"].mean == 0
    assert apart["average"].mean == pytest.approx(-1 / 7)


def test_unsound_steps_are_run_and_not_scored(tmp_path: Path) -> None:
    """An unsound last step is asked, and counts neither by itself nor in the final accuracy."""
    bench = bench_of(tmp_path, flawed())
    found = mti_bench.run(bench, knowing(bench), arms=["multi"])
    scores = found.scores("paper", "multi")
    assert {step: one.n for step, one in scores.steps.items()} == {1: 4, 2: 1}
    assert (scores.final.n, scores.final.mean, scores.asked) == (1, 1, 8)
    everything = mti_bench.run(bench, knowing(bench), arms=["multi"], score_all=True)
    scores = everything.scores("paper", "multi")
    assert {step: one.n for step, one in scores.steps.items()} == {1: 5, 2: 5, 3: 1}
    assert "016, step 1" in everything.plain()["unsound"]
    assert (scores.final.n, scores.final.mean) == (5, 1)


def test_a_missing_tag_is_a_parse_failure(bench: Bench) -> None:
    """No text between the tags is wrong and counted; a reply cut off is told apart."""
    cut = mti.Reply("<task1>2", "length")
    for said, kind in (("The answer is 2.", "missing"), (cut, "cut off")):
        found = mti_bench.run(bench, saying(said), arms=["multi"], formats=["paper"])
        scores = found.scores("paper", "multi")
        assert scores.failures == {kind: 16}
        assert scores.average.mean == 0


def test_a_failed_slot_of_ours_is_a_parse_failure(bench: Bench) -> None:
    """What our format cannot read after its repairs is a failure of the slot."""
    model = mti.FunctionModel(lambda request: "no JSON")
    found = mti_bench.run(bench, model, arms=["single"], formats=["ours"])
    failures = found.scores("ours", "single").failures
    assert sum(failures.values()) == 16
    assert failures["upstream failed"] == 9


def test_either_tag_counts_once() -> None:
    """In one reply the first tag 1 is the answer of step 1 and the second that of step 2."""
    one = Instance("011_9", "011", QUERY, ("a", "b"), {}, (3, "E"))
    texts = ["<task1>3<task1/> <task1>E<task1/>", "<task1>3<task1/> <task2>E<task2/>"]
    bench = Bench("b", (one,), {})
    for text in texts:
        found = mti_bench.run(bench, saying(text), arms=["multi"], formats=["paper"])
        assert found.scores("paper", "multi").final.mean == 1
    model = mti.ScriptedModel(["<task1>3<task1/>", "<task1>E<task1/>"])
    found = mti_bench.run(bench, model, arms=["single"], formats=["paper"])
    assert found.scores("paper", "single").final.mean == 1
    found = mti_bench.run(bench, saying("<task1>3<task1/>"), arms=["multi"], formats=["paper"])
    assert found.scores("paper", "multi").failures == {"missing": 1}


def test_seeds_are_averaged_by_instance(bench: Bench) -> None:
    """Every seed asks for its own sample; scores are means over seeds, n stays the instances."""
    right, wrong = knowing(bench), knowing(bench, erring(lambda id, step: True))
    samples = []

    def answer(request: mti.Request) -> str:
        samples.append(request.sample)
        return (right if request.sample == 1 else wrong).complete(request).text

    model = mti.FunctionModel(answer)
    found = mti_bench.run(bench, model, arms=["multi"], formats=["paper"], seeds=(1, 2))
    assert set(samples) == {1, 2}
    assert found.scores("paper", "multi").steps[1] == 0.5
    assert found.scores("paper", "multi").steps[1].n == 7
    assert found.plain()["seeds"] == [1, 2]
    assert set(found.outcomes) == {Cell("paper", "multi", 1), Cell("paper", "multi", 2)}


def test_a_limit_changes_no_prompt(bench: Bench, tmp_path: Path) -> None:
    """A record of a few instances is used when more are asked for."""
    few = knowing(bench)
    mti_bench.run(bench, few, arms=["multi"], limit=2, record=tmp_path / "record")
    more = knowing(bench)
    mti_bench.run(bench, more, arms=["multi"], record=tmp_path / "record")
    assert len(few.requests) == 2 * 6
    assert {re.findall(r"\[(.*?)\]", one.messages[-1].content)[0] for one in more.requests} == {
        "022_3"
    }


def test_blocks_rotate(bench: Bench) -> None:
    """The arm that begins is another in each block."""
    model = knowing(bench)
    mti_bench.run(bench, model, arms=["single", "multi"], formats=["paper"])
    begun: dict[str, bool] = {}
    for request in model.requests:
        text = request.messages[-1].content
        ids = re.findall(r"\[(\d{3}_\d)\]", text)
        begun.setdefault(ids[0], "#2:" in text)
    firsts = {id: begun[id] for id in ("002_1", "011_1", "018_1", "022_1", "022_3")}
    assert list(firsts.values()) == [False, True, False, True, False]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"arms": ["split"]}, "there is no arm 'split'"),
        ({"arms": []}, "there is no arm"),
        ({"formats": ["xml"]}, "there is no format 'xml'"),
        ({"arms": ["multi", "multi"]}, "named twice"),
        ({"seeds": (0,)}, "a seed is no number from 1 on"),
        ({"seeds": ()}, "a seed is no number from 1 on"),
        ({"seeds": (1.5,)}, "a seed is no number from 1 on"),
        ({"seeds": 3}, "seeds=3 is no list"),
        ({"arms": "multi"}, "arms='multi' is no list"),
        ({"arms": [["multi"]]}, r"there is no arm \['multi'\]"),
        ({"formats": None}, "formats=None is no list"),
        ({"limit": 1.5}, "the limit is 1.5, expected 1 or more"),
        ({"confidence": 95}, "confidence is 95, expected above 0, below 1"),
        ({"confidence": "high"}, "confidence is 'high'"),
        ({"record": ""}, "record='' is no folder"),
        ({"progress": 1}, "progress=1 is no function"),
    ],
)
def test_wrong_arguments_are_refused(bench: Bench, options: Any, said: str) -> None:
    """What cannot be run is said before the first call."""
    model = mti.EchoModel()
    with pytest.raises(DataError, match=said):
        mti_bench.run(bench, model, **options)
    assert model.requests == []


@pytest.mark.parametrize("wrong", ["mti_bench.json", None])
def test_what_is_no_benchmark_is_refused(wrong: Any) -> None:
    """The name of a file is not read in silence: one line says how it is loaded."""
    model = mti.EchoModel()
    with pytest.raises(DataError, match=r"is no benchmark .mti_bench\.load"):
        mti_bench.run(wrong, model)
    assert model.requests == []


def test_lists_may_be_generators(bench: Bench) -> None:
    """What is told once is read once."""
    wanted: dict[str, Any] = {"formats": ["paper"], "arms": ["single", "multi"], "seeds": [1, 2]}
    found = mti_bench.run(bench, mti.EchoModel(), limit=1, **wanted)
    again = {name: iter(values) for name, values in wanted.items()}
    assert mti_bench.run(bench, mti.EchoModel(), limit=1, **again).outcomes.keys() == (
        found.outcomes.keys()
    )
    assert len(found.outcomes) == 4


class Cold(mti.Model):
    """A model that notes when it is warmed up and when it is asked."""

    def __init__(self) -> None:
        super().__init__("openai/any", cache=False)
        self.told: list[str] = []

    def warm(self) -> None:
        self.told.append("warm")

    def complete(self, request: mti.Request) -> mti.Reply:
        self.told.append("asked")
        return mti.Reply("<task1>1<task1/>")


def test_a_model_is_warm_before_its_first_call(bench: Bench, tmp_path: Path) -> None:
    """The client library is loaded once before the first call, so that no arm pays for it; where
    all replies are on record, it is not."""
    options: dict[str, Any] = {"arms": ["single", "multi"], "formats": ["paper"]}
    for record in (None, tmp_path / "record"):
        model = Cold()
        mti_bench.run(bench, model, record=record, **options)
        assert (model.told[:2], model.told.count("warm")) == (["warm", "asked"], 1)
    again = Cold()
    mti_bench.run(bench, again, record=tmp_path / "record", **options)
    assert again.told == []


# --- outages and going on -------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_an_outage_is_no_score(bench: Bench, format: str, tmp_path: Path) -> None:
    """Calls that fail for good end in an error that names the instances; going on asks the rest."""
    known = knowing(bench)

    def answer(request: mti.Request) -> str:
        if "[018_1]" in request.messages[-1].content:
            raise ModelUnavailable("the server is down")
        return known.complete(request).text

    options: dict[str, Any] = {"formats": [format], "record": tmp_path / "record"}
    with pytest.raises(IncompleteRun, match=r"1 of 7 instances .*the server is down") as caught:
        mti_bench.run(bench, mti.FunctionModel(answer), **options)
    assert caught.value.items == ("018_1",)
    again = knowing(bench)
    found = mti_bench.run(bench, again, **options)
    assert found.scores(format, "single").final.mean == 1
    assert all("[018_1]" in one.messages[-1].content for one in again.requests)


def test_a_long_outage_is_given_up(tmp_path: Path) -> None:
    """After three blocks of an arm without any answer its rest is not tried."""
    tasks = {
        f"{n:03}": {"instance": {f"{n:03}_1": made({}, [1], tagged("Do.", 1))}}
        for n in range(31, 41)
    }

    def down(request: mti.Request) -> str:
        raise ModelUnavailable("down")

    model = mti.FunctionModel(down)
    with pytest.raises(IncompleteRun, match="10 of 10"):
        mti_bench.run(bench_of(tmp_path, tasks), model, arms=["multi"], formats=["paper"])
    assert len(model.requests) == 3


def test_a_spent_budget_is_no_score(bench: Bench) -> None:
    """A budget that is spent ends in the same error."""
    with ChatServer(lambda received: "<task1>1<task1/>") as server:
        model = mti.Model(
            "direct/any", api_base=server.base_url, cache=False, budget=mti.Budget(calls=3)
        )
        with pytest.raises(IncompleteRun, match="4 of 7"):
            mti_bench.run(bench, model, arms=["multi"], formats=["paper"])
    assert len(server.requests) == 3


@pytest.mark.parametrize("error", [ContextTooLong("too long"), ContentRefused("not that")])
def test_what_is_the_models_own_is_no_outage(bench: Bench, error: mti.ModelError) -> None:
    """A prompt that does not fit, or that a content policy refuses, is a failure of the slots, in
    every format alike: to run it again would not help."""

    def answer(request: mti.Request) -> str:
        raise error

    found = mti_bench.run(bench, mti.FunctionModel(answer), formats=list(FORMATS), arms=["single"])
    assert found.scores("paper", "single").failures == {"call failed": 16}
    assert [found.scores(name, "single").final.mean for name in FORMATS] == [0, 0]


def test_a_wrong_key_is_raised(bench: Bench) -> None:
    """What concerns every call is raised at the first."""

    def answer(request: mti.Request) -> str:
        raise ModelAccessDenied("wrong key")

    for name in FORMATS:
        model = mti.FunctionModel(answer)
        with pytest.raises(ModelAccessDenied):
            mti_bench.run(bench, model, formats=[name])
        assert len(model.requests) == 1


KILLED = """
import os, sys
from tests.test_mti_bench import knowing, mti, mti_bench
path, record, calls = sys.argv[1], sys.argv[2], int(sys.argv[3])
bench = mti_bench.load(path)
inner = knowing(bench)
def answer(request):
    if len(inner.requests) == calls:
        os._exit(9)
    return inner.complete(request).text
mti_bench.run(bench, mti.FunctionModel(answer), record=record)
"""


def test_a_killed_run_goes_on(bench: Bench, tmp_path: Path) -> None:
    """Killed and taken up again it gives the same findings, and no call is made twice."""
    whole_model = knowing(bench)
    whole = mti_bench.run(bench, whole_model)
    arguments = [str(tmp_path / "bench.json"), str(tmp_path / "record"), "37"]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 9, done.stderr
    rest_model = knowing(bench)
    rest = mti_bench.run(bench, rest_model, record=tmp_path / "record")
    assert len(rest_model.requests) == len(whole_model.requests) - 37
    assert without_seconds(rest.plain()) == without_seconds(whole.plain())
    third = knowing(bench)
    again = mti_bench.run(bench, third, record=tmp_path / "record")
    assert third.requests == []
    assert without_seconds(again.plain()) == without_seconds(whole.plain())
    assert again.scores("paper", "multi").seconds == pytest.approx(
        rest.scores("paper", "multi").seconds, abs=0.05
    )


# --- findings -------------------------------------------------------------------------------------


def timed(found: Findings, seconds: Mapping[str, float]) -> Findings:
    """The findings as if every instance had taken so many seconds in each arm."""
    return replace(
        found,
        outcomes={
            cell: tuple(
                replace(one, usage=replace(one.usage, seconds=seconds[cell.arm]), calls=())
                for one in outcomes
            )
            for cell, outcomes in found.outcomes.items()
        },
    )


def test_time_ratio_is_single_by_arm(bench: Bench) -> None:
    """The ratio has the seconds of `single` above; without `single` there is none."""
    found = mti_bench.run(bench, knowing(bench), arms=["single", "multi"], formats=["paper"])
    found = timed(found, {"single": 3.0, "multi": 2.0})
    assert found.time_ratio("paper", "multi") == pytest.approx(1.5)
    assert found.scores("paper", "single").seconds == pytest.approx(21)
    alone = mti_bench.run(bench, knowing(bench), arms=["multi"], formats=["paper"])
    assert alone.time_ratio("paper", "multi") is None
    assert alone.plain()["formats"]["paper"]["multi"]["differences"] == {}
    assert "1 of" not in str(alone.tables())


def test_findings_can_be_shown(bench: Bench) -> None:
    """Tables are even, the verdict says n and that it is small, and the plain data is JSON."""
    found = mti_bench.run(bench, knowing(bench))
    verdict, chart, *tables = found.parts()
    assert isinstance(verdict, Text)
    assert isinstance(chart, Chart)
    assert any("no difference can be told apart" in one for one in verdict.paragraphs)
    assert any("This run is small: 7 instances of 4 tasks" in one for one in verdict.paragraphs)
    for table in tables:
        assert isinstance(table, Table)
        assert {len(row) for row in table.rows} == {len(table.columns)}
    assert tables == found.tables()
    assert "step 1 (n = 7)" in [row[0] for row in found.tables()[0].rows]
    plain = json.loads(json.dumps(found.plain(), allow_nan=False))
    assert plain["formats"]["ours"]["batch"]["steps"]["3"]["n"] == 2
    assert plain["formats"]["ours"]["batch"]["differences"]["final"]["mean"] == 0


def test_progress_is_told_for_every_instance(bench: Bench) -> None:
    """There is one call of `progress` for each instance in each cell."""
    told: list[int] = []
    mti_bench.run(bench, knowing(bench), progress=lambda: told.append(1), seeds=(1, 2))
    assert len(told) == 7 * len(ARMS) * len(FORMATS) * 2


# --- real calls -----------------------------------------------------------------------------------


def test_over_http(bench: Bench) -> None:
    """The paper's format reaches a server as one plain message, and its answers are scored."""
    with ChatServer(lambda received: "<task1>1<task1/> <task2>A<task2/>") as server:
        model = mti.Model("direct/any", api_base=server.base_url, cache=False)
        chosen = replace(bench, instances=tuple(bench.instances[1:3]))
        found = mti_bench.run(chosen, model, arms=["multi"], formats=["paper"])
    assert found.scores("paper", "multi").steps[1].mean == 0.5
    assert found.scores("paper", "multi").usage.calls == len(server.requests) == 2


@pytest.mark.usefixtures("model_file")
def test_with_a_small_model(bench: Bench, tmp_path: Path) -> None:
    """A real model is run in both formats, with real tokens and times, and taken up for nothing."""
    sizes: dict[str, Any] = dict(SIZES)
    model = mti.Model(f"local/{MODEL}", max_tokens=20, cache=False, **sizes)
    chosen = replace(
        bench, instances=tuple(one for one in bench.instances if one.task == "022")[:2]
    )
    options: dict[str, Any] = {"arms": ["multi"], "record": tmp_path / "record"}
    found = mti_bench.run(chosen, model, **options)
    for name in FORMATS:
        scores = found.scores(name, "multi")
        assert scores.usage.completion_tokens > 0
        assert scores.seconds > 0
    calls = model.usage.calls
    again = mti_bench.run(chosen, model, **options)
    assert model.usage.calls == calls
    assert without_seconds(again.plain()) == without_seconds(found.plain())
