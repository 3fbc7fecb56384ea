import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copamerge.bench.metrics import METRICS

METRIC = METRICS["two_way_substring"]
LAWS = settings(max_examples=80, deadline=None, derandomize=True, database=None)
NAMES = st.sampled_from(["Hip", "Whippet", "tiger shark", "Crane (bird)", "straße"])


@pytest.mark.parametrize(
    "answer, name, official, corrected",
    [
        ("whippet", "Whippet", 100, 100),
        ("A photo of a Whippet.", "Whippet", 100, 100),
        ("", "Whippet", 100, 0),  # an empty output is always right (evaluation.md 2.3)
        ("a", "Great white shark", 100, 0),  # ... and so is any piece
        ("ippe", "Whippet", 100, 0),
        ("Hip", "Whippet", 100, 0),  # the only one of the 100 names that lies inside another
        ("Whippet", "Hip", 100, 0),
        ("tiger  shark", "tiger shark", 0, 100),
        ("tigershark", "tiger shark", 0, 0),
        ("tiger cat", "tiger shark", 0, 0),
        ("Crane (bird), I think", "Crane (bird)", 100, 100),
        ("whippets", "Whippet", 100, 0),
        ("nonwhippet", "Whippet", 100, 0),
        ("Hip or Whippet", "Whippet", 100, 100),  # other names are not known here
    ],
)
def test_two_way_substring(answer, name, official, corrected):
    assert METRIC.points([answer], [[name]], "official") == official
    assert METRIC.points([answer], [[name]], "corrected") == corrected


@LAWS
@given(st.text() | st.tuples(st.text(), NAMES, st.text()).map(" ".join), NAMES)
def test_official_takes_all_that_corrected_takes(answer, name):
    corrected = METRIC.points([answer], [[name]], "corrected")

    assert METRIC.points([answer], [[name]], "official") >= corrected


@LAWS
@given(st.data(), NAMES)
def test_official_takes_every_piece_of_the_name_and_corrected_only_the_whole(data, name):
    start = data.draw(st.integers(0, len(name)))
    end = data.draw(st.integers(start, len(name)))

    piece = name[start:end]

    assert METRIC.points([piece], [[name]], "official") == 100
    whole = piece.strip() == name
    assert METRIC.points([piece], [[name]], "corrected") == (100 if whole else 0)
