"""What a split's files hold: samples, and everything that is wrong with them, counted."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from copamerge.errors import SuiteError
from copamerge.suites._base import Asking, Sample, Split, Task

Record = Mapping[str, Any]
"""One question or conversation of a file, as it is there."""
READING = 1
"""Part of every digest; raised when the same files come to be read as other samples."""
FEW = 3


@dataclass(frozen=True, eq=False)
class Found:
    """The samples of a split, and what is to be said about its files."""

    samples: tuple[Sample, ...] = ()
    stops: tuple[str, ...] = ()
    """Mistakes that keep the split from being used."""
    faults: tuple[str, ...] = ()
    """Mistakes with which it can be used."""
    notes: tuple[str, ...] = ()


@dataclass
class Tally:
    """Mistakes of one file by kind: how many records have them, and which the first few are."""

    path: Path
    total: int = 0
    _kinds: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, fact: str, remedy: str, record: str) -> None:
        self._kinds.setdefault((fact, remedy), []).append(record)

    def __bool__(self) -> bool:
        return bool(self._kinds)

    def lines(self) -> list[str]:
        """A sentence for each kind, in order of appearance."""
        return [
            f"{self.path}: {fact}: {len(records)} of {self.total} ({few(records)}); {remedy}"
            for (fact, remedy), records in self._kinds.items()
        ]


def few(names: Sequence[str]) -> str:
    return ", ".join(names[:FEW]) + (", ..." if len(names) > FEW else "")


@dataclass(frozen=True)
class Source:
    """Where a task's samples are read from."""

    read: Callable[[Split], Found]
    files: Callable[[Split], Mapping[str, Path]]
    """What a split is read from, by what it is for: these are hashed, pictures are not."""


def later(name: str, sources: Callable[[], Mapping[str, Source]]) -> Source:
    """The source of this name, looked for when it is first wanted: opening a suite reads nothing.

    A try that fails is made again the next time.
    """

    @lru_cache(maxsize=1)
    def source() -> Source:
        return sources()[name]

    return Source(lambda split: source().read(split), lambda split: source().files(split))


def task_from(
    name: str, title: str, metric: str, source: Source, asking: Asking, *, seen: bool = False
) -> Task:
    """A task whose samples are read once, when the first of them is wanted."""

    @lru_cache(maxsize=3)
    def samples(split: Split) -> tuple[Sample, ...]:
        found = source.read(split)
        if found.stops:
            raise SuiteError(f"task {name!r}: {problem}" for problem in found.stops)
        return found.samples

    @lru_cache(maxsize=3)
    def digest(split: Split) -> str:
        return _digest(source.files(split))

    def sample(index: int, split: Split, seed: int) -> Sample:
        return samples(split)[index]

    return Task(
        name, title, metric, seen, sample, asking, lambda split: len(samples(split)), digest
    )


def _digest(files: Mapping[str, Path]) -> str:
    """SHA-256 over the files' bytes and what they are for, wherever they lie."""
    content: dict[str, str | int] = {"reading": READING}
    for role, path in files.items():
        try:
            content[role] = _sha256(path)
        except OSError as error:
            raise SuiteError(unreadable(path, error)) from None
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def unreadable(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path}: not there; put the file there, or say where it is (docs/suites.md)"
    return f"{path}: cannot be read ({error.strerror or error}); see to it that it can be"


class Document(NamedTuple):
    """What is in a JSON file, or why it cannot be said."""

    content: Any
    problem: str | None = None


def read_json(path: Path, form: type, what: str) -> Document:
    """The file's content, which is to be a list or a dict: `what` says of what."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        return Document(None, unreadable(path, error))
    except (ValueError, RecursionError) as error:  # the latter of brackets in brackets, endlessly
        return Document(None, f"{path}: not valid JSON ({error}); copy it again")
    if not isinstance(content, form):
        return Document(None, f"{path}: not {what}; give the file of the data set")
    return Document(content)


def having(records: Sequence[Any], key: str) -> Iterator[Record]:
    return (record for record in records if isinstance(record, dict) and key in record)
