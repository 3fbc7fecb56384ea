import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copamerge.bench.metrics import METRICS, MODES

UPPER, LOWER = METRICS["exact_upper"], METRICS["exact_lower_unanswerable"]
LAWS = settings(max_examples=60, deadline=None, derandomize=True, database=None)
WORDS = st.sampled_from(["Yes", "yes", "Unanswerable", "unanswerable", "no", ""]) | st.text()


@pytest.mark.parametrize(
    "answer, reference, points",
    [
        ("yes", "Yes", 100),
        ("yes.", "yes", 0),
        (" yes", "yes", 0),  # the runner strips, the scorer does not
        ("2.0", "2", 0),  # no number normalisation (TabMWP)
        ("1,000", "1000", 0),
        ("", "", 100),
        ("strasse", "straße", 100),  # upper case of ß is SS ...
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_exact_upper(answer, reference, points, mode):
    assert UPPER.points([answer], [[reference]], mode) == points


@pytest.mark.parametrize(
    "answer, reference, official, corrected",
    [
        ("Harry Potter", "harry potter", 100, 100),
        ("Unanswerable", "Unanswerable", 0, 100),  # wrong even where it is the answer
        ("unanswerable", "Unanswerable", 100, 100),  # the released check minds capitals
        ("The Unanswerable Question", "The Unanswerable Question", 0, 100),
        ("no", "yes", 0, 0),
        ("strasse", "straße", 0, 0),  # ... and lower case of it is ß
    ],
)
def test_exact_lower_unanswerable(answer, reference, official, corrected):
    assert LOWER.points([answer], [[reference]], "official") == official
    assert LOWER.points([answer], [[reference]], "corrected") == corrected


@pytest.mark.parametrize("metric", [UPPER, LOWER])
@pytest.mark.parametrize("mode", MODES)
def test_any_of_several_references_will_do(metric, mode):
    assert metric.points(["no", "grey", "pink"], [["No"], ["gray", "Grey"], ["red"]], mode) == (
        pytest.approx(200 / 3)
    )


@LAWS
@given(WORDS, WORDS)
def test_corrected_takes_all_that_official_takes(answer, reference):
    for metric in (UPPER, LOWER):
        official = metric.points([answer], [[reference]], "official")

        assert metric.points([answer], [[reference]], "corrected") >= official
