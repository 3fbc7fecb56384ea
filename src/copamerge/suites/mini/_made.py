"""From a function that makes up a question to a task with three splits that share no picture."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from zlib import crc32

from copamerge.suites._base import Asking, Sample, Split, Task
from copamerge.suites.mini.draw import Canvas

SHARES: dict[Split, tuple[int, int]] = {"train": (0, 50), "validation": (50, 75), "test": (75, 100)}
"""Which percentiles of the pictures' checksums belong to a split."""


@dataclass(frozen=True, eq=False)
class Made:
    """What a maker returns: a picture, a question about it, the right answers."""

    canvas: Canvas | None
    question: str
    references: tuple[str, ...]
    choices: int | None = None
    more: tuple[tuple[str, str], ...] = ()
    """Further questions about the same picture, each with its answer: lessons only."""


Maker = Callable[[Random], Made]


def made(maker: Maker, name: str, index: int, split: Split, seed: int) -> Made:
    """The sample of this place: drawn again until its picture's checksum is of the split.

    A picture's split follows from its pixels alone, so no picture can be in two splits, whatever
    the seeds. Only lessons have samples without a picture, and no split.
    """
    low, high = SHARES[split]
    rng = Random(f"{name}/{split}/{seed}/{index}")
    while True:
        one = maker(rng)
        if one.canvas is None or low <= crc32(one.canvas.pixels.tobytes()) % 100 < high:
            return one


def task(maker: Maker, title: str, metric: str, *, seen: bool, max_new_tokens: int = 16) -> Task:
    """The task that a maker of this module's name makes up."""
    name = maker.__name__

    def sample(index: int, split: Split, seed: int) -> Sample:
        one = made(maker, name, index, split, seed)
        return Sample(
            id=f"{name}/{split}/{seed}/{index}",
            images=(one.canvas.pixels,) if one.canvas else (),
            question=one.question,
            references=one.references,
            choices=one.choices,
        )

    return Task(name, title, metric, seen, sample, Asking(max_new_tokens))
