"""An image set as a task: which picture is which class?"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from copamerge.errors import CopamergeError, SuiteError
from copamerge.suites._base import Asking, Classes, Sample, Split, Suite, Task
from copamerge.suites.images._set import ImageSet, Options, read

METRIC = "top1"
"""Of `copamerge.bench.metrics`: the best label is the right one."""


@dataclass(frozen=True)
class Where:
    """Where a set lies, and how it is stored there."""

    path: Path | None
    """None: the user has not said in which folder."""
    options: Options = field(default_factory=Options)


class Asked:
    """A set that is opened when it is first asked for; a task's functions are its methods."""

    def __init__(self, name: str, opened: Callable[[], ImageSet]) -> None:
        self.name, self.opened = name, opened

    @cached_property
    def images(self) -> ImageSet:
        """
        Raises:
            SuiteError: it is not there, or malformed.
        """
        return self.opened()

    def sample(self, index: int, split: Split, seed: int) -> Sample:
        """The seed changes nothing: the pictures are as they are."""
        images = self.images
        return Sample(
            id=f"{self.name}/{split}/{images.key(split, index)}",
            images=(images.picture(split, index),),
            question="",
            references=(images.names[images.label(split, index)],),
        )

    def size(self, split: Split) -> int:
        return self.images.size(split)

    def digest(self, split: Split) -> str:
        return self.images.digest(split)


def task_of(
    name: str,
    title: str,
    where: Where,
    names: Sequence[str] | None,
    templates: Sequence[str],
    *,
    seen: bool = True,
) -> Task:
    """A task whose set is opened when its first picture is asked for.

    `names` are the labels that models choose among, in the order of the set's; None: those of the
    set, for which it is opened now if it is there.
    """
    labels = None if names is None else tuple(names)
    options = replace(where.options, names=labels) if labels else where.options

    def opened() -> ImageSet:
        if where.path is None:
            raise SuiteError(
                f"task {name!r}: where its images lie is not known; give the folder by --data"
            )
        return read_for(name, where.path, options)

    asked = Asked(name, opened)
    if labels is None and where.path is not None and where.path.exists():
        # What is wrong with a set is said when it is asked for.
        with suppress(CopamergeError):
            labels = asked.images.names
    classes = None if labels is None else Classes(labels, tuple(templates))
    return task_from(asked, title, classes, seen=seen)


def read_for(name: str, path: Path, options: Options) -> ImageSet:
    """As `read`; a problem begins with the task that it is one for."""
    try:
        return read(path, options)
    except SuiteError as error:
        raise SuiteError([f"task {name!r}: {problem}" for problem in error.problems]) from None


def task_from(asked: Asked, title: str, classes: Classes | None, *, seen: bool = True) -> Task:
    """The task of a set."""
    return Task(
        name=asked.name,
        title=title,
        metric=METRIC,
        seen=seen,
        sample=asked.sample,
        asking=Asking(classes=classes),
        size=asked.size,
        digest=asked.digest,
    )


def set_of(task: Task) -> ImageSet:
    """The image set of a task that was made here.

    Raises:
        SuiteError: it is not there, or malformed.
    """
    asked = getattr(task.size, "__self__", None)
    assert isinstance(asked, Asked), task.name
    return asked.images


def labels_suite(name: str, tasks: Sequence[Task], *, items: int | None = None) -> Suite:
    """Tasks of image sets as a suite for models that choose among labels."""
    from copamerge.suites.images._check import check

    return Suite(name, tuple(tasks), items=items, answers="labels", check=check)
