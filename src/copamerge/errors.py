"""Every error a user can cause.

CopamergeError
    AdapterError      a file or folder is not a usable adapter
    RecipeError       the recipe asks for something that does not exist or does not add up
    PlanError         each adapter is fine alone, but not together
    OutputError       the result cannot be written where it was asked for
    SuiteError        a suite, task or zoo is not there, or not what it says it is
"""

from collections.abc import Iterable
from difflib import get_close_matches


class CopamergeError(Exception):
    """A user's mistake: one or more sentences, each with place, fact and remedy."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class AdapterError(CopamergeError):
    """A file or folder is not a usable adapter."""


class RecipeError(CopamergeError, ValueError):
    """The recipe asks for something that does not exist or does not add up."""


class PlanError(CopamergeError):
    """Each adapter is fine alone, but they cannot be merged as asked."""


class OutputError(CopamergeError):
    """The result cannot be written where it was asked for."""


class SuiteError(CopamergeError):
    """A suite, task, zoo or answers file is not there, or not what it says it is."""


def first_few(problems: list[str], place: str, more: str, *, few: int = 3) -> list[str]:
    """The first problems of a kind, and one line that counts the others: `place: N more`."""
    left = len(problems) - few
    return problems if left <= 1 else [*problems[:few], f"{place}: {left} {more}"]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'ties'?`, or the list of what there is when nothing is close."""
    known = sorted(set(known))
    # Capital letters are no difference: TIES is ties.
    spelt = {name.casefold(): name for name in known}
    if close := get_close_matches(word.casefold(), spelt, n=1, cutoff=0.5):
        return f"; did you mean {spelt[close[0]]!r}?"
    return f"; there are: {', '.join(known)}"
