"""The suites by name, and those that a file of the user's describes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from copamerge.errors import SuiteError, did_you_mean
from copamerge.suites._base import Looking, Suite, TaskCheck

Opener = Callable[[Path | None], Suite]
"""Of a suite, from the folder its data lie in; None where the user named none."""
FileOpener = Callable[[Path, Mapping[str, Any], Path | None], Suite]
"""Of a suite that a file describes: the file, what it says, the folder its data lie in."""


def _mini(data: Path | None) -> Suite:
    from copamerge.suites.mini import MINI

    if data is not None:
        raise SuiteError(f"--data {data}: the suite 'mini' is made by code; leave --data out")
    return MINI


def _clip8(data: Path | None) -> Suite:
    from copamerge.suites.clip8 import clip8_suite

    return clip8_suite(data)


def _images(path: Path, content: Mapping[str, Any], data: Path | None) -> Suite:
    from copamerge.suites.images.suitefile import image_suite

    return image_suite(path, content, data)


def _mm_mergebench(data: Path | None) -> Suite:
    from copamerge.suites.mm_mergebench import mm_mergebench

    return mm_mergebench(data)


def _mm_general(data: Path | None) -> Suite:
    from copamerge.suites.mm_mergebench import mm_general

    return mm_general(data)


def _custom(path: Path, content: Mapping[str, Any], data: Path | None) -> Suite:
    from copamerge.suites.custom import custom_suite

    return custom_suite(path, content, data)


SUITES: dict[str, Opener] = {
    "mini": _mini,
    "mm-mergebench": _mm_mergebench,
    "mm-general": _mm_general,
    "clip8": _clip8,
}
FILE_SUITES: dict[str, FileOpener] = {"images": _images, "custom": _custom}
"""What `suite:` in a suite file may say."""


def suite_named(name: str, data: Path | None = None) -> Suite:
    """The suite of this name, or of the file at this path: YAML, or `.jsonl` with one task's lines.

    `data` is the folder its data lie in.

    Raises:
        SuiteError: there is none, or its file is malformed.
    """
    from copamerge.suites._file import is_suite_file, text_of

    if name in SUITES:
        return _known(SUITES[name], data)
    if is_suite_file(name):
        path = Path(name).absolute()
        if path.suffix.lower() == ".jsonl":
            return _of_lines(path, data)
        return _described(path, text_of(path), data)
    raise SuiteError(
        f"suite {name!r}: there is none of that name{did_you_mean(name, SUITES)} "
        "(the path of a suite file ends in .yaml or .jsonl)"
    )


@lru_cache(maxsize=16)
def _known(opener: Opener, data: Path | None) -> Suite:
    return opener(data)


@lru_cache(maxsize=16)
def _of_lines(path: Path, data: Path | None) -> Suite:
    from copamerge.suites.custom import lines_suite

    return lines_suite(path, data)


@lru_cache(maxsize=16)
def _described(path: Path, text: str, data: Path | None) -> Suite:
    """By its text, so that a file that was changed is read again."""
    from copamerge.suites._file import content_of

    content = content_of(path, text)
    kind = content.get("suite")
    if kind is None:
        raise SuiteError(
            f"{path}: does not say of what kind it is; write suite: {' or '.join(FILE_SUITES)}"
        )
    if not isinstance(kind, str) or kind not in FILE_SUITES:
        raise SuiteError(
            f"{path}: suite: {kind}: there is no such kind of suite file"
            + did_you_mean(str(kind), FILE_SUITES)
        )
    return replace(FILE_SUITES[kind](path, content, data), file=path)


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
