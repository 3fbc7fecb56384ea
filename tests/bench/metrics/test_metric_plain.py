"""Rules for questions of one's own, by tables of answers; F1 by SQuAD's words."""

import collections
import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copamerge.bench.metrics import METRICS, MODES
from copamerge.bench.metrics.overlap import words
from copamerge.bench.metrics.plain import numbers
from copamerge.errors import CopamergeError

LAWS = settings(max_examples=100, deadline=None, derandomize=True, database=None)
modes = pytest.mark.parametrize("mode", MODES)


def points(name, answer, *references, mode="corrected"):
    return METRICS[name].points([answer], [list(references)], mode)


@modes
@pytest.mark.parametrize(
    "answer, right",
    [
        ("Paris", True),
        (" Paris\n", True),
        ("paris", False),
        ("Paris.", False),
        ("In Paris", False),
        ("", False),
        ("Lutetia", True),
    ],
)
def test_exact(answer, right, mode):
    assert points("exact", answer, "Paris", "Lutetia", mode=mode) == 100 * right


@modes
@pytest.mark.parametrize(
    "answer, right",
    [
        ("It is New York.", True),
        ("new\n york", True),
        ("NEW YORK!", True),
        ("NewYork", False),
        ("New Yorker", False),  # whole words only
        ("renew York", False),
        ("New", False),
        ("", False),
        ("the C++ language", True),
        ("the C+++ language", True),  # a mark is no letter
    ],
)
def test_contains(answer, right, mode):
    assert points("contains", answer, "New York", "C++", mode=mode) == 100 * right


@modes
@pytest.mark.parametrize(
    "answer, reference, right",
    [
        ("72", "72", True),
        ("So 8 * 9 = 72.", "72", True),
        ("72 eggs, 6 boxes", "72", False),  # the last number is the answer
        ("$1,234.50", "1234.5", True),
        ("1234.5", "1,234.50", True),
        ("60 %", "60", True),
        ("60%", "0.6", False),
        ("-3", "-3", True),
        ("\N{MINUS SIGN}3", "-3", True),
        ("x=-3", "-3", True),
        ("10-3", "3", True),
        ("(10)-3", "3", True),
        (".5", "0.5", True),
        ("1e3", "1000", True),
        ("12,34", "34", True),
        ("1,0000", "0", True),
        ("0.3333333", "0.33333333", True),
        ("0.333", "0.33333333", False),
        ("0", "0", True),
        ("1e-9", "0", False),  # near is relative, and nothing is near to 0
        ("seventy-two", "72", None),
        ("", "72", None),
        ("1e999", "72", None),  # not finite
    ],
)
def test_number(answer, reference, right, mode):
    assert points("number", answer, reference, mode=mode) == 100 * bool(right)
    assert METRICS["number"].unreadable([answer], [[reference]], mode)[0] == (right is None)


@LAWS
@given(st.lists(st.integers(-(10**9), 10**9) | st.decimals(-1000, 1000, places=3), max_size=4))
def test_numbers_written_down_are_read_back(values):
    plain = " and ".join(map(str, values))
    grouped = "; ".join(f"{value:,}" for value in values)

    assert numbers(plain) == numbers(grouped) == [float(value) for value in values]


@pytest.mark.parametrize(
    "name, reference, fact",
    [
        ("number", "seventy", "'seventy' is not a number"),
        ("number", "72 eggs", "'72 eggs' is not a number"),
        ("number", "1e999", "is not a number"),
        ("contains", " ", "an empty reference"),
        ("f1", "The", "no word beside articles"),
        ("f1", "...", "no word beside articles"),
    ],
)
@modes
def test_references_that_no_answer_could_be_judged_by(name, reference, fact, mode):
    with pytest.raises(CopamergeError, match=f"metric {name}, item 0: .*{fact}"):
        points(name, "x", reference, mode=mode)


@modes
@pytest.mark.parametrize(
    "answer, references, share",
    [
        ("the Eiffel Tower", ["Eiffel tower."], 1),
        ("Eiffel", ["the Eiffel Tower"], 2 / 3),
        ("the the the", ["tower"], 0),
        ("tower tower", ["tower"], 2 / 3),  # a word counts as often as both have it
        ("red", ["blue", "red brick"], 2 / 3),
        ("don't", ["dont"], 1),
        ("", ["tower"], 0),
    ],
)
def test_f1(answer, references, share, mode):
    assert points("f1", answer, *references, mode=mode) == pytest.approx(100 * share)


def squad_f1(answer, reference):
    """An oracle in the steps that SQuAD's paper and script describe, one by one."""

    def tokens(text):
        text = "".join(c for c in text.lower() if c not in string.punctuation)
        return [t for t in re.split(r"\s+", re.sub(r"\b(?:a|an|the)\b", " ", text)) if t]

    left, right = tokens(answer), tokens(reference)
    rest, same = collections.Counter(right), 0
    for token in left:
        if rest[token]:
            rest[token] -= 1
            same += 1
    if not same:
        return 0.0
    precision, recall = same / len(left), same / len(right)
    return 2 * precision * recall / (precision + recall)


TEXTS = st.lists(st.sampled_from("The a An red, Red blue. it's 1.5 tower - x".split()), max_size=7)


@LAWS
@given(TEXTS.map(" ".join), st.lists(TEXTS.map(" ".join), min_size=1, max_size=3))
def test_f1_is_squads(answer, references):
    references = [text + " cat" for text in references]

    expected = max(squad_f1(answer, reference) for reference in references)

    assert points("f1", answer, *references) == pytest.approx(100 * expected)


def test_squads_words():
    assert words("The  U.S. isn't an 'Island'—yet") == ["us", "isnt", "island—yet"]
