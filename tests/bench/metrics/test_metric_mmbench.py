import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copamerge.bench.metrics import METRICS, MODES
from copamerge.errors import CopamergeError
from copamerge.suites import Place

METRIC = METRICS["mmbench_circular"]
LAWS = settings(max_examples=80, deadline=None, derandomize=True, database=None)

SAID = st.sampled_from(
    ["{}", "{}.", "({})", "{}. elk", "The answer is {}.", "the answer is {}", ""]
)
LETTER = st.sampled_from("ABCD")
TURN = st.tuples(SAID, LETTER, LETTER).map(lambda x: (x[0].format(x[1]), x[2]))
GOOD_TURN = LETTER.map(lambda letter: (letter, letter))
QUESTIONS = st.lists(
    st.lists(TURN, min_size=1, max_size=4) | st.lists(GOOD_TURN, min_size=1, max_size=4),
    min_size=1,
    max_size=8,
)


def columns(questions):
    answers, references, places = [], [], []
    for i, turns in enumerate(questions):
        for answer, letter in turns:
            answers.append(answer)
            references.append([letter])
            places.append(Place(group=str(i)))
    return answers, references, places


def points(questions, mode):
    answers, references, places = columns(questions)
    return METRIC.points(answers, references, mode, places)


@pytest.mark.parametrize(
    "answer, official, corrected",
    [
        ("B", True, True),
        ("A", False, False),
        ("b", None, True),  # official: the capital letter and nothing else
        ("B.", None, True),
        (" B", None, True),
        ("(B)", None, True),
        ("B. elk", None, True),
        ("The answer is B.", None, True),
        ("The answer is Because.", None, None),
        ("AB", None, None),
        ("elk", None, None),
        ("F", None, None),
        ("", None, None),
    ],
)
def test_letters(answer, official, corrected):
    for mode, verdict in (("official", official), ("corrected", corrected)):
        (row,) = METRIC.statistics([answer], [["B"]], mode, [Place(group="q")])

        assert row.tolist() == [verdict is True, verdict is True, 1]
        assert METRIC.unreadable([answer], [["B"]], mode).tolist() == [verdict is None]


def test_a_question_is_right_only_if_every_turn_is():
    questions = [
        [("A", "A"), ("B", "B"), ("C", "C"), ("D", "D")],
        [("A", "A"), ("B", "B"), ("C", "C"), ("A", "D")],
        # Always the same letter is right in one turn of four.
        [("A", "A"), ("A", "B"), ("A", "C"), ("A", "D")],
    ]
    answers, references, places = columns(questions)

    mean = METRIC.statistics(answers, references, "official", places).mean(axis=0)

    assert METRIC.combine(mean) == pytest.approx(100 / 3)
    assert METRIC.parts(mean) == pytest.approx({"circular": 100 / 3, "plain": 800 / 12})


def by_hand(questions):
    """Circular and plain, of answers that are a letter or are wrong."""
    whole = right = asked = 0
    for turns in questions:
        good = [answer == letter for answer, letter in turns]
        whole += good.count(False) == 0
        right += good.count(True)
        asked += len(good)
    return {"circular": 100 * whole / len(questions), "plain": 100 * right / asked}


@LAWS
@given(QUESTIONS)
def test_both_numbers_are_those_counted_by_hand(questions):
    answers, references, places = columns(questions)

    mean = METRIC.statistics(answers, references, "official", places).mean(axis=0)

    assert METRIC.parts(mean) == pytest.approx(by_hand(questions))
    assert METRIC.combine(mean) == pytest.approx(by_hand(questions)["circular"])


@LAWS
@given(QUESTIONS)
def test_corrected_gives_what_official_gives_and_circular_is_at_most_plain_for_equal_turns(
    questions,
):
    alike = [(turns * 4)[:4] for turns in questions]

    for each in (questions, alike):
        assert points(each, "corrected") >= points(each, "official")
    answers, references, places = columns(alike)
    parts = METRIC.parts(METRIC.statistics(answers, references, "corrected", places).mean(axis=0))
    assert parts["circular"] <= parts["plain"] + 1e-9


@LAWS
@given(QUESTIONS, st.data(), st.sampled_from(MODES))
def test_turns_may_come_in_any_order(questions, data, mode):
    answers, references, places = columns(questions)
    order = data.draw(st.permutations(range(len(answers))))

    turned = [[column[i] for i in order] for column in (answers, references, places)]
    again = METRIC.points(*turned[:2], mode, turned[2])

    assert again == pytest.approx(points(questions, mode))


@LAWS
@given(QUESTIONS, QUESTIONS, st.sampled_from(MODES))
def test_points_of_two_sets_are_their_weighted_mean(some, others, mode):
    together = points(some + others, mode)

    n, m = len(some), len(others)
    assert together == pytest.approx((n * points(some, mode) + m * points(others, mode)) / (n + m))


def test_many_resamples_are_combined_at_once():
    rows = METRIC.statistics(
        ["A", "B", "C"], [["A"], ["C"], ["C"]], "official", [Place(group=x) for x in "aab"]
    )

    together = METRIC.combine(np.stack([rows.mean(axis=0), rows[[1, 1]].mean(axis=0)]))

    assert together.tolist() == [50, 100]


def test_every_problem_is_told_with_its_item():
    with pytest.raises(CopamergeError) as told:
        METRIC.points(
            ["A"] * 3, [["A"], ["b"], ["C"]], "official", [Place(), Place(group="q"), Place("x")]
        )

    assert [line.split(": ")[0] for line in told.value.problems] == [
        "metric mmbench_circular, item 1",
        "metric mmbench_circular, item 0",
        "metric mmbench_circular, item 2",
    ]
    with pytest.raises(
        CopamergeError, match="0 places for 1 items; give one for each, with the qu"
    ):
        METRIC.points(["A"], [["A"]], "official")
