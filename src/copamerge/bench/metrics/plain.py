"""Rules for questions of one's own: the same text, a text that is in it, a number.

No official scripts stand behind them, so both modes are alike.
"""

import math
import re
from collections.abc import Sequence

from copamerge.bench.metrics._base import Accuracy, BadReferenceError, Mode

TOLERANCE = 1e-6
"""How far a number may be from the right one, relative to it: what rounding in print leaves."""

# A sign counts where no word or closing bracket stands before it: `3-4` ends in 4, not in -4.
# Groups of three digits are one number; `12,34` is two.
_NUMBER = re.compile(
    r"(?:(?<![\w).])[-+])?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
)


def _exact(answer: str, references: Sequence[str], mode: Mode) -> bool:
    """Is it one of the references, without blanks around it? Capitals and full stops count."""
    return answer.strip() in {reference.strip() for reference in references}


def _contains(answer: str, references: Sequence[str], mode: Mode) -> bool:
    """Does the answer hold one of the references as whole words, up to capitals?

    Blanks of any length are alike. An answer that lists all there is is right: keep them short by
    `max_new_tokens`, or ask for one.

    Raises:
        BadReferenceError: an empty reference, which every text holds.
    """
    return any(_held(reference, answer) for reference in references)


def _held(reference: str, answer: str) -> bool:
    if not reference.strip():
        raise BadReferenceError("an empty reference, which every answer holds")
    words = r"\s+".join(re.escape(word) for word in reference.split())
    return re.search(rf"(?<!\w){words}(?!\w)", answer, re.IGNORECASE) is not None


def _number(answer: str, references: Sequence[str], mode: Mode) -> bool | None:
    """Is the last number of the answer one of the references? None where it has no number.

    `1,234.5`, `.5`, `-3` and `1e6` are numbers; units, currencies and percent signs are passed
    over, so `60 %` is 60 and never 0.6. `1/2` is two numbers.

    Raises:
        BadReferenceError: a reference that is no number.
    """
    right = [_only_number(reference) for reference in references]
    found = numbers(answer)
    if not found:
        return None
    return any(math.isclose(found[-1], each, rel_tol=TOLERANCE) for each in right)


def _only_number(reference: str) -> float:
    found = numbers(reference)
    if _NUMBER.fullmatch(_plain(reference.strip())) is None or not found:
        raise BadReferenceError(f"{reference!r} is not a number, such as 1,234.5 or -3")
    return found[0]


def numbers(text: str) -> list[float]:
    """The finite numbers in a text, in order."""
    found = [float(each.replace(",", "")) for each in _NUMBER.findall(_plain(text))]
    return [each for each in found if math.isfinite(each)]


def _plain(text: str) -> str:
    return text.replace("\N{MINUS SIGN}", "-")


EXACT = Accuracy("exact", "copamerge; equality without blanks around", _exact)
CONTAINS = Accuracy("contains", "copamerge; whole words, up to capitals", _contains)
NUMBER = Accuracy("number", f"copamerge; the last number, within {TOLERANCE:g} of it", _number)
