"""What is wrong with image sets, as they are on disk: `copamerge data check`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from copamerge.errors import CopamergeError, first_few
from copamerge.suites._base import Looking, Split, Task, TaskCheck
from copamerge.suites.images._set import ImageSet
from copamerge.suites.images._task import set_of
from copamerge.suites.pictures import PictureError, pixels


def check(tasks: Sequence[Task], looking: Looking) -> tuple[TaskCheck, ...]:
    """One result for each task: what keeps it from being asked, and pictures that do not open."""
    return tuple(_of_task(task, looking) for task in tasks)


def _of_task(task: Task, looking: Looking) -> TaskCheck:
    try:
        images = set_of(task)
    except CopamergeError as error:
        return TaskCheck(task.name, dict.fromkeys(looking.splits), problems=tuple(error.problems))
    counts: dict[Split, int | None] = {split: images.size(split) for split in looking.splits}
    notes = [f"task {task.name!r}: {note}" for note in images.notes]
    problems: list[str] = []
    looked = 0
    for split in looking.splits:
        size = images.size(split)
        if not size:
            notes.append(f"task {task.name!r}: no {split} split")
            continue
        bare = sorted(set(range(len(images.names))) - set(images.labels(split).tolist()))
        if bare:
            notes.append(
                f"task {task.name!r}, {split}: {len(bare)} of {len(images.names)} classes have no "
                f"picture (first: {images.names[bare[0]]!r})"
            )
        count = size if looking.images is None else min(size, looking.images)
        bad = []
        for index in np.unique(np.linspace(0, size - 1, count).round().astype(int)).tolist():
            looked += 1
            if (reason := _missing(images, split, index, looking.opened)) is not None:
                bad.append(f"task {task.name!r}, {split}: {reason}")
        problems += first_few(
            bad, f"task {task.name!r}, {split}", "more pictures that cannot be read"
        )
    return TaskCheck(task.name, counts, looked, tuple(problems), tuple(notes))


def _missing(images: ImageSet, split: Split, index: int, opened: bool) -> str | None:
    """Why a picture cannot be read; None where it can, as far as was looked."""
    picture = images.picture(split, index)
    if isinstance(picture, Path) and not picture.is_file():
        return f"image {picture}: not there; copy it from the data set"
    if opened:
        try:
            pixels(picture)
        except PictureError as error:
            return " ".join(error.problems)
    return None
