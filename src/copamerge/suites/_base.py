"""Sample, Task, Suite: the questions of a benchmark, apart from who answers and who scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from copamerge.errors import SuiteError, did_you_mean

Split = Literal["train", "validation", "test"]
"""Train is for training, validation for choosing anything, test for the numbers that are shown."""

Image = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True, eq=False)
class Sample:
    """One question: a picture, what is asked about it, and what counts as right."""

    id: str
    """Unique in its task, split and seed."""
    image: Image | None
    question: str
    """What the user says, with the hint at the form of the answer; without the chat template."""
    references: tuple[str, ...]
    """Right answers; the first is the one trained on. Captions have several."""
    choices: int | None = None
    """How many lettered options the question offers; None where it offers none."""


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
    max_new_tokens: int = 16

    def samples(self, split: Split, count: int, seed: int = 0, start: int = 0) -> list[Sample]:
        """Samples `start` to `start + count - 1` of a split."""
        return [self.sample(index, split, seed) for index in range(start, start + count)]


@dataclass(frozen=True)
class Suite:
    """Tasks that are reported together, in the order of the table."""

    name: str
    tasks: tuple[Task, ...]

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
