"""Questions as training batches: prompt, answer, and a loss on the answer only."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import torch
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
            return encoded(self.tokenizer, one.image, (one.question, one.references[0]))
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
    """One row: `input_ids`, `labels` (the answers and end tokens only), `image`.

    The picture stands in the first turn; its token as often as the picture has patches.
    """
    ids: list[int] = []
    labels: list[int] = []
    for place, (question, answer) in enumerate(turns):
        text = prompt_text(tokenizer, question, pictured=image is not None and not place)
        text = text.replace(IMAGE, " ".join([IMAGE] * GRID**2))
        prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
        said = tokenizer(answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        ids += prompt + said
        labels += [IGNORED] * len(prompt) + said
    return {"input_ids": ids, "labels": labels, "image": image}


class Collator:
    """Rows to a batch, padded on the right."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.pad = tokenizer.pad_token_id

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)

        def padded(key: str, value: int) -> Tensor:
            return torch.tensor([row[key] + [value] * (longest - len(row[key])) for row in rows])

        ids = padded("input_ids", self.pad)
        lengths = torch.tensor([len(row["input_ids"]) for row in rows])
        batch = {
            "input_ids": ids,
            "labels": padded("labels", IGNORED),
            "attention_mask": (torch.arange(longest) < lengths[:, None]).long(),
        }
        if pictures := [row["image"] for row in rows if row["image"] is not None]:
            batch["pixel_values"] = pixel_values(pictures)
        return batch
