"""The suites by name, and those that a file of the user's describes."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from copamerge.errors import SuiteError, did_you_mean
from copamerge.suites._base import Looking, Suite, TaskCheck

Opener = Callable[[Path | None], Suite]
"""Of a suite, from the folder its data lie in; None where the user named none."""


def _mini(data: Path | None) -> Suite:
    from copamerge.suites.mini import MINI

    if data is not None:
        raise SuiteError(f"--data {data}: the suite 'mini' is made by code; leave --data out")
    return MINI


def _mm_mergebench(data: Path | None) -> Suite:
    from copamerge.suites.mm_mergebench import mm_mergebench

    return mm_mergebench(data)


def _mm_general(data: Path | None) -> Suite:
    from copamerge.suites.mm_mergebench import mm_general

    return mm_general(data)


SUITES: dict[str, Opener] = {
    "mini": _mini,
    "mm-mergebench": _mm_mergebench,
    "mm-general": _mm_general,
}


@lru_cache(maxsize=16)
def suite_named(name: str, data: Path | None = None) -> Suite:
    """The suite of this name, its data being in the folder `data`.

    Raises:
        SuiteError: there is none, or its data are not there.
    """
    if name not in SUITES:
        raise SuiteError(f"suite {name!r}: there is none of that name{did_you_mean(name, SUITES)}")
    return SUITES[name](data)


def check_suite(
    name: str,
    root: Path | None,
    tasks: Sequence[str] | None = None,
    looking: Looking | None = None,
) -> tuple[TaskCheck, ...]:
    """What is wrong with the data of a suite's tasks, all of it; empty where code makes them.

    Raises:
        SuiteError: no such suite, task or folder.
    """
    suite = suite_named(name, root)
    picked = suite.pick(tasks)
    return suite.check(picked, looking or Looking()) if suite.check else ()
