"""Pictures of several tasks as rows of a training: drawn alike, opened once."""

import json
from collections.abc import Sequence
from pathlib import Path
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

    A picture that does not open is left out, the next one of its task stands in, and a line of
    the file `log` names it: several processes may draw, and a killed training goes on.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        processor: Any,
        count: int,
        *,
        items: int | None,
        seed: int,
        log: Path,
        workers: int = 0,
    ) -> None:
        """
        Raises:
            SuiteError: tasks without pictures to train on, all of them.
        """
        self.tasks, self.processor, self.count, self.seed = tuple(tasks), processor, count, seed
        self.sizes = _sizes(tasks, items)
        self.sets: list[ImageSet] = [set_of(task) for task in tasks]
        self.log, self._bytes = log, KEPT_BYTES // max(1, workers)
        self._orders: dict[tuple[int, int], Any] = {}
        self._seen: dict[tuple[int, int], Tensor] = {}
        self._shut: set[tuple[int, int]] = set()

    def __len__(self) -> int:
        return self.count

    @property
    def skipped(self) -> list[dict[str, str]]:
        """Pictures that did not open: task, id, reason; in order, each once."""
        if not self.log.is_file():
            return []
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in sorted(set(lines))]

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Task -> unlike pictures that a whole training gives, of how many."""
        shut = [one["task"] for one in self.skipped]
        found = {}
        for which, (task, size) in enumerate(zip(self.tasks, self.sizes, strict=True)):
            turns = len(range(which, self.count, len(self.tasks)))
            used = min(turns, size - shut.count(task.name))
            found[task.name] = {"used": used, "of": size}
        return found

    def __getitem__(self, index: int) -> dict[str, Any]:
        which, turn = index % len(self.tasks), index // len(self.tasks)
        size = self.sizes[which]
        for further in range(size):
            row = self._row(which, turn + further)
            read = self._read(which, row)
            if read is not None:
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
        if (which, row) in self._shut:
            return None
        images = self.sets[which]
        try:
            image = pixels(images.picture("train", row))
        except PictureError as error:
            self._shut.add((which, row))
            told = {
                "task": self.tasks[which].name,
                "id": images.key("train", row),
                "reason": " ".join(error.problems),
            }
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(told) + "\n")
            return None
        read = read_pictures(self.processor, [image])[0]
        if (len(self._seen) + 1) * read.numel() * read.element_size() <= self._bytes:
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
