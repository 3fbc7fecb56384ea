"""Pictures of several tasks as rows of a training: drawn alike, opened once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from copamerge.bench.clip import read_pictures
from copamerge.errors import SuiteError
from copamerge.suites import Task
from copamerge.suites.images import ImageSet, set_of
from copamerge.suites.pictures import PictureError, pixels

KEPT_BYTES = 2 * 10**9
"""Up to which the pictures of a training are kept in memory as the model reads them."""


class Drawn(Dataset[dict[str, Any]]):
    """`count` rows, the tasks in turn, each through all its pictures before one comes again.

    A picture that does not open is left out, another one of its task stands in, and `skipped`
    names it.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        processor: Any,
        count: int,
        *,
        items: int | None,
        seed: int,
    ) -> None:
        """
        Raises:
            SuiteError: tasks without pictures to train on, all of them.
        """
        self.tasks, self.processor, self.count, self.seed = tuple(tasks), processor, count, seed
        self.sizes = _sizes(tasks, items)
        self.sets: list[ImageSet] = [set_of(task) for task in tasks]
        self.skipped: dict[tuple[str, str], str] = {}
        self._orders: dict[tuple[int, int], Any] = {}
        self._seen: dict[tuple[int, int], Tensor] = {}
        self._used = [set[int]() for _ in tasks]

    def __len__(self) -> int:
        return self.count

    @property
    def used(self) -> dict[str, int]:
        """Task -> how many unlike pictures of it were given."""
        return {task.name: len(used) for task, used in zip(self.tasks, self._used, strict=True)}

    def __getitem__(self, index: int) -> dict[str, Any]:
        which, turn = index % len(self.tasks), index // len(self.tasks)
        size = self.sizes[which]
        for further in range(size):
            row = self._row(which, turn + further)
            read = self._read(which, row)
            if read is not None:
                self._used[which].add(row)
                return {
                    "pixel_values": read,
                    "task": which,
                    "label": self.sets[which].label("train", row),
                    "row": index,
                }
        raise SuiteError(
            f"task {self.tasks[which].name!r}: none of its {size} train pictures opens; "
            "copy the set again"
        )

    def _row(self, which: int, turn: int) -> int:
        """The turn's picture: every epoch has its own order."""
        epoch, place = divmod(turn, self.sizes[which])
        if (which, epoch) not in self._orders:
            generator = np.random.default_rng([self.seed, which, epoch])
            self._orders[which, epoch] = generator.permutation(self.sizes[which])
        return int(self._orders[which, epoch][place])

    def _read(self, which: int, row: int) -> Float[Tensor, "3 side side"] | None:
        if (which, row) in self._seen:
            return self._seen[which, row]
        images = self.sets[which]
        try:
            image = pixels(images.picture("train", row))
        except PictureError as error:
            key = images.key("train", row)
            self.skipped[self.tasks[which].name, key] = " ".join(error.problems)
            return None
        read = read_pictures(self.processor, [image])[0]
        if (len(self._seen) + 1) * read.numel() * read.element_size() <= KEPT_BYTES:
            self._seen[which, row] = read
        return read


def collate(rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    return {
        "pixel_values": torch.stack([row["pixel_values"] for row in rows]),
        **{key: torch.tensor([row[key] for row in rows]) for key in ("task", "label", "row")},
    }


def _sizes(tasks: Sequence[Task], items: int | None) -> list[int]:
    problems: list[str] = []
    sizes: list[int] = []
    for task in tasks:
        try:
            sizes.append(task.count("train", items))
        except SuiteError as error:
            problems += error.problems
    if problems:
        raise SuiteError(problems)
    return sizes
