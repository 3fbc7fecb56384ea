"""What holds for every metric, on answers made to be right, wrong, odd and empty."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from copamerge.bench.metrics import METRICS, MODES, Accuracy, caption7
from copamerge.bench.metrics.mme import SUBTASKS
from copamerge.bench.metrics.pope import CATEGORIES
from copamerge.errors import CopamergeError
from copamerge.suites import Place

LAWS = settings(max_examples=40, deadline=None, derandomize=True, database=None)

TEXT = st.text(max_size=12)
CAPTION = st.lists(st.sampled_from("a red cat sits on the mat . 7".split()), max_size=8).map(
    " ".join
)
BOX = st.lists(st.integers(0, 100), min_size=4, max_size=4).map(
    lambda x: str([number / 100 for number in x])
)
TRUE_BOX = st.tuples(*[st.integers(0, 49)] * 2, *[st.integers(50, 100)] * 2).map(
    lambda x: str([number / 100 for number in x])
)
LETTER = st.sampled_from("ABCDE")
SAID = st.sampled_from(["{}", "{}.", "({})", "{}. elk", "The answer is {}.", "the answer is {}"])
WORD = st.sampled_from(["Yes", "hip", "Whippet", "Unanswerable", "straße", "2.0"])
NUMBER = st.integers(-999, 999_999).map("{:,}".format)
YES_NO = st.sampled_from(
    ["Yes", "no", "NO", "No, there is not.", "", "not", "nothing", "yes and no"]
)


def one_by_one(answer, references):
    """Sets of items of which each has a row of its own."""
    return st.lists(st.tuples(answer, references), min_size=1, max_size=6).map(
        lambda items: [(*item, Place()) for item in items]
    )


def together(sizes, answer, references, category):
    """Sets of items in groups that are judged together; a group has a category."""
    group = sizes.flatmap(
        lambda size: st.tuples(
            category, st.lists(st.tuples(answer, references), min_size=size, max_size=size)
        )
    )
    return st.lists(group, min_size=1, max_size=4).map(
        lambda groups: [
            (*item, Place(category, f"group {i}"))
            for i, (category, items) in enumerate(groups)
            for item in items
        ]
    )


LETTERS = st.tuples(SAID, LETTER | TEXT).map(lambda x: x[0].format(x[1])) | TEXT
CAPTIONS = one_by_one(CAPTION | TEXT, st.lists(CAPTION.map("a {}".format), min_size=1, max_size=3))
SETS = {
    "exact_upper": one_by_one(WORD | TEXT, st.lists(WORD, min_size=1, max_size=2)),
    "exact_lower_unanswerable": one_by_one(WORD | TEXT, st.lists(WORD, min_size=1, max_size=2)),
    "two_way_substring": one_by_one(WORD | TEXT | CAPTION, WORD.map(lambda name: [name])),
    "science": one_by_one(LETTERS, LETTER.map(lambda letter: [letter])),
    "grounding": one_by_one(BOX | TRUE_BOX | TEXT, TRUE_BOX.map(lambda box: [box])),
    "caption6": CAPTIONS,
    "caption7": CAPTIONS,
    "top1": one_by_one(
        st.lists(WORD, min_size=1, max_size=6).map("\n".join) | TEXT, WORD.map(lambda word: [word])
    ),
    "pope": together(
        st.just(1),
        YES_NO | TEXT,
        st.sampled_from([["yes"], ["no"]]),
        st.sampled_from(CATEGORIES),
    ),
    "mme": together(
        st.just(2), YES_NO | TEXT, st.sampled_from([["Yes"], ["No"]]), st.sampled_from(SUBTASKS)
    ).map(lambda items: [*items, *PERCEIVED]),
    "mmbench_circular": together(
        st.integers(1, 4), LETTERS, LETTER.map(lambda letter: [letter]), st.just(None)
    ),
    "exact": one_by_one(WORD | TEXT, st.lists(WORD, min_size=1, max_size=2)),
    "contains": one_by_one(WORD | TEXT | CAPTION, st.lists(WORD, min_size=1, max_size=2)),
    "number": one_by_one(NUMBER | TEXT | CAPTION, st.lists(NUMBER, min_size=1, max_size=2)),
    "f1": one_by_one(CAPTION | TEXT, st.lists(CAPTION.map("cat {}".format), min_size=1)),
}
# Without a picture of a perception subtask there are no points.
PERCEIVED = [("yes", ["Yes"], Place("OCR", "a")), ("yes", ["No"], Place("OCR", "a"))]
GOOD = {
    "exact_upper": ("yes", ["Yes"]),
    "exact_lower_unanswerable": ("yes", ["Yes"]),
    "two_way_substring": ("whippet", ["Whippet"]),
    "science": ("B", ["B"]),
    "grounding": ("[0.120, 0.300, 0.400, 0.780]", ["[0.12, 0.30, 0.40, 0.78]"]),
    "caption6": ("a red cat on the mat", ["a red cat on the mat"]),
    "caption7": ("a red cat on the mat", ["a red cat on the mat"]),
    "top1": ("cat\ndog", ["cat"]),
    "pope": ("yes", ["yes"]),
    "mme": ("yes", ["Yes"]),
    "mmbench_circular": ("B", ["B"]),
    "exact": ("yes", ["yes"]),
    "contains": ("oh yes", ["Yes"]),
    "number": ("that is 7", ["7"]),
    "f1": ("a red cat", ["the red cat"]),
}
PLACES = {
    "pope": [Place("random")] * 2,
    "mme": [Place("OCR", "a")] * 2,
    "mmbench_circular": [Place(group="a")] * 2,
}
GROUPED = {"mme", "mmbench_circular"}


BAD_REFERENCES = [
    ("two_way_substring", [""]),
    ("two_way_substring", ["Hip", "Whippet"]),
    ("science", ["F"]),
    ("science", ["b"]),
    ("science", ["AB"]),
    ("science", ["B", "4"]),
    ("grounding", ["[0.1, 0.2, 0.3]"]),
    ("grounding", ["[0.1, 0.2, 0.1, 0.4]"]),
    ("grounding", ["[10, 20, 30, 40]"]),
    ("grounding", ["a box"]),
    ("grounding", ["[nan, 0, 1, 1]"]),
    ("caption6", ["...", "!"]),
    ("caption7", ["...", "!"]),
    ("top1", [""]),
    ("top1", ["cat", "dog"]),
    ("top1", ["cat\ndog"]),
    ("pope", ["maybe"]),
    ("pope", ["yes", "no"]),
    ("mme", [""]),
    ("mme", ["Yes", "No"]),
    ("mmbench_circular", ["b"]),
    ("mmbench_circular", ["A", "B"]),
]

metrics = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
modes = pytest.mark.parametrize("mode", MODES)


def counts_of_words(name, hypotheses, references):
    """In METEOR's place: exact matches alone, no function words, one run."""
    rows = np.zeros((len(hypotheses), 23))
    for row, said, (true, *_) in zip(rows, hypotheses, references, strict=True):
        said, true = said.split(), true.split()
        shared = len(set(said) & set(true))
        row[:6] = len(said), len(true), 0, 0, shared, shared
        row[20:] = shared > 0, shared, shared
    return rows


@pytest.fixture(autouse=True)
def _with_what_captions_need(request, monkeypatch):
    """Java takes seconds to start: what it says is tested with `caption7`; here are its laws."""
    if re.search("caption[67]", request.node.name):
        pytest.importorskip("pycocoevalcap.bleu.bleu_scorer", reason="copamerge[bench] is absent")
    monkeypatch.setattr(
        caption7,
        "ptb_words",
        lambda name, texts: [" ".join(re.findall(r"\w+", text.lower())) for text in texts],
    )
    monkeypatch.setattr(caption7, "meteor_statistics", counts_of_words)
    caption7._statistics.cache_clear()
    yield
    caption7._statistics.cache_clear()


def statistics(metric, items, mode):
    answers, references, places = zip(*items, strict=True)
    return metric.statistics(answers, references, mode, places)


def points(metric, items, mode):
    answers, references, places = zip(*items, strict=True)
    return metric.points(answers, references, mode, places)


def placed_points(metric, answers, references, mode):
    """Of the good item and another: in places where the metric wants some."""
    return metric.points(answers, references, mode, PLACES.get(metric.name))


def test_every_metric_has_items_to_be_tested_on():
    assert set(SETS) == set(GOOD) == set(METRICS)
    assert all(metric.name == name and metric.source for name, metric in METRICS.items())


@metrics
@modes
def test_points_lie_between_nothing_and_the_highest(metric, mode):
    @LAWS
    @given(SETS[metric.name])
    def holds(items):
        assert 0 <= points(metric, items, mode) <= metric.highest

    holds()


@metrics
@modes
def test_the_order_of_the_items_does_not_matter(metric, mode):
    @LAWS
    @given(st.data(), SETS[metric.name])
    def holds(data, items):
        order = data.draw(st.permutations(items))

        again = points(metric, order, mode)

        assert again == pytest.approx(points(metric, items, mode), rel=1e-12, abs=1e-12)

    holds()


@metrics
@modes
def test_points_and_parts_come_from_the_mean_of_the_rows_and_parts_are_numbers(metric, mode):
    @LAWS
    @given(SETS[metric.name])
    def holds(items):
        rows = statistics(metric, items, mode)
        mean = sum(rows[i] / len(rows) for i in range(len(rows)))

        assert metric.combine(mean) == pytest.approx(points(metric, items, mode), abs=1e-6)
        assert all(np.isfinite(value) for value in metric.parts(mean).values())

    holds()


@metrics
@modes
def test_rows_of_two_sets_are_rows_of_both_but_for_what_says_how_large_the_set_is(metric, mode):
    @LAWS
    @given(SETS[metric.name], SETS[metric.name])
    def holds(some, others):
        others = [
            (answer, references, place._replace(group=f"other {place.group}"))
            for answer, references, place in others
        ]
        both = statistics(metric, some + others, mode)
        apart = np.concatenate([statistics(metric, each, mode) for each in (some, others)])
        if metric.name.startswith("caption"):
            # CIDEr, whose frequencies are of the set, and the number of items.
            both, apart = (np.delete(rows, [1, 12], axis=1) for rows in (both, apart))

        np.testing.assert_array_equal(both, apart)

    holds()


@metrics
@modes
def test_unreadable_items_score_nothing_and_each_item_or_group_has_a_row(metric, mode):
    @LAWS
    @given(SETS[metric.name])
    def holds(items):
        answers, references, places = zip(*items, strict=True)
        rows = metric.statistics(answers, references, mode, places)
        unreadable = metric.unreadable(answers, references, mode)

        assert len(unreadable) == len(items)
        if metric.name in GROUPED:
            assert len(rows) == len({place.group for place in places})
        else:
            assert len(rows) == len(items)
        if isinstance(metric, Accuracy):
            assert set(rows.ravel()) <= {0.0, 1.0}
            assert not rows[unreadable].any()

    holds()


def as_wrong(metric, items):
    return [(metric.wrong(references), references, place) for _, references, place in items]


@metrics
@modes
def test_what_was_never_asked_is_wrong(metric, mode):
    @LAWS
    @given(SETS[metric.name])
    def holds(items):
        # BLEU of nothing is not quite nothing: BleuScorer adds 1e-15 to 0.
        tiny = 1e-3 if metric.name.startswith("caption") else 0

        assert points(metric, as_wrong(metric, items), mode) <= tiny

    holds()


@pytest.mark.parametrize("metric", [m for m in METRICS.values() if isinstance(m, Accuracy)])
@modes
def test_a_good_answer_is_right_and_its_share_is_the_score(metric, mode):
    answer, references = GOOD[metric.name]

    assert metric.points([answer], [references], mode) == 100.0
    assert metric.points([answer, "?"], [references] * 2, mode) == 50.0


@pytest.mark.parametrize(
    "name, half",
    [("pope", 200 / 3), ("mme", 50), ("mmbench_circular", 0), ("top1", 50)],
)
@modes
def test_a_good_answer_is_right_and_one_that_was_never_asked_takes_its_share(name, half, mode):
    metric = METRICS[name]
    answer, references = GOOD[name]
    highest = {"mme": 200}.get(name, 100)

    assert placed_points(metric, [answer] * 2, [references] * 2, mode) == highest
    assert placed_points(
        metric, [answer, metric.wrong(references)], [references] * 2, mode
    ) == pytest.approx(half)


@metrics
@modes
def test_a_missing_answer_has_no_score_and_an_empty_one_has(metric, mode):
    answer, references = GOOD[metric.name]

    with pytest.raises(CopamergeError, match=f"metric {metric.name}, item 1: the answer is missi"):
        placed_points(metric, [answer, None], [references] * 2, mode)
    with pytest.raises(CopamergeError, match="item 1: the answer is missing"):
        metric.unreadable([answer, None], [references] * 2, mode)

    assert placed_points(metric, [answer, ""], [references] * 2, mode) >= 0


@metrics
def test_what_cannot_be_scored_is_refused(metric):
    answer, references = GOOD[metric.name]

    with pytest.raises(CopamergeError, match="1 answers for 2 items"):
        metric.points([answer], [references] * 2, "official")
    with pytest.raises(CopamergeError, match="no items"):
        metric.points([], [], "official")
    with pytest.raises(CopamergeError, match="item 0: no reference"):
        metric.points([answer], [[]], "official")
    with pytest.raises(TypeError, match="not a string"):
        metric.points([answer], ["yes"], "official")
    # Where shapes and types are checked, that check is the first to see it.
    with pytest.raises((ValueError, TypeCheckError), match=r"'official'.*'corrected'"):
        metric.points([answer], [references], "offical")


def test_all_missing_answers_are_told_at_once():
    with pytest.raises(CopamergeError) as told:
        METRICS["exact_upper"].points([None] * 50, [["yes"]] * 50, "official")

    assert [line[:28] for line in told.value.problems[:3]] == [
        f"metric exact_upper, item {i}: " for i in range(3)
    ]
    assert told.value.problems[3] == "metric exact_upper: 47 more answers are missing"


@pytest.mark.parametrize("name, references", BAD_REFERENCES)
@modes
def test_unusable_references_are_refused_with_their_item(name, references, mode):
    answer, good = GOOD[name]

    with pytest.raises(CopamergeError, match=f"metric {name}, item 1: "):
        placed_points(METRICS[name], [answer] * 2, [good, references], mode)


@pytest.mark.parametrize("name, references", BAD_REFERENCES)
def test_unusable_references_are_refused_before_there_are_answers(name, references):
    metric, good = METRICS[name], GOOD[name][1]

    with pytest.raises(CopamergeError, match=f"metric {name}, item 1: "):
        metric.check([good, references], PLACES.get(name))
    metric.check([good, good], PLACES.get(name))
