"""Questions as training batches: prompt, answer, and a loss on the answer only."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from copamerge.suites import Task
from copamerge.suites.mini._made import Maker, made
from copamerge.suites.mini.draw import GRID
from copamerge.training.mini.vision import pixel_values
from copamerge.training.mini.words import IMAGE

IGNORED = -100
"""The label of a token that costs no loss."""


class Questions(Dataset[dict[str, Any]]):
    """A mixture of tasks and lessons; row `i` is always the same."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        mixture: Mapping[Task | Maker, float],
        count: int,
        seed: int,
    ) -> None:
        self.tokenizer, self.count, self.seed = tokenizer, count, seed
        self.sources, self.shares = list(mixture), list(mixture.values())

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        (source,) = Random(f"questions/{self.seed}/{index}").choices(self.sources, self.shares)
        if isinstance(source, Task):
            one = source.sample(index, "train", self.seed)
            return encoded(self.tokenizer, one.images[0], (one.question, one.references[0]))
        lesson = made(source, source.__name__, index, "train", self.seed)
        image = lesson.canvas.pixels if lesson.canvas else None
        turns = ((lesson.question, lesson.references[0]), *lesson.more)
        return encoded(self.tokenizer, image, *turns)


def prompt_text(tokenizer: PreTrainedTokenizerFast, question: str, pictured: bool) -> str:
    """The question in the chat template, `<image>` still a single token."""
    content = [{"type": "image"}] if pictured else []
    message: Any = {"role": "user", "content": [*content, {"type": "text", "text": question}]}
    text = tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
    assert isinstance(text, str)
    return text


def encoded(
    tokenizer: PreTrainedTokenizerFast, image: Any | None, *turns: tuple[str, str]
) -> dict[str, Any]:
    """One row: the picture once, then every turn, each placed right behind the picture.

    `input_ids`, `position_ids`, `labels` (the answers and end tokens only), `turn` (0 for what all
    turns see, then from 1 on) and `image`.
    """
    shared: list[int] = []
    rows: dict[str, list[int]] = {"input_ids": [], "position_ids": [], "labels": [], "turn": []}

    def add(ids: list[int], labels: list[int], start: int, turn: int) -> None:
        rows["input_ids"] += ids
        rows["position_ids"] += range(start, start + len(ids))
        rows["labels"] += labels
        rows["turn"] += [turn] * len(ids)

    for turn, (question, answer) in enumerate(turns, 1):
        text = prompt_text(tokenizer, question, pictured=image is not None)
        if image is not None:
            before, text = text.split(IMAGE)
            shared = shared or _ids(tokenizer, f"{before} {' '.join([IMAGE] * GRID**2)}")
        if turn == 1:
            add(shared, [IGNORED] * len(shared), 0, 0)
        prompt = _ids(tokenizer, text)
        said = [*_ids(tokenizer, answer), tokenizer.eos_token_id]
        add(prompt + said, [IGNORED] * len(prompt) + said, len(shared), turn)
    return {**rows, "image": image}


def _ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


class Collator:
    """Rows to a batch, padded on the right.

    Rows of one turn get the usual two-dimensional mask. Where a row has several, the mask says of
    every pair of tokens whether one sees the other: those before it of its own turn and of the
    picture. So every turn is asked as if alone, and the picture is read once.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.pad = tokenizer.pad_token_id

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)

        def padded(key: str, value: int) -> Tensor:
            return torch.tensor([row[key] + [value] * (longest - len(row[key])) for row in rows])

        turn = padded("turn", -1)
        batch = {
            "input_ids": padded("input_ids", self.pad),
            "position_ids": padded("position_ids", 0),
            "labels": padded("labels", IGNORED),
            "attention_mask": _visible(turn) if turn.max() > 1 else (turn >= 0).long(),
        }
        if pictures := [row["image"] for row in rows if row["image"] is not None]:
            batch["pixel_values"] = pixel_values(pictures)
        return batch


def _visible(turn: Int[Tensor, "batch tokens"]) -> Bool[Tensor, "batch 1 tokens tokens"]:
    """Whether the token of a row may look at the token of a column; padding sees itself."""
    earlier = torch.ones(turn.shape[1], turn.shape[1], dtype=torch.bool).tril()
    mine = turn[:, :, None] == turn[:, None, :]
    return (earlier & (mine | (turn == 0)[:, None, :]))[:, None]
