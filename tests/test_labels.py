"""Short names, and what is said of several adapters at once."""

import pytest

from copamerge.labels import short_names, told_together


@pytest.mark.parametrize(
    "names, short",
    [
        (["x/a", "x/b"], ["a", "b"]),
        (["x/a", "y/a"], ["x/a", "y/a"]),
        (["a", "a"], ["a", "a"]),
        (["/one/two/three"], ["three"]),
        ([], []),
    ],
)
def test_names_are_as_short_as_tells_them_apart(names, short):
    assert short_names(names) == short


def test_what_is_said_of_several_is_said_once():
    labels = [f"zoo/{i}" for i in range(6)]
    texts = [f"{label}: no projector" for label in labels] + ["ranks differ: 2", "zoo/1: odd"]

    assert told_together(texts, labels) == [
        "0, 1, 2 and 3 others: no projector",
        "ranks differ: 2",
        "1: odd",
    ]
    assert told_together(texts[:2], labels) == ["0, 1: no projector"]
