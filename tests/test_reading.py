"""Reply text to one object: which object is taken, and what is said about how it was found."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtiprompt.reading import Reading, read_items, read_object
from tests.strategies import texts

KEYS = ("a", "b")
OBJECT = {"a": "x {", "b": [1, {"a": "inner"}]}
plain_prose = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{}[]<>")).filter(
    lambda text: "/*" not in text
)


def test_right_reply_has_no_note() -> None:
    """A reply that is the object, blanks around it or not, is read without a note."""
    for text in (json.dumps(OBJECT), f"\n {json.dumps(OBJECT, indent=2)}\n"):
        found = read_object(text, KEYS)
        assert (found.values, found.note, found.cut, found.repeated) == (
            OBJECT, None, False, frozenset()
        )  # fmt: skip


@given(plain_prose, plain_prose)
def test_prose_around_changes_nothing(before: str, after: str) -> None:
    """Prose without braces, quotes and apostrophes included, never hides or changes the object."""
    assert read_object(before + json.dumps(OBJECT) + after, KEYS).values == OBJECT


@given(st.lists(st.sampled_from(["{", "}", "{x}", "{}", '"', "'", "[", "]", "{y: 1}", "\n", "a"])))
def test_broken_prose_before_gives_the_object_or_nothing(pieces: list[str]) -> None:
    """Stray braces and quotes before the object may hide it, but never change a value."""
    found = read_object("".join(pieces) + " " + json.dumps({"a": "x", "b": 2}), KEYS)
    assert found.values.get("a", "x") == "x"
    assert found.values.get("b", 2) == 2


@given(st.lists(st.sampled_from(["{", "{x}", "{}", "{y: 1}", "\n", "a", "}", "[", "[1]"])))
def test_braces_in_prose_before_do_not_hide_the_object(pieces: list[str]) -> None:
    """Without stray quotes the whole object is found, however many braces stand before it."""
    found = read_object("".join(pieces) + " " + json.dumps({"a": "x", "b": 2}), KEYS)
    assert found.values == {"a": "x", "b": 2}


def test_last_of_the_best_is_taken() -> None:
    """Of several objects the one with most of the keys is taken; of equals the last."""
    text = '{"a": 1} {"a": 2, "b": 2} {"a": 3, "b": 3} {"b": 4} {"zzz": 5}'
    assert read_object(text, KEYS).values == {"a": 3, "b": 3}


def test_inner_object_is_not_taken_for_the_outer() -> None:
    """An object that closes is not searched for better ones inside."""
    text = 'So: {"a": {"a": 1, "b": 2}}'
    assert read_object(text, KEYS).values == {"a": {"a": 1, "b": 2}}


def test_outer_keys_are_peeled() -> None:
    """Wrapping keys are taken off, if there is just one and it was not asked for."""
    assert read_object('{"r": {"s": {"a": 1, "b": 2}}}', KEYS).values == {"a": 1, "b": 2}
    assert read_object('{"a": {"b": 2}}', KEYS).values == {"a": {"b": 2}}


def test_thoughts_are_no_reply() -> None:
    """Nothing in a thought is read, be it closed, begun in the prompt, or several."""
    for text in (
        '<think>{"a": 0, "b": 0}</think>{"a": 1, "b": 2}',
        '{"a": 0, "b": 0}</think>{"a": 1, "b": 2}',
        '<THINK>{"a": 0}</THINK> <think>{"a": 0, "b": 0}</think>{"a": 1, "b": 2}',
    ):
        assert read_object(text, KEYS).values == {"a": 1, "b": 2}


def test_thought_tags_in_a_value_stay() -> None:
    """A value that speaks of thoughts is kept, also inside a fence."""
    value = {"a": "the tag <think>x</think> and </think>", "b": 1}
    assert read_object(json.dumps(value), KEYS).values == value
    assert read_object(f"```json\n{json.dumps(value)}\n```", KEYS).values == value


def test_whole_thought_and_nothing_else() -> None:
    """A reply that is one unfinished thought holds nothing, cut off or not."""
    for cut in (True, False):
        assert read_object('<think>say {"a": 1, "b": 2}?', KEYS, cut=cut).values == {}


@pytest.mark.parametrize(
    "text", ['{"a": 1, "b": 2', '{"a": 1, "b": "x', '{"a": 1, "b"', '{"a": 1,']
)
def test_cut_is_noticed(text: str) -> None:
    """A reply whose object never closes is cut, whatever the provider says."""
    found = read_object(text, KEYS)
    assert found.cut
    assert found.values == {"a": 1}


def test_open_brace_in_prose_is_no_cut() -> None:
    """A stray brace before a reply that only needs repair does not make it a cut-off one."""
    found = read_object("""Take {: then {"a": 1, "b": 2,}""", KEYS)
    assert found.values == {"a": 1, "b": 2}


@given(st.dictionaries(st.sampled_from("abcd"), texts | st.integers(), min_size=1), st.data())
def test_repeated_keys(values: dict[str, Any], data: st.DataObject) -> None:
    """A key that comes twice with another value is reported; one with the same value is not."""
    key = data.draw(st.sampled_from(sorted(values)))
    other = data.draw(texts | st.integers())
    body = json.dumps(values)[:-1] + f", {json.dumps(key)}: {json.dumps(other)}}}"
    for text in (body, f"```json\n{body}\n```"):
        found = read_object(text, "abcd")
        assert found.repeated == (frozenset({key}) if other != values[key] else frozenset())


def test_repeated_keys_inside_a_value_are_its_own() -> None:
    """A repetition in a nested object does not touch the keys outside."""
    text = '{"a": {"b": 1, "b": 2}, "b": 3}'
    assert read_object(text, KEYS).repeated == frozenset()


@given(st.text(), st.booleans())
def test_nothing_raises(text: str, cut: bool) -> None:
    """Arbitrary text gives a reading."""
    assert isinstance(read_object(text, KEYS, cut=cut).values, dict)


# --- unquoted values -------------------------------------------------------------------------

ASKED = ("q", "u")


def unquoted(alphabet: str) -> st.SearchStrategy[str]:
    """A text that begins like a word, without a blank at its end."""
    return st.text(alphabet, max_size=12).map(lambda rest: f"C{rest}".rstrip())


@given(unquoted("ab '\"C#/&?!,-") | unquoted("a{ [],'"))
def test_unquoted_text_is_read_whole_or_not_at_all(text: str) -> None:
    """No quote, bracket, comma or comment sign in an unquoted text makes an answer of its half."""
    found = read_object(f'{{"q": {text}, "u": true}}', ASKED)
    assert found.values.get("q") in {None, text}
    assert "q" not in found.values or found.values["u"] is True


@given(unquoted("ab '\"C#/&?!,-"), st.integers(0, 40))
def test_a_cut_leaves_no_half_of_an_unquoted_text(text: str, place: int) -> None:
    """Wherever the reply ends, an unquoted text is there as a whole or not at all."""
    found = read_object(f'{{"q": {text}, "u": true}}'[:place], ASKED, cut=True)
    assert found.values.get("q") in {None, text}


@given(st.lists(unquoted("ab'\"C#/&?!-"), min_size=1, max_size=4))
def test_signs_inside_words_end_no_unquoted_text(words: list[str]) -> None:
    """Apostrophes, quotes, hashes and slashes in words are read as they stand."""
    text = " ".join(words)
    found = read_object(f'{{"q": {text}, "u": true}}', ASKED)
    assert found.values == {"q": text, "u": True}
    assert not found.cut


@pytest.mark.parametrize(
    "text",
    ["don't know", "O'Brien", "C# book", "C#", "https://x.com/y", 'say "hi" now', "a {x} b",
     "see [1], please", 'a {"u": false} b', "src/*.py", '5" wide', "rock, paper"],
)  # fmt: skip
@pytest.mark.parametrize("tail", ["}", ', "u": true}', ",\nu: true}", "\n}", " // why\n}"])
def test_unquoted_text_as_models_write_it(text: str, tail: str) -> None:
    """An unquoted text goes on to the next member, the brace, or a comment behind a blank."""
    found = read_object(f'{{"q": {text}{tail}', ASKED)
    assert found.values == {"q": text, **({"u": True} if "true" in tail else {})}
    assert found.note == "found among other text"


@pytest.mark.parametrize(
    "text",
    ["{q: one\ntwo}", "{q: C # book}", "{q: see // x, u: true}", "{q: rock, #paper}", "{q: a]}",
     "{q: good ", "{q: good, pa", "{q: good\n", "{q: good, ", "{q: a {b", "{q: a /* b */ c}",
     "{q: positive\nI hope this helps {friend}."],
)  # fmt: skip
def test_unquoted_text_that_may_be_half_is_no_value(text: str) -> None:
    """Where neither a member nor the brace follows, an unquoted text is not known to be whole."""
    found = read_object(text, ASKED)
    assert "q" not in found.values
    assert found.cut


@pytest.mark.parametrize(
    ("text", "value"),
    [("3 ", 3), ("3\n", 3), ("3, ", 3), ("3 // three", 3), ("3\nSo much.", 3), ("3]", 3),
     ("true", True), ("null, pa", None)],
)  # fmt: skip
def test_numbers_and_literals_need_nothing_behind_them(text: str, value: Any) -> None:
    """A number that something has ended, and a literal, are whole wherever the text ends."""
    assert read_object(f"{{q: {text}", ASKED).values == {"q": value}


@pytest.mark.parametrize(
    ("text", "values"),
    [('{"q": , "u": true}', {"u": True}), ('{"q": }', {}), ('{"q":,}', {}), ('{"q": ,x}', {}),
     ('{"u": true, "q": }', {"u": True}), ('{"q":, "q": "x"}', {"q": "x"})],
)  # fmt: skip
def test_a_key_without_a_value_has_none(text: str, values: dict[str, Any]) -> None:
    """Where nothing stands behind a key, no empty text is made up, and nothing is repeated."""
    found = read_object(text, ASKED)
    assert found.values == values
    assert found.repeated == frozenset()


# --- several items ---------------------------------------------------------------------------

ITEMS = {"1": {"a": "x", "b": 1}, "2": {"a": "y", "b": 2}, "3": {"a": "z", "b": 3}}


@pytest.mark.parametrize(
    "wrap",
    ["{}", "```json\n{}\n```", 'So: {{"answers": {}}}', "<think>{{}}</think> {}", "{} Done."],
)
def test_items_are_found_in_what_models_write(wrap: str) -> None:
    """Fences, prose, an outer key and thoughts around them do not hide the items."""
    found = read_items(wrap.format(json.dumps(ITEMS)), (1, 2, 3), KEYS)
    assert {number: one.values for number, one in found.items.items()} == {
        1: ITEMS["1"], 2: ITEMS["2"], 3: ITEMS["3"]
    }  # fmt: skip
    assert (found.note is None) == (wrap == "{}")
    assert not found.unasked


LINES = [json.dumps({number: values}) for number, values in ITEMS.items()]


@pytest.mark.parametrize("text", ["\n".join(LINES), f"[{', '.join(LINES)}]", " and ".join(LINES),
                                  "\n".join(f'{{"answers": {one}}}' for one in LINES),
                                  "\n".join(reversed(LINES))])  # fmt: skip
def test_items_in_objects_of_their_own(text: str) -> None:
    """Items that are written in one object each are all found."""
    found = read_items(text, (1, 2, 3), KEYS)
    assert {str(number): one.values for number, one in found.items.items()} == ITEMS
    assert found.note == "found among other text"


def test_items_in_objects_of_their_own_may_be_cut() -> None:
    """Of items in objects of their own, those before the end of a cut reply are found whole."""
    found = read_items("\n".join(LINES)[:-4], (1, 2, 3), KEYS, cut=True)
    assert [found.items[number].values for number in (1, 2)] == [ITEMS["1"], ITEMS["2"]]
    assert found.items[3].values == {"a": "z"}
    assert found.cut


def test_of_objects_for_one_item_the_last_counts() -> None:
    """An item that has two objects of its own has the values of the last, as with drafts; what is
    in the object that fits best is not changed by a smaller one.
    """
    other = json.dumps({"1": ITEMS["2"]})
    found = read_items("\n".join([*LINES[:2], other]), (1, 2, 3), KEYS)
    assert [found.items[number].values for number in (1, 2)] == [ITEMS["2"], ITEMS["2"]]
    whole = json.dumps({"1": ITEMS["1"], "2": ITEMS["2"]})
    found = read_items(f"{whole}\n{other}\n{LINES[2]}", (1, 2, 3), KEYS)
    assert {str(number): one.values for number, one in found.items.items()} == ITEMS


@pytest.mark.parametrize("place", range(3))
def test_numbers_nobody_asked_for_count_in_every_object(place: int) -> None:
    """Where items have objects of their own, a number that was not asked for spoils them all."""
    lines = [*LINES[:place], '{"0": {"a": "w", "b": 0}}', *LINES[place:2]]
    assert read_items("\n".join(lines), (1, 2, 3), KEYS).unasked == ("0",)


@pytest.mark.parametrize("draft", ['{"2": {"a": "w", "b": 0}, "note": "no"}',
                                   '{"3": {"a": "z" b, "b": {"2": {"a": "w"}}}}'])  # fmt: skip
def test_what_may_not_be_an_item_is_not_united(draft: str) -> None:
    """An object with other keys too, or one inside an object that breaks off, gives no item."""
    assert 2 not in read_items(f"{draft}\n{LINES[0]}", (1, 2), KEYS).items


def test_items_go_by_number_alone() -> None:
    """Items in another order are found; lists and other numbers are never taken by their place."""
    found = read_items(json.dumps(dict(reversed(ITEMS.items()))), (1, 2, 3), KEYS)
    assert found.items[1].values == ITEMS["1"]
    assert read_items(json.dumps(list(ITEMS.values())), (1, 2, 3), KEYS).items == {}
    moved = read_items(json.dumps({"0": ITEMS["1"], "1": ITEMS["2"]}), (1, 2), KEYS)
    assert moved.unasked == ("0",)


def test_a_number_given_twice_is_doubtful() -> None:
    """Two different answers for one item are a repetition of what differs; equal ones are not."""
    one, other = json.dumps(ITEMS["1"]), json.dumps(ITEMS["2"])
    assert read_items(f'{{"1": {one}, "1": {other}}}', (1,), KEYS).items[1].repeated == {"a", "b"}
    assert not read_items(f'{{"1": {one}, "1": {one}}}', (1,), KEYS).items[1].repeated


def test_one_item_may_go_without_its_number() -> None:
    """Where one item was asked for, an object without a number is its own, and that is noted."""
    found = read_items(json.dumps(ITEMS["1"]), (7,), KEYS)
    assert found.items[7].values == ITEMS["1"]
    assert found.note == "answered without its number"
    assert read_items(json.dumps(ITEMS["1"]), (7, 8), KEYS).items == {}


def test_one_key_may_go_without_its_name() -> None:
    """Where one key was asked for, the bare value under a number is its value."""
    found = read_items('{"1": "good", "2": ["bad"], "3": "cu', (1, 2, 3), ["a"], cut=True)
    assert found.items[1].values == {"a": "good"}
    assert found.items[2].values == {"a": ["bad"]}
    assert found.items[3].values == {}


@given(st.integers(0, 60))
def test_a_cut_keeps_the_items_before_it(place: int) -> None:
    """Wherever the text ends, whole items are whole, the one that was cut keeps what had closed,
    and nothing is changed.
    """
    text = json.dumps(ITEMS)
    found = read_items(text[:place], (1, 2, 3), KEYS, cut=True)
    for number, one in found.items.items():
        assert one.values.items() <= ITEMS[str(number)].items()
    if place >= text.index('"2"'):
        assert found.items[1].values == ITEMS["1"]


OTHER = '"2": {"a": "y", "b": 2}}'


@pytest.mark.parametrize(
    "text",
    [f'{{"1": "x" y, {OTHER}', f'{{"1": x\ny, {OTHER}', f'{{"1": "said {OTHER}',
     f'{{"1": x {{y, {OTHER}', f'{{"1": {{"a": x\ny, {OTHER}', '{"1": x\n{"a": "y", "b": 2}}',
     *(f'{{"{"k" * n}": {{{OTHER[:-1]}, "1": "x" y}}}}' for n in range(12, 24))],
)  # fmt: skip
def test_no_item_gets_the_answer_of_another(text: str) -> None:
    """Where the value of an item cannot be read, what stands behind or before it is not its own."""
    found = read_items(text, (1, 2), KEYS)
    assert found.items.get(1, Reading({})).values.items() <= {"a": "x"}.items()


@given(
    st.sampled_from(["{}", '{{"answers": {}}}', '{{"the answers by number": {}}}']),
    st.floats(0, 1),
    st.sampled_from([*"{}[]\"',:x\n %\\", "//", ""]),
    st.integers(0, 3),
)
def test_one_slip_gives_no_item_the_answer_of_another(
    wrap: str, part: float, slip: str, instead: int
) -> None:
    """Whatever sign slips into a reply or is left out, no value turns up under another number."""
    text = wrap.format(json.dumps({n: {"a": f"a{n}", "b": f"b{n}"} for n in (1, 2, 3)}))
    place = int(part * len(text))
    found = read_items(text[:place] + slip + text[place + instead :], (1, 2, 3), KEYS)
    for number, one in found.items.items():
        said = {str(value) for key, value in one.values.items() if key not in one.repeated}
        assert not said & {f"{key}{other}" for key in KEYS for other in {1, 2, 3} - {number}}


def test_a_draft_does_not_beat_what_was_cut_off() -> None:
    """The object that the end of a reply cuts off is the last word, not the draft before it."""
    text = 'First guess {"a": "good", "b": 1}, but no. So: {"a": "bad", "b": 2'
    found = read_object(text, KEYS, cut=True)
    assert found.values == {"a": "bad"}
    assert found.cut


@pytest.mark.parametrize("cut", ['"', '"b', '"b"', "b"])
def test_a_draft_does_not_beat_what_a_key_cuts_off(cut: str) -> None:
    """The same where the end of the reply cuts off a key."""
    for last in ('"bad", ', "bad, "):
        found = read_object(f'{{"a": "good", "b": 1}} So: {{"b": 2, "a": {last}{cut}', KEYS)
        assert found.values == {"b": 2, **({"a": "bad"} if '"' in last else {})}
        assert found.cut


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "b": 1\nNo. {"a": 2, "b": 2}', '{"a": 1, b: no\n\nWell. {"a": 2, "b": 2}',
     '{a: one of\nthree}\n{"a": 2, "b": 2}'],
)  # fmt: skip
def test_an_object_that_breaks_off_hides_none_behind_it(text: str) -> None:
    """Behind a draft that is broken off by prose the next object is found."""
    assert read_object(text, KEYS).values == {"a": 2, "b": 2}


@pytest.mark.parametrize(
    "text",
    ['{"a": "x"' + "\n" * 200_000 + "!", "{/*" * 60_000, '{"a": "x' + "{" * 100_000,
     '<think>{"a": true}</think>' * 16_000 + "{", "{a: x" + ", #" * 60_000,
     "{a: x" + ' "' * 60_000, "{a: x" + ' \\"' * 60_000, "{a: x" + " [1]" * 60_000],
)  # fmt: skip
def test_reading_takes_time_in_proportion(text: str) -> None:
    """Runaway blanks, open comments, stray signs and repeated thoughts are read in a moment."""
    begun = time.monotonic()
    read_object(text, KEYS)
    assert time.monotonic() - begun < 5


def test_numbers_of_items_are_no_wrapping_keys() -> None:
    """What stands under another item's number is never taken for the answer of this one."""
    nested = read_items('{"1": {"2": {"a": "x"}}, "3": {"a": "z"}}', (1, 2, 3), ["a"])
    assert nested.items[1].values == {}
    other = read_items('{"1": {"a": "x"}}', (3,), ["a"])
    assert other.items == {}
    assert other.unasked == ("1",)


def test_numbers_as_models_write_them() -> None:
    """Bare numbers, leading zeros, a stop, the word item: each is the number it spells."""
    found = read_items('{1: {"a": "x"}, "02": {"a": "y"}, "Item 3": {"a": "z"}}', (1, 2, 3), ["a"])
    assert [one.values["a"] for one in found.items.values()] == ["x", "y", "z"]


def test_of_two_answers_for_an_item_what_agrees_is_kept() -> None:
    """An item that is answered twice loses only the keys that differ."""
    found = read_items('{"1": {"a": 1, "b": 2}, "1": {"a": 1, "b": 3}}', (1,), KEYS)
    assert found.items[1].values["a"] == 1
    assert found.items[1].repeated == {"b"}


def test_a_tag_in_a_text_hides_nothing() -> None:
    """An opening tag of a thought counts at the beginning only; elsewhere it is a word."""
    text = 'You ask what a <think> tag does. {"a": "x", "b": 2}'
    assert read_object(text, KEYS).values == {"a": "x", "b": 2}
    assert read_object('<think>{"a": "x"', KEYS).values == {}


@pytest.mark.parametrize(
    "last",
    [
        '{"a": "x", "b": positive\n```\n',
        '{"a": "x", "b": high\n\nHope this helps',
        '{"a": "x", "b": line\nbreak}',
        '{"a": "x", "b": foo], "c": 2}',
    ],
)
def test_a_draft_does_not_stand_for_a_value_that_may_be_half(last: str) -> None:
    """The last object counts, and what is not known to be whole in it is missing."""
    found = read_object('Draft {"a": 0, "b": 0}. Final: ' + last, KEYS)
    assert (found.values, found.cut) == ({"a": "x"}, True)


@pytest.mark.parametrize(
    ("value", "comment"),
    [(value, one) for value in ("5", "true") for one in ("// n", "/* n */", "# n")]
    + [("low", one) for one in (" // n", " /* n */", " # n")],
)
def test_a_comment_behind_an_unquoted_value(value: str, comment: str) -> None:
    """A comment is no part of a value; behind a number or a literal it needs no blank before it."""
    found = read_object(f'{{"a": {value}{comment}\n, "b": {value}{comment}\n}}', KEYS)
    expected = {"5": 5, "true": True}.get(value, value)
    assert found.values == {"a": expected, "b": expected}


def test_a_hash_ends_a_number_and_no_word() -> None:
    """`5#n` is a number with a comment, `C# book` a text."""
    assert read_object('{"a": 5#n\n, "b": C# book}', KEYS).values == {"a": 5, "b": "C# book"}


@pytest.mark.parametrize(
    "wrapped",
    ['[\n // c\n {"a": 1, "b": 2}]', "\"{'a': 1, 'b': 2}\"", '["a", {"a": 1, "b": 2}]'],
)
def test_an_item_may_be_wrapped(wrapped: str) -> None:
    """A list or a text that holds the object of an item is taken for it."""
    found = read_items(f'{{"1": {wrapped}, "2": {{"a": 3, "b": 4}}}}', [1, 2], KEYS)
    assert {number: one.values for number, one in found.items.items()} == {
        1: {"a": 1, "b": 2}, 2: {"a": 3, "b": 4}
    }  # fmt: skip


INNER = '{"name": "Ann", "city": "Rome"}'


@pytest.mark.parametrize(
    "text",
    [
        f'{{"person": {INNER}}}',
        f'{{"answer": {{"person": {INNER}}}}}',
        f"So: [{{'person': {INNER}}}]",
        f'{{"person": {{"address": {INNER}}}}}',
        f'{{"person": {INNER}',
        '{"person": {"name": "Ann", "city": "Rome", "age',
        f'<think>Rome?</think>{{"answer": {{"person": {INNER}',
    ],
)
@pytest.mark.parametrize("cut", [False, True])
def test_a_part_of_another_answer_is_no_object(text: str, cut: bool) -> None:
    """Nothing under the key of another answer is taken for the object, or for that of the one item,
    however deep it stands and wherever the reply ends.
    """
    assert read_object(text, ["city"], cut=cut).values["city"] == "Rome"
    assert read_object(text, ["city"], others=["person"], cut=cut).values == {}
    assert read_items(text, (1,), ["city"], others=["person"], cut=cut).items == {}


def test_items_under_the_key_of_another_answer_are_its_own() -> None:
    """Under another answer's key stand its own items, and in an item its own values; under any
    other key that wraps them, those that were asked for.
    """
    for text in (f'{{"person": {{"1": {INNER}}}}}', f'{{"person": {{"1": {INNER}, "2": {{"na'):
        assert read_items(text, (1, 2), ["city"], others=["person"], cut=True).items == {}
    for text in (f'{{"1": {{"person": {INNER}}}}}', f'{{"1": {{"person": {INNER}'):
        assert read_items(text, (1, 2), ["city"], others=["person"]).items[1].values == {}
    wrapped = read_items(f'{{"answer": {{"1": {INNER}}}}}', (1, 2), ["city"], others=["person"])
    assert wrapped.items[1].values["city"] == "Rome"
