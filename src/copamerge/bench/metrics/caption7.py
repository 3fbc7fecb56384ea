"""Captions: the paper's mean of seven numbers, which needs Java.

BLEU-1 to 4, METEOR, ROUGE-L and CIDEr, on the words of the PTB tokeniser: what pycocoevalcap's
scorers give one by one. Its `COCOEvalCap.evaluate` is not used: it also wants SPICE, which has to
be downloaded and is then thrown away.
"""

import re
from functools import lru_cache
from itertools import chain, islice
from typing import ClassVar, final

import numpy as np
from jaxtyping import Bool, Float64

from copamerge.bench.metrics._base import Answers, Metric, Mode, Places, References, checked
from copamerge.bench.metrics._jars import meteor_statistics, ptb_words
from copamerge.bench.metrics.captions import caption_numbers, caption_statistics, with_a_word

PARTS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")

_Corpus = tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]

# METEOR 1.5's for English when it ranks, which is its default (Denkowski & Lavie, WMT 2014,
# table 3): how much recall counts against precision, the exponent and the weight of the penalty,
# how much content words count against function words; and the weight of an exact, a stemmed, a
# synonymous and a paraphrased match.
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])


@final
class Caption7(Metric):
    """The mean of BLEU-1 to 4, METEOR, ROUGE-L and CIDEr, each times 100; both modes alike.

    The references of an item that have no word left after the tokeniser, which removes punctuation
    and what it does not know, do not count. CIDEr's frequencies are those of the full set given to
    `statistics`, as in `caption6`.

    METEOR of a set is not the mean of its items': words, matches and runs of matches are summed
    first, as METEOR itself does.

    CIDEr goes up to 1000, so the mean goes up to 1600 / 7, and one number can outweigh the rest.
    """

    highest: ClassVar[float] = 1600.0 / 7.0

    def statistics(
        self,
        answers: Answers,
        references: References,
        mode: Mode,
        places: Places | None = None,
    ) -> Float64[np.ndarray, "items 36"]:
        """Per item: the 13 numbers of `caption6`, then the 23 that METEOR keeps of it.

        Exact for resamples as large as the set; for others BLEU moves by about 1e-9.

        Raises:
            CopamergeError: as every metric, and there is no Java, or none that works.
        """
        given = checked(self.name, answers, references, mode)
        statistics = _statistics(self.name, (tuple(given), tuple(map(tuple, references))))
        # The cache keeps its own.
        return np.array(statistics)

    def check(self, references: References, places: Places | None = None) -> None:
        """Which items have no word at all, and whether Java starts: METEOR would take minutes."""
        checked(self.name, [""] * len(references), references, "corrected")
        words = [[" ".join(re.findall(r"\w", text)) for text in each] for each in references]
        with_a_word(self.name, references, words)
        ptb_words(self.name, ["a word"])

    def combine(self, mean: Float64[np.ndarray, "*many 36"]) -> Float64[np.ndarray, "*many"]:
        return np.asarray(self.numbers(mean).mean(axis=-1))

    def parts(self, mean: Float64[np.ndarray, " 36"]) -> dict[str, float]:
        """The seven numbers, each times 100."""
        return dict(zip(PARTS, map(float, self.numbers(mean)), strict=True))

    def numbers(self, mean: Float64[np.ndarray, "*many 36"]) -> Float64[np.ndarray, "*many 7"]:
        """The seven numbers in the order of `PARTS`: 0 to 100, CIDEr to 1000."""
        others = caption_numbers(mean[..., :13])
        meteor = 100.0 * _meteor(mean[..., 13:])
        return np.concatenate([others[..., :4], meteor[..., None], others[..., 4:]], axis=-1)

    def unreadable(
        self, answers: Answers, references: References, mode: Mode
    ) -> Bool[np.ndarray, " items"]:
        """None of them: a caption without a word is read as that, and scores 0."""
        return np.zeros(len(checked(self.name, answers, references, mode)), dtype=np.bool_)


# Java takes seconds to start and both modes ask for the same.
@lru_cache(maxsize=2)
def _statistics(name: str, corpus: _Corpus) -> Float64[np.ndarray, "items 36"]:
    answers, references = corpus
    words = iter(ptb_words(name, [*answers, *chain.from_iterable(references)]))
    said = [*islice(words, len(answers))]
    truths = with_a_word(name, references, [[*islice(words, len(each))] for each in references])
    return np.concatenate(
        [caption_statistics(name, said, truths), meteor_statistics(name, said, truths)], axis=1
    )


def _meteor(mean: Float64[np.ndarray, "*many 23"]) -> Float64[np.ndarray, "*many"]:
    """METEOR's score, 0 to 1, from the mean, or the sum, of `meteor_statistics`.

    Only this last step is ours, because it has to run on thousands of resamples at once.
    """
    words, true_words, function, true_function = np.moveaxis(mean[..., :4], -1, 0)
    # (..., kind of match, content or function words, hypothesis or reference)
    matches = mean[..., 4:20].reshape(*mean.shape[:-1], 4, 2, 2)
    runs, matched, true_matched = np.moveaxis(mean[..., 20:], -1, 0)
    content_or_function = np.array([_DELTA, 1 - _DELTA])
    weights = _WEIGHTS[:, None, None] * content_or_function[:, None]
    right, true_right = np.moveaxis((matches * weights).sum(axis=(-3, -2)), -1, 0)
    # Without a match it is 0 / 0, and the score 0.
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = right / (_DELTA * (words - function) + (1 - _DELTA) * function)
        recall = true_right / (_DELTA * (true_words - true_function) + (1 - _DELTA) * true_function)
        harmonic = 1.0 / ((1 - _ALPHA) / precision + _ALPHA / recall)
        score = harmonic * (1.0 - _GAMMA * (2.0 * runs / (matched + true_matched)) ** _BETA)
    return np.asarray(np.where(matched + true_matched > 0, np.maximum(score, 0.0), 0.0))


CAPTION7 = Caption7(
    "caption7", "RobustMerge; github.com/salaniz/pycocoevalcap 1.2 with METEOR 1.5, without SPICE"
)
