"""The two Java programs that come with pycocoevalcap: the PTB tokeniser and METEOR 1.5.

pycocoevalcap's own wrappers are not used, though the programs and their options are the same: one
writes its input beside the installed package, which may not be writable; the other leaves pipes
open and waits for an answer to every line. Here each program runs once, reads everything from its
standard input and has ended when its answer is used.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from copamerge.errors import CopamergeError

# What the tokeniser, or METEOR when it reads a line, takes for the end of a line.
_LINE_ENDS = re.compile(r"[\n\r\v\f\u2028\u2029]+")

STATISTICS = 23
"""Numbers that METEOR keeps of a pair: see `meteor_statistics`."""


def ptb_words(name: str, captions: Sequence[str]) -> list[str]:
    """Each caption as its words in small letters, one blank between them, without punctuation.

    Line ends within a caption count as blanks: pycocoevalcap replaces `\\n` alone, and with any
    other all later captions would slip by one.

    Raises:
        CopamergeError: no pycocoevalcap, no Java, or one that does not work.
    """
    tokenizer = _module(name, "tokenizer.ptbtokenizer")
    jar = Path(str(tokenizer.__file__)).with_name(tokenizer.STANFORD_CORENLP_3_4_1_JAR)
    lines = _run(
        name,
        ["-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"],
        [_LINE_ENDS.sub(" ", caption) for caption in captions],
    )
    marks = set(tokenizer.PUNCTUATIONS)
    return [
        " ".join(word for word in line.rstrip().split(" ") if word not in marks) for line in lines
    ]


def meteor_statistics(
    name: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> Float64[np.ndarray, "items 23"]:
    """What METEOR keeps of each hypothesis and that of its references with the best score.

    Of hypothesis and reference the words and the function words (4 numbers); for exact, stemmed,
    synonymous and paraphrased matches, how many content words of hypothesis and reference and how
    many function words of both (16); runs of matches, and words matched in both (3). The runs are
    0 where a single one is all of both: METEOR leaves it out when it sums over a set.

    Raises:
        CopamergeError: as `ptb_words`.
    """
    meteor = _module(name, "meteor.meteor")
    jar = Path(str(meteor.__file__)).with_name(meteor.METEOR_JAR)
    asked = [
        # What pycocoevalcap removes from a hypothesis, since it would begin another reference.
        " ||| ".join(["SCORE", *each, words.replace("|||", "").replace("  ", " ")])
        for words, each in zip(hypotheses, references, strict=True)
    ]
    lines = _run(name, ["-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"], asked)
    rows = [line.split() for line in lines]
    if odd := [line for line, row in zip(lines, rows, strict=True) if len(row) != STATISTICS]:
        raise CopamergeError(
            f"metric {name}: METEOR answered {odd[0]!r} where {STATISTICS} numbers were expected; "
            "install pycocoevalcap again"
        )
    statistics = np.array(rows, dtype=np.float64).reshape(-1, STATISTICS)
    length, truth_length = statistics[:, 0], statistics[:, 1]
    runs, matched, truth_matched = statistics[:, 20:].T
    runs[(runs == 1) & (matched == length) & (truth_matched == truth_length)] = 0
    return statistics


def _run(name: str, options: Sequence[str], lines: Sequence[str]) -> list[str]:
    """What the program says to each line."""
    program = shutil.which("java")
    if program is None:
        raise CopamergeError(
            f"metric {name}: METEOR and its tokeniser need Java, and there is no `java` on the "
            "path; install a Java runtime, or use the metric caption6, which needs none and is "
            "another number"
        )
    try:
        done = subprocess.run(
            [program, *options],
            input="".join(f"{line}\n" for line in lines).encode(errors="replace"),
            capture_output=True,
        )
    except OSError as error:
        raise _broken(name, program, str(error)) from None
    if done.returncode != 0:
        told = done.stderr.decode(errors="replace").strip().splitlines()
        raise _broken(
            name, program, f"ended with {done.returncode}: {told[0] if told else 'no message'}"
        )
    answers = done.stdout.decode(errors="replace").removesuffix("\n").split("\n")
    if len(answers) != len(lines):
        raise _broken(name, program, f"answered {len(answers)} lines to {len(lines)}")
    return answers


def _broken(name: str, program: str, fact: str) -> CopamergeError:
    return CopamergeError(
        f"metric {name}: {program} does not work ({fact}); mend the Java runtime, or use the "
        "metric caption6, which needs none and is another number"
    )


def _module(name: str, module: str) -> Any:
    """
    Raises:
        CopamergeError: pycocoevalcap is not installed.
    """
    try:
        return import_module(f"pycocoevalcap.{module}")
    except ModuleNotFoundError as error:
        raise CopamergeError(
            f"metric {name}: {error.name} is not installed; it comes with "
            "`pip install copamerge[bench]`"
        ) from error
