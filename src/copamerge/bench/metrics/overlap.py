"""Answers that share words with a reference: SQuAD's F1."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np
from jaxtyping import Bool, Float64

from copamerge.bench.metrics._base import Answers, Metric, Mode, Places, References, checked
from copamerge.errors import CopamergeError, first_few

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_MARKS = str.maketrans("", "", string.punctuation)


@final
class TokenF1(Metric):
    """The mean over items of F1 between the words of answer and reference, times 100.

    Precision is the share of the answer's words that are in the reference, recall the share of the
    reference's that are in the answer, each counted as often as both have it. Of several references
    the best counts. Both modes alike.

    Words are SQuAD's: lower case, ASCII punctuation deleted (`don't` is `dont`, `1.5` is `15`),
    then the articles a, an, the, then split at blanks.
    """

    highest: ClassVar[float] = 100.0

    def statistics(
        self,
        answers: Answers,
        references: References,
        mode: Mode,
        places: Places | None = None,
    ) -> Float64[np.ndarray, "items 1"]:
        said = [words(text) for text in checked(self.name, answers, references, mode)]
        truths = [[words(text) for text in each] for each in references]
        bare = [
            f"metric {self.name}, item {i}: a reference has no word beside articles (got "
            f"{list(references[i])!r}); use the metric exact"
            for i, each in enumerate(truths)
            if not all(each)
        ]
        if bare:
            raise CopamergeError(first_few(bare, f"metric {self.name}", "more such items"))
        return np.array(
            [
                [max(_f1(one, truth) for truth in each)]
                for one, each in zip(said, truths, strict=True)
            ]
        )

    def combine(self, mean: Float64[np.ndarray, "*many 1"]) -> Float64[np.ndarray, "*many"]:
        return np.asarray(100.0 * mean[..., 0])

    def unreadable(
        self, answers: Answers, references: References, mode: Mode
    ) -> Bool[np.ndarray, " items"]:
        """None of them: an answer without a word is read as that, and scores 0."""
        return np.zeros(len(checked(self.name, answers, references, mode)), dtype=np.bool_)


def words(text: str) -> list[str]:
    """A text's words after SQuAD's normalisation."""
    return _ARTICLES.sub(" ", text.lower().translate(_MARKS)).split()


def _f1(said: Sequence[str], truth: Sequence[str]) -> float:
    common = (Counter(said) & Counter(truth)).total()
    return 2 * common / (len(said) + len(truth))


F1 = TokenF1("f1", "SQuAD, evaluate-v1.1.py: normalize_answer and f1_score")
