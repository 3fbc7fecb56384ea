"""Letters of multiple-choice questions."""

import re
from collections.abc import Sequence

from copamerge.bench.metrics._base import Accuracy, BadReferenceError, Mode, only

LETTERS = "ABCDE"

# The last dot is any character, in the released script too: `The answer is B` at the end of the
# output is not read, `The answer is Because` is read as B.
_STATED = re.compile("The answer is ([A-Z]).")

_LONE = re.compile(r"\(?([A-Ea-e])[).:]{0,2}")
_LEADING = re.compile(r"\(?([A-Ea-e])[).:]{1,2}\s")
# A small letter only before the end or a mark: `the answer is a dog` is no letter.
_ANSWER_IS = re.compile(
    r"(?i:answer(?: is:?|:))\s*\(?"
    r"(?:([A-E])(?![\w'])|([a-e])(?=\)?[.,;:!]|\)?\s*$))"
)


def _science(answer: str, references: Sequence[str], mode: Mode) -> bool | None:
    """Is it the right letter? None where no letter can be read. The one reference is that letter.

    A letter beyond the choices is read, and wrong: so how many choices there are need not be known.

    Raises:
        BadReferenceError: not one letter from A to E.
    """
    right = right_letter(references)
    letter = _official_letter(answer) if mode == "official" else corrected_letter(answer)
    return None if letter is None else letter == right


def right_letter(references: Sequence[str]) -> str:
    """The one reference.

    Raises:
        BadReferenceError: not one letter from A to E.
    """
    right = only(references, "the right letter")
    if right not in tuple(LETTERS):
        raise BadReferenceError(f"{right!r} is not the right letter, A to E")
    return right


def _official_letter(answer: str) -> str | None:
    """The whole output; else the letter it starts with, as `B. `; else the one that is stated."""
    if answer in tuple(LETTERS):
        return answer
    if answer[1:3] == ". " and answer[0] in LETTERS:
        return answer[0]
    stated = _STATED.findall(answer)
    return str(stated[0]) if len(stated) == 1 else None


def corrected_letter(answer: str) -> str | None:
    """The letter A to E of the answer, or None.

    As the released script, but also `b`, `B.`, `(B)`, `B) elk`, `Answer: B`, the answer is B.

    A letter stated twice is read if it is the same one. A word's first letter is not an answer.
    """
    answer = answer.strip()
    if found := _LONE.fullmatch(answer) or _LEADING.match(answer):
        return str(found[1]).upper()
    stated = {(big or small).upper() for big, small in _ANSWER_IS.findall(answer)}
    return stated.pop() if len(stated) == 1 else None


SCIENCE = Accuracy("science", "LLaVA, llava/eval/eval_science_qa.py", _science)
