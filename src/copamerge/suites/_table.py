"""The suites by name, and those that a file of the user's describes."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from copamerge.errors import SuiteError, did_you_mean
from copamerge.suites._base import Suite

Opener = Callable[[Path | None], Suite]
"""Of a suite, from the folder its data lie in; None where the user named none."""


def _mini(data: Path | None) -> Suite:
    from copamerge.suites.mini import MINI

    if data is not None:
        raise SuiteError(f"--data {data}: the suite 'mini' is made by code; leave --data out")
    return MINI


SUITES: dict[str, Opener] = {"mini": _mini}


@lru_cache(maxsize=16)
def suite_named(name: str, data: Path | None = None) -> Suite:
    """The suite of this name, its data being in the folder `data`.

    Raises:
        SuiteError: there is none, or its data are not there.
    """
    if name not in SUITES:
        raise SuiteError(f"suite {name!r}: there is none of that name{did_you_mean(name, SUITES)}")
    return SUITES[name](data)
