"""Labels ranked by a model that does not write."""

from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np
from jaxtyping import Bool, Float64

from copamerge.bench.metrics._base import (
    Answers,
    BadReferenceError,
    Metric,
    Mode,
    Places,
    References,
    checked,
    only,
    read_each,
    refuse,
)

_FIVE = 5


@final
class Top1(Metric):
    """The share of items whose best label is the right one, in points of 100; both modes alike.

    An answer is labels, best first, one per line. The one reference is the right label: equal to
    the last capital and blank. Which labels there are is not known here, so one that does not
    exist is just wrong.
    """

    highest: ClassVar[float] = 100.0

    def statistics(
        self,
        answers: Answers,
        references: References,
        mode: Mode,
        places: Places | None = None,
    ) -> Float64[np.ndarray, "items 3"]:
        """Per item, 1 or 0: the first label is right, one of the first five is, five are listed."""
        given = checked(self.name, answers, references, mode)
        labels, unusable = read_each(self.name, references, _label)
        refuse(self.name, unusable)
        rows = []
        for answer, label in zip(given, labels, strict=True):
            listed = _listed(answer)
            best = listed[:_FIVE]
            rows.append([best[:1] == [label], label in best, len(listed) >= _FIVE])
        return np.array(rows, dtype=np.float64)

    def combine(self, mean: Float64[np.ndarray, "*many 3"]) -> Float64[np.ndarray, "*many"]:
        return np.asarray(100.0 * mean[..., 0])

    def parts(self, mean: Float64[np.ndarray, " 3"]) -> dict[str, float]:
        """`top-5 accuracy` in percent; absent where an answer lists fewer than five labels."""
        # A mean of ones may miss 1 by a rounding error; one answer too short, in a million, not.
        return {} if mean[2] < 1 - 1e-9 else {"top-5 accuracy": 100.0 * float(mean[1])}

    def unreadable(
        self, answers: Answers, references: References, mode: Mode
    ) -> Bool[np.ndarray, " items"]:
        """Answers whose first line is blank: no label is best."""
        given = checked(self.name, answers, references, mode)
        return np.array([not _listed(answer)[0].strip() for answer in given])

    def wrong(self, references: Sequence[str]) -> str:
        """Five labels that do not exist, so that the others' five still count."""
        return "\n".join(["\N{REPLACEMENT CHARACTER}"] * _FIVE)


def _listed(answer: str) -> list[str]:
    return answer.removesuffix("\n").split("\n")


def _label(references: Sequence[str]) -> str:
    label = only(references, "the right label")
    if not label.strip() or "\n" in label:
        raise BadReferenceError(f"{label!r} is no label: empty, or of several lines")
    return label


TOP1 = Top1("top1", "FusionBench's accuracy: is the label of the highest score right")
