"""The report: what it says of a comparison, and the file that it is written to."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt import stats
from mtiprompt.errors import DataError, SettingsError
from mtiprompt.evaluation import Arm, Comparison, compare, make_arms
from mtiprompt.evaluation.prices import Price
from mtiprompt.report import (
    Chart,
    Part,
    Series,
    SlotRow,
    Slots,
    Table,
    Text,
    parts_of,
    table_of,
    write_page,
)
from mtiprompt.report.figures import difference, score
from mtiprompt.report.page import make_page

PRICE = Price("any", prompt=0.001, cached=0.0001, completion=0.002)
ANY_TEXT = st.text(st.characters(exclude_categories=[])) | st.sampled_from(
    ["</script>", "<!--<script>", "\u2028\u2029", "\ud800", "\0", "$data ${policy}", "</title>"]
)

program = mti.combine("text -> mood: Literal['good', 'bad']", "text -> long: bool")
ROWS: list[dict[str, Any]] = [
    {"id": "a", "inputs": {"text": "Text A."}, "outputs": {"mood": "good", "long": True}},
    {"id": "b", "inputs": {"text": "Text B."}, "outputs": {"mood": "good", "long": True}},
    {"id": "c", "inputs": {"text": "Text C."}, "outputs": {"mood": "good", "long": True}},
    {"id": "d", "inputs": {"text": "Text D."}, "outputs": {"mood": "good"}},
]


def _say(request: mti.Request) -> mti.Reply:
    """Asked for one task all is right; asked for both, B has a wrong mood and C is no JSON."""
    assert request.schema is not None
    asked = request.schema.schema["properties"]
    answers: dict[str, Any] = {"mood": "good", "long": True}
    text = request.messages[-1].content
    if len(asked) == 2 and "Text B." in text:
        answers["mood"] = "bad"
    said = json.dumps({name: answers[name] for name in asked})
    if len(asked) == 2 and "Text C." in text:
        said = "I </script> would not know."
    usage = mti.Usage(
        calls=1, prompt_tokens=100, cached_tokens=40, completion_tokens=10, seconds=0.5
    )
    return mti.Reply(said, usage=usage)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    """Four items, one of them without gold for the second task, split and fused, no repair."""
    return compare(
        program,
        ROWS,
        make_arms(program, ["split", "fused"], []),
        model=mti.FunctionModel(_say, name="made up"),
        repair=mti.Repair.none(),
    )


def _rows(table: Table) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[1:] for row in table.rows}


class _Scripts(HTMLParser):
    """The script elements of a page, and how many elements there are."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=False)
        self.scripts: list[str] = []
        self.elements = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements += 1
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data


def _data(page: str) -> Any:
    return json.loads(_Scripts(page).scripts[0])


# --- what it says --------------------------------------------------------------------------------


def test_scores_in_the_table_are_those_of_hand_arithmetic(comparison: Comparison) -> None:
    """Means, paired differences and the numbers of items with gold are what one counts by hand."""
    rows = _rows(table_of("small", comparison))
    right, mood = [1.0] * 4, [1.0, 0.0, 0.0, 1.0]
    mean = stats.mean(right)
    assert rows["mood"] == (
        score(1.0, mean.interval, 4),
        f"0.50 {difference(stats.difference(mood, right))}",
    )
    assert rows["long (n=3)"][1].startswith("0.67 \N{MINUS SIGN}0.33 [")
    # items: both right; one of two; both failed; D has gold for the first task alone
    assert rows["mean of tasks"][1].startswith("0.62 \N{MINUS SIGN}0.38 [")
    assert rows["all right (n=3)"][1].startswith("0.33 \N{MINUS SIGN}0.67 [")


def test_costs_in_the_table_are_those_of_hand_arithmetic(comparison: Comparison) -> None:
    """Calls, tokens, seconds, their ratio and dollars an item follow from what each call used."""
    rows = _rows(table_of("small", comparison, {"any": PRICE}))
    assert rows["failed slots"] == ("0", "2 (unreadable 2)")
    assert rows["calls / item"] == ("2.00", "1.00")
    assert rows["prompt tokens / item"] == ("200 (cached 80.0)", "100 (cached 40.0)")
    assert rows["completion tokens / item"] == ("20.0", "10.0")
    assert rows["seconds / item"] == ("1.00", "0.500")
    assert rows["time, of split"] == ("1.00", "0.50")
    # a call: 60 at 0.001, 40 at 0.0001 and 10 at 0.002 dollars; without caching 100 at 0.001
    assert rows["$ / 1,000 items, any"] == ("168", "84.0")
    assert rows["$ / 1,000 items, any, without prompt caching"] == ("240", "120")


def test_the_reach_of_an_interval_is_never_understated() -> None:
    """`±` reaches to the farther end, because intervals do not lie evenly around the mean."""
    assert score(1.0, stats.Interval(0.8, 1.0), 10) == "1.00 ±0.20"
    assert score(float("nan"), stats.Interval(0, 1), 0) == "\N{EN DASH}"


def test_the_verdict_claims_only_what_intervals_carry() -> None:
    """With many items a loss is told; with few, that it cannot be excluded. Nothing is equal."""
    arms = make_arms(program, ["split", "fused"], [])
    for items, said in [(40, "worse on mood"), (2, "no difference can be told apart with 2 items")]:
        rows = [ROWS[1] | {"id": str(place)} for place in range(items)]
        found = compare(program, rows, arms, model=mti.FunctionModel(_say))
        [verdict, *_] = parts_of("small", found)
        assert isinstance(verdict, Text)
        text = " ".join(verdict.paragraphs)
        assert said in text
        assert "cannot be excluded" in text
        assert "Fewest calls an item: fused (1.00, split 2.00)." in text


def _opening(arms: list[Arm]) -> str:
    """The first paragraph of a report about one row in some arms."""
    [verdict, *_] = parts_of("small", compare(program, ROWS[:1], arms, model=mti.EchoModel()))
    assert isinstance(verdict, Text)
    return verdict.paragraphs[0]


def test_the_demonstrations_that_calls_show_are_counted() -> None:
    """One number where each call of each arm shows the same; else one for each arm, and a word that
    they may be why the arms differ.
    """
    whole, *_, part = ROWS
    demos = [whole | {"inputs": {"text": "x"}}, part | {"inputs": {"text": "y"}}]
    split = Arm("split", mti.Plan.split(program, demos=demos))
    with pytest.warns(match="left out"):
        fused = Arm("fused", mti.Plan.fused(program, demos=demos))
    batch = Arm("batch", mti.Plan.split(program, demos=demos, items_per_call=2))
    other = Arm("other", mti.Plan.split(program, demos=demos[:1]))
    two = mti.Plan.fused(program, demos=[whole | {"inputs": {"text": text}} for text in "xyz"])
    some = Arm("some", two.replace(program, select=mti.Select("nearest", 2)))
    unlike = "they are not the same ones, and may be why the arms differ."
    for arms, told in [
        ([split, batch], "demonstrations shown: 1 to 2."),
        ([other], "demonstrations shown: 1."),
        ([split, fused], f"demonstrations shown: split 1 to 2, fused 1; {unlike}"),
        ([some, fused], f"demonstrations shown: some 2, fused 1; {unlike}"),
    ]:
        assert _opening(arms).endswith(told)


def test_one_arm_alone_is_compared_with_nothing(comparison: Comparison) -> None:
    """A report about one arm has no differences, and says so."""
    arms = make_arms(program, ["fused"], [])
    found = compare(program, ROWS[:1], arms, model=mti.FunctionModel(_say))
    parts = parts_of("small", found)
    assert isinstance(parts[0], Text)
    assert "nothing to compare it with" in parts[0].paragraphs[-1]
    assert not [one for one in parts if "differences" in one.heading]


def test_every_slot_is_there_with_what_a_person_needs(comparison: Comparison) -> None:
    """Each arm, task and item has a slot: its verdict, gold, answer, failure, prompt and reply."""
    [slots] = [one for one in parts_of("small", comparison) if isinstance(one, Slots)]
    assert len(slots.rows) == 4 * 2 * 2
    found = {(one.item, one.task, one.arm): one for one in slots.rows}
    assert found["a", "mood", "fused"].verdict == "right"
    wrong = found["b", "mood", "fused"]
    assert (wrong.verdict, wrong.answer, wrong.gold, wrong.score) == ("wrong", "bad", "good", 0)
    failed = found["c", "mood", "fused"]
    assert (failed.verdict, failed.answer) == ("failed", None)
    assert failed.failure.startswith("unreadable: ")
    assert failed.reply == "I </script> would not know."
    assert "Text C." in failed.prompt[-1][1]
    assert found["d", "long", "split"].verdict == "unscored"
    assert '"mood"' in found["a", "mood", "split"].reply
    assert '"long"' in found["a", "long", "split"].reply


def test_the_last_call_about_a_slot_is_shown() -> None:
    """After a repair the list shows the call that gave the answer, not the first one."""
    model = mti.ScriptedModel(['{"mood": "good"}', '{"long": true}'])
    found = compare(program, ROWS[:1], make_arms(program, ["fused"], []), model=model)
    [slots] = [one for one in parts_of("small", found) if isinstance(one, Slots)]
    assert {one.task: one.reply for one in slots.rows} == {
        "mood": '{"mood": "good"}',
        "long": '{"long": true}',
    }


# --- the file ------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(text=ANY_TEXT, other=ANY_TEXT)
def test_every_text_survives_and_none_becomes_html(text: str, other: str) -> None:
    """Whatever stands in a report is read back as it was, and adds no element to the page."""
    slot = SlotRow("d", "a", text, "t", "wrong", 0.0, text, [other], reply=other,
                   prompt=(("user", text),))  # fmt: skip
    parts: list[Part] = [
        Text((text,), other),
        Table(text, (other,), ((text,),)),
        Slots("s", (slot,)),
    ]
    page = make_page(text, parts, command=other)
    page.encode()
    plain = make_page("t", [Text(("x",), "h")])
    assert _Scripts(page).elements == _Scripts(plain).elements
    data = _data(page)
    assert (data["title"], data["command"]) == (text, other)
    assert data["parts"][0]["paragraphs"] == [text]
    assert data["parts"][1]["rows"] == [[text]]
    columns = json.loads(gzip.decompress(base64.b64decode(data["parts"][2]["packed"])))
    texts = columns["texts"]
    assert [texts[columns[name][0]] for name in ("item", "answer", "reply")] == [text, text, other]
    assert json.loads(texts[columns["gold"][0]]) == [other]
    assert [[texts[place] for place in one] for one in columns["prompts"][0]] == [["user", text]]


def test_only_its_own_scripts_may_run() -> None:
    """The policy names the hash of each script of the page, and allows nothing else."""
    chart = Chart("c", "bars", (Series("s", ("x",), (1.0,)),))
    for parts, number in ([], 1), ([chart], 2):
        page = make_page("t", parts)
        policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[0]
        scripts = _Scripts(page).scripts[:0:-1]  # without the data, the last one first
        hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()) for one in scripts]
        allowed = " ".join(f"'sha256-{one.decode()}'" for one in hashes)
        assert len(scripts) == number
        assert f"default-src 'none'; script-src {allowed}; " in policy
        assert "unsafe-eval" not in policy


def test_figures_that_are_none_are_no_mistake() -> None:
    """What is not a number becomes a gap in a chart: JSON has no word for it."""
    chart = Chart("c", "lines", (Series("s", (1.0,), (float("nan"),)),))
    assert _data(make_page("t", [chart]))["parts"][0]["series"][0]["y"] == [None]


def test_slots_of_several_data_sets_are_one_list() -> None:
    """They are gathered where the last list stands, so that they can be filtered by data set."""
    one, other = (SlotRow(name, "a", "1", "t", "right", 1.0, 1, 1) for name in ("one", "two"))
    parts: list[Part] = [Slots("Slots", (one,)), Text(("between",)), Slots("Slots", (other,))]
    kinds = [one["kind"] for one in _data(make_page("t", parts))["parts"]]
    assert kinds == ["text", "slots"]


def test_without_plotly_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts need the extra; a report without charts does not."""
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    chart = Chart("c", "bars", (Series("s", ("x",), (1.0,)),))
    with pytest.raises(SettingsError, match=r'pip install "mtiprompt\[report\]"'):
        make_page("t", [chart])
    assert "<title>" in make_page("t", [Text(("x",))])


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    """A failed write is one error, and no half file stays; a good one replaces what was there."""
    with pytest.raises(DataError, match="cannot write"):
        write_page(tmp_path / "none" / "report.html", "t", [])
    with pytest.raises(DataError, match="cannot write"):
        write_page(tmp_path / "a\0b.html", "t", [])
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="cannot write"):
        write_page(tmp_path / "folder", "t", [])
    write_page(tmp_path / "report.html", "first", [])
    write_page(tmp_path / "report.html", "second", [])
    assert _data((tmp_path / "report.html").read_text())["title"] == "second"
    assert {one.name for one in tmp_path.iterdir()} == {"folder", "report.html"}


def test_the_library_loads_no_report() -> None:
    """`import mtiprompt` loads neither the report nor plotly; the report alone loads no plotly."""
    told = "import sys; print([one for one in sys.modules if one.startswith({!r})])"
    for script in (
        f"import mtiprompt; {told.format('mtiprompt.report')}",
        f"import mtiprompt.report; {told.format('plotly')}",
    ):
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
        assert run.stdout.strip() == b"[]"
