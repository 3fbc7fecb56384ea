"""MME: two yes-or-no questions about a picture, and a bonus for both right."""

from typing import ClassVar, final

import numpy as np
from jaxtyping import Bool, Float64

from copamerge.bench.metrics._base import (
    Answers,
    Metric,
    Mode,
    Places,
    References,
    checked,
    placed,
    read_each,
    refuse,
)
from copamerge.bench.metrics._yes_no import YesNo, said, truth
from copamerge.errors import CopamergeError

PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
COGNITION = (
    "commonsense_reasoning",
    "numerical_calculation",
    "text_translation",
    "code_reasoning",
)
SUBTASKS = (*PERCEPTION, *COGNITION)


@final
class Mme(Metric):
    """The sum over perception subtasks of accuracy and accuracy+, each in percent: 0 to 2000.

    Accuracy is over questions, accuracy+ over pictures: both questions right. An item's place has
    the subtask as its category and the picture as its group; pictures of two subtasks are two,
    whatever their names. The sum is over the subtasks that occur: with one of ten left out at most
    1800 can be reached. Cognition (0 to 800) is among the parts; the paper's values of about 1490
    match perception alone.

    official: in small letters yes or no; else yes if the first four characters hold `yes`, else no
    if they hold `no`; else `other`, which is wrong. So `know` and `nothing` are no.
    corrected: yes or no as a word, whatever capitals and marks; neither or both is wrong.
    """

    highest: ClassVar[float] = 2000.0

    def statistics(
        self,
        answers: Answers,
        references: References,
        mode: Mode,
        places: Places | None = None,
    ) -> Float64[np.ndarray, "groups 42"]:
        """A row per picture, in order of appearance: in the three columns of its subtask 1, its
        right answers (0 to 2), and whether both are right."""
        given = checked(self.name, answers, references, mode)
        places = placed(self.name, places, len(given), "a subtask as category, a picture as group")
        truths, pictures = _pictures(self.name, references, places)
        rows = np.zeros((len(pictures), len(SUBTASKS), 3))
        for row, ((subtask, _), items) in zip(rows, pictures.items(), strict=True):
            right = sum(_read(given[i], mode) == truths[i] for i in items)
            row[SUBTASKS.index(subtask)] = 1.0, right, right == 2
        return rows.reshape(len(rows), -1)

    def combine(self, mean: Float64[np.ndarray, "*many 42"]) -> Float64[np.ndarray, "*many"]:
        return np.asarray(_scores(mean)[..., : len(PERCEPTION)].sum(axis=-1))

    def parts(self, mean: Float64[np.ndarray, " 42"]) -> dict[str, float]:
        """Perception, cognition (absent where none of it occurs), and every subtask that occurs,
        0 to 200."""
        there = mean.reshape(len(SUBTASKS), 3)[:, 0] > 0
        scores = {
            name: float(score)
            for name, score, occurs in zip(SUBTASKS, _scores(mean), there, strict=True)
            if occurs
        }
        sums = {
            title: sum(scores[name] for name in names if name in scores)
            for title, names in (("perception", PERCEPTION), ("cognition", COGNITION))
            if scores.keys() & set(names)
        }
        return sums | scores

    def unreadable(
        self, answers: Answers, references: References, mode: Mode
    ) -> Bool[np.ndarray, " items"]:
        """official: what the tool calls other."""
        given = checked(self.name, answers, references, mode)
        return np.array([_read(answer, mode) is None for answer in given])


def _read(answer: str, mode: Mode) -> YesNo | None:
    return _official(answer) if mode == "official" else said(answer)


def _official(answer: str) -> YesNo | None:
    start = answer.lower()[:4]
    if "yes" in start:
        return "yes"
    return "no" if "no" in start else None


def _scores(mean: Float64[np.ndarray, "*many 42"]) -> Float64[np.ndarray, "*many 14"]:
    """Of each subtask, 0 to 200; 0 where it does not occur."""
    columns = mean.reshape(*mean.shape[:-1], len(SUBTASKS), 3)
    pictures, right, both = columns[..., 0], columns[..., 1], columns[..., 2]
    total = 100.0 * (right / 2.0 + both)
    return np.asarray(np.divide(total, pictures, out=np.zeros_like(total), where=pictures > 0))


def _pictures(
    name: str, references: References, places: Places
) -> tuple[list[YesNo], dict[tuple[str, str], list[int]]]:
    """What is true of each item, and (subtask, picture) -> its two items, in order of appearance.

    Raises:
        CopamergeError: references that are no yes or no, an unknown subtask, no picture, a picture
            without exactly two questions, no perception subtask at all; lists all problems.
    """
    truths, unusable = read_each(name, references, truth)
    found: dict[tuple[str, str], list[int]] = {}
    lost = []
    for i, place in enumerate(places):
        if place.category not in SUBTASKS:
            lost.append(
                f"metric {name}, item {i}: its category is {place.category!r}, which is no subtask "
                f"of MME; there are: {', '.join(SUBTASKS)}"
            )
        elif place.group is None:
            lost.append(f"metric {name}, item {i}: its group is None; give its picture's name")
        else:
            found.setdefault((place.category, place.group), []).append(i)
    odd = [
        f"metric {name}, picture {picture!r} of {subtask}: {len(items)} of its questions, not 2; "
        "ask both questions of every picture"
        for (subtask, picture), items in found.items()
        if len(items) != 2
    ]
    refuse(name, unusable, lost, odd)
    if not any(subtask in PERCEPTION for subtask, _ in found):
        raise CopamergeError(
            f"metric {name}: no picture of a perception subtask, whose sum the points are; ask "
            "more items"
        )
    return truths, found


MME = Mme("mme", "MME's eval_tool/calculation.py, the sum of its perception subtasks")
