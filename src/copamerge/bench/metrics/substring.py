"""Class names in free text."""

import re
from collections.abc import Sequence

from copamerge.bench.metrics._base import Accuracy, BadReferenceError, Mode, only


def _two_way_substring(answer: str, references: Sequence[str], mode: Mode) -> bool:
    """Does the answer hold the class name, up to capitals? The one reference is the class name.

    official: either may lie inside the other, so an empty answer is always right, and so is any
    piece of the name (`a`); `Whippet` is right for the class `Hip`.
    corrected: the answer holds the full name as words, blanks of any length alike. An answer that
    names several classes is right for each: which other names exist is not known here.

    Raises:
        BadReferenceError: not one class name, or an empty one.
    """
    name, answer = only(references, "the class name").upper(), answer.upper()
    if not name.strip():
        raise BadReferenceError("the class name is empty")
    if mode == "official":
        return name in answer or answer in name
    words = r"\s+".join(re.escape(word) for word in name.split())
    return re.search(rf"(?<!\w){words}(?!\w)", answer) is not None


TWO_WAY_SUBSTRING = Accuracy(
    "two_way_substring", "RobustMerge, llava/eval/eval_ImagetNet.py", _two_way_substring
)
