"""Sample, Task, Suite: the questions of a benchmark, apart from who answers and who scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8

from copamerge.errors import SuiteError, did_you_mean

Split = Literal["train", "validation", "test"]
"""Train is for training, validation for choosing anything, test for the numbers that are shown."""

Image = UInt8[np.ndarray, "height width 3"]
Picture = Image | Path | Callable[[], Image]
"""Pixels, or where they are read from when the sample is asked: see `copamerge.suites.pictures`."""

Template = Literal["chat", "vicuna_v1", "none"]
"""`chat`: the model's own chat template. `vicuna_v1`: LLaVA-1.5's prompt with its system sentence,
which the chat template of the converted checkpoints leaves out. `none`: what the sample says."""
Frame = Literal["processor", "pad", "crop"]
"""What becomes of a picture that is no square. `processor`: what the model's own processor does.
`pad`: bars in the processor's mean colour make it one. `crop`: only its middle is seen."""


AnswerKind = Literal["text", "labels"]
"""Whether models write their answers, or choose among labels as CLIP does."""


@dataclass(frozen=True)
class Classes:
    """The labels a picture may have, for models that score labels instead of writing them."""

    names: tuple[str, ...]
    templates: tuple[str, ...] = ("a photo of a {}.",)
    """Sentences about a label; a label's embedding is the mean over them."""


@dataclass(frozen=True)
class Asking:
    """How a task's samples are put to a model, as far as it changes the answers."""

    max_new_tokens: int = 16
    template: Template = "chat"
    frame: Frame = "processor"
    classes: Classes | None = None
    """None: the model writes its answer."""


class Place(NamedTuple):
    """Where a sample belongs, for scores that are told apart or judged together."""

    category: str | None = None
    """Scores of a category are shown apart: a subtask, samples with pictures."""
    group: str | None = None
    """Samples of a group are judged together: questions about one picture, turned options."""


NOWHERE = Place()


@dataclass(frozen=True, eq=False)
class Sample:
    """One question: pictures, what is asked about them, and what counts as right."""

    id: str
    """Unique in its task, split and seed."""
    images: tuple[Picture, ...]
    question: str
    """What the user says, with the hint at the form of the answer; without the chat template."""
    references: tuple[str, ...]
    """Right answers; the first is the one trained on. Captions have several."""
    choices: int | None = None
    """How many lettered options the question offers; None where it offers none."""
    place: Place = NOWHERE
    further: tuple[tuple[str, str], ...] = ()
    """Questions that follow in the same conversation, with their answers: for training only."""


@dataclass(frozen=True)
class Task:
    """A source of samples and the name of the metric that scores answers to them."""

    name: str
    title: str
    """The task of the paper that this one mirrors."""
    metric: str
    """A name in `copamerge.bench.metrics.METRICS`."""
    seen: bool
    """Whether one of the merged adapters was trained on it."""
    sample: Callable[[int, Split, int], Sample]
    """(index, split, seed) -> Sample; the same arguments always give the same sample."""
    asking: Asking = Asking()
    size: Callable[[Split], int] | None = None
    """How many samples a split has; None: as many as are asked for, made by code."""
    digest: Callable[[Split], str] | None = None
    """A hash of what a split's samples are read from; None: this version's code."""

    def count(self, split: Split, items: int | None) -> int:
        """How many samples `items` of a split are; None is all of them.

        Samples that are judged together are not parted: the count goes on to the end of a group.

        Raises:
            SuiteError: None for a task without end, or a split without samples.
        """
        if self.size is None:
            if items is None:
                raise SuiteError(f"task {self.name!r}: its samples have no end; say how many")
            return items
        there = self.size(split)
        if there == 0:
            raise SuiteError(f"task {self.name!r}: its {split} split has no samples")
        count = there if items is None else min(items, there)
        while 0 < count < there and self._are_one(split, count):
            count += 1
        return count

    def _are_one(self, split: Split, index: int) -> bool:
        """Whether the sample at this place is judged together with the one before it."""
        last, this = (self.sample(i, split, 0).place for i in (index - 1, index))
        return this.group is not None and this == last

    def samples(self, split: Split, count: int, seed: int = 0, start: int = 0) -> list[Sample]:
        """Samples `start` to `start + count - 1` of a split."""
        return [self.sample(index, split, seed) for index in range(start, start + count)]


class Looking(NamedTuple):
    """How closely a check of a suite's data looks."""

    splits: tuple[Split, ...] = ("test", "validation", "train")
    images: int | None = None
    """Of each split so many pictures, evenly spread, are looked for; None: all of them."""
    opened: bool = False
    """Pictures are opened, not only looked for."""


@dataclass(frozen=True)
class TaskCheck:
    """What a check of a task's data found."""

    task: str
    counts: Mapping[Split, int | None]
    """Samples of each split that was looked at; None where it cannot be used."""
    images: int = 0
    """Pictures that were looked for."""
    problems: tuple[str, ...] = ()
    """All of them, counted, in sentences; some of them keep the task from being asked."""
    notes: tuple[str, ...] = ()
    """What is no mistake but worth knowing, such as turns of a conversation that are not used."""


Check = Callable[[Sequence[Task], Looking], tuple[TaskCheck, ...]]
"""Of a suite's data: one result for each of these tasks, in their order.

Raises `SuiteError` where the folder is not there, and for nothing that is in it."""


@dataclass(frozen=True)
class Suite:
    """Tasks that are reported together, in the order of the table."""

    name: str
    tasks: tuple[Task, ...]
    items: int | None = None
    """Samples of a task where nobody says how many; None: all."""
    averaged: bool = True
    """Whether a mean over tasks says anything: not where they count in unlike units."""
    answers: AnswerKind = "text"
    ships: bool = False
    """Whether a base model and adapters for it come with copamerge."""
    check: Check | None = None
    """What is wrong with its data, as they are on disk now; None for what is made by code."""
    file: Path | None = None
    """The file that describes it, by which it is opened again; None for one that is known by
    name."""

    @property
    def opened_as(self) -> str:
        """What `suite_named` opens it by."""
        return self.name if self.file is None else str(self.file)

    @property
    def seen(self) -> tuple[Task, ...]:
        return tuple(task for task in self.tasks if task.seen)

    @property
    def unseen(self) -> tuple[Task, ...]:
        return tuple(task for task in self.tasks if not task.seen)

    @property
    def by_name(self) -> Mapping[str, Task]:
        return {task.name: task for task in self.tasks}

    def pick(self, names: Sequence[str] | None) -> tuple[Task, ...]:
        """The tasks of these names in the suite's order; all of them for None.

        Raises:
            SuiteError: a name is not one of the suite's.
        """
        if names is None:
            return self.tasks
        problems = [
            f"task {name!r}: the suite {self.name!r} has none of that name"
            + did_you_mean(name, self.by_name)
            for name in names
            if name not in self.by_name
        ]
        if problems:
            raise SuiteError(problems)
        return tuple(task for task in self.tasks if task.name in names)
