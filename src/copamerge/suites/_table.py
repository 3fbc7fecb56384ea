"""The suites by name."""

from collections.abc import Callable

from copamerge.errors import SuiteError, did_you_mean
from copamerge.suites._base import Suite


def _mini() -> Suite:
    from copamerge.suites.mini import MINI

    return MINI


SUITES: dict[str, Callable[[], Suite]] = {"mini": _mini}


def suite_named(name: str) -> Suite:
    """The suite of this name.

    Raises:
        SuiteError: there is none.
    """
    if name not in SUITES:
        raise SuiteError(f"suite {name!r}: there is none of that name{did_you_mean(name, SUITES)}")
    return SUITES[name]()
