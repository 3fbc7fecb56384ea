import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copamerge.bench.metrics import METRICS, MODES
from copamerge.bench.metrics.mme import COGNITION, PERCEPTION, SUBTASKS
from copamerge.errors import CopamergeError
from copamerge.suites import Place

METRIC = METRICS["mme"]
LAWS = settings(max_examples=80, deadline=None, derandomize=True, database=None)

ANSWER = st.sampled_from(["yes", "Yes.", "no", "No", "nothing", "I know", "", "yes and no", "?"])
TRUE = st.sampled_from(["Yes", "No"])
# A subtask, and answer and truth of the two questions about a picture.
PICTURE = st.tuples(
    st.sampled_from(SUBTASKS), st.tuples(st.tuples(ANSWER, TRUE), st.tuples(ANSWER, TRUE))
)
PICTURES = st.lists(PICTURE, min_size=1, max_size=20).filter(
    lambda pictures: any(subtask in PERCEPTION for subtask, _ in pictures)
)


def columns(pictures):
    answers, references, places = [], [], []
    for i, (subtask, questions) in enumerate(pictures):
        for answer, true in questions:
            answers.append(answer)
            references.append([true])
            places.append(Place(subtask, f"{i:04}.jpg"))
    return answers, references, places


def points(pictures, mode):
    answers, references, places = columns(pictures)
    return METRIC.points(answers, references, mode, places)


def parts(pictures, mode):
    answers, references, places = columns(pictures)
    return METRIC.parts(METRIC.statistics(answers, references, mode, places).mean(axis=0))


@pytest.mark.parametrize(
    "answer, official, corrected",
    [
        ("yes", "yes", "yes"),
        ("No", "no", "no"),
        ("YES", "yes", "yes"),
        ("Yes, it is.", "yes", "yes"),
        ("no\n", "no", "no"),
        ("", None, None),
        ("It is not", None, None),
        ("The answer is yes", None, "yes"),  # beyond the first four characters
        (" yes", "yes", "yes"),  # within them
        ("  yes", None, "yes"),  # one too far
        ("nothing", "no", None),  # pieces of words count
        ("know", "no", None),
        ("eyes", "yes", None),
        ("None", "no", None),
        ("yes or no", "yes", None),
        ("noyes", "no", None),  # `noye` holds no yes
        ("nyes", "yes", None),
    ],
)
def test_how_answers_are_read(answer, official, corrected):
    for mode, word in (("official", official), ("corrected", corrected)):
        for true in ("Yes", "No"):
            (row,) = METRIC.statistics(
                [answer, answer], [[true], [true]], mode, [Place("OCR", "a")] * 2
            )

            right = word is not None and word == true.lower()
            at = 3 * SUBTASKS.index("OCR")
            assert row[at : at + 3].tolist() == [1, 2 * right, right]
        assert METRIC.unreadable([answer], [["Yes"]], mode).tolist() == [word is None]


def by_hand(pictures, mode):
    """Scores of the subtasks that occur, and the two sums."""
    right = {}
    for subtask, questions in pictures:
        both = []
        for answer, true in questions:
            if mode == "official":
                start = answer.lower()[:4]
                said = "yes" if "yes" in start else "no" if "no" in start else "other"
            else:
                words = "".join(c if c.isalnum() else " " for c in answer.lower()).split()
                named = {word for word in words if word in ("yes", "no")}
                said = named.pop() if len(named) == 1 else "other"
            both.append(said == true.lower())
        right.setdefault(subtask, []).append(both)
    scores = {}
    for subtask, pairs in right.items():
        accuracy = sum(a + b for a, b in pairs) / (2 * len(pairs))
        plus = sum(a and b for a, b in pairs) / len(pairs)
        scores[subtask] = 100 * accuracy + 100 * plus
    sums = {}
    for title, names in (("perception", PERCEPTION), ("cognition", COGNITION)):
        if mine := [scores[name] for name in names if name in scores]:
            sums[title] = sum(mine)
    return sums | scores


@LAWS
@given(PICTURES, st.sampled_from(MODES))
def test_all_numbers_are_those_counted_by_hand(pictures, mode):
    expected = by_hand(pictures, mode)

    assert parts(pictures, mode) == pytest.approx(expected)
    assert points(pictures, mode) == pytest.approx(expected["perception"])


@LAWS
@given(PICTURES, st.data(), st.sampled_from(MODES))
def test_questions_may_come_in_any_order(pictures, data, mode):
    answers, references, places = columns(pictures)
    order = data.draw(st.permutations(range(len(answers))))

    turned = [[column[i] for i in order] for column in (answers, references, places)]
    again = METRIC.points(*turned[:2], mode, turned[2])

    assert again == pytest.approx(points(pictures, mode))


@LAWS
@given(PICTURES, st.sampled_from(MODES))
def test_saying_everything_twice_changes_nothing(pictures, mode):
    assert points(pictures * 2, mode) == pytest.approx(points(pictures, mode))


@LAWS
@given(PICTURES, st.sampled_from(MODES))
def test_rows_are_pictures_in_order_of_appearance(pictures, mode):
    answers, references, places = columns(pictures)

    rows = METRIC.statistics(answers, references, mode, places)

    assert len(rows) == len(pictures)
    assert [SUBTASKS[int(np.flatnonzero(row)[0]) // 3] for row in rows] == [x for x, _ in pictures]


def test_perfect_answers_have_all_points_there_are():
    good = (("Yes", "Yes"), ("No", "No"))
    everything = [(subtask, good) for subtask in SUBTASKS]

    assert points(everything, "official") == METRIC.highest == 2000
    assert parts(everything, "official")["cognition"] == 800
    assert points(everything[:1], "official") == 200


def test_always_yes_has_half_the_accuracy_and_no_accuracy_plus():
    pictures = [("count", (("Yes", "Yes"), ("Yes", "No")))] * 5

    assert points(pictures, "official") == 50


def test_the_names_of_pictures_are_a_subtasks_own():
    answers, references = ["Yes", "No"] * 2, [["Yes"], ["No"]] * 2
    places = [Place("color", "1.png")] * 2 + [Place("count", "1.png")] * 2

    assert METRIC.points(answers, references, "official", places) == 400


def test_many_resamples_are_combined_at_once():
    rng = np.random.default_rng(0)
    pictures = [
        (SUBTASKS[i % 14], ((str(rng.choice(["yes", "no"])), "Yes"), ("no", "No")))
        for i in range(30)
    ]
    answers, references, places = columns(pictures)
    rows = METRIC.statistics(answers, references, "official", places)
    drawn = rng.integers(0, 30, size=(2, 4, 30))

    together = METRIC.combine(rows[drawn].mean(axis=2))

    assert together.shape == (2, 4)
    for at in np.ndindex(2, 4):
        assert together[at] == pytest.approx(points([pictures[i] for i in drawn[at]], "official"))


def test_every_problem_is_told_with_its_place():
    places = [
        Place("count", "a"),
        Place("count", "a"),
        Place("count", "b"),
        Place("colour", "c"),
        Place("OCR", None),
        Place(None, "d"),
        *[Place("OCR", "e")] * 3,
    ]
    references = [["Yes"]] * 8 + [["perhaps"]]

    with pytest.raises(CopamergeError) as told:
        METRIC.points(["yes"] * 9, references, "official", places)

    assert told.value.problems[0] == "metric mme, item 8: 'perhaps' is neither yes nor no"
    assert "item 3: its category is 'colour', which is no subtask" in told.value.problems[1]
    assert "item 4: its group is None" in told.value.problems[2]
    assert "item 5: its category is None" in told.value.problems[3]
    assert "picture 'b' of count: 1 of its questions, not 2" in told.value.problems[4]
    assert "picture 'e' of OCR: 3 of its questions, not 2" in told.value.problems[5]
    assert len(told.value.problems) == 6


def test_cognition_alone_has_no_points():
    with pytest.raises(CopamergeError, match="no picture of a perception subtask"):
        points([("code_reasoning", (("yes", "Yes"), ("no", "No")))], "official")


@pytest.mark.parametrize("places", [None, [Place("OCR", "a")]])
def test_without_places_there_are_no_points(places):
    with pytest.raises(CopamergeError, match=r"metric mme: \d places for 2 items; .* a picture as"):
        METRIC.points(["yes"] * 2, [["Yes"]] * 2, "official", places)
