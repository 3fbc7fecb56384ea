"""Tasks of one's own: lines of JSON, and a YAML file that says how they are asked and scored.

    suite: custom
    name: my tasks
    tasks:
      - name: capitals
        file: capitals.jsonl          # asked for the numbers that are shown: the test split
        validation: held-out.jsonl    # asked where something is chosen
        train: more.jsonl
        metric: exact                 # a name in `copamerge.bench.metrics`
        prompt: "{prompt} Answer with one word."

A single file of lines is a suite with one task, called as the file is.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from copamerge.errors import SuiteError, first_few
from copamerge.suites._base import (
    Asking,
    Frame,
    Looking,
    Picture,
    Sample,
    Split,
    Suite,
    Task,
    TaskCheck,
    Template,
)
from copamerge.suites._file import read_as
from copamerge.suites.lines import read_lines
from copamerge.suites.pictures import PictureError, pixels

HOLE = "{prompt}"
"""Where a line's prompt goes in a task's wording."""
NEW_TOKENS = 32
"""How long an answer may be where nobody says."""
FILES: Mapping[Split, str] = {"test": "file", "validation": "validation", "train": "train"}
"""Split -> the key of a suite file that names its lines."""


def _plain_name(name: str) -> str:
    """Names become those of files, and of tasks that are listed with commas."""
    if not name.strip() or name != name.strip() or name.startswith(".") or set(name) & set("/\\,"):
        raise ValueError(
            f"{name!r} cannot be a name: it is to be that of files as well; leave out slashes, "
            "commas, a dot in front and blanks around it"
        )
    return name


def _with_hole(wording: str) -> str:
    if wording.count(HOLE) != 1:
        raise ValueError(f"the wording must have {HOLE} in it once, where a line's prompt goes")
    return wording


Name = Annotated[str, AfterValidator(_plain_name)]


class _Read(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


class CustomTask(_Read):
    """One task of a suite file."""

    name: Name
    """What the task is called."""
    title: str | None = None
    """Its name in tables."""
    file: str | None = None
    """The lines of the test split."""
    validation: str | None = None
    """The lines that things are chosen by."""
    train: str | None = None
    """The lines that are trained on."""
    pictures: str | None = None
    """The folder that paths of pictures begin in; without it, that of each file."""
    metric: str = "exact_upper"
    """A name in `copamerge.bench.metrics.METRICS`."""
    seen: bool = True
    """Whether one of the merged adapters was trained on it."""
    max_new_tokens: Annotated[int, Field(ge=1)] = NEW_TOKENS
    """How long an answer may be."""
    template: Template = "chat"
    """How a prompt becomes what the model reads."""
    frame: Frame = "processor"
    """What becomes of pictures that are no squares."""
    prompt: Annotated[str, AfterValidator(_with_hole)] | None = None
    """A wording around every line's prompt."""

    @model_validator(mode="after")
    def _asks_something(self) -> "CustomTask":
        if self.file is None and self.validation is None and self.train is None:
            raise ValueError("names no lines; write file: and a path ending in .jsonl")
        return self


class CustomSuite(_Read):
    """A suite file."""

    suite: Literal["custom"]
    name: Name
    """What the suite is called."""
    averaged: bool = True
    """Whether a mean over the tasks says anything."""
    tasks: Annotated[list[CustomTask], Field(min_length=1)]
    """What is asked: a list of tasks."""

    @model_validator(mode="after")
    def _told_apart(self) -> "CustomSuite":
        names = [task.name for task in self.tasks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"tasks: {', '.join(twice)}: called so twice; give each its own name")
        return self


def custom_suite(path: Path, content: Mapping[str, Any], data: Path | None) -> Suite:
    """The suite of a file; its lines lie in `data`, or beside the file. They are not read here.

    Raises:
        SuiteError: everything that is malformed.
    """
    described = read_as(CustomSuite, content, path)
    _own_name(path, described.name)
    lines = {one.name: Lines(one, data or path.parent, None) for one in described.tasks}
    return _suite(path, described.name, lines, averaged=described.averaged)


def lines_suite(path: Path, data: Path | None) -> Suite:
    """A suite of one task, both called as the file is; its pictures begin in `data`, or beside it.

    Raises:
        SuiteError: no such file, or a name that cannot be one.
    """
    if not path.is_file():
        raise SuiteError(f"{path}: no such file of lines; check the path")
    try:
        name = _plain_name(path.stem)
    except ValueError as error:
        raise SuiteError(f"{path}: {error}") from None
    _own_name(path, name)
    one = CustomTask(name=name, file=path.name)
    return _suite(path, name, {name: Lines(one, path.parent, data)}, averaged=True)


def _suite(path: Path, name: str, lines: Mapping[str, "Lines"], *, averaged: bool) -> Suite:
    def check(tasks: Sequence[Task], looking: Looking) -> tuple[TaskCheck, ...]:
        return tuple(lines[task.name].check(looking) for task in tasks)

    tasks = tuple(each.task for each in lines.values())
    return Suite(name, tasks, averaged=averaged, file=path, check=check)


def _own_name(path: Path, name: str) -> None:
    from copamerge.suites._table import SUITES

    if name in SUITES:
        raise SuiteError(
            f"{path}: the name {name!r} is that of a suite that comes with copamerge; choose "
            "another"
        )


class Lines:
    """The lines of a task, read when they are first wanted."""

    def __init__(self, one: CustomTask, folder: Path, pictures: Path | None) -> None:
        self.one, self._folder = one, folder
        self._pictures = pictures if one.pictures is None else folder / one.pictures
        self._read: dict[Split, tuple[tuple[int, int], tuple[Sample, ...]]] = {}
        self._digests: dict[Split, str] = {}

    @property
    def task(self) -> Task:
        one = self.one
        return Task(
            one.name,
            one.title or one.name,
            one.metric,
            one.seen,
            self.sample,
            Asking(one.max_new_tokens, one.template, one.frame),
            self.size,
            self.digest,
        )

    def sample(self, index: int, split: Split, seed: int) -> Sample:
        return self.samples(split)[index]

    def size(self, split: Split) -> int:
        return len(self.samples(split))

    def digest(self, split: Split) -> str:
        samples = self.samples(split)
        if split not in self._digests:
            self._digests[split] = digest_of(samples)
        return self._digests[split]

    def samples(self, split: Split) -> tuple[Sample, ...]:
        """
        Raises:
            SuiteError: no such split, or lines that are malformed, all of them; a file that was
                changed after it was read: answers to the one are none to the other.
        """
        path = self._path(split)
        try:
            found = path.stat()
        except OSError as error:
            raise SuiteError(
                f"task {self.one.name!r}: {path}: cannot be read: {error.strerror}; check the path "
                "in the suite file, or give the folder of the data by --data"
            ) from None
        stamp = found.st_mtime_ns, found.st_size
        if split not in self._read:
            self._read[split] = stamp, self._worded(path)
        if self._read[split][0] != stamp:
            raise SuiteError(
                f"{path}: changed since this process read it; leave it alone during a run, or "
                "start Python again"
            )
        return self._read[split][1]

    def _path(self, split: Split) -> Path:
        name: str | None = getattr(self.one, FILES[split])
        if name is None:
            raise SuiteError(
                f"task {self.one.name!r}: has no {split} split; name its lines in the suite file "
                f"by {FILES[split]}: FILE.jsonl"
            )
        return self._folder / name

    def _worded(self, path: Path) -> tuple[Sample, ...]:
        found = read_lines(
            path, answers=True, name=self.one.name, folder=self._pictures, scored=True
        )
        wording = self.one.prompt
        if wording is None:
            return found
        return tuple(replace(x, question=wording.replace(HOLE, x.question)) for x in found)

    def check(self, looking: Looking) -> TaskCheck:
        """What is wrong with its lines and pictures; splits that the suite file does not name are
        passed over."""
        counts: dict[Split, int | None] = {}
        problems: list[str] = []
        images = 0
        for split in looking.splits:
            if getattr(self.one, FILES[split]) is None:
                continue
            try:
                samples = self.samples(split)
            except SuiteError as error:
                counts[split] = None
                problems += error.problems
                continue
            counts[split] = len(samples)
            pictures = _spread([x for sample in samples for x in sample.images], looking.images)
            images += len(pictures)
            bad = [x for picture in pictures for x in _wrong(picture, opened=looking.opened)]
            place = f"task {self.one.name!r}, {split}"
            problems += first_few(bad, place, "more pictures like these")
        return TaskCheck(self.one.name, counts, images, tuple(problems))


def _spread(pictures: Sequence[Picture], wanted: int | None) -> list[Picture]:
    """So many of the pictures that differ, evenly spread; None: all."""
    different = list(dict.fromkeys(pictures))
    if wanted is None or wanted >= len(different):
        return different
    return [different[i * len(different) // wanted] for i in range(wanted)]


def _wrong(picture: Picture, *, opened: bool) -> list[str]:
    assert isinstance(picture, Path), picture
    if not opened:
        return [] if picture.is_file() else [f"image {picture}: not there; copy it from the data"]
    try:
        pixels(picture)
    except PictureError as error:
        return list(error.problems)
    return []


def digest_of(samples: Sequence[Sample]) -> str:
    """SHA-256 over all that answers depend on: ids, wordings and the contents of pictures.

    Right answers are not in it: one that is corrected is scored anew, and nothing is asked again.
    Nor is the place of a file.
    """
    total, known = hashlib.sha256(), dict[Picture, str]()
    for sample in samples:
        pictures = []
        for picture in sample.images:
            if picture not in known:
                known[picture] = _picture_digest(picture)
            pictures.append(known[picture])
        total.update(json.dumps([sample.id, sample.question, pictures]).encode() + b"\n")
    return total.hexdigest()


def _picture_digest(picture: Picture) -> str:
    assert isinstance(picture, Path), picture
    digest = hashlib.sha256()
    try:
        with picture.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except (OSError, ValueError):  # told when it is asked
        return "absent"
    return digest.hexdigest()
