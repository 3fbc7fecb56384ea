"""Everything that is wrong with the data of a suite, all of it, with counts."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from copamerge.errors import first_few
from copamerge.suites._base import Check, Looking, Picture, Sample, Split, Task, TaskCheck
from copamerge.suites.mm_mergebench.found import Source, few
from copamerge.suites.mm_mergebench.science import NotAsked
from copamerge.suites.pictures import PictureError, pixels


def check_from(sources: Callable[[], Mapping[str, Source]]) -> Check:
    """A check that reads the disk anew each time it is made; `sources` raises what stops it."""

    def check(tasks: Sequence[Task], looking: Looking) -> tuple[TaskCheck, ...]:
        there = sources()
        return tuple(_check(task, there[task.name], looking) for task in tasks)

    return check


def _check(task: Task, source: Source, looking: Looking) -> TaskCheck:
    counts: dict[Split, int | None] = {}
    problems: list[str] = []
    notes: list[str] = []
    images = 0
    for split in looking.splits:
        found = source.read(split)
        counts[split] = None if found.stops else len(found.samples)
        problems += [*found.stops, *found.faults]
        notes += found.notes
        looked, missing = _pictures(found.samples, split, looking)
        images += looked
        problems += missing
    # The train file is behind two splits, and what is wrong with it is said once.
    return TaskCheck(
        task.name, counts, images, tuple(dict.fromkeys(problems)), tuple(dict.fromkeys(notes))
    )


def _pictures(samples: Sequence[Sample], split: Split, looking: Looking) -> tuple[int, list[str]]:
    """How many pictures were looked for, and those that are not there or do not open."""
    looked: set[Picture] = set()
    missing: list[str] = []
    broken: list[str] = []
    for sample in _spread(samples, looking.images):
        for picture in sample.images:
            # That a question is not there has been said; one picture may serve many questions.
            if isinstance(picture, np.ndarray | NotAsked) or picture in looked:
                continue
            looked.add(picture)
            if isinstance(picture, Path) and not picture.is_file():
                missing.append(str(picture))
            elif looking.opened:
                try:
                    pixels(picture)
                except PictureError as error:
                    broken.append(" ".join(error.problems))
    total = len(looked)
    problems = []
    if missing:
        problems.append(
            f"{split}: pictures that are not there: {len(missing)} of {total} ({few(missing)}); "
            "copy them from the data set, or say where they are (docs/suites.md)"
        )
    if broken:
        problems.append(
            f"{split}: pictures that do not open: {len(broken)} of {total}; their questions would "
            "count as wrong: " + "; ".join(first_few(broken, split, "more"))
        )
    return total, problems


def _spread(samples: Sequence[Sample], most: int | None) -> Sequence[Sample]:
    """So many of them, evenly spread over the split; all for None."""
    if most is None or most >= len(samples):
        return samples
    return [samples[i * len(samples) // most] for i in range(most)]
