"""What holds for every metric, on answers made to be right, wrong, odd and empty."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from copamerge.bench.metrics import METRICS, MODES, Accuracy
from copamerge.errors import CopamergeError

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

ITEMS = {
    "exact_upper": st.tuples(WORD | TEXT, st.lists(WORD, min_size=1, max_size=2)),
    "exact_lower_unanswerable": st.tuples(WORD | TEXT, st.lists(WORD, min_size=1, max_size=2)),
    "two_way_substring": st.tuples(WORD | TEXT | CAPTION, WORD.map(lambda name: [name])),
    "science": st.tuples(
        st.tuples(SAID, LETTER | TEXT).map(lambda x: x[0].format(x[1])) | TEXT,
        LETTER.map(lambda letter: [letter]),
    ),
    "grounding": st.tuples(BOX | TRUE_BOX | TEXT, TRUE_BOX.map(lambda box: [box])),
    "caption6": st.tuples(
        CAPTION | TEXT, st.lists(CAPTION.map("a {}".format), min_size=1, max_size=3)
    ),
    "exact": st.tuples(WORD | TEXT, st.lists(WORD, min_size=1, max_size=2)),
    "contains": st.tuples(WORD | TEXT | CAPTION, st.lists(WORD, min_size=1, max_size=2)),
    "number": st.tuples(NUMBER | TEXT | CAPTION, st.lists(NUMBER, min_size=1, max_size=2)),
    "f1": st.tuples(CAPTION | TEXT, st.lists(CAPTION.map("cat {}".format), min_size=1)),
}
GOOD = {
    "exact_upper": ("yes", ["Yes"]),
    "exact_lower_unanswerable": ("yes", ["Yes"]),
    "two_way_substring": ("whippet", ["Whippet"]),
    "science": ("B", ["B"]),
    "grounding": ("[0.120, 0.300, 0.400, 0.780]", ["[0.12, 0.30, 0.40, 0.78]"]),
    "caption6": ("a red cat on the mat", ["a red cat on the mat"]),
    "exact": ("yes", ["yes"]),
    "contains": ("oh yes", ["Yes"]),
    "number": ("that is 7", ["7"]),
    "f1": ("a red cat", ["the red cat"]),
}
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
]

metrics = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
modes = pytest.mark.parametrize("mode", MODES)


@pytest.fixture(autouse=True)
def _with_what_captions_need(request):
    if "caption6" in request.node.name:
        pytest.importorskip("pycocoevalcap.bleu.bleu_scorer", reason="copamerge[bench] is absent")


def test_every_metric_has_items_to_be_tested_on():
    assert set(ITEMS) == set(GOOD) == set(METRICS)
    assert all(metric.name == name and metric.source for name, metric in METRICS.items())


@metrics
@modes
def test_points_lie_between_nothing_and_the_highest(metric, mode):
    @LAWS
    @given(st.lists(ITEMS[metric.name], min_size=1, max_size=6))
    def holds(items):
        points = metric.points(*zip(*items, strict=True), mode)

        assert 0 <= points <= metric.highest

    holds()


@metrics
@modes
def test_the_order_of_the_items_does_not_matter(metric, mode):
    @LAWS
    @given(st.data(), st.lists(ITEMS[metric.name], min_size=1, max_size=6))
    def holds(data, items):
        order = data.draw(st.permutations(items))

        points = metric.points(*zip(*items, strict=True), mode)
        again = metric.points(*zip(*order, strict=True), mode)

        assert again == pytest.approx(points, rel=1e-12, abs=1e-12)

    holds()


@metrics
@modes
def test_one_row_per_item_and_unreadable_items_score_nothing(metric, mode):
    @LAWS
    @given(st.lists(ITEMS[metric.name], min_size=1, max_size=6))
    def holds(items):
        answers, references = zip(*items, strict=True)
        statistics = metric.statistics(answers, references, mode)
        unreadable = metric.unreadable(answers, references, mode)

        assert len(statistics) == len(unreadable) == len(items)
        if isinstance(metric, Accuracy):
            assert set(statistics.ravel()) <= {0.0, 1.0}
            assert not statistics[unreadable].any()

    holds()


@pytest.mark.parametrize("metric", [m for m in METRICS.values() if isinstance(m, Accuracy)])
@modes
def test_a_good_answer_is_right_and_its_share_is_the_score(metric, mode):
    answer, references = GOOD[metric.name]

    assert metric.points([answer], [references], mode) == 100.0
    assert metric.points([answer, "?"], [references] * 2, mode) == 50.0


@metrics
@modes
def test_a_missing_answer_has_no_score_and_an_empty_one_has(metric, mode):
    answer, references = GOOD[metric.name]

    with pytest.raises(CopamergeError, match=f"metric {metric.name}, item 1: the answer is missi"):
        metric.statistics([answer, None], [references] * 2, mode)
    with pytest.raises(CopamergeError, match="item 1: the answer is missing"):
        metric.unreadable([answer, None], [references] * 2, mode)

    assert metric.points([answer, ""], [references] * 2, mode) >= 0


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

    if name == "caption6":
        pytest.importorskip("pycocoevalcap.bleu.bleu_scorer", reason="copamerge[bench] is absent")
    with pytest.raises(CopamergeError, match=f"metric {name}, item 1: "):
        METRICS[name].points([answer] * 2, [good, references], mode)
