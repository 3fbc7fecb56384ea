"""MMBench: a question is right only if it is right in every order of its options."""

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
from copamerge.bench.metrics.science import LETTERS, corrected_letter, right_letter


@final
class MmbenchCircular(Metric):
    """The share of questions whose turned variants are all answered right, in points of 100.

    Items whose places have the same group are turns of one question: the same options, each time
    in another order, so that the right letter wanders. A question of a single turn counts alike.

    The released code scores nothing here: it writes a table for MMBench's server. So `official` is
    not what that server would say (it asks a language model where a letter is not plain) but a
    local exact match: the answer is the capital letter, and nothing else.
    corrected: a letter as in `science`: `b`, `B.`, `(B)`, `B. elk`, `The answer is B` are read too.
    """

    highest: ClassVar[float] = 100.0

    def statistics(
        self,
        answers: Answers,
        references: References,
        mode: Mode,
        places: Places | None = None,
    ) -> Float64[np.ndarray, "groups 3"]:
        """A row per question, in order of appearance: whether all turns are right, how many are,
        how many there are."""
        given = checked(self.name, answers, references, mode)
        places = placed(self.name, places, len(given), "the question as group")
        letters, unusable = read_each(self.name, references, right_letter)
        alone = [
            f"metric {self.name}, item {i}: its group is None; give the name of its question"
            for i, place in enumerate(places)
            if place.group is None
        ]
        refuse(self.name, unusable, alone)
        turns: dict[str | None, list[bool]] = {}
        for answer, letter, place in zip(given, letters, places, strict=True):
            turns.setdefault(place.group, []).append(_read(answer, mode) == letter)
        return np.array([[float(all(x)), float(sum(x)), float(len(x))] for x in turns.values()])

    def combine(self, mean: Float64[np.ndarray, "*many 3"]) -> Float64[np.ndarray, "*many"]:
        return np.asarray(100.0 * mean[..., 0])

    def parts(self, mean: Float64[np.ndarray, " 3"]) -> dict[str, float]:
        """In percent: circular, which is the points; plain, the share of single answers that are
        right."""
        return {"circular": 100.0 * float(mean[0]), "plain": 100.0 * float(mean[1] / mean[2])}

    def unreadable(
        self, answers: Answers, references: References, mode: Mode
    ) -> Bool[np.ndarray, " items"]:
        given = checked(self.name, answers, references, mode)
        return np.array([_read(answer, mode) is None for answer in given])


def _read(answer: str, mode: Mode) -> str | None:
    if mode == "corrected":
        return corrected_letter(answer)
    return answer if answer in tuple(LETTERS) else None


MMBENCH_CIRCULAR = MmbenchCircular(
    "mmbench_circular",
    "local exact match on the letter, every turn right; the released code uploads to a server",
)
