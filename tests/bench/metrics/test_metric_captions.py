import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copamerge.bench.metrics import METRICS, MODES
from copamerge.bench.metrics.captions import PARTS
from copamerge.errors import CopamergeError

pytest.importorskip("pycocoevalcap.bleu.bleu_scorer", reason="copamerge[bench] is not installed")

METRIC = METRICS["caption6"]
LAWS = settings(max_examples=60, deadline=None, derandomize=True, database=None)
PUBLISHED = Path(__file__).parents[4] / "shared" / "metrics" / "nlg-eval"

CAPTION = st.lists(st.sampled_from("a red cat sits on the mat".split()), max_size=9).map(" ".join)
CORPUS = st.lists(
    st.tuples(CAPTION, st.lists(CAPTION.filter(bool), min_size=1, max_size=3)),
    min_size=1,
    max_size=6,
)


def by_the_library(answers, references):
    """BLEU-1 to 4, ROUGE-L and CIDEr as COCOEvalCap gets them, from captions that are tokens."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    truths = dict(enumerate(map(list, references)))
    said = {i: [answer] for i, answer in enumerate(answers)}
    bleu, _ = Bleu(4).compute_score(truths, said, verbose=0)
    return [*bleu, Rouge().compute_score(truths, said)[0], Cider().compute_score(truths, said)[0]]


@LAWS
@given(CORPUS)
def test_the_full_set_scores_as_the_library_does(corpus):
    answers, references = zip(*corpus, strict=True)

    mean = METRIC.statistics(answers, references, "corrected").mean(axis=0)

    expected = 100 * np.array(by_the_library(answers, references))
    np.testing.assert_allclose(METRIC.numbers(mean), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(METRIC.combine(mean), expected.mean(), rtol=1e-12, atol=1e-12)


@LAWS
@given(CORPUS, st.integers(0, 2**32 - 1))
def test_a_resample_scores_as_its_items_would_but_for_ciders_frequencies(corpus, seed):
    answers, references = zip(*corpus, strict=True)
    statistics = METRIC.statistics(answers, references, "corrected")
    drawn = np.random.default_rng(seed).integers(0, len(corpus), size=len(corpus))

    parts = METRIC.numbers(statistics[drawn].mean(axis=0))

    expected = by_the_library([answers[i] for i in drawn], [references[i] for i in drawn])
    np.testing.assert_allclose(parts[:5], 100 * np.array(expected[:5]), rtol=1e-12, atol=1e-12)
    assert parts[5] == pytest.approx(100 * statistics[drawn, 1].mean())


def test_many_resamples_are_combined_at_once():
    statistics = METRIC.statistics(
        ["a red cat", "a mat", ""], [["a cat"], ["the mat", "a mat"], ["red"]], "corrected"
    )
    means = np.stack([statistics[rows].mean(axis=0) for rows in ([0, 1, 2], [0, 0, 1], [2, 2, 2])])

    together = METRIC.combine(means)

    assert together.shape == (3,)
    np.testing.assert_allclose(together, [METRIC.combine(mean) for mean in means], rtol=1e-15)


def test_captions_with_published_scores():
    if not PUBLISHED.is_dir():
        pytest.skip(f"no captions with published scores in {PUBLISHED}")
    answers, *references = [
        (PUBLISHED / name).read_text().splitlines() for name in ("hyp.txt", "ref1.txt", "ref2.txt")
    ]

    mean = METRIC.statistics(answers, list(zip(*references, strict=True)), "official").mean(axis=0)

    # SOURCE.txt beside the captions: github.com/Maluuba/nlg-eval, six decimals, METEOR left out.
    published = [0.55, 0.428174, 0.284043, 0.201143, 0.522104, 1.242192]
    np.testing.assert_allclose(METRIC.numbers(mean), 100 * np.array(published), atol=5.1e-5)
    assert METRIC.combine(mean) == pytest.approx(100 * np.mean(published), abs=1e-4)


def test_capitals_and_marks_do_not_count():
    corpus = [["A red cat, on the mat.", "two dogs"], [["a red cat on the mat"], ["Two dogs!"]]]

    assert METRIC.points(*corpus, "corrected") == pytest.approx(
        METRIC.points(["a red cat on the mat", "two dogs"], corpus[1], "corrected")
    )


def test_cider_exceeds_100_points_and_is_the_part_that_outweighs():
    words = ["one red cat sits here", "two blue dogs run away", "three old birds fly high"]

    mean = METRIC.statistics(words, [[caption] for caption in words], "corrected").mean(axis=0)

    parts = dict(zip(PARTS, METRIC.numbers(mean), strict=True))
    assert parts["CIDEr"] == pytest.approx(1000)
    assert parts["BLEU-4"] == pytest.approx(100)
    assert METRIC.combine(mean) == pytest.approx(METRIC.highest)


def test_a_single_item_has_no_cider():
    mean = METRIC.statistics(["a red cat sits"], [["a red cat sits"]], "corrected").mean(axis=0)

    assert METRIC.numbers(mean)[5] == 0


def test_a_reference_without_a_word_is_left_out():
    with_it = METRIC.statistics(["", "a cat"], [["red", "..."], ["a cat"]], "corrected")
    without = METRIC.statistics(["", "a cat"], [["red"], ["a cat"]], "corrected")

    np.testing.assert_array_equal(with_it, without)


def test_empty_captions_score_nothing():
    assert METRIC.points(["", "..."], [["a cat"], ["a dog"]], "corrected") == pytest.approx(
        0, abs=1e-3
    )


def test_both_modes_are_alike_and_every_caption_is_read():
    corpus = [["a cat", ""], [["a cat"], ["a dog"]]]

    official, corrected = (METRIC.statistics(*corpus, mode) for mode in MODES)

    np.testing.assert_array_equal(official, corrected)
    assert not METRIC.unreadable(*corpus, "official").any()


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocoevalcap.cider.cider_scorer", None)

    with pytest.raises(CopamergeError, match=r"metric caption6: .* `pip install copamerge\[bench"):
        METRIC.points(["a cat"], [["a cat"]], "corrected")


def test_nothing_of_it_is_loaded_before_captions_are_scored():
    import subprocess

    code = (
        "import copamerge.bench.metrics, sys;"
        "assert not {'torch', 'pycocoevalcap', 'pydantic'} & sys.modules.keys()"
    )

    subprocess.run([sys.executable, "-c", code], check=True)
