"""A YAML file that lists image sets, as a suite.

    suite: images
    name: digits
    templates: ["a photo of the number {}."]
    tasks:
      - {name: mnist, path: mnist/data.npz, names: [zero, one, two, ...]}
      - {name: svhn, path: svhn, title: SVHN, names: svhn_names.txt}
      - {name: notes, path: notes, seen: false}

Paths are relative to the folder given by --data, or else to that of the file. A file of names has
one on each line.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from copamerge.errors import SuiteError
from copamerge.suites._base import Split, Suite, Task
from copamerge.suites._file import read_as
from copamerge.suites.images._set import Kind, Options
from copamerge.suites.images._task import Where, labels_suite, task_of

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$"
TEMPLATES = ("a photo of a {}.",)


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _with_a_gap(templates: tuple[str, ...] | None) -> tuple[str, ...] | None:
    bad = [x for x in templates or () if x.count("{}") != 1 or x.replace("{}", "").count("{")]
    if bad:
        raise ValueError(f"a template has one {{}} where the name stands (got {bad[0]!r})")
    return templates


class TaskForm(_Form):
    """A task in a suite file."""

    name: str = Field(pattern=NAME)
    """The task's name: letters, digits, and _ . + -."""
    title: str | None = None
    """What tables call it; left out: its name."""
    path: str
    """Where its image set lies."""
    kind: Kind | None = None
    """Folder, datasets or npz; left out: as it looks."""
    names: tuple[str, ...] | str | None = None
    """Class names in the order of the labels, or a file with one on each line."""
    templates: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Sentences about a class; left out: those of the suite."""
    seen: bool = True
    """Whether adapters are trained on it."""
    splits: dict[Split, str] = Field(default_factory=dict)
    """Which part of the set is which split, where its name does not say it."""
    divide: bool = False
    """Divide all its pictures into train, validation and test by hash."""
    image_key: str = "image"
    """Of a table, the column with the pictures."""
    label_key: str = "label"
    """Of a table, the column with the labels."""

    _gap = field_validator("templates")(_with_a_gap)


class SuiteForm(_Form):
    """A suite file."""

    suite: Literal["images"]
    """The word `images`."""
    name: str = Field(pattern=NAME)
    """What results call the suite: letters, digits, and _ . + -."""
    templates: tuple[str, ...] = Field(default=TEMPLATES, min_length=1)
    """Sentences about a class, for tasks that have none of their own."""
    items: int | None = Field(default=None, gt=0)
    """How many pictures of each task are asked where the command does not say; left out: all."""
    tasks: tuple[TaskForm, ...] = Field(min_length=1)
    """A list of tasks, each with its name and path."""

    _gap = field_validator("templates")(_with_a_gap)


def image_suite(path: Path, content: Mapping[str, Any], data: Path | None) -> Suite:
    """The suite that a file describes; no image is read.

    Raises:
        SuiteError: all that is wrong with the file.
    """
    form = read_as(SuiteForm, content, path)
    names = [task.name for task in form.tasks]
    problems = [
        f"{path}: two tasks are called {name!r}; give unlike names"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    if form.name in _taken():
        problems.append(f"{path}: name: {form.name!r} is a suite of copamerge; choose another name")
    tasks = []
    for one in form.tasks:
        try:
            tasks.append(_task(one, form, path, data))
        except SuiteError as error:
            problems += error.problems
    if problems:
        raise SuiteError(problems)
    return labels_suite(form.name, tasks, items=form.items)


def _taken() -> Mapping[str, Any]:
    from copamerge.suites._table import SUITES

    return SUITES


def _task(form: TaskForm, suite: SuiteForm, path: Path, data: Path | None) -> Task:
    names = form.names
    if isinstance(names, str):
        names = _lines(_beside(names, path, data), path, form.name)
    options = Options(
        kind=form.kind,
        splits=tuple(form.splits.items()),
        divide=form.divide,
        image_key=form.image_key,
        label_key=form.label_key,
    )
    place = Path(form.path).expanduser()
    return task_of(
        form.name,
        form.title or form.name,
        Where(place if place.is_absolute() else (data or path.parent) / place, options),
        names,
        form.templates or suite.templates,
        seen=form.seen,
    )


def _beside(name: str, path: Path, data: Path | None) -> Path:
    """A file of names lies beside the suite file, or with the data."""
    own = path.parent / name
    return data / name if data is not None and not own.is_file() else own


def _lines(file: Path, path: Path, task: str) -> tuple[str, ...]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise SuiteError(
            f"{path}: task {task!r}: names: {file} is no file of names that can be read; write "
            "one name on each line, or a list here"
        ) from None
    return tuple(line.strip() for line in lines if line.strip())
