import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from copamerge.bench.metrics import METRICS, MODES
from copamerge.bench.metrics._jars import meteor_statistics, ptb_words
from copamerge.bench.metrics.caption7 import PARTS, _statistics
from copamerge.errors import CopamergeError
from copamerge.suites import java_there

pytest.importorskip("pycocoevalcap.bleu.bleu_scorer", reason="copamerge[bench] is not installed")

METRIC = METRICS["caption7"]
PUBLISHED = Path(__file__).parents[4] / "shared" / "metrics" / "nlg-eval"
needs_java = pytest.mark.skipif(not java_there(), reason="there is no Java on the path")

# All four kinds of matches, several references, punctuation, capitals, contractions, an item
# without a match, an empty answer, what a sample counts as that was never asked, marks and letters
# that METEOR or the tokeniser could stumble on.
CAPTIONS = [
    ("A man riding a wave on top of a surfboard.", ["A man on a surfboard riding a wave."]),
    ("Two dogs are running through the grass", ["Two dogs run in the grass.", "Dogs play."]),
    ("birds on the mats", ["A bird on a mat", "it flies"]),
    (
        "The large automobile is parked near a building",
        ["A big car parked in front of a building", "A car stands by the house"],
    ),
    ("someone's cup, isn't it?", ["A cup of coffee -- half full (and cold)", "coffee cup"]),
    ("a red cat sits on the mat", ["a red cat sits on the mat"]),
    ("zebra", ["A plate of food with a fork and a knife."]),
    ("", ["A kitchen with a stove.", "...", "A stove"]),
    ("a photo of a café ||| at night", ["A café at night, people talking in the street"]),
    ("he wants to make a purchase", ["he would like to buy something", "a man in a shop"]),
    ("a group of people  standing around a table", ["A group of people standing at a table"]),
    ("boy with $3.50 & 50% off", ["A boy holding a sign: 50% off!", "A child with a sign"]),
    ("\N{REPLACEMENT CHARACTER}", ["A dog"]),
    ("the children were playing football outdoors", ["Kids playing soccer outside"]),
]
PERFECT = 5
ANSWERS = [answer for answer, _ in CAPTIONS]
REFERENCES = [references for _, references in CAPTIONS]


@pytest.fixture(scope="module")
def statistics():
    """METEOR takes seconds to start, so most claims here are about one corpus.

    In the plainest locale: reading letters beyond ASCII must not depend on it.
    """
    if not java_there():
        pytest.skip("there is no Java on the path")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LC_ALL", "C")
        return METRIC.statistics(ANSWERS, REFERENCES, "official")


BY_THE_LIBRARY = """
import contextlib, io, json, sys
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

answers, references = json.load(sys.stdin)
tokenizer = PTBTokenizer()
said = tokenizer.tokenize({i: [{"caption": x}] for i, x in enumerate(answers)})
true = tokenizer.tokenize({i: [{"caption": x} for x in y] for i, y in enumerate(references)})
true = {i: [x for x in y if x] for i, y in true.items()}
with contextlib.redirect_stdout(io.StringIO()):
    bleu = Bleu(4).compute_score(true, said, verbose=0)[0]
    meteor = Meteor().compute_score(true, said)[0]
    rouge = Rouge().compute_score(true, said)[0]
    cider = Cider().compute_score(true, said)[0]
print(json.dumps([*bleu, meteor, rouge, float(cider)]))
"""


def by_the_library(answers, references):
    """pycocoevalcap's own classes, in a process of their own: they leave pipes open."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BY_THE_LIBRARY],
        input=json.dumps([answers, references]),
        capture_output=True,
        text=True,
        check=True,
    )
    return np.array(json.loads(done.stdout))


def by_the_jar(corpora):
    """METEOR's own score of each corpus, from the statistics of its items."""
    import pycocoevalcap.meteor.meteor as meteor

    jar = Path(meteor.__file__).with_name(meteor.METEOR_JAR)
    lines = [
        " ||| ".join(["EVAL", *(" ".join(map(str, row.tolist())) for row in rows)])
        for rows in corpora
    ]
    done = subprocess.run(
        ["java", "-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    told = iter(done.stdout.split())
    # The scores of the items, then that of the corpus.
    return [[float(next(told)) for _ in range(len(rows) + 1)][-1] for rows in corpora]


@needs_java
def test_captions_with_published_scores_of_all_seven():
    if not PUBLISHED.is_dir():
        pytest.skip(f"no captions with published scores in {PUBLISHED}")
    answers, *references = [
        (PUBLISHED / name).read_text().splitlines() for name in ("hyp.txt", "ref1.txt", "ref2.txt")
    ]

    mean = METRIC.statistics(answers, list(zip(*references, strict=True)), "official").mean(axis=0)

    # SOURCE.txt beside the captions: github.com/Maluuba/nlg-eval, six decimals.
    published = [0.55, 0.428174, 0.284043, 0.201143, 0.295797, 0.522104, 1.242192]
    np.testing.assert_allclose(METRIC.numbers(mean), 100 * np.array(published), atol=5.1e-5)
    assert METRIC.combine(mean) == pytest.approx(100 * np.mean(published), abs=1e-4)


def test_the_full_set_scores_as_the_library_does(statistics):
    expected = 100 * by_the_library(ANSWERS, REFERENCES)

    mean = statistics.mean(axis=0)

    np.testing.assert_allclose(METRIC.numbers(mean), expected, rtol=1e-9, atol=1e-9)
    assert METRIC.combine(mean) == pytest.approx(expected.mean(), rel=1e-9)
    assert METRIC.parts(mean) == pytest.approx(dict(zip(PARTS, expected, strict=True)))


def test_all_four_kinds_of_matches_are_among_the_captions(statistics):
    matches = statistics[:, 13 + 4 : 13 + 20].reshape(-1, 4, 4).sum(axis=(0, 2))

    assert (matches > 0).all()


@pytest.mark.slow
def test_meteor_of_any_resample_and_of_any_single_item_is_the_jars(statistics):
    rng = np.random.default_rng(0)
    n = len(statistics)
    drawn = [rng.integers(0, n, size=n) for _ in range(40)]
    # Nothing matches; everything does, in many runs: rows of one item repeated.
    drawn += [np.full(n, i) for i in range(n)]
    # Sets of one item, of two, and of all but a few.
    drawn += [np.array([i]) for i in range(n)]
    drawn += [np.array([PERFECT, i]) for i in range(n)] + [np.arange(i, n) for i in range(n)]

    ours = [METRIC.numbers(statistics[rows].mean(axis=0))[4] for rows in drawn]

    jar = by_the_jar([statistics[rows, 13:] for rows in drawn])
    np.testing.assert_allclose(ours, 100 * np.array(jar), rtol=1e-9, atol=1e-9)
    # In the very words of a reference: no penalty, alone or repeated.
    assert ours[40 + PERFECT] == ours[40 + n + PERFECT] == pytest.approx(100)


def test_meteor_of_a_set_is_not_the_mean_of_its_items(statistics):
    items = statistics[[3, 10, 11]]

    mean_of_items = np.mean([METRIC.numbers(row)[4] for row in items])

    assert abs(mean_of_items - METRIC.numbers(items.mean(axis=0))[4]) > 0.5


def test_many_resamples_are_combined_at_once(statistics):
    rng = np.random.default_rng(1)
    means = np.stack(
        [statistics[rng.integers(0, 14, size=14)].mean(axis=0) for _ in range(6)]
    ).reshape(2, 3, -1)

    together = METRIC.combine(means)

    assert together.shape == (2, 3)
    for at in np.ndindex(2, 3):
        assert together[at] == pytest.approx(METRIC.combine(means[at]), rel=1e-12)


def test_both_modes_are_alike_every_caption_is_read_and_java_is_asked_once(statistics, monkeypatch):
    monkeypatch.setenv("PATH", "")

    corrected = METRIC.statistics(ANSWERS, REFERENCES, "corrected")

    np.testing.assert_array_equal(corrected, statistics)
    for mode in MODES:
        assert not METRIC.unreadable(ANSWERS, REFERENCES, mode).any()


def test_what_is_done_to_the_numbers_does_not_reach_the_next_caller(statistics):
    before = statistics.copy()
    mine = METRIC.statistics(ANSWERS, REFERENCES, "official")

    mine[:] = 0

    np.testing.assert_array_equal(METRIC.statistics(ANSWERS, REFERENCES, "official"), before)


@needs_java
def test_words_of_the_tokeniser():
    words = {
        "A man, riding: a Horse!": "a man riding a horse",
        "": "",
        "don't -- really": "do n't really",
        "(cat)": "-lrb- cat -rrb-",  # removed in capitals only, which the tokeniser does not write
        "Café": "café",
        "...": "",
        " \ufffd": "",
        "😀 cat": "cat",
    }

    assert ptb_words("caption7", list(words)) == list(words.values())


@needs_java
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\v", "\f", "\u2028", "\u2029"])
def test_a_line_end_within_a_caption_is_a_blank(end):
    assert ptb_words("caption7", [f"a{end}cat", f"{end}dogs{end}"]) == ["a cat", "dogs"]


def test_empty_unmatched_and_unasked_captions_score_nothing(statistics):
    none = [i for i, answer in enumerate(ANSWERS) if answer in ("", "zebra", METRIC.wrong([]))]

    parts = METRIC.numbers(statistics[none].mean(axis=0))

    assert len(none) == 3
    np.testing.assert_allclose(parts, 0, atol=1e-3)
    assert not statistics[none, 13 + 4 :].any()


def test_letters_beyond_ascii_match_themselves_in_any_locale(statistics):
    cafe = next(i for i, answer in enumerate(ANSWERS) if "café" in answer)

    exact = statistics[cafe, 13 + 4 : 13 + 8]

    # café, night; a, at: in answer and reference.
    assert exact.tolist() == [2, 2, 2, 2]


@needs_java
def test_a_reference_without_a_word_is_refused_with_its_item():
    with pytest.raises(CopamergeError, match="metric caption7, item 1: no reference has a word"):
        METRIC.points(["a", "b"], [["a cat", "..."], ["?", "..."]], "official")


def java_that(tmp_path, script):
    program = tmp_path / "java"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(tmp_path) + os.pathsep + os.environ["PATH"]


def test_without_java_the_sentence_names_it_and_caption6(monkeypatch):
    monkeypatch.setenv("PATH", "")

    assert not java_there()
    with pytest.raises(CopamergeError, match=r"no `java` on the path; .*caption6"):
        METRIC.points(["no java"], [["no java"]], "official")


@pytest.mark.parametrize(
    "script, fact",
    [
        ("echo 'Unable to locate a Java Runtime.' >&2; echo more >&2; exit 1", "ended with 1: Una"),
        ("exit 3", "ended with 3: no message"),
        ("cat > /dev/null; echo one line", "answered 1 lines to 2"),
        ("exit 0", "answered 1 lines to 2"),
        ("kill -9 $$", "ended with -9"),
    ],
)
def test_a_java_that_does_not_work_is_a_sentence(monkeypatch, tmp_path, script, fact):
    monkeypatch.setenv("PATH", java_that(tmp_path, script))

    with pytest.raises(CopamergeError, match=rf"{tmp_path}/java does not work \({fact}.*caption6"):
        METRIC.points(["broken java"], [["broken java"]], "official")


def test_a_java_that_cannot_be_run_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", java_that(tmp_path, ""))
    (tmp_path / "java").write_bytes(b"\x7fELF no program")

    assert not java_there()
    with pytest.raises(CopamergeError, match="does not work"):
        METRIC.points(["broken java"], [["broken java"]], "official")


def test_a_stub_is_no_java(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", java_that(tmp_path, "exit 1"))

    assert not java_there()


def test_a_meteor_that_answers_something_else_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", java_that(tmp_path, "sed 's/.*/Error: specify SCORE/'"))

    with pytest.raises(CopamergeError, match="answered 'Error: specify SCORE' where 23 numbers"):
        meteor_statistics("caption7", ["a"], [["a"]])


def test_a_failure_is_not_remembered(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", java_that(tmp_path, "exit 1"))
    before = _statistics.cache_info().currsize

    for _ in range(2):
        with pytest.raises(CopamergeError, match="does not work"):
            METRIC.points(["once more"], [["once more"]], "official")

    assert _statistics.cache_info().currsize == before


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocoevalcap.tokenizer.ptbtokenizer", None)

    with pytest.raises(CopamergeError, match=r"metric caption7: .* `pip install copamerge\[bench"):
        METRIC.points(["a cat"], [["a cat"]], "corrected")
