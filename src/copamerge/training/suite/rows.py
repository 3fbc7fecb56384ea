"""A suite's train samples as rows: which can be trained on, and why the others cannot."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from copamerge.bench.prompting import TextProcessor, texts_read_by
from copamerge.errors import SuiteError
from copamerge.suites import Frame, Sample, Task
from copamerge.suites.pictures import PictureError, pixels
from copamerge.training.suite.conversation import Reader
from copamerge.training.suite.ranks import Ranks

IGNORED = -100
"""The label of a token that costs no loss."""
AT_ONCE = 256
"""Samples whose pictures are opened together in the survey."""

Why = Literal["picture", "answer", "length"]
"""A picture that does not open, no answer to train on, more tokens than the recipe takes."""


@dataclass(frozen=True)
class Checked:
    """What the survey found out about a sample."""

    task: str
    index: int
    id: str
    pictures: int = 0
    turns: int = 1
    tokens: int = 0
    learned: int = 0
    why: Why | None = None
    """None: it is trained on."""
    reason: str = ""


@dataclass(frozen=True)
class Survey:
    """All train samples of the tasks, each looked at once before training begins."""

    samples: tuple[Checked, ...]

    @property
    def used(self) -> list[Checked]:
        return [sample for sample in self.samples if sample.why is None]

    @property
    def skipped(self) -> list[Checked]:
        return [sample for sample in self.samples if sample.why is not None]

    def counts(self) -> dict[str, dict[str, Any]]:
        """Per task: samples, used ones, skipped ones by reason, those without a picture, tokens."""
        found = {}
        for task in dict.fromkeys(sample.task for sample in self.samples):
            mine = [sample for sample in self.samples if sample.task == task]
            used = [sample for sample in mine if sample.why is None]
            whys: tuple[Why, ...] = ("picture", "answer", "length")
            found[task] = {
                "samples": len(mine),
                "used": len(used),
                "skipped": {why: sum(x.why == why for x in mine) for why in whys},
                "text_only": sum(x.pictures == 0 for x in used),
                "several_turns": sum(x.turns > 1 for x in used),
                "tokens": sum(x.tokens for x in used),
                "learned_tokens": sum(x.learned for x in used),
            }
        return found

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(sample) for sample in self.samples]


@dataclass(frozen=True)
class Source:
    """Where rows come from: tasks, how their samples are read, and the seed of made ones."""

    reader: Reader
    tasks: tuple[Task, ...]
    frame: Frame
    max_length: int
    seed: int
    items: int | None = None
    """The first so many train samples of each task; None: all."""

    def check(self, here: Ranks, tell: Callable[[int, int], None] = lambda *_: None) -> Survey:
        """Look at every sample: each process at its share, and all know of all afterwards.

        Raises:
            SuiteError: pictures for a base without eyes; no sample that can be trained on.
        """
        everything = [
            (task, index) for task in self.tasks for index in range(task.count("train", self.items))
        ]
        mine = everything[here.rank :: here.world]
        found: list[Checked] = []
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for some in _in_pieces(mine, AT_ONCE):
                # Suites are asked from one thread only; opening pictures takes the time.
                samples = [
                    (task, index, task.sample(index, "train", self.seed)) for task, index in some
                ]
                shapes = pool.map(_shapes, [sample for *_, sample in samples])
                for (task, index, sample), shape in zip(samples, shapes, strict=True):
                    found.append(self._checked(task, index, sample, shape))
                tell(len(found), len(mine))
        order = {(task.name, index): i for i, (task, index) in enumerate(everything)}
        every = sorted(here.of_all(found), key=lambda x: order[x.task, x.index])
        survey = Survey(tuple(every))
        if not survey.used:
            names = ", ".join(task.name for task in self.tasks)
            first = f" (first: {every[0].id}: {every[0].reason})" if every else ""
            raise SuiteError(
                f"{names}: none of {len(every)} train samples can be trained on{first}"
            )
        return survey

    def _checked(
        self, task: Task, index: int, sample: Sample, shapes: list[tuple[int, ...]] | str
    ) -> Checked:
        if sample.images and isinstance(self.reader.processor, TextProcessor):
            raise SuiteError(
                f"task {task.name!r}: sample {sample.id!r} has an image, but the base reads text "
                "only; give an image-text base by --base"
            )
        one = Checked(
            task.name, index, sample.id, len(sample.images), turns=1 + len(sample.further)
        )
        if isinstance(shapes, str):
            return replace(one, why="picture", reason=shapes)
        answers = (*sample.references[:1], *(answer for _, answer in sample.further))
        if len(answers) != one.turns or not all(answer.strip() for answer in answers):
            return replace(one, why="answer", reason="it has no answer to train on")
        pieces = self.reader.pieces(sample, task.asking)
        learned = self.reader.learned(pieces)
        tokens = learned.tokens
        if shapes:
            text = "".join(piece.text for piece in pieces)
            tokens += self._added(sample, text, learned.tokens, shapes)
        one = replace(one, tokens=tokens, learned=learned.count)
        if tokens > self.max_length:
            reason = f"its {tokens} tokens are more than max_length, {self.max_length}"
            return replace(one, why="length", reason=reason)
        return one

    def _added(self, sample: Sample, text: str, tokens: int, shapes: list[tuple[int, ...]]) -> int:
        """How many tokens the pictures become, beside one each: decided by their shapes."""
        if self.frame == "pad":
            shapes = [(max(shape), max(shape)) for shape in shapes]
        key = tuple(shapes)
        if key not in self.reader.added:
            blank = tuple(np.zeros((*shape, 3), dtype=np.uint8) for shape in shapes)
            read = texts_read_by(
                self.reader.processor, [text], [replace(sample, images=blank)], self.frame
            )
            self.reader.added[key] = read["input_ids"].shape[1] - tokens
        return self.reader.added[key]


def _shapes(sample: Sample) -> list[tuple[int, ...]] | str:
    """(height, width) of each picture, or why one does not open."""
    try:
        return [pixels(picture).shape[:2] for picture in sample.images]
    except PictureError as error:
        return " ".join(error.problems)


def _in_pieces(
    everything: Iterable[tuple[Task, int]], size: int
) -> Iterator[list[tuple[Task, int]]]:
    left = iter(everything)
    while some := list(islice(left, size)):
        yield some


class Rows(Dataset[tuple[Task, Sample]]):
    """The samples that are trained on, in the suite's order; pictures are opened when asked."""

    def __init__(self, source: Source, survey: Survey) -> None:
        by_name = {task.name: task for task in source.tasks}
        self.seed = source.seed
        self.places = [(by_name[one.task], one.index) for one in survey.used]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, row: int) -> tuple[Task, Sample]:
        """
        Raises:
            SuiteError: a picture that could be opened before training began.
        """
        task, index = self.places[row]
        sample = task.sample(index, "train", self.seed)
        try:
            return task, replace(sample, images=tuple(pixels(one) for one in sample.images))
        except PictureError as error:
            raise SuiteError(
                f"sample {sample.id!r}: {' '.join(error.problems)}; it was there when training "
                "began: put it back, and the same command goes on"
            ) from None


class Collator:
    """Samples to a batch, padded on the right, with labels on answers and their ends only."""

    def __init__(self, reader: Reader, frame: Frame, *, always_pictured: bool = False) -> None:
        self.reader, self.frame = reader, frame
        self.always_pictured = always_pictured
        """Whether a batch without pictures gets one that nothing learned can see. Where weights
        are split over devices, all of them have to go through the vision tower together."""

    def __call__(self, rows: Sequence[tuple[Task, Sample]]) -> dict[str, Tensor]:
        texts, spans = [], []
        samples = [sample for _, sample in rows]
        for task, sample in rows:
            pieces = self.reader.pieces(sample, task.asking)
            texts.append("".join(piece.text for piece in pieces))
            spans.append(self.reader.learned(pieces).spans)
        unseen = 0
        if self.always_pictured and not any(sample.images for sample in samples):
            samples, texts, unseen = self._with_a_picture(samples, texts)
        batch = dict(texts_read_by(self.reader.processor, texts, samples, self.frame))
        labels = torch.full_like(batch["input_ids"], IGNORED)
        for row, places in enumerate(spans):
            end = int(batch["attention_mask"][row].sum()) - (unseen if row == 0 else 0)
            for first, last in places:
                labels[row, end - first : end - last] = batch["input_ids"][
                    row, end - first : end - last
                ]
        batch["labels"] = labels
        return batch

    def _with_a_picture(
        self, samples: list[Sample], texts: list[str]
    ) -> tuple[list[Sample], list[str], int]:
        """A black picture after the end of the first text, and the tokens it becomes: what stands
        before it does not look there."""
        token = getattr(self.reader.processor, "image_token", None)
        if token is None:
            return samples, texts, 0
        black = np.zeros((32, 32, 3), dtype=np.uint8)
        samples = [replace(samples[0], images=(black,)), *samples[1:]]
        longer = texts[0] + token
        read = texts_read_by(self.reader.processor, [longer], samples[:1], self.frame)
        before = self.reader.processor.tokenizer(
            texts[0], add_special_tokens=not _starts(self.reader, texts[0])
        )["input_ids"]
        return samples, [longer, *texts[1:]], read["input_ids"].shape[1] - len(before)


def _starts(reader: Reader, text: str) -> bool:
    start = reader.tokenizer.bos_token
    return bool(start) and text.startswith(start)
