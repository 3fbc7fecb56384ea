"""What counts as right, and how the question reads, in each kind of task."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from copamerge.suites._base import Sample
from copamerge.suites.mm_mergebench.found import Record, few, having
from copamerge.suites.mm_mergebench.layout import CHOICES, Layout, Places


class Right(NamedTuple):
    """What counts as right, and (fact, remedy) where nothing can."""

    references: tuple[str, ...] = ()
    choices: int | None = None
    stop: tuple[str, str] | None = None
    fault: tuple[str, str] | None = None
    counted: bool = True
    """Whether the released code scores the question."""


class Rules(NamedTuple):
    """What the other files of a task say, and what is wrong with them."""

    right: Callable[[Record, int], Right]
    """(record, its place in the file) -> what counts as right."""
    stops: Sequence[str] = ()
    faults: Sequence[str] = ()
    notes: Sequence[str] = ()
    question: Callable[[str], str] = str
    missing: Sequence[Sample] = ()
    """Questions that should have been in the file: they cannot be asked, and count as wrong."""


def nothing(record: Record, index: int) -> Right:
    """Where another file is wrong as a whole, records are not blamed for it."""
    return Right()


def plain(layout: Layout, places: Places, records: Sequence[Any]) -> Rules:
    """The one answer is in the record."""
    return Rules(_answer)


def _answer(record: Record, index: int) -> Right:
    answer = record.get("answer")
    if not isinstance(answer, str):
        return Right(stop=("records without 'answer'", "give each its answer, a string"))
    fault = ("answers that are empty", "an empty output is right there") if not answer else None
    return Right((answer,), fault=fault)


def names(layout: Layout, places: Places, records: Sequence[Any]) -> Rules:
    """The one answer is in the record, and is the name of a class."""
    return Rules(_name)


def _name(record: Record, index: int) -> Right:
    right = _answer(record, index)
    if right.references and not right.references[0].strip():
        return Right(stop=("class names that are empty", "give each record its class"))
    return right


def classes(layout: Layout, places: Places, records: Sequence[Any]) -> Rules:
    """As `names`; the question is its first line and a list of all class names."""
    path = places.file(layout, "classes")
    answers = [str(record["answer"]) for record in having(records, "answer")]
    used = list(dict.fromkeys(answer for answer in answers if answer.strip()))
    faults: list[str] = []
    notes: list[str] = []
    if path.is_file():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        listed = [line.strip() for line in lines if line.strip()]
        if strange := [name for name in used if name not in listed]:
            faults.append(
                f"{path}: answers that are not in this list: {len(strange)} ({few(strange)}); "
                "put in all class names, one a line"
            )
    else:
        listed = used
        notes.append(
            f"{path}: not there, so the question lists the {len(used)} class names of the "
            "answers in order of appearance; for the released prompt put its list there"
        )
    ending = f"{CHOICES}{', '.join(listed)}."
    return Rules(
        _name,
        faults=faults,
        notes=notes,
        question=lambda text: f"{text.partition(chr(10))[0]}\n{ending}",
    )


def grounding(layout: Layout, places: Places, records: Sequence[Any]) -> Rules:
    """The box is in the record; its picture's size cancels out, and is not read."""
    return Rules(_box)


def _box(record: Record, index: int) -> Right:
    box = record.get("answer_bbox")
    if not isinstance(box, str):
        return Right(stop=("records without 'answer_bbox'", "give each its box, a string"))
    stop = box_problem(box)
    return Right(stop=stop) if stop else Right((box,))


def box_problem(text: str) -> tuple[str, str] | None:
    """(fact, remedy) where this is no box `[x1, y1, x2, y2]`."""
    form = "write '[x1, y1, x2, y2]'"
    try:
        numbers = [float(x) for x in text.replace("[", "").replace("]", "").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4:
        return "boxes that cannot be read", form
    x1, y1, x2, y2 = numbers
    if not all(0 <= x <= 1 for x in numbers):  # a NaN is not between anything
        return "boxes that are not in 0 to 1", "divide by the longer side of the picture"
    if not (x1 < x2 and y1 < y2):
        return "boxes without area, or with corners in the wrong order", form + ", x1 < x2, y1 < y2"
    return None
