"""What tasks teach a base: an adapter, or for comparison all of its matrices."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from copamerge.suites import Task
from copamerge.suites.mini._made import Maker
from copamerge.training.mini.questions import Collator, Questions
from copamerge.training.run import Schedule, train

TARGETS = r".*language_model\.layers\.\d+\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"
"""Every linear layer of the language model, as in the paper."""
ONE_TASK = Schedule(steps=320, batch=32, rate=2e-3)
ALL_TASKS = Schedule(steps=1000, batch=32, rate=2e-3)
WHOLE = Schedule(steps=320, batch=32, rate=5e-4)
"""Full fine-tuning, at the lower rate that it wants."""


def lora_config(rank: int) -> LoraConfig:
    """Rank r and alpha 2r: the scaling stays 2 whatever the rank."""
    return LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.0, bias="none", target_modules=TARGETS
    )


def train_adapter(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    tasks: Sequence[Task],
    schedule: Schedule,
    *,
    rank: int,
    seed: int,
    init_seed: int,
    work: Path,
    tell: Callable[[int, int, float | None], None] = lambda *_: None,
) -> tuple[Any, float]:
    """A PEFT model with one new adapter, trained on these tasks alike, and the last loss.

    The base is left as it was.

    `init_seed` decides the first A: adapters of one `init_seed` share it, which changes what
    factor-wise merging does. `seed` decides the samples and their order.
    """
    model.requires_grad_(False)
    torch.manual_seed(init_seed)
    adapted = get_peft_model(model, lora_config(rank))
    rows = _alike(tokenizer, tasks, schedule, seed)
    loss = train(adapted, rows, Collator(tokenizer), schedule, work=work, seed=seed, tell=tell)
    adapted.eval()
    return adapted, loss


def train_whole(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    tasks: Sequence[Task],
    schedule: Schedule,
    *,
    seed: int,
    work: Path,
    tell: Callable[[int, int, float | None], None] = lambda *_: None,
) -> float:
    """Train in place every matrix that an adapter would have changed; the last loss."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(re.fullmatch(TARGETS, name.removesuffix(".weight")) is not None)
    rows = _alike(tokenizer, tasks, schedule, seed)
    return train(model, rows, Collator(tokenizer), schedule, work=work, seed=seed, tell=tell)


def _alike(
    tokenizer: PreTrainedTokenizerFast, tasks: Sequence[Task], schedule: Schedule, seed: int
) -> Questions:
    """As many samples as the schedule needs, the tasks alike."""
    mixture: dict[Task | Maker, float] = dict.fromkeys(tasks, 1.0)
    return Questions(tokenizer, mixture, schedule.steps * schedule.batch, seed)
