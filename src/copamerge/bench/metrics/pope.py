"""POPE: is the object in the picture, asked in three ways of choosing what is not.

The paper prints one number for POPE and does not say which. `points` is the mean of F1 over the
categories, the number that POPE's authors compare by; accuracy, precision, recall and the share of
yes stand beside it in `parts`.
"""

from collections.abc import Sequence
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
from copamerge.bench.metrics._yes_no import YesNo, opposite, said, truth

CATEGORIES = ("random", "popular", "adversarial")
"""How the objects that are not in the picture were chosen."""

# The columns of a category: answered yes and right, yes and wrong, no and right, no and wrong.
_COLUMN = {("yes", "yes"): 0, ("yes", "no"): 1, ("no", "no"): 2, ("no", "yes"): 3}


@final
class Pope(Metric):
    """The mean over categories of the F1 of yes, in points of 100.

    The category of an item is its place's; the mean is over the categories that occur. F1 is
    2 TP / (2 TP + FP + FN), and 0 where that is 0 / 0: no yes was right or said. The released
    script divides by zero there, and also where no answer is yes.

    official: of an answer only what stands before the first dot counts; with commas removed and
    split at blanks it is no if `No`, `no` or `not` is one of the words, else yes. So `NO` and `no!`
    are yes, and so is an empty answer.
    corrected: yes or no as a word, whatever capitals and marks. Neither or both cannot be read and
    is wrong: it counts as the opposite of what is true, also in the share of yes.
    """

    highest: ClassVar[float] = 100.0

    def statistics(
        self,
        answers: Answers,
        references: References,
        mode: Mode,
        places: Places | None = None,
    ) -> Float64[np.ndarray, "items 12"]:
        """A single 1 per item: for each category right yes, wrong yes, right no, wrong no."""
        given = checked(self.name, answers, references, mode)
        places = placed(self.name, places, len(given), f"a category of {', '.join(CATEGORIES)}")
        truths = _truths(self.name, references, places)
        rows = np.zeros((len(given), 4 * len(CATEGORIES)))
        for i, (answer, true) in enumerate(zip(given, truths, strict=True)):
            word = _read(answer, mode) or opposite(true)
            rows[i, 4 * CATEGORIES.index(str(places[i].category)) + _COLUMN[word, true]] = 1.0
        return rows

    def combine(self, mean: Float64[np.ndarray, "*many 12"]) -> Float64[np.ndarray, "*many"]:
        counts = mean.reshape(*mean.shape[:-1], len(CATEGORIES), 4)
        there = counts.sum(axis=-1) > 0
        return np.asarray(100.0 * (_f1(counts) * there).sum(axis=-1) / there.sum(axis=-1))

    def parts(self, mean: Float64[np.ndarray, " 12"]) -> dict[str, float]:
        """In percent, for each category that occurs: F1, accuracy, precision (absent where no
        answer is yes), recall (absent where no truth is yes), yes ratio; then the means of F1 and
        accuracy over these categories."""
        found: dict[str, float] = {}
        f1s, accuracies = [], []
        for name, counts in zip(CATEGORIES, mean.reshape(len(CATEGORIES), 4), strict=True):
            right_yes, wrong_yes, right_no, wrong_no = map(float, counts)
            total = right_yes + wrong_yes + right_no + wrong_no
            if total == 0:
                continue
            f1s.append(100.0 * float(_f1(counts)))
            accuracies.append(100.0 * (right_yes + right_no) / total)
            found[f"{name} F1"] = f1s[-1]
            found[f"{name} accuracy"] = accuracies[-1]
            if right_yes + wrong_yes > 0:
                found[f"{name} precision"] = 100.0 * right_yes / (right_yes + wrong_yes)
            if right_yes + wrong_no > 0:
                found[f"{name} recall"] = 100.0 * right_yes / (right_yes + wrong_no)
            found[f"{name} yes ratio"] = 100.0 * (right_yes + wrong_yes) / total
        found["mean F1"] = float(np.mean(f1s))
        found["mean accuracy"] = float(np.mean(accuracies))
        return found

    def unreadable(
        self, answers: Answers, references: References, mode: Mode
    ) -> Bool[np.ndarray, " items"]:
        """official: none, as every answer is read as yes or no."""
        given = checked(self.name, answers, references, mode)
        return np.array([_read(answer, mode) is None for answer in given])

    def wrong(self, references: Sequence[str]) -> str:
        """The other word: what official cannot read would count as yes."""
        return opposite(truth(references))


def _read(answer: str, mode: Mode) -> YesNo | None:
    return _official(answer) if mode == "official" else said(answer)


def _official(answer: str) -> YesNo:
    words = answer.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "no", "not"} & set(words) else "yes"


def _f1(counts: Float64[np.ndarray, "*many 4"]) -> Float64[np.ndarray, "*many"]:
    twice = 2.0 * counts[..., 0]
    total = twice + counts[..., 1] + counts[..., 3]
    return np.asarray(np.divide(twice, total, out=np.zeros_like(total), where=total > 0))


def _truths(name: str, references: References, places: Places) -> list[YesNo]:
    found, problems = read_each(name, references, truth)
    elsewhere = [
        f"metric {name}, item {i}: its category is {place.category!r}, not one of "
        f"{', '.join(CATEGORIES)}"
        for i, place in enumerate(places)
        if place.category not in CATEGORIES
    ]
    refuse(name, problems, elsewhere)
    return found


POPE = Pope("pope", "LLaVA, llava/eval/eval_pope.py; F1 averaged over the categories")
