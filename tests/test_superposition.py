"""Superposition: what was put into a model is found, and the scorer agrees with other ways."""

from __future__ import annotations

import json
import math
import random
import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.cli import main
from mtiprompt.errors import ContextTooLong, DataError, ModelMisconfigured, ModelUnavailable
from mtiprompt.experiments import superposition
from mtiprompt.experiments.superposition import (
    CONFIGS,
    Findings,
    FunctionTokens,
    LocalTokens,
    cells,
    draw,
    likeliest,
    local_workers,
    resample,
    run,
    score,
    steps,
    write,
)
from mtiprompt.experiments.superposition.calibration import divergence
from mtiprompt.experiments.superposition.lists import COUNTRIES, WORDS
from mtiprompt.experiments.superposition.prompts import counts
from mtiprompt.experiments.superposition.record import busy
from mtiprompt.experiments.superposition.share import shared
from mtiprompt.experiments.superposition.sizes import differences
from mtiprompt.experiments.superposition.spelled import english, french, spanish
from mtiprompt.experiments.superposition.tasks import Config
from mtiprompt.models.local_tokens import LIKELIEST
from mtiprompt.report.parts import Chart, Table, Text

SMALL = "local/smollm2-135m"
WORD_TASKS: dict[str, Callable[[str], str]] = {
    "first_letter": lambda word: word[0],
    "last_letter": lambda word: word[-1],
    "first_letter_upper": lambda word: word[0].upper(),
    "last_letter_upper": lambda word: word[-1].upper(),
}


def student(mass: float = 0.9, *, power: float = 1.0) -> FunctionTokens:
    """Answers about words as often as the examples show each task; beside a label only that one."""

    def answers(prompt: str) -> Mapping[str, float]:
        *lines, query = prompt.splitlines()
        label, _, word = query.removesuffix("->").rpartition("] ")
        if label:
            return {WORD_TASKS[label[1:]](word): mass}
        seen: Counter[str] = Counter()
        for line in lines:
            text, answer = line.split("->")
            fits = [task for task, of in WORD_TASKS.items() if of(text) == answer]
            seen.update({task: 1 / len(fits) for task in fits})
        weights = {task: number**power for task, number in seen.items()}
        total = sum(weights.values())
        return {WORD_TASKS[task](word): mass * one / total for task, one in weights.items()}

    return FunctionTokens(answers)


@pytest.fixture(scope="module")
def small() -> Iterator[LocalTokens]:
    """The small model, loaded once."""
    with LocalTokens(SMALL) as loaded:
        yield loaded


# --- the scorer --------------------------------------------------------------------------------

answers_of = st.dictionaries(
    st.text("abc", min_size=1, max_size=4), st.floats(0.01, 0.2), min_size=1, max_size=5
)


@given(answers_of)
def test_probabilities_are_found_again(told: dict[str, float]) -> None:
    """Closed, a score is the probability of the answer; open, that of all that begin with it."""
    model = FunctionTokens(lambda prompt: told)
    for one in score(model, "x->", list(told)):
        begin = sum(likely for answer, likely in told.items() if answer.startswith(one.answer))
        assert one.closed == pytest.approx(told[one.answer])
        assert one.open == pytest.approx(begin)
        assert not one.rejoined


@given(answers_of, st.integers(1, 4), st.booleans())
def test_the_likeliest_are_found(told: dict[str, float], number: int, know: bool) -> None:
    """The search finds what sorting all answers finds, whatever is known before."""
    model = FunctionTokens(lambda prompt: told)
    whole = {**told, "?": 1 - sum(told.values())}
    best = sorted(whole.values(), reverse=True)[:number]
    found = likeliest(model, "x->", number, list(told.items())[:2] if know else ())
    assert found.exact
    assert [likely for _, likely in found.answers] == pytest.approx(best)
    assert all(whole[answer] == pytest.approx(likely) for answer, likely in found.answers)


def test_a_search_that_is_cut_short_says_so() -> None:
    """With one look at the model, nothing but the known answers is known, and it says so."""
    model = FunctionTokens(lambda prompt: {"ab": 0.5, "cd": 0.3})
    found = likeliest(model, "x->", 1, [("cd", 0.3)], looks=1)
    assert found.answers == (("cd", 0.3),)
    assert not found.exact


class Pairs(FunctionTokens):
    """Joins a sign and the letter after it into one token."""

    def tokens(self, text: str) -> tuple[int, ...]:
        """Characters, and a token for `>a`."""
        return super().tokens(text.replace(">a", "\u0101"))

    def forced(self, before: Any, rest: Any) -> tuple[float, ...]:
        """Every token has one half."""
        return (math.log(0.5),) * len(rest)


def test_prompt_and_answer_are_tokenised_together() -> None:
    """A token that takes in the end of the prompt is scored, and the score says so."""
    joined, apart = score(Pairs(lambda prompt: {}), "x->", ["ab", "b"])
    assert (joined.closed, joined.open, joined.rejoined) == pytest.approx((0.125, 0.25, True))
    assert (apart.closed, apart.open, apart.rejoined) == pytest.approx((0.25, 0.5, False))


@pytest.mark.parametrize("answers", ["Paris", b"Paris", 7, None, {"Paris": 1}])
def test_answers_are_a_list(answers: Any) -> None:
    """One text is no list of answers, each of one letter."""
    with pytest.raises(DataError, match=r"answers=.*is no list"):
        score(FunctionTokens(lambda prompt: {"Paris": 0.5}), "France->", answers)


def every_next(model: LocalTokens, before: list[int]) -> dict[int, float]:
    """The probability of each token of the model, asked for in another way than the scorer does.

    A line's end is written, since nothing is told beside a part of a character.
    """
    written = [[model.tokens("\n")[-1], 1_000.0]]
    body = {"prompt": before, "n_predict": 1, "n_probs": 1_000_000, "logit_bias": written}
    [told] = model.engine.post("/completion", body)["completion_probabilities"]
    return {one["id"]: math.exp(one["logprob"]) for one in told["top_logprobs"]}


def test_the_scorer_agrees_with_exhaustive_sums(small: LocalTokens) -> None:
    """On a real model, the product of next-token probabilities that add up to 1 is the score."""
    prompt = "France->Paris\nItaly->ITALY\nSpain->Madrid\nPeru->PERU\nJapan->"
    for answer in ("Tokyo", "JAPAN"):
        [found] = score(small, prompt, [answer])
        read, whole = small.tokens(prompt), small.tokens(f"{prompt}{answer}\n")
        assert whole[: len(read)] == read
        product = 1.0
        for at in range(len(read), len(whole)):
            after = every_next(small, list(whole[:at]))
            assert sum(after.values()) == pytest.approx(1, abs=1e-3)
            product *= after[whole[at]]
        assert found.closed == pytest.approx(product, rel=2e-3)
        assert found.open >= found.closed
    assert found.closed > 0.01


def test_a_prompt_that_is_too_long_is_said_to_be(small: LocalTokens) -> None:
    """It is an error of ours with a hint, not the server's JSON."""
    with pytest.raises(ContextTooLong, match=r"exceeds the available context size.*\(a shorter"):
        small.following([1] * 20_000)


@pytest.mark.parametrize("answer", ["Tokyo", "JAPAN", "one hundred and five", "é€"])
def test_forcing_does_not_change_probabilities(small: LocalTokens, answer: str) -> None:
    """The bias that makes forcing fast leaves every probability as the grammar alone has it."""
    prompt = "France->Paris\nItaly->ITALY\nJapan->"
    read, whole = small.tokens(prompt), small.tokens(f"{prompt}{answer}\n")
    rest = whole[len(read) :]
    small.read(read)
    body = {
        "prompt": read,
        "n_predict": len(rest),
        "n_probs": LIKELIEST,  # their number moves the rounding of the sum over all tokens
        "temperature": 0,
        "grammar": "root ::= " + " ".join(f"<[{one}]>" for one in rest),
    }
    told = small.engine.post("/completion", body)["completion_probabilities"]
    assert list(small.forced(read, rest)) == [one["logprob"] for one in told]


@pytest.mark.parametrize("text", ["🙂", "Ω🌺 x", "ཀ"])
def test_characters_of_several_tokens_are_scored(small: LocalTokens, text: str) -> None:
    """Of a part of a character the server tells nothing when it is written; it is scored all the
    same, and so is what follows it."""
    prompt = "flower->"
    read, whole = small.tokens(prompt), small.tokens(f"{prompt}{text}\n")
    assert len(whole) - len(read) > len(text) + 1  # and the end of the line
    small.read(read)
    logs = small.forced(read, whole[len(read) :])
    for at, log in enumerate(logs, start=len(read)):
        after = every_next(small, list(whole[:at]))
        assert math.exp(log) == pytest.approx(after[whole[at]], rel=2e-2)
        assert sum(math.exp(one.log) for one in small.following(whole[:at])) <= 1 + 1e-3


def test_what_was_told_is_not_asked_again(
    small: LocalTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers that begin alike share their beginning, likely tokens are told at once, and the
    search asks for nothing that the scores have told."""
    posts = []
    post = small.engine.post

    def counted(path: str, body: Any, **how: Any) -> Any:
        posts.append(path)
        return post(path, body, **how)

    prompt, answers = "1->1\n2->2\n7->7\n5->", ["5", "55"]
    [five, newline] = small.tokens(f"{prompt}5\n")[len(small.tokens(prompt)) :]
    monkeypatch.setattr(small.engine, "post", counted)
    score(small, prompt, answers)
    # read, after the prompt, after 5, after 55
    assert posts.count("/completion") == 4
    read = small.tokens(prompt)
    assert five in {one.token for one in small.following(read)}
    assert newline in {one.token for one in small.following([*read, five])}
    assert posts.count("/completion") == 4


@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=0x3FFFF, codec="utf-8")))
def test_pieces_make_up_their_text(small: LocalTokens, text: str) -> None:
    """Sizes sum to the bytes of a text, and no token is added at its beginning."""
    pieces = small.pieces(text)
    assert sum(one.size for one in pieces) == len(text.encode())
    assert tuple(one.token for one in pieces) == small.tokens(text)[-len(pieces) or None :]


def test_scores_do_not_depend_on_what_was_read(small: LocalTokens) -> None:
    """An answer has the same score first and last, and after other prompts, alike or not."""
    lines = [f"{one}->{one.upper()}\n" for one in WORDS[:12]]
    prompt = "".join(lines) + "zebra->"
    score(small, "something else->", ["x"])
    first, *_ = score(small, prompt, ["ZEBRA", "z", "zebra"])
    *_, last = score(small, prompt, ["z", "ZEB", "zebra", "ZEBRA"])
    assert last.closed == pytest.approx(first.closed, rel=1e-3)
    for other in ("".join(lines[:4]), "".join(lines[6:]), "something else->"):
        score(small, other, ["x"])
        [again] = score(small, prompt, ["ZEBRA"])
        assert again == first


def test_the_likeliest_of_a_real_model(small: LocalTokens) -> None:
    """No answer of a real model is likelier than what the search finds, as far as it is exact."""
    prompt = "cat->CAT\ndog->DOG\ncow->COW\nhen->"
    [known] = score(small, prompt, ["HEN"])
    found = likeliest(small, prompt, 1, [("HEN", known.closed)])
    assert found.exact
    assert found.answers[0][1] >= known.closed


# --- the protocol ------------------------------------------------------------------------------


@given(st.sampled_from(sorted(CONFIGS)), st.integers(0, 500), st.integers(0, 3))
def test_prompts_follow_the_protocol(name: str, number: int, seed: int) -> None:
    """No query among the examples, all inputs apart, shares kept, wrong answers wrong."""
    config = CONFIGS[name]
    drawn = draw(config, number, seed=seed)
    assert drawn == draw(config, number, seed=seed)
    texts = [one.text for one in (*drawn.examples, drawn.query, drawn.wrong)]
    assert len(set(texts)) == config.examples + 2
    answers = (*drawn.query.answers, *drawn.wrong.answers)
    assert len(set(answers)) == 2 * len(config.tasks)
    pairs = zip(drawn.query.answers, drawn.wrong.answers, strict=True)
    assert all(len(right) == len(wrong) for right, wrong in pairs if right.isdigit())
    for cell in cells(config):
        *lines, query = write(cell, drawn, cell.labels[0]).splitlines()
        inputs = [line.split("] ")[-1].split(config.sign)[0] for line in lines]
        if cell.kind != "alone":
            assert inputs == [one.text for one in drawn.examples]
        assert query.endswith(drawn.query.text + config.sign)
        assert all(("[" in line) == (cell.kind == "labelled") for line in [*lines, query])


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(1, 90))
def test_shares_are_kept(weights: list[int], examples: int) -> None:
    """All examples are given out, to each task as many as its share within one."""
    assume(sum(weights))
    shares = [one / sum(weights) for one in weights]
    given_out = counts(shares, examples)
    assert sum(given_out) == examples
    for share, number in zip(shares, given_out, strict=True):
        assert abs(number - share * examples) < 1 + 1e-6


@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_every_example_answers_its_task(config: Config) -> None:
    """Each line holds the answer of the task to which its share gave it."""
    drawn = draw(config, 1)
    for cell in cells(config):
        lines = write(cell, drawn, cell.labels[0]).splitlines()[:-1]
        found: Counter[str] = Counter()
        for line in lines:
            [item] = [one for one in drawn.examples if one.text in re.split("] |->|=", line)]
            answer = line.split(config.sign)[-1]
            fits = [task for task in cell.shown if item.answers[config.tasks.index(task)] == answer]
            assert fits
            if cell.kind == "labelled":
                assert line.startswith(f"[{fits[0]}]") or len(fits) > 1
            found[fits[0]] += 1
        if cell.kind != "alone":
            assert len(lines) == config.examples


@given(st.sampled_from(sorted(CONFIGS)), st.integers(0, 500))
def test_a_task_alone_has_its_lines_of_the_mixed_prompt(name: str, number: int) -> None:
    """The lines of all tasks alone are those of the mixed prompt, shared out evenly, in order."""
    drawn = draw(CONFIGS[name], number)
    mixed, *rest = (
        write(cell, drawn).splitlines()
        for cell in cells(CONFIGS[name])
        if cell.kind in {"mixed", "alone"}
    )
    assert sorted(line for lines in rest for line in lines[:-1]) == sorted(mixed[:-1])
    for lines in rest:
        assert len(lines) - 1 == CONFIGS[name].examples // len(rest)
        assert lines == [one for one in mixed if one in lines]


def test_words_are_asked_as_in_the_paper() -> None:
    """Four single letters, all different: config/word.yaml of the paper's repository."""
    for number in range(50):
        drawn = draw(CONFIGS["words"], number)
        for one in (*drawn.examples, drawn.query, drawn.wrong):
            first, last = one.text[0], one.text[-1]
            assert one.answers == (first, last, first.upper(), last.upper())
            assert first != last


def test_few_examples_change_between_shares() -> None:
    """From 25 to 50 % no example of the first task is taken from it."""
    config = CONFIGS["words"]
    drawn = draw(config, 0)
    shares = [cell for cell in cells(config) if cell.kind == "share"]
    first = [
        {line for line in write(cell, drawn).splitlines()[:-1] if line[-1] == line[0]}
        for cell in shares
    ]
    assert all(fewer < more for fewer, more in pairwise(first))
    assert [len(one) for one in first] == [0, 20, 40, 60, 80]


def test_too_many_or_few_examples_are_refused() -> None:
    """More examples than there are countries cannot be drawn, nor fewer than there are tasks."""
    with pytest.raises(DataError, match="words has 4 tasks and 3 examples"):
        draw(CONFIGS["words"], 0, examples=3)
    with pytest.raises(DataError, match="countries has not enough different inputs"):
        draw(CONFIGS["countries"], 0, examples=len(COUNTRIES))


def test_lists_hold_what_they_say() -> None:
    """Words and countries come once; countries are not called as their capitals are."""
    assert len(set(WORDS)) == len(WORDS) >= 200
    assert all(word.isalpha() and word.islower() and word.isascii() for word in WORDS)
    assert len({country for country, _, _ in COUNTRIES}) == len(COUNTRIES) > 100
    assert len({capital for _, capital, _ in COUNTRIES}) == len(COUNTRIES)
    assert all(country != capital for country, capital, _ in COUNTRIES)
    assert {continent for _, _, continent in COUNTRIES} == {
        "Africa", "Asia", "Europe", "North America", "South America", "Oceania"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (21, ("twenty-one", "vingt et un", "veintiuno")),
        (22, ("twenty-two", "vingt-deux", "veintidós")),
        (30, ("thirty", "trente", "treinta")),
        (31, ("thirty-one", "trente et un", "treinta y uno")),
        (70, ("seventy", "soixante-dix", "setenta")),
        (71, ("seventy-one", "soixante et onze", "setenta y uno")),
        (77, ("seventy-seven", "soixante-dix-sept", "setenta y siete")),
        (80, ("eighty", "quatre-vingts", "ochenta")),
        (81, ("eighty-one", "quatre-vingt-un", "ochenta y uno")),
        (91, ("ninety-one", "quatre-vingt-onze", "noventa y uno")),
        (99, ("ninety-nine", "quatre-vingt-dix-neuf", "noventa y nueve")),
        (100, ("one hundred", "cent", "cien")),
        (101, ("one hundred and one", "cent un", "ciento uno")),
        (180, ("one hundred and eighty", "cent quatre-vingts", "ciento ochenta")),
        (198, ("one hundred and ninety-eight", "cent quatre-vingt-dix-huit",
               "ciento noventa y ocho")),
    ],
)  # fmt: skip
def test_numbers_are_spelled(number: int, words: tuple[str, str, str]) -> None:
    """The irregular numbers of the three languages are right."""
    assert (english(number), french(number), spanish(number)) == words


def test_no_two_numbers_are_spelled_alike() -> None:
    """Up to 199, each number has words of its own."""
    for spell in (english, french, spanish):
        assert len({spell(number) for number in range(200)}) == 200


# --- what is found -----------------------------------------------------------------------------


def test_what_was_put_in_is_found() -> None:
    """Of a model that follows the shares exactly, mass, calibration, drop and leak are known."""
    found = run(student(0.9), configs=["words"], prompts=12, examples=40)
    figures = found.configs["words"]
    assert figures.mass.mean == pytest.approx(0.9)
    assert figures.completed.mean == figures.exact.mean == 1
    far = figures.divergence
    for one in (far.open, far.closed, far.of_means):
        assert one == pytest.approx(-math.log(0.9), abs=0.01)
    assert far.within == pytest.approx(0, abs=0.01)
    assert figures.labelled_leak.mean == figures.floor.mean == pytest.approx(0, abs=1e-9)
    assert figures.leak.mean == pytest.approx(0.9 * 3 / 4, abs=0.01)
    upper = figures.tasks["last_letter_upper"]
    assert upper.mixed.mean == pytest.approx(0.225, abs=0.01)
    assert (upper.alone.mean, upper.beats.mean) == pytest.approx((0.9, 1))
    assert upper.wrong.mean < 1e-6
    shares = {share: row["last_letter_upper"].mean for share, row in figures.shares.items()}
    assert list(shares) == [0, 0.25, 0.5, 0.75, 1]
    assert list(shares.values()) == pytest.approx([0.9, 0.675, 0.45, 0.225, 0], abs=0.01)
    assert told(found)["probability grows"] == "yes"


def told(found: Findings) -> dict[str, str]:
    """Whether each claim holds, by its first two words; of one configuration."""
    return {" ".join(row[0].split()[:2]): row[3] for row in found.tables()[0].rows}


def test_sharing_is_no_cost() -> None:
    """A task that has its share of what it has alone loses by sharing, not by mixing."""
    fair = run(student(0.9), configs=["words"], prompts=12, examples=40)
    figures = fair.configs["words"]
    upper = figures.tasks["last_letter_upper"]
    assert upper.drop == pytest.approx(-0.675, abs=0.01)
    assert (upper.beyond, figures.cost) == pytest.approx((0, 0), abs=1e-6)
    assert told(fair)["mixing costs"] == "no"

    def harmed(prompt: str) -> Mapping[str, float]:
        told = student(0.9)._answers(prompt)
        return told if len(told) == 1 else {answer: one / 2 for answer, one in told.items()}

    found = run(FunctionTokens(harmed), configs=["words"], prompts=12, examples=40)
    assert found.configs["words"].cost == pytest.approx(0.45)
    assert told(found)["mixing costs"] == "yes"


def test_small_probabilities_get_small_intervals() -> None:
    """What is 0 on every prompt is not taken for a little; whether it is seen stays a frequency."""
    found = run(FunctionTokens(lambda prompt: {}), configs=["words"], prompts=20, examples=8)
    figures = found.configs["words"]
    assert figures.mass.interval.high < 1e-6
    assert figures.at_once.interval.high > 0.1
    assert figures.leak.interval.high < 1e-6
    assert told(found)["probability grows"] == "unsure"


def test_one_answer_a_prompt_is_no_superposition() -> None:
    """A model that picks one task for each prompt is calibrated in the mean, and not at once."""

    def picks(prompt: str) -> Mapping[str, float]:
        word = prompt.splitlines()[-1].removesuffix("->")
        task = random.Random(word).choice(list(WORD_TASKS))
        return {WORD_TASKS[task](word): 0.97}

    figures = run(FunctionTokens(picks), configs=["words"], prompts=60, examples=8).configs["words"]
    assert figures.divergence.of_means < 0.3
    assert figures.divergence.open > 5
    assert figures.at_once.mean == 0


def test_a_model_that_follows_the_majority_is_told_apart() -> None:
    """A model that sharpens the shares has the same mass and a worse calibration between them."""
    found = run(student(0.9, power=3), configs=["words"], prompts=4, examples=40)
    row = found.configs["words"].shares[0.75]
    assert row["first_letter"].mean > 0.85
    assert row["last_letter_upper"].mean < 0.05


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=4))
def test_divergence_splits_into_mass_and_rest(found: list[float]) -> None:
    """It is that within the right answers, plus what others take; equal shares give 0."""
    total = sum(found)
    rows = [[one / total * 0.5 for one in found]] * 3
    shares = [one / total for one in found]
    same = divergence(shares, rows, rows)
    assert (same.of_means, same.open) == pytest.approx((math.log(2), math.log(2)))
    assert same.within == pytest.approx(0, abs=1e-9)
    other = divergence([1 / len(found)] * len(found), rows, rows)
    assert other.within >= -1e-9
    assert other.of_means == pytest.approx(other.within + math.log(2))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_the_mean_lies_in_its_interval(values: list[float]) -> None:
    """Resampled means surround the mean and do not leave the values; pairs are differences."""
    one = resample.mean(values)
    low, high = one.interval
    assert min(values) - 1e-9 <= low <= one.mean <= high <= max(values) + 1e-9
    assert resample.difference(values, values).mean == 0


def test_resampled_intervals_hold_the_truth() -> None:
    """On 100 draws of a known mean, skewed as probabilities are, nine of ten intervals hold it."""
    rng = random.Random(1)
    drawn = [[rng.random() ** 4 for _ in range(100)] for _ in range(200)]
    held = [low <= 0.2 <= high for low, high in (resample.mean(one).interval for one in drawn)]
    assert 0.9 <= sum(held) / len(held) <= 0.99


def plain(found: Findings) -> dict[str, Any]:
    """All figures but the time."""
    return {key: one for key, one in found.plain().items() if "seconds" not in key}


def test_a_stopped_run_is_taken_up(tmp_path: Path) -> None:
    """The rest alone is asked, and the figures are those of a run that was not stopped."""
    options: dict[str, Any] = {"configs": ["words"], "prompts": 2, "examples": 8}
    total = steps(["words"], 2)
    whole = student()
    expected = run(whole, **options)
    told: list[int] = []

    def stop() -> None:
        told.append(1)
        if len(told) == total // 2:
            raise KeyboardInterrupt

    first, second = student(), student()
    with pytest.raises(KeyboardInterrupt):
        run(first, **options, record=tmp_path, progress=stop)
    with (tmp_path / "scores.jsonl").open("a") as file:
        file.write('{"key": "half a li')
    assert plain(run(second, **options, record=tmp_path)) == plain(expected)
    assert first.asked + second.asked == whole.asked
    again = student()
    assert plain(run(again, **options, record=tmp_path)) == plain(expected)
    assert again.asked == 0
    assert len(told) == total // 2


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_work_is_shared(workers: int) -> None:
    """All pieces are done, each worker has one at a time, and results come in order."""
    busy = [threading.Lock() for _ in range(workers)]
    told: list[int] = []

    def work(worker: threading.Lock, piece: int) -> int:
        assert worker.acquire(blocking=False)
        worker.release()
        return piece * piece

    found = shared(busy, work, range(40), lambda: told.append(1))
    assert found == [one * one for one in range(40)]
    assert len(told) == 40


def test_work_that_fails_ends_the_rest() -> None:
    """The error comes to the caller; what was not begun stays undone."""
    done: list[int] = []

    def work(_: str, piece: int) -> None:
        if piece == 3:
            raise DataError("the fourth")
        time.sleep(0.001)
        done.append(piece)

    with pytest.raises(DataError, match="the fourth"):
        shared(["one"], work, range(10_000))
    assert done[:3] == [0, 1, 2]
    assert len(done) < 9_999


def test_two_models_find_what_one_finds(tmp_path: Path) -> None:
    """Prompts shared out among copies give the same figures, and each line is on record once."""
    options: dict[str, Any] = {"configs": ["words"], "prompts": 3, "examples": 8}
    expected = plain(run(student(), **options))
    both = student(), student()
    assert plain(run(both, **options, record=tmp_path)) == expected
    assert all(one.asked for one in both)
    lines = (tmp_path / "scores.jsonl").read_text().splitlines()
    keys = [json.loads(line)["key"] for line in lines]
    assert len(set(keys)) == len(keys) == steps(["words"], 3) + 3 * 3
    again = student()
    assert plain(run(again, **options, record=tmp_path)) == expected
    assert again.asked == 0


def test_different_models_are_refused() -> None:
    """Prompts are not shared out among models that are not the same, nor among none."""
    models = student(), FunctionTokens(lambda prompt: {}, name="other")
    for some in (models, ()):
        with pytest.raises(DataError, match="are not the same"):
            run(some)


@pytest.mark.parametrize(
    ("threads", "asked", "expected"), [(1, None, [1]), (4, None, [2, 2]), (1, 2, [1, 1])]
)
def test_threads_are_shared_out(threads: int, asked: int | None, expected: list[int]) -> None:
    """Two copies where there are threads for them, or as many as are asked for."""
    with mti.using(threads=threads), local_workers(SMALL, asked) as workers:
        assert [one.engine.threads for one in workers] == expected
    with pytest.raises(ModelUnavailable, match="closed"):
        workers[0].tokens("x")


def test_a_record_is_for_one_model_and_one_protocol(tmp_path: Path) -> None:
    """Another model or seed asks anew, in the same folder; more prompts ask for those alone."""
    options: dict[str, Any] = {"configs": ["words"], "prompts": 1, "examples": 6}
    first = student()
    run(first, **options, record=tmp_path)
    other = FunctionTokens(lambda prompt: {}, name="other")
    run(other, **options, record=tmp_path)
    assert other.asked
    seeded = student()
    run(seeded, **options, seed=1, record=tmp_path)
    assert seeded.asked
    more = student()
    run(more, **{**options, "prompts": 2}, record=tmp_path)
    assert 0 < more.asked < first.asked * 2


def test_another_file_of_the_same_name_and_size_is_another_model(
    model_file: Path, tmp_path: Path
) -> None:
    """What one file was seen to do is not told as that of its successor; the same file is known."""
    path = tmp_path / "mine.gguf"
    shutil.copyfile(model_file, path)

    def identity() -> str:
        with LocalTokens(f"local:{path}") as model:
            return model.identity

    first = identity()
    assert identity() == first
    shutil.copyfile(model_file, path)
    assert identity() != first


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    """A line of something else is named, not overwritten."""
    (tmp_path / "scores.jsonl").write_text('{"something": "else"}\n')
    with pytest.raises(DataError, match="line 1, is no line of this experiment"):
        run(student(), configs=["words"], prompts=1, record=tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"configs": ["word"]}, "no configuration 'word'"),
        ({"configs": [["words"]]}, r"no configuration \['words'\]"),
        ({"configs": []}, "no configuration is named"),
        ({"configs": "words"}, "configs='words' is no list"),
        ({"prompts": 0}, "prompts=0 makes no sense"),
        ({"prompts": "3"}, "prompts='3' makes no sense"),
        ({"examples": 0}, "examples=0 makes no sense"),
        ({"examples": 1.5}, "examples=1.5 makes no sense"),
        (  # of these the prompt 29 is the first that cannot be drawn
            {"configs": ["countries"], "examples": 119, "prompts": 30},
            "countries has not enough different inputs",
        ),
        ({"seed": "a"}, "seed='a' makes no sense"),
        ({"confidence": 95}, "confidence is 95, expected above 0, below 1"),
        ({"record": " "}, "record=' ' is no folder"),
        ({"progress": None}, "progress=None is no function"),
    ],
)
def test_what_cannot_be_measured_is_refused(options: dict[str, Any], words: str) -> None:
    """Unknown names and numbers that make no sense are refused before anything is asked."""
    model = student()
    with pytest.raises(DataError, match=words):
        run(model, **options)
    assert model.asked == 0


@pytest.mark.parametrize("wrong", [None, "local/smollm2-135m", [mti.EchoModel()]])
def test_what_tells_no_probabilities_is_refused(wrong: Any) -> None:
    """A name, or a model that only answers, is refused in one line that says what is wanted."""
    with pytest.raises(DataError, match=r"tells no probabilities of tokens .superposition\.LocalT"):
        run(wrong, prompts=1)


@pytest.mark.parametrize("prompts", [0, "x", True])
def test_steps_want_a_number(prompts: Any) -> None:
    """As `run` does, which would make so many."""
    with pytest.raises(DataError, match=f"prompts={prompts!r} makes no sense"):
        steps(prompts=prompts)


def test_lists_may_be_generators() -> None:
    """What is told once is read once: configurations, and copies of the model."""
    found = run(iter([student()]), configs=iter(["words"]), prompts=1)  # type: ignore[arg-type]
    same = run(student(), configs=["words"], prompts=1)
    assert [one.cell for one in found.seen] == [one.cell for one in same.seen] != []


@pytest.mark.parametrize("name", ["openai/gpt-5-mini", None])
def test_a_model_elsewhere_is_refused(name: str | None) -> None:
    """Only a model in this process tells the probabilities that are needed."""
    with pytest.raises(ModelMisconfigured, match="no model in this process"):
        LocalTokens(name)


def test_the_report_has_all_figures(tmp_path: Path) -> None:
    """Claims, tables and charts of every configuration; figures are JSON; models side by side."""
    rng = random.Random(0)
    model = FunctionTokens(lambda prompt: {"?": rng.random() / 2})
    found = run(model, prompts=1, examples=4)
    (tmp_path / "results.json").write_text(json.dumps(found.plain(), allow_nan=False))
    parts = found.parts()
    charts = [one for one in parts if isinstance(one, Chart)]
    tables = [one for one in parts if isinstance(one, Table)]
    assert len(charts) == 2 * len(CONFIGS)
    assert len(tables) == 1 + 4 * len(CONFIGS)
    assert isinstance(parts[-1], Text)
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)
    assert {row[2] for row in tables[0].rows} == {*CONFIGS, "all"}
    assert {row[3] for row in tables[0].rows} == {"unsure", "", "not tested"}
    both = found.beside([superposition.load(tmp_path, examples=4)])
    [sizes] = [one for one in both.tables() if one.heading.startswith("Models side by side")]
    assert len(sizes.rows) == 3 * len(CONFIGS)


def test_models_are_compared_on_the_same_prompts() -> None:
    """The difference is paired and its interval stands beside both claims about size."""
    options: dict[str, Any] = {"configs": ["words"], "examples": 40}
    large = run(student(0.9), prompts=12, **options)
    small = run(student(0.9, power=3), prompts=10, **options).plain()
    weak = run(FunctionTokens(lambda prompt: {}), prompts=10, **options).plain()
    both = large.beside([small, weak])
    [same, more] = differences(large.plain(), [small, weak])
    assert (same.of["completed"], same.of["mass"]) == pytest.approx((0, 0), abs=1e-6)
    assert more.of["mass"] == pytest.approx(0.9)
    assert more.of["divergence"].interval.high < 0
    rows = [row for row in both.tables()[0].rows if row[0].startswith("a larger model")]
    assert [row[3] for row in rows] == ["unsure", "unsure", "yes", "yes"]


def test_size_is_not_tested_beside_a_run_of_other_configurations() -> None:
    """Both claims of size are told as not tested, as without a second model; none is left out."""
    found = run(student(), configs=["words"], prompts=1, examples=4)
    nobody = FunctionTokens(lambda prompt: {})
    other = run(nobody, configs=["numbers"], prompts=1, examples=4).plain()
    for one in (found, found.beside([other])):
        rows = [row for row in one.tables()[0].rows if row[0].startswith("a larger model")]
        assert [row[3] for row in rows] == ["not tested", "not tested"]


@pytest.mark.parametrize("other", [{"seed": 1}, {"examples": 8}])
def test_models_on_other_prompts_are_refused(other: dict[str, Any], tmp_path: Path) -> None:
    """Another seed or number of examples has other prompts, which cannot be paired."""
    options: dict[str, Any] = {"configs": ["words"], "prompts": 1, "examples": 4}
    found = run(student(), **options)
    value = run(student(), **{**options, **other}).plain()
    with pytest.raises(DataError, match=f"was measured with {next(iter(other))}"):
        found.beside([value])
    (tmp_path / "results.json").write_text(json.dumps(value))
    with pytest.raises(DataError, match="was measured with"):
        superposition.load(tmp_path, examples=4)


def test_time_at_work_has_no_pauses() -> None:
    """Workers at the same time count once, and the pause of a stopped run not at all."""
    [one, *_] = run(student(), configs=["words"], prompts=1, examples=4).seen
    times = [(0.0, 10.0), (5.0, 10.0), (100.0, 1.0)]
    seen = [replace(one, began=began, seconds=seconds) for began, seconds in times]
    assert busy(seen) == 16


# --- the command -------------------------------------------------------------------------------


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It measures a real model, writes its files, goes on from there, and shows two runs."""
    monkeypatch.chdir(tmp_path)
    words = ["experiment", "superposition", "--model", SMALL, "--configs", "words"]
    words += ["--prompts", "1", "--examples", "4"]
    assert main([*words, "--workers", "2"]) == 0
    assert "words: with labels" in capsys.readouterr().out
    folder = tmp_path / "mtiprompt-superposition-smollm2-135m"
    kept = (folder / "scores.jsonl").read_text()
    assert len(kept.splitlines()) == steps(["words"], 1) + 3  # four labels, one cell
    words[words.index("--prompts")] = "--limit"  # the name that other commands have
    assert main([*words, "--json", "--beside", str(folder)]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["configs"]["words"]["tasks"]["last_letter"]["mixed"]["n"] == 1
    assert value["report"].endswith("report.html")
    assert (folder / "scores.jsonl").read_text() == kept


@pytest.mark.parametrize(
    "words",
    [
        ["--model", "openai/gpt-5-mini"],
        ["--model", SMALL, "--configs", "colours"],
        ["--model", SMALL, "--beside", "absent"],
        ["--model", SMALL, "--examples", "2"],
        ["--model", "local/absent"],
    ],
)
def test_a_bad_command_is_one_line(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Bad input is one line that says what is wrong, and exit code 2; no file or folder is made."""
    monkeypatch.chdir(tmp_path)
    assert main(["experiment", "superposition", *words]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert list(tmp_path.iterdir()) == []
