"""Boxes that must overlap a reference box by more than half.

A box is `[x1, y1, x2, y2]`, as shares of the image from its top left corner.
"""

import re
from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

from copamerge.bench.metrics._base import Accuracy, BadReferenceError, Mode, only

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_NUMBERS = re.compile(rf"(?<![\w.+-]){_NUMBER}(?:[\s,;]+{_NUMBER})*(?!\.?\w|[\s,;]+[-+.]?\d)")


class Box(NamedTuple):
    """Two corners; (x1, y1) is the upper left one, unless a model wrote it otherwise."""

    x1: float
    y1: float
    x2: float
    y2: float


def iou(box: Box, other: Box) -> float:
    """Intersection over union, 0 to 1; 0 where the union has no area.

    `box` is taken as written: corners the wrong way round meet nothing.
    """
    # The order of arguments matters for NaN, and is the released script's.
    wide = max(0.0, min(box.x2, other.x2) - max(box.x1, other.x1))
    high = max(0.0, min(box.y2, other.y2) - max(box.y1, other.y1))
    union = _area(box) + _area(other) - wide * high
    return wide * high / union if union > 0 else 0.0


def official_box(text: str) -> Box | None:
    """The box as the released script reads it, or None.

    After removing brackets it cuts the first and the last character, so the first `0` (harmless;
    but `1.00` becomes .00) and the last digit of y2 are lost: `0.78` is read as 0.7, and a y2 of
    `1` cannot be read. Nor can a box with words around it. Not ordered, not clipped.
    """
    try:
        numbers = [float(x) for x in text.replace("[", "").replace("]", "")[1:-1].split(",")]
    except ValueError:
        return None
    return Box(*numbers) if len(numbers) == 4 else None


def corrected_box(text: str) -> Box | None:
    """The one row of four numbers in the text, corners put in order; None if there is none.

    Words around it, any brackets, and blanks or commas between the numbers are fine. Two unlike
    rows of four, or four numbers beside a fifth, are no answer. Not clipped: what sticks out
    of the image is wrong area (and a box in pixels is no box of the whole image).
    """
    rows = [re.split(r"[\s,;]+", found[0]) for found in _NUMBERS.finditer(text)]
    boxes = {_ordered(Box(*map(float, row))) for row in rows if len(row) == 4}
    if len(boxes) != 1:
        return None
    box = boxes.pop()
    return box if all(map(isfinite, box)) else None


def _grounding(answer: str, references: Sequence[str], mode: Mode) -> bool | None:
    """IoU above 0.5, strictly; None where no box can be read. The one reference is the box.

    The released script scales both boxes by the image's longer side, which cancels out.

    Raises:
        BadReferenceError: not one box of positive area in 0 to 1.
    """
    truth = _reference(only(references, "the box"))
    box = official_box(answer) if mode == "official" else corrected_box(answer)
    return None if box is None else iou(box, truth) > 0.5


def _reference(text: str) -> Box:
    try:
        box = Box(*(float(x) for x in text.replace("[", "").replace("]", "").split(",")))
    except (ValueError, TypeError):
        box = None
    if box and 0 <= box.x1 < box.x2 <= 1 and 0 <= box.y1 < box.y2 <= 1:
        return box
    raise BadReferenceError(
        f"{text!r} is no box '[x1, y1, x2, y2]' with 0 <= x1 < x2 <= 1, y alike"
    )


def _ordered(box: Box) -> Box:
    return Box(min(box.x1, box.x2), min(box.y1, box.y2), max(box.x1, box.x2), max(box.y1, box.y2))


def _area(box: Box) -> float:
    return (box.x2 - box.x1) * (box.y2 - box.y1)


GROUNDING = Accuracy("grounding", "RobustMerge, llava/eval/eval_grounding.py", _grounding)
