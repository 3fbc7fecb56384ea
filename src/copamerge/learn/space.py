"""What is searched: ranges and choices of a method's options, as they are typed."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from copamerge.errors import RecipeError
from copamerge.methods import method_from

WEIGHTS = "weights"
"""What to search for to search the weights of all adapters."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


Choice = tuple[str, ...]
"""Values as they are typed."""
Space = Mapping[str, "Range | Choice"]


NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
RANGE = re.compile(rf"(?P<low>{NUMBER})\.\.(?P<high>{NUMBER})(?P<log>:log)?")


def space_from(pairs: Sequence[str], method: str, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """What `density=0.1..0.9`, `scale=0.5..3:log`, `sign=reference,drop`, `weights=0..2` mean.

    Raises:
        RecipeError: options the method has not or does not accept at an end of the range,
            malformed ranges; all of them.
    """
    problems: list[str] = []
    space: dict[str, Any] = {}
    usual = _asked(method, fixed, {}, problems)
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key or not text:
            problems.append(
                f"--search {pair}: expected OPTION=LOW..HIGH, OPTION=LOW..HIGH:log or OPTION=A,B"
            )
        elif key in space:
            problems.append(f"--search {key}: given twice")
        elif key in ("name", "rule"):
            problems.append(f"--search {key}: the method is given by -m")
        elif key in fixed:
            problems.append(f"--search {key}: --set gives it one value; use one of them")
        elif (found := _values(key, text, problems)) is not None:
            space[key] = found
    if usual is not None:
        for key, values in space.items():
            if key != WEIGHTS:
                space[key] = _fitted(key, values, method, fixed, problems)
    if not pairs:
        problems.append("nothing to search: name an option by --search, as in density=0.1..0.9")
    if problems:
        raise RecipeError(dict.fromkeys(problems))
    return space


def _asked(
    method: str, fixed: Mapping[str, Any], chosen: Mapping[str, Any], problems: list[str]
) -> Any:
    """The method with these options, or None and why not."""
    try:
        return method_from({"name": method, **fixed, **chosen})
    except RecipeError as error:
        problems += error.problems
        return None


def _fitted(
    key: str, values: "Range | Choice", method: str, fixed: Mapping[str, Any], problems: list[str]
) -> "Range | Choice":
    """The values after the method was asked about each end or choice, taken alone."""

    def refusals(value: float | str) -> list[str]:
        said: list[str] = []
        _asked(method, fixed, {key: value}, said)
        # What is refused only together with another option may still be chosen beside others.
        return [line for line in said if line.startswith(f"method.{key}:")]

    if not isinstance(values, Range):
        problems += [f"--search {key}: {line}" for value in values for line in refusals(value)]
        return values
    between = (int(values.low) + 0.5) if values.high - values.low >= 1 else values.low
    whole = any("integer" in line for line in refusals(between))
    ends: tuple[float, float] = (values.low, values.high)
    if whole and all(end.is_integer() for end in ends):
        ends = (int(ends[0]), int(ends[1]))
    problems += [f"--search {key}: {line}" for end in ends for line in refusals(end)]
    return replace(values, whole=whole)


def _values(key: str, text: str, problems: list[str]) -> "Range | Choice | None":
    if match := RANGE.fullmatch(text):
        low, high, log = float(match["low"]), float(match["high"]), match["log"] is not None
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            problems.append(f"--search {key}={text}: the first number must be below the second")
        elif log and low <= 0:
            problems.append(f"--search {key}={text}: a logarithmic range begins above 0")
        else:
            return Range(low, high, log)
        return None
    choices = tuple(text.split(","))
    if ".." in text or key == WEIGHTS:
        problems.append(f"--search {key}={text}: expected LOW..HIGH or LOW..HIGH:log, two numbers")
    elif len(choices) < 2 or not all(choices) or len(set(choices)) < len(choices):
        problems.append(
            f"--search {key}={text}: expected a range, or two or more unlike values with commas "
            "between them; one value is given by --set"
        )
    else:
        return choices
    return None
