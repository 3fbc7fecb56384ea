"""An image set as a task: which picture is which class?"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
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

    @cache
    def opened() -> ImageSet:
        if where.path is None:
            raise SuiteError(
                f"task {name!r}: where its images lie is not known; give the folder by --data"
            )
        try:
            return read(where.path, options)
        except SuiteError as error:
            raise SuiteError([f"task {name!r}: {problem}" for problem in error.problems]) from None

    if labels is None and where.path is not None and where.path.exists():
        # What is wrong with a set is said when it is asked for.
        with suppress(CopamergeError):
            labels = opened().names

    def size(split: Split) -> int:
        return opened().size(split)

    def digest(split: Split) -> str:
        return opened().digest(split)

    return Task(
        name=name,
        title=title,
        metric=METRIC,
        seen=seen,
        sample=_sampler(name, opened),
        asking=Asking(classes=None if labels is None else Classes(labels, tuple(templates))),
        size=size,
        digest=digest,
    )


def _sampler(name: str, opened: Callable[[], ImageSet]) -> Callable[[int, Split, int], Sample]:
    def sample(index: int, split: Split, seed: int) -> Sample:
        """The seed changes nothing: the pictures are as they are."""
        images = opened()
        return Sample(
            id=f"{name}/{split}/{images.key(split, index)}",
            images=(images.picture(split, index),),
            question="",
            references=(images.names[images.label(split, index)],),
        )

    return sample


def labels_suite(name: str, tasks: Sequence[Task], *, items: int | None = None) -> Suite:
    """Tasks of image sets as a suite for models that choose among labels."""
    return Suite(name, tuple(tasks), items=items, answers="labels")
