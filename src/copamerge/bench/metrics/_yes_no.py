"""Yes or no: what an answer says, and what is true."""

import re
from collections.abc import Sequence
from typing import Literal

from copamerge.bench.metrics._base import BadReferenceError, only

YesNo = Literal["yes", "no"]

_WORD = re.compile(r"[^\W_]+")


def said(answer: str) -> YesNo | None:
    """The one of `yes` and `no` that is among the words, whatever capitals and marks; else None.

    Both of them, or neither, is no answer: `not` alone is neither, `yes and no` is both.
    """
    words = set(_WORD.findall(answer.casefold()))
    if ("yes" in words) == ("no" in words):
        return None
    return "yes" if "yes" in words else "no"


def truth(references: Sequence[str]) -> YesNo:
    """The one reference, in small letters.

    Raises:
        BadReferenceError: it is neither yes nor no, or there are several.
    """
    reference = only(references, "yes or no")
    if reference.lower() not in ("yes", "no"):
        raise BadReferenceError(f"{reference!r} is neither yes nor no")
    return "yes" if reference.lower() == "yes" else "no"


def opposite(word: YesNo) -> YesNo:
    return "no" if word == "yes" else "yes"
