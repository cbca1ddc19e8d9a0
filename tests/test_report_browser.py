"""The report in a real browser: Chromium, headless, driven by playwright."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from mtiprompt.report import Chart, Series, SlotRow, Slots, Table, Text, write_page

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
EVIL = "<script>window.evil = 1</script><img src=x onerror='window.evil = 1'></script>"
SIZES = {"phone": (360, 844), "desktop": (1400, 1000)}
CHARTS = 6
"""Charts of the report."""
SLOTS_IN_A_LARGE_REPORT = 10_000
LARGEST = 15_000_000
"""Bytes of a report with that many slots."""
SLOWEST = 3_000
"""Milliseconds until its first slots are seen."""


OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    assert found, f"these tests need a browser, one of {', '.join(CHROMIUM)}: apt install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens a file; no script error, no console message and no request may be left at the end."""
    troubles: list[str] = []

    def opened(path: Path, size: str = "desktop", scheme: str = "light", at: str = "") -> Page:
        width, height = SIZES[size]
        page = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.append(message.text))
        page.goto(path.as_uri() + at)
        page.on("request", lambda request: troubles.append(request.url))
        expect(page.locator("h1")).to_be_visible()
        return page

    yield opened
    for context in browser.contexts:
        context.close()
    assert troubles == []


def _slots() -> tuple[SlotRow, ...]:
    """Two data sets, two arms, 40 items, two tasks; one answer and one reply are hostile."""
    rows = []
    for data in ("mails", "reviews"):
        for number in range(40):
            for task in ("mood", "product"):
                for arm in ("split", "fused"):
                    wrong = number % 4 == 0
                    answer = EVIL if (number, task) == (3, "product") else f"{task} {number}"
                    rows.append(
                        SlotRow(
                            data, arm, f"{data[0]}{number}", task, "wrong" if wrong else "right",
                            float(not wrong), answer, f"gold {number}", "",
                            (("system", "Do it."), ("user", f"{EVIL} {number}")), f"reply {answer}",
                        )
                    )  # fmt: skip
    return tuple(rows)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with parts of every kind, and hostile text wherever a text can stand."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    arms = ("split", "fused", f"batch {EVIL}")
    points = tuple(
        Series(arm, (100.0 * n + 50,), (0.5 + n / 10,), (0.4,), (0.9,))
        for n, arm in enumerate(arms)
    )
    named = tuple(
        Series(arm, ("mood", "product"), (0.1, -0.2), (-0.1, -0.4), (0.3, 0.1)) for arm in arms
    )
    cells = tuple(
        Series(f"{task} {EVIL}", arms, (-0.4, 0.0, float("nan")), text=(EVIL, "0.00\nn=20", ""))
        for task in ("mood", "product")
    )
    wide = tuple("0.68 −0.04 [−0.12,+0.04]" for _ in range(8))  # noqa: RUF001
    write_page(
        path,
        f"Report {EVIL}",
        [
            Text(("A verdict.", EVIL, "long" * 200), "Verdict"),
            Table("Scores", ("", *arms, *arms, "x", "y"), (("a task", *wide),) * 3, EVIL),
            Chart("Cost", "points", points, "cost", EVIL),
            Chart("Differences", "points", named, "", "score"),
            Chart("Bars", "bars", named),
            Chart("Tokens", "stacked", named),
            Chart("Heat", "heat", cells),
            Chart("Lines", "lines", (Series("a", (1.0, 2.0, 4.0), (0.9, 0.7, 0.6)),)),
            Slots("Slots", _slots()),
        ],
        command="mtiprompt eval " + "a-long-name.jsonl " * 20,
        made="today",
    )
    return path


@pytest.fixture(scope="module")
def slots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with slots alone, which opens sooner than one with charts."""
    path = tmp_path_factory.mktemp("slots") / "report.html"
    write_page(path, "Slots", [Slots("Slots", _slots())])
    return path


def _drawn(page: Page) -> Locator:
    """The charts, when the last is there: a busy machine takes a while to draw them all."""
    charts = page.locator(".chart .main-svg .infolayer")
    charts.nth(CHARTS - 1).wait_for(state="attached")
    return charts


def test_charts_are_drawn_and_nothing_hostile_runs(open_page: OpenPage, report: Path) -> None:
    """All kinds of charts are drawn, with intervals; no text is read as HTML or run."""
    page = open_page(report)
    expect(_drawn(page)).to_have_count(CHARTS)
    assert page.locator(".errorbar").count() >= 9
    expect(page.locator(".slots tbody tr")).to_have_count(50)
    assert page.evaluate("window.evil") is None
    assert page.locator("img, main script").count() == 0
    assert page.title() == f"Report {EVIL}"
    assert EVIL in page.locator("section").first.inner_text()
    assert page.locator(".chart .legendtext", has_text="<script>").count() >= 1
    assert page.locator(".chart .heatmap-label", has_text="<script>").count() == 2
    assert page.locator(".chart .heatmap-label", has_text="n=20").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_fits(open_page: OpenPage, report: Path, size: str, scheme: str) -> None:
    """Nothing makes the page scroll sideways, at both widths, in both schemes, slot open or not."""
    page = open_page(report, size, scheme)
    expect(_drawn(page)).to_have_count(CHARTS)
    wider = "document.scrollingElement.scrollWidth - innerWidth"
    assert page.evaluate(wider) <= 0
    page.locator(".slots tbody tr").first.click()
    expect(page.locator("dialog")).to_be_visible()
    assert page.evaluate(wider) <= 0
    fits = "(one => one.scrollWidth <= one.clientWidth)(document.querySelector('dialog'))"
    assert page.evaluate(fits)


def test_charts_follow_the_colour_scheme_and_the_window(open_page: OpenPage, report: Path) -> None:
    """They are drawn anew when the scheme changes, and resized with the window."""
    page = open_page(report)
    expect(_drawn(page)).to_have_count(CHARTS)
    paper = page.locator(".chart .main-svg").first
    before = paper.evaluate("one => [one.style.background, one.clientWidth]")
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 500, "height": 800})
    expect(paper).not_to_have_css("background-color", "rgb(255, 255, 255)")
    for _ in range(200):  # not `wait_for_function`, which the page's policy forbids to look twice
        if (width := paper.evaluate("one => one.clientWidth")) < 500:
            break
        page.wait_for_timeout(50)
    assert width < 500 < before[1]


def test_filters_leave_the_slots_that_were_asked_for(open_page: OpenPage, slots: Path) -> None:
    """Each filter narrows the list, the count says so, and the address keeps them all."""
    page = open_page(slots)
    count = page.locator(".count")
    expect(count).to_have_text("320 of 320")
    for name, value, left in [
        ("data", "mails", 160),
        ("arm", "fused", 80),
        ("task", "mood", 40),
        ("verdict", "wrong", 10),
    ]:
        page.locator(f"select[name={name}]").select_option(value)
        expect(count).to_have_text(f"{left} of 320")
    page.locator("input[name=q]").fill("MOOD 12")
    expect(count).to_have_text("1 of 320")
    again = open_page(slots, at="#" + page.url.partition("#")[2])
    expect(again.locator(".count")).to_have_text("1 of 320")
    expect(again.locator("select[name=verdict]")).to_have_value("wrong")
    expect(again.locator("tbody td.item")).to_have_text("m12")


def test_text_is_sought_as_it_stands(open_page: OpenPage, slots: Path) -> None:
    """Free text finds items, answers, gold and replies; marks of HTML are only letters."""
    page = open_page(slots)
    search, count = page.locator("input[name=q]"), page.locator(".count")
    for words, left in [("<SCRIPT>", 4), ("gold 7", 8), ("r39", 4), ("nowhere", 0)]:
        search.fill(words)
        expect(count).to_have_text(f"{left} of 320")


def test_pages_hold_the_list(open_page: OpenPage, slots: Path) -> None:
    """Only a page of rows is in the document; the last page has the rest."""
    page = open_page(slots)
    rows = page.locator(".slots tbody tr")
    expect(rows).to_have_count(50)
    forward = page.locator(".slots > .pages").get_by_text("next")
    for _ in range(6):
        forward.click()
    expect(rows).to_have_count(20)
    expect(forward).to_be_disabled()
    expect(page.locator(".slots > .pages")).to_contain_text("page 7 of 7")


def test_a_slot_opens_by_the_keyboard(open_page: OpenPage, slots: Path) -> None:
    """Enter opens a slot with answer, gold, reply and prompt as texts; Escape closes it."""
    page = open_page(slots)
    page.locator("input[name=q]").fill("<script>")
    expect(page.locator(".count")).to_have_text("4 of 320")
    page.locator(".slots .open").first.press("Enter")
    dialog = page.locator("dialog")
    expect(dialog.locator("pre")).to_have_text(
        [EVIL, "gold 3", f"reply {EVIL}", "Do it.", f"{EVIL} 3"]
    )
    expect(page).to_have_url(re.compile("slot="))
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page).not_to_have_url(re.compile("slot="))
    assert page.evaluate("window.evil") is None


def test_the_same_item_is_found_in_the_other_arms(open_page: OpenPage, slots: Path) -> None:
    """A link in a slot lists its item and task in all arms, and leads back to all items."""
    page = open_page(slots)
    page.locator("select[name=arm]").select_option("split")
    page.locator(".slots tbody tr").nth(2).click()
    page.get_by_text("the same item in the other arms").click()
    expect(page.locator("dialog")).to_be_hidden()
    expect(page.locator("tbody td.item")).to_have_text(["m1", "m1"])
    expect(page.locator("tbody td.arm")).to_have_text(["split", "fused"])
    page.get_by_text("all items").click()
    expect(page.locator(".count")).to_have_text("80 of 320")


def test_contents_lead_to_the_parts(open_page: OpenPage, report: Path) -> None:
    """A link of the contents goes to its part, and does not forget the filters."""
    page = open_page(report, at="#part9.arm=fused")
    page.locator("nav a", has_text="Slots").click()
    expect(page.locator("#part9")).to_be_focused()
    expect(page.locator(".count")).to_have_text("160 of 320")


def test_a_browser_that_cannot_decompress_is_told(browser: Browser, slots: Path) -> None:
    """Where the list cannot be opened the page says why."""
    page = browser.new_page()
    page.add_init_script("delete globalThis.DecompressionStream")
    page.goto(slots.as_uri())
    expect(page.get_by_role("alert")).to_contain_text("this browser cannot open compressed data")
    page.context.close()


def test_ten_thousand_slots_open_quickly(open_page: OpenPage, tmp_path: Path) -> None:
    """A report with 10,000 slots, each with a prompt of its own, is small and opens at once."""
    draw = random.Random(1)
    words = [f"word{draw.getrandbits(24):x}" for _ in range(5000)]

    def text(length: int) -> str:
        return " ".join(draw.choices(words, k=length))

    system = text(600)
    rows = tuple(
        SlotRow(
            "data", f"arm {n % 4}", f"item {n // 20}", f"task {n % 5}", "right", 1.0, text(4),
            text(4), "", (("system", system), ("user", text(90))), text(12),
        )
        for n in range(SLOTS_IN_A_LARGE_REPORT)
    )  # fmt: skip
    path = tmp_path / "large.html"
    chart = Chart("Cost", "points", (Series("a", (1.0,), (1.0,)),))
    write_page(path, "Large", [chart, Slots("Slots", rows)])
    assert path.stat().st_size < LARGEST
    page = open_page(path)
    expect(page.locator(".slots tbody tr")).to_have_count(50)
    seen = page.evaluate("performance.getEntriesByName('seen')[0].startTime")
    assert seen < SLOWEST
    page.locator("input[name=q]").fill(rows[-1].reply[:40])
    expect(page.locator(".count")).to_have_text(f"1 of {len(rows)}")
