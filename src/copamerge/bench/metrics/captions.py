"""Captions: the mean of six numbers that need no Java.

BLEU-1 to 4, ROUGE-L and CIDEr by pycocoevalcap's own classes. The paper's mean has METEOR as a
seventh, so `caption6` is a number of its own and never stands beside the paper's; `caption7` is
the paper's and needs Java.
"""

import re
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import ClassVar, NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float64

from copamerge.bench.metrics._base import Answers, Metric, Mode, Places, References, checked
from copamerge.errors import CopamergeError, first_few

PARTS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr")

# BleuScorer's: a precision of 0 / 0 is 1e-6, not NaN.
_TINY, _SMALL = 1e-15, 1e-9


class _Scorers(NamedTuple):
    bleu: ModuleType
    rouge: ModuleType
    cider: ModuleType


@final
class Caption6(Metric):
    """The mean of BLEU-1 to 4, ROUGE-L and CIDEr, each times 100; both modes alike.

    Words are runs of `\\w`, lower case: within 0.6 points per number of the Java tokeniser. Of the
    references of an item those without a word are left out.

    CIDEr weighs words by how many items' references hold them. These frequencies are those of the
    full set given to `statistics`, and stay so when its items are resampled: a resample asks what
    other answers would have scored, not what another set of references would have said. For a
    single item every weight, and so CIDEr, is 0.

    CIDEr goes up to 1000, so the mean goes up to 250, and one number can outweigh the other five.
    """

    highest: ClassVar[float] = 250.0

    def statistics(
        self,
        answers: Answers,
        references: References,
        mode: Mode,
        places: Places | None = None,
    ) -> Float64[np.ndarray, "items 13"]:
        """Per item: ROUGE-L, CIDEr, matched and guessed n-grams of 1 to 4 words, the length of the
        closest reference, the length of the answer, and the number of items in the set.

        The last turns means back into the sums to which BleuScorer adds its constants. It is exact
        for resamples as large as the set; for others BLEU moves by about 1e-9.
        """
        hypotheses = [_words(text) for text in checked(self.name, answers, references, mode)]
        truths = with_a_word(self.name, references, [[*map(_words, each)] for each in references])
        return caption_statistics(self.name, hypotheses, truths)

    def combine(self, mean: Float64[np.ndarray, "*many 13"]) -> Float64[np.ndarray, "*many"]:
        return np.asarray(self.numbers(mean).mean(axis=-1))

    def parts(self, mean: Float64[np.ndarray, " 13"]) -> dict[str, float]:
        return dict(zip(PARTS, map(float, self.numbers(mean)), strict=True))

    def numbers(self, mean: Float64[np.ndarray, "*many 13"]) -> Float64[np.ndarray, "*many 6"]:
        """The six numbers in the order of `PARTS`: 0 to 100, CIDEr to 1000."""
        return caption_numbers(mean)

    def unreadable(
        self, answers: Answers, references: References, mode: Mode
    ) -> Bool[np.ndarray, " items"]:
        """None of them: a caption without a word is read as that, and scores 0."""
        return np.zeros(len(checked(self.name, answers, references, mode)), dtype=np.bool_)


def caption_statistics(
    name: str, hypotheses: Sequence[str], truths: Sequence[Sequence[str]]
) -> Float64[np.ndarray, "items 13"]:
    """The columns of `Caption6.statistics`, from words with one blank between them.

    Raises:
        CopamergeError: pycocoevalcap is not installed.
    """
    scorers = _scorers(name)
    rouge, cider = scorers.rouge.Rouge(), scorers.cider.CiderScorer()
    rows = []
    for words, each in zip(hypotheses, map(list, truths), strict=True):
        counts = scorers.bleu.cook_test(words, scorers.bleu.cook_refs(each), eff="closest")
        cider += (words, each)
        rows.append(
            [
                rouge.calc_score([words], each),
                0.0,
                *counts["correct"],
                *counts["guess"],
                counts["reflen"],
                counts["testlen"],
                len(truths),
            ]
        )
    statistics = np.array(rows, dtype=np.float64)
    _, statistics[:, 1] = cider.compute_score()
    return statistics


def caption_numbers(mean: Float64[np.ndarray, "*many 13"]) -> Float64[np.ndarray, "*many 6"]:
    """BLEU-1 to 4, ROUGE-L, CIDEr, each times 100, from the mean of `caption_statistics`."""
    rouge, cider, sums = mean[..., 0:1], mean[..., 1:2], mean[..., 2:12] * mean[..., 12:]
    bleu = _bleu(sums[..., 0:4], sums[..., 4:8], sums[..., 8:9], sums[..., 9:10])
    return 100.0 * np.concatenate([bleu, rouge, cider], axis=-1)


def _bleu(
    correct: Float64[np.ndarray, "*many 4"],
    guessed: Float64[np.ndarray, "*many 4"],
    reference_length: Float64[np.ndarray, "*many 1"],
    length: Float64[np.ndarray, "*many 1"],
) -> Float64[np.ndarray, "*many 4"]:
    """Corpus BLEU-1 to 4, 0 to 1, from sums over the corpus, as `BleuScorer.compute_score`.

    Only this last step is ours, because it has to run on thousands of resamples at once.
    """
    precision = np.cumprod((correct + _TINY) / (guessed + _SMALL), axis=-1)
    ratio = (length + _TINY) / (reference_length + _SMALL)
    too_short = np.exp(np.minimum(0.0, 1.0 - 1.0 / ratio))
    return np.asarray(precision ** (1.0 / np.arange(1, 5)) * too_short)


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def with_a_word(
    name: str, references: References, words: Sequence[Sequence[str]]
) -> list[list[str]]:
    """Of each item's references, given as words, those that have one.

    Raises:
        CopamergeError: an item is left without.
    """
    truths = [[text for text in each if text] for each in words]
    empty = [
        f"metric {name}, item {i}: no reference has a word (got {list(references[i])!r})"
        for i, each in enumerate(truths)
        if not each
    ]
    if empty:
        raise CopamergeError(first_few(empty, f"metric {name}", "more such items"))
    return truths


def _scorers(name: str) -> _Scorers:
    """pycocoevalcap's parts that need neither Java nor pycocotools.

    Raises:
        CopamergeError: it is not installed.
    """
    modules = ("bleu.bleu_scorer", "rouge.rouge", "cider.cider_scorer")
    try:
        return _Scorers(*(import_module(f"pycocoevalcap.{module}") for module in modules))
    except ModuleNotFoundError as error:
        raise CopamergeError(
            f"metric {name}: {error.name} is not installed; it comes with "
            "`pip install copamerge[bench]`"
        ) from error


CAPTION6 = Caption6("caption6", "github.com/salaniz/pycocoevalcap 1.2, without METEOR and SPICE")
