import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copamerge.bench.metrics import METRICS
from copamerge.bench.metrics.grounding import Box, corrected_box, iou, official_box

METRIC = METRICS["grounding"]
LAWS = settings(max_examples=80, deadline=None, derandomize=True, database=None)
TRUTH = Box(0.12, 0.30, 0.40, 0.78)
WRITTEN = "[0.12, 0.30, 0.40, 0.78]"

SHARE = st.integers(0, 1000)
BOXES = (
    st.tuples(SHARE, SHARE, SHARE, SHARE)
    .filter(lambda x: x[0] != x[2] and x[1] != x[3])
    .map(
        lambda x: Box(
            min(x[0], x[2]) / 1000,
            min(x[1], x[3]) / 1000,
            max(x[0], x[2]) / 1000,
            max(x[1], x[3]) / 1000,
        )
    )
)


def test_a_perfect_box_loses_its_last_digit():
    assert official_box(WRITTEN) == (0.12, 0.30, 0.40, 0.7)
    assert round(iou(official_box(WRITTEN), TRUTH), 2) == 0.83
    assert iou(corrected_box(WRITTEN), TRUTH) == 1.0


@pytest.mark.parametrize(
    "answer, official, corrected",
    [
        (WRITTEN, True, True),
        ("0.12, 0.30, 0.40, 0.78", True, True),
        ("[0.12, 0.30, 0.40, 1]", None, True),  # y2 of one character; IoU 0.69
        ("[1.00, 0.30, 0.40, 0.78]", True, False),  # a leading 1.00 is read as .00
        ("The box is [0.12, 0.30, 0.40, 0.78].", None, True),
        ("[0.12 0.30 0.40 0.78]", None, True),
        ("(0.12, 0.30, 0.40, 0.78)", True, True),
        ("[0.40, 0.78, 0.12, 0.30]", False, True),  # corners the wrong way round
        ("[0.12, 0.30, 0.40]", None, None),
        ("[0.12, 0.30, 0.40, 0.78, 0.9]", None, None),
        ("9, 0.12, 0.30, 0.40, 0.78x", None, None),
        ("[0.12, 0.30, 0.40, nan]", None, None),  # cut to `na`
        ("[nan, 0.30, 0.40, 0.78]", None, None),  # cut to `an`
        ("[0.12, 0.30, nan, 0.78]", False, None),
        ("[0.12, 0.30, 1e999, 0.78]", False, None),
        ("2 cats: [0.12, 0.30, 0.40, 0.78]", None, True),
        ("[0.12, 0.30, 0.40, 0.78] or [0.5, 0.5, 0.9, 0.9]", None, None),
        ("[12, 30, 40, 78]", False, False),
        ("", None, None),
        ("[]", None, None),
    ],
)
def test_boxes(answer, official, corrected):
    for mode, verdict in (("official", official), ("corrected", corrected)):
        assert METRIC.statistics([answer], [[WRITTEN]], mode).tolist() == [[float(verdict is True)]]
        assert METRIC.unreadable([answer], [[WRITTEN]], mode).tolist() == [verdict is None]


def test_half_is_not_enough():
    # Powers of two, so that IoU is 0.5 to the last bit; two digits more for official to cut.
    truth = [["[0, 0, 1, 1]"]]

    assert iou(Box(0.0, 0.0, 0.5, 1.0), Box(0.0, 0.0, 1.0, 1.0)) == 0.5
    for mode in ("official", "corrected"):
        assert METRIC.points(["[0.0, 0.0, 0.5, 1.00]"], truth, mode) == 0
        assert METRIC.points(["[0.0, 0.0, 0.51, 1.00]"], truth, mode) == 100


def test_the_lost_digit_also_costs_and_gives_answers():
    # A flat box, whose height is mostly in its second digit: 0.45 is read as 0.4, IoU 0.
    flat = [["[0.10, 0.40, 0.90, 0.45]"]]
    # An answer that is too high, which the cut mends: 0.39 is read as 0.3.
    high = [["[0.10, 0.20, 0.90, 0.30]"]]

    assert METRIC.points(["[0.10, 0.40, 0.90, 0.45]"], flat, "official") == 0
    assert METRIC.points(["[0.10, 0.40, 0.90, 0.45]"], flat, "corrected") == 100
    assert METRIC.points(["[0.10, 0.20, 0.90, 0.41]"], high, "corrected") == 0
    assert METRIC.points(["[0.10, 0.20, 0.90, 0.39]"], high, "official") == 100


@LAWS
@given(BOXES)
def test_a_perfect_box_is_right_when_read_right(box):
    for written in (str(list(box)), f"it is at {list(box)}.", "{} {} {} {}".format(*box)):
        assert METRIC.points([written], [[str(list(box))]], "corrected") == 100


@LAWS
@given(BOXES, st.data())
def test_with_six_decimals_the_modes_agree_away_from_the_edge(truth, data):
    box = Box(*(min(1, max(0, x + data.draw(st.floats(-0.3, 0.3)))) for x in truth))
    # The first character is cut too, harmless only as a `0`; the digit lost is below 1e-5.
    if not (box.x1 < 1 and truth.x2 - truth.x1 > 0.01 and truth.y2 - truth.y1 > 0.01):
        return
    if box.x1 >= box.x2 or box.y1 >= box.y2 or abs(iou(box, truth) - 0.5) < 0.01:
        return
    written = "[{:.6f}, {:.6f}, {:.6f}, {:.6f}]".format(*box)
    if not written.startswith("[0"):
        return

    points = [METRIC.points([written], [[str(list(truth))]], m) for m in ("official", "corrected")]

    assert points[0] == points[1]


@LAWS
@given(BOXES, BOXES)
def test_iou_is_the_share_of_a_grid(box, other):
    grid = (np.arange(1000) + 0.5) / 1000
    inside = [
        np.outer((b.y1 < grid) & (grid < b.y2), (b.x1 < grid) & (grid < b.x2)) for b in (box, other)
    ]
    share = (inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum()

    assert iou(box, other) == pytest.approx(share, abs=1e-9)
    assert iou(other, box) == pytest.approx(iou(box, other))
