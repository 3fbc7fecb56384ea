import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copamerge.bench.metrics import METRICS

METRIC = METRICS["science"]
LAWS = settings(max_examples=80, deadline=None, derandomize=True, database=None)

# What is right for the letter B: True, False, or None for unreadable (FAILED).
ANSWERS = [
    # answer, official, corrected
    ("B", True, True),
    ("A", False, False),
    ("E", False, False),  # beyond the choices: read, and wrong
    ("F", None, None),
    ("b", None, True),
    ("B.", None, True),
    ("(B)", None, True),
    ("B)", None, True),
    (" B", None, True),
    ("B. elk", True, True),
    ("B.elk", None, None),
    ("B) elk", None, True),
    ("b: elk", None, True),
    ("The answer is B.", True, True),
    ("The answer is B", None, True),  # the released pattern wants one more character
    ("The answer is b.", None, True),
    ("the answer is B.", None, True),
    ("The answer is: (B)", None, True),
    ("Answer: B", None, True),
    ("The answer is B because elks graze.", True, True),
    ("The answer is Because.", True, None),  # ... and takes any, so a word's first letter counts
    ("The answer is a dog.", None, None),
    ("The answer is Z.", False, None),
    ("The answer is B. The answer is A.", None, None),
    ("The answer is B. The answer is B.", None, True),
    ("A. No wait. The answer is B.", False, False),
    ("elk", None, None),
    ("BEAR", None, None),
    ("", None, None),
]


@pytest.mark.parametrize("answer, official, corrected", ANSWERS)
def test_letters(answer, official, corrected):
    for mode, verdict in (("official", official), ("corrected", corrected)):
        assert METRIC.statistics([answer], [["B"]], mode).tolist() == [[float(verdict is True)]]
        assert METRIC.unreadable([answer], [["B"]], mode).tolist() == [verdict is None]


SAID = st.sampled_from(["{}", "{}. elk", "The answer is {}.", "I think. The answer is {}, yes"])


@LAWS
@given(SAID, st.sampled_from("ABCDE"), st.sampled_from("ABCDE"))
def test_corrected_reads_what_official_reads(said, letter, right):
    answers = [said.format(letter)]

    assert METRIC.points(answers, [[right]], "official") == (100 if letter == right else 0)
    assert METRIC.points(answers, [[right]], "corrected") == (100 if letter == right else 0)
    assert METRIC.points([answers[0].lower()], [[right]], "corrected") == (
        100 if letter == right else 0
    )


@LAWS
@given(st.text())
def test_no_text_is_right_for_two_letters(answer):
    for mode in ("official", "corrected"):
        right = sum(METRIC.points([answer], [[letter]], mode) for letter in "ABCDE")

        assert right in (0, 100)
