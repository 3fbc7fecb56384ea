import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copamerge.bench.metrics import METRICS, MODES
from copamerge.bench.metrics.pope import CATEGORIES
from copamerge.errors import CopamergeError
from copamerge.suites import Place

METRIC = METRICS["pope"]
LAWS = settings(max_examples=80, deadline=None, derandomize=True, database=None)

ANSWER = st.sampled_from(
    ["yes", "no", "Yes", "No", "NO", "", "Yes, there is.", "No, there is not", "not", "yes and no"]
)
ITEM = st.tuples(ANSWER, st.sampled_from(["yes", "no"]), st.sampled_from(CATEGORIES))
ITEMS = st.lists(ITEM, min_size=1, max_size=30)


def columns(items):
    answers, truths, categories = zip(*items, strict=True)
    return list(answers), [[true] for true in truths], [Place(name) for name in categories]


def points(items, mode):
    answers, references, places = columns(items)
    return METRIC.points(answers, references, mode, places)


def parts(items, mode):
    answers, references, places = columns(items)
    return METRIC.parts(METRIC.statistics(answers, references, mode, places).mean(axis=0))


@pytest.mark.parametrize(
    "answer, official, corrected",
    [
        ("yes", "yes", "yes"),
        ("no", "no", "no"),
        ("No", "no", "no"),
        ("NO", "yes", "no"),  # only `No`, `no` and `not` are known
        ("nO", "yes", "no"),
        ("No.", "no", "no"),
        ("no!", "yes", "no"),  # a mark other than dot and comma stays with the word
        ("No, there is not.", "no", "no"),
        ("", "yes", None),  # an empty output is yes
        ("Yes. There is no dog.", "yes", None),  # official: the first sentence alone
        (". no", "yes", "no"),  # ... here it is empty
        ("not", "no", None),
        ("There is not", "no", None),
        ("Not really", "yes", None),
        ("The dog is there", "yes", None),
        ("a knot, nobody knows", "yes", None),  # words, not letters
        ("No\nYes", "yes", None),  # split at blanks alone
        ("yes\tno", "yes", None),
        ("n,o", "no", None),  # commas vanish
        ("**YES**", "yes", "yes"),
        ("yes yes", "yes", "yes"),
    ],
)
@pytest.mark.parametrize("true", ["yes", "no"])
def test_how_answers_are_read(answer, official, corrected, true):
    for mode, word in (("official", official), ("corrected", corrected)):
        (row,) = METRIC.statistics([answer], [[true]], mode, [Place("popular")])

        read = word or {"yes": "no", "no": "yes"}[true]
        assert (
            row.tolist()
            == [0.0] * 4
            + [
                float((read, true) == pair)
                for pair in (("yes", "yes"), ("yes", "no"), ("no", "no"), ("no", "yes"))
            ]
            + [0.0] * 4
        )
        assert METRIC.unreadable([answer], [[true]], mode).tolist() == [word is None]


def by_hand(items, mode):
    """F1, accuracy, precision, recall and yes ratio of each category, by counting."""
    found = {}
    for category in ("random", "popular", "adversarial"):
        tp = fp = tn = fn = 0
        for answer, true, where in items:
            if where != category:
                continue
            if mode == "official":
                text = answer
                if "." in text:
                    text = text[: text.index(".")]
                words = text.replace(",", "").split(" ")
                yes = not ("No" in words or "no" in words or "not" in words)
            else:
                words = "".join(c if c.isalnum() else " " for c in answer.lower()).split()
                if ("yes" in words) and ("no" not in words):
                    yes = True
                elif ("no" in words) and ("yes" not in words):
                    yes = False
                else:
                    yes = true == "no"
            if yes and true == "yes":
                tp += 1
            elif yes:
                fp += 1
            elif true == "no":
                tn += 1
            else:
                fn += 1
        if tp + fp + tn + fn == 0:
            continue
        found[f"{category} accuracy"] = (tp + tn) / (tp + fp + tn + fn)
        found[f"{category} yes ratio"] = (tp + fp) / (tp + fp + tn + fn)
        precision = recall = 0
        if tp + fp:
            precision = found[f"{category} precision"] = tp / (tp + fp)
        if tp + fn:
            recall = found[f"{category} recall"] = tp / (tp + fn)
        both = precision + recall
        found[f"{category} F1"] = 2 * precision * recall / both if both else 0
    for name in ("F1", "accuracy"):
        each = [value for key, value in found.items() if key.endswith(f" {name}")]
        found[f"mean {name}"] = sum(each) / len(each)
    return {key: 100 * value for key, value in found.items()}


@LAWS
@given(ITEMS, st.sampled_from(MODES))
def test_all_numbers_are_those_counted_by_hand(items, mode):
    expected = by_hand(items, mode)

    assert parts(items, mode) == pytest.approx(expected)
    assert points(items, mode) == pytest.approx(expected["mean F1"])


@LAWS
@given(ITEMS, st.randoms(use_true_random=False), st.sampled_from(MODES))
def test_the_order_of_the_items_does_not_matter(items, rng, mode):
    order = list(items)
    rng.shuffle(order)

    assert points(order, mode) == pytest.approx(points(items, mode))


@LAWS
@given(ITEMS, st.sampled_from(MODES))
def test_saying_everything_twice_changes_nothing(items, mode):
    assert points(items * 2, mode) == pytest.approx(points(items, mode))


@LAWS
@given(ITEMS)
def test_a_category_alone_has_its_own_f1(items):
    whole = parts(items, "corrected")

    for category in {item[2] for item in items}:
        mine = [item for item in items if item[2] == category]

        assert points(mine, "corrected") == pytest.approx(whole[f"{category} F1"])


def test_f1_is_of_yes():
    # Two yes said, one of them right, of two: precision and recall of yes are 1/2; of no 0 / 1.
    items = [("yes", "yes", "random"), ("yes", "no", "random"), ("no", "yes", "random")]

    assert points(items, "official") == 50


def test_the_mean_is_over_the_categories_and_not_over_the_items():
    items = [("yes", "yes", "random")] * 9 + [("no", "yes", "popular")]

    assert points(items, "official") == 50
    assert parts(items, "official")["mean accuracy"] == 50


def test_f1_of_nothing_said_and_nothing_true_is_0():
    items = [("no", "no", "random")] * 3

    assert points(items, "official") == 0
    assert parts(items, "official") == {
        "random F1": 0,
        "random accuracy": 100,
        "random yes ratio": 0,
        "mean F1": 0,
        "mean accuracy": 100,
    }


def test_many_resamples_are_combined_at_once():
    rng = random.Random(0)
    items = [
        (rng.choice(["yes", "no"]), rng.choice(["yes", "no"]), rng.choice(CATEGORIES))
        for _ in range(40)
    ]
    rows = METRIC.statistics(*columns(items)[:2], "official", columns(items)[2])
    drawn = np.random.default_rng(0).integers(0, 40, size=(2, 5, 40))

    together = METRIC.combine(rows[drawn].mean(axis=2))

    assert together.shape == (2, 5)
    for at in np.ndindex(2, 5):
        assert together[at] == pytest.approx(points([items[i] for i in drawn[at]], "official"))


def test_every_problem_is_told_with_its_item():
    with pytest.raises(CopamergeError) as told:
        METRIC.points(
            ["yes"] * 4,
            [["yes"], ["maybe"], ["no"], ["yes", "no"]],
            "official",
            [Place("random"), Place("popular"), Place("rare"), Place()],
        )

    assert [line.split(": ")[0] for line in told.value.problems] == [
        "metric pope, item 1",
        "metric pope, item 3",
        "metric pope, item 2",
        "metric pope, item 3",
    ]
    assert "'rare', not one of random, popular, adversarial" in told.value.problems[2]


@pytest.mark.parametrize("places", [None, [], [Place("random")]])
def test_without_places_there_are_no_points(places):
    with pytest.raises(CopamergeError, match=r"metric pope: \d places for 2 items.*a category of"):
        METRIC.points(["yes"] * 2, [["yes"]] * 2, "official", places)
