"""What a metric is: numbers per item, whose mean decides the points."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar, final, get_args

import numpy as np
from jaxtyping import Bool, Float64

from copamerge.errors import CopamergeError, first_few
from copamerge.suites import Place

T = TypeVar("T")

Mode = Literal["official", "corrected"]
MODES: tuple[Mode, ...] = get_args(Mode)
"""`official` repeats the released scripts with their quirks; `corrected` is without the bugs."""

Answers = Sequence[str | None]
References = Sequence[Sequence[str]]
Places = Sequence[Place]
"""Which category and group an item belongs to; most metrics do not ask."""
Rule = Callable[[str, Sequence[str], Mode], bool | None]
"""Is the answer right by these references? None: the rule cannot read it, which counts as wrong."""


class BadReferenceError(ValueError):
    """A rule cannot use an item's references; the message is the fact, without the item."""


@dataclass(frozen=True)
class Metric(ABC):
    """How answers to a whole task become points.

    A score need not be a mean over items (corpus BLEU is not), but every score here is a function,
    `combine`, of the mean of a few numbers per item, `statistics`. So the score of any resample of
    the items costs one weighted mean, and nothing has to be read again.

    Answers and references are paired by position; the order of the pairs does not matter.
    """

    name: str
    source: str

    highest: ClassVar[float]
    """Points of a perfect system; the lowest is 0."""

    @abstractmethod
    def statistics(
        self,
        answers: Answers,
        references: References,
        mode: Mode,
        places: Places | None = None,
    ) -> Float64[np.ndarray, "items k"]:
        """The numbers of each item, in the order given: of each answer, or, for a metric that
        judges answers together, of each group of `places` in order of appearance.

        Raises:
            CopamergeError: an answer is missing (None; an empty string is an answer), no items,
                unlike lengths, references that the metric cannot use; lists all problems.
        """

    @abstractmethod
    def combine(self, mean: Float64[np.ndarray, "*many k"]) -> Float64[np.ndarray, "*many"]:
        """Points in 0 to `highest`, from the mean of `statistics` over a multiset of items."""

    @abstractmethod
    def unreadable(
        self, answers: Answers, references: References, mode: Mode
    ) -> Bool[np.ndarray, " items"]:
        """Which answers could not be read; they score 0 and are to be reported beside the points.

        Raises:
            CopamergeError: as `statistics`.
        """

    def parts(self, mean: Float64[np.ndarray, " k"]) -> dict[str, float]:
        """What belongs beside the points, by name: the numbers they are made of."""
        return {}

    def wrong(self, references: Sequence[str]) -> str:
        """An answer that is wrong in both modes: what a sample counts as that was never asked."""
        return "\N{REPLACEMENT CHARACTER}"

    def check(self, references: References, places: Places | None = None) -> None:
        """Refuse references that could not be used, before there are answers to be judged by them.

        Raises:
            CopamergeError: as `statistics`.
        """
        # Not `wrong`, which some metrics can tell by good references only.
        self.statistics([""] * len(references), references, "corrected", places)

    @final
    def points(
        self,
        answers: Answers,
        references: References,
        mode: Mode,
        places: Places | None = None,
    ) -> float:
        """The score of all items, 0 to `highest`.

        Raises:
            CopamergeError: as `statistics`.
        """
        return float(self.combine(self.statistics(answers, references, mode, places).mean(axis=0)))


@final
@dataclass(frozen=True)
class Accuracy(Metric):
    """The share of right answers, in points of 100: one number per item, 1.0 or 0.0."""

    rule: Rule

    highest: ClassVar[float] = 100.0

    def statistics(
        self,
        answers: Answers,
        references: References,
        mode: Mode,
        places: Places | None = None,
    ) -> Float64[np.ndarray, "items 1"]:
        verdicts = self._verdicts(answers, references, mode)
        return np.array([[float(verdict is True)] for verdict in verdicts])

    def combine(self, mean: Float64[np.ndarray, "*many 1"]) -> Float64[np.ndarray, "*many"]:
        return np.asarray(100.0 * mean[..., 0])

    def unreadable(
        self, answers: Answers, references: References, mode: Mode
    ) -> Bool[np.ndarray, " items"]:
        return np.array([v is None for v in self._verdicts(answers, references, mode)])

    def _verdicts(self, answers: Answers, references: References, mode: Mode) -> list[bool | None]:
        verdicts, problems = [], []
        for i, answer in enumerate(checked(self.name, answers, references, mode)):
            try:
                verdicts.append(self.rule(answer, references[i], mode))
            except BadReferenceError as error:
                problems.append(f"metric {self.name}, item {i}: {error}")
        if problems:
            raise CopamergeError(first_few(problems, f"metric {self.name}", "more such items"))
        return verdicts


def checked(name: str, answers: Answers, references: References, mode: Mode) -> list[str]:
    """The answers, once it is sure that they can be scored.

    Raises:
        CopamergeError: an answer is missing, no items, unlike lengths, an item without references.
        TypeError: references that are one string: its letters would pass for references.
        ValueError: no such mode.
    """
    place = f"metric {name}"
    if mode not in MODES:
        raise ValueError(f"{place}: mode is 'official' or 'corrected' (got {mode!r})")
    if any(isinstance(each, str) for each in references):
        raise TypeError(f"{place}: the references of an item are a list of strings, not a string")
    if len(answers) != len(references):
        raise CopamergeError(
            f"{place}: {len(answers)} answers for {len(references)} items; give one for each"
        )
    if not answers:
        raise CopamergeError(f"{place}: no items, and the score of nothing is not defined")
    missing = [
        f"{place}, item {i}: the answer is missing, so there is no score; finish the answers "
        "(an empty answer is an empty string)"
        for i, answer in enumerate(answers)
        if answer is None
    ]
    bare = [f"{place}, item {i}: no reference" for i, each in enumerate(references) if not each]
    if problems := [
        *first_few(missing, place, "more answers are missing"),
        *first_few(bare, place, "more items have no reference"),
    ]:
        raise CopamergeError(problems)
    return [answer for answer in answers if answer is not None]


def placed(name: str, places: Places | None, count: int, what: str) -> Places:
    """The places of all items, for a metric that cannot do without them; `what` it asks of them.

    Raises:
        CopamergeError: there are none, or not one for each item.
    """
    if places is None or len(places) != count:
        raise CopamergeError(
            f"metric {name}: {len(places or ())} places for {count} items; give one for each, "
            f"with {what}"
        )
    return places


def read_each(
    name: str, references: References, read: Callable[[Sequence[str]], T]
) -> tuple[list[T], list[str]]:
    """What `read` makes of each item's references, and a sentence for each that it refuses."""
    found: list[T] = []
    problems: list[str] = []
    for i, each in enumerate(references):
        try:
            found.append(read(each))
        except BadReferenceError as error:
            problems.append(f"metric {name}, item {i}: {error}")
    return found, problems


def refuse(name: str, *kinds: list[str]) -> None:
    """
    Raises:
        CopamergeError: there are problems: the first few of each kind, and how many more.
    """
    place = f"metric {name}"
    if told := [line for kind in kinds for line in first_few(kind, place, "more like this")]:
        raise CopamergeError(told)


def only(references: Sequence[str], what: str) -> str:
    """The one reference there has to be.

    Raises:
        BadReferenceError: there are several.
    """
    if len(references) != 1:
        raise BadReferenceError(f"one reference, {what}, is needed (got {list(references)!r})")
    return references[0]
