"""The model in the loop: answers' losses and entropies under whatever hangs on it."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from copamerge.bench.loading import greedy, with_threads, without_noise
from copamerge.bench.models import ONE_THREAD_UP_TO, Generator
from copamerge.bench.prompting import TextProcessor
from copamerge.errors import SuiteError
from copamerge.learn.questions import Questions
from copamerge.suites import Asking, Sample


def check_askable(model: Generator, questions: Sequence[Questions], *, answers: bool) -> None:
    """Refuse questions this model cannot be asked, or learnt from.

    Raises:
        SuiteError: pictures for a model without eyes, or no answer where one is needed.
    """
    problems = []
    for one in questions:
        pictured = sum(bool(sample.images) for sample in one.samples)
        if pictured and isinstance(model.processor, TextProcessor):
            problems.append(
                f"{one.name}: {pictured} of its samples have an image, but {model.label} reads "
                "text only; leave the images out, or give an image-text base"
            )
        mute = sum(not sample.references for sample in one.samples)
        if mute and answers:
            problems.append(f"{one.name}: {mute} of its samples have no answer; add it to each")
    if problems:
        raise SuiteError(problems)


def unhurried(model: Generator) -> AbstractContextManager[None]:
    """One CPU thread for a small model, as its answers are made; see `ONE_THREAD_UP_TO`."""
    small = sum(parameter.numel() for parameter in model.model.parameters()) <= ONE_THREAD_UP_TO
    return with_threads(1 if small and model.model.device.type == "cpu" else None)


# --- answers as tokens -------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Batch:
    """Prompts with answers behind them, padded on the right: every token keeps its position."""

    inputs: Mapping[str, Tensor]
    answer: Bool[Tensor, "items tokens"]
    """Which tokens are an answer's."""


def answer_tokens(model: Generator, text: str) -> Int[Tensor, " tokens"]:
    """An answer as it is written, and the end token that closes it."""
    tokenizer = model.processor.tokenizer
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return torch.tensor([*ids, tokenizer.eos_token_id])


@torch.no_grad()
def generated_tokens(
    model: Generator, samples: Sequence[Sample], asking: Asking
) -> list[Int[Tensor, " tokens"]]:
    """What the model says greedily, up to its end token where it comes to one."""
    settings = greedy(model.model, model.processor)
    with without_noise():
        inputs = _on(model, model.inputs(samples, asking))
        said = model.model.generate(
            **inputs, generation_config=settings, max_new_tokens=asking.max_new_tokens
        ).cpu()
    stops = settings.eos_token_id
    ends = torch.tensor(stops if isinstance(stops, list) else [stops])
    answers = []
    for row in said[:, inputs["input_ids"].shape[1] :]:
        ended = torch.isin(row, ends).nonzero()
        answers.append(row[: int(ended[0]) + 1] if len(ended) else row)
    return answers


def batch_of(
    model: Generator,
    samples: Sequence[Sample],
    answers: Sequence[Int[Tensor, " tokens"]],
    asking: Asking,
) -> Batch:
    """The samples' prompts, each with an answer behind it."""
    with without_noise():
        inputs = dict(model.inputs(samples, asking))
    left = zip(inputs["input_ids"], inputs["attention_mask"].bool(), strict=True)
    prompts = [ids[mask] for ids, mask in left]
    rows = [torch.cat([*pair]) for pair in zip(prompts, answers, strict=True)]
    longest = max(map(len, rows))
    tokens = torch.full((len(rows), longest), model.processor.tokenizer.pad_token_id)
    mask, answer = torch.zeros_like(tokens), torch.zeros(tokens.shape, dtype=torch.bool)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
        mask[i, : len(row)] = 1
        answer[i, len(prompts[i]) : len(row)] = True
    # Other inputs of one value a token (such as token types) are left to the model's defaults.
    others = {k: v for k, v in inputs.items() if k not in ("input_ids", "attention_mask")}
    kept = {k: v for k, v in others.items() if "pixel" in k or "image" in k}
    whole = {"input_ids": tokens, "attention_mask": mask, **kept}
    return Batch(_on(model, whole), answer.to(model.model.device))


def _on(model: Generator, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    moved = {k: v.to(model.model.device) for k, v in inputs.items()}
    if "pixel_values" in moved:
        moved["pixel_values"] = moved["pixel_values"].to(model.model.dtype)
    return moved


def cross_entropies(model: Generator, batch: Batch) -> Float[Tensor, " items"]:
    """For each item the mean over its answer's tokens of `-log p(token)`, in nats."""
    logits = _before_answers(model, batch)
    meant = batch.inputs["input_ids"][batch.answer]
    return _means(torch.nn.functional.cross_entropy(logits, meant, reduction="none"), batch)


def entropies(model: Generator, batch: Batch) -> Float[Tensor, " items"]:
    """For each item the mean over its answer's tokens of the entropy of what could stand there.

    That is `-sum_v p(v) log p(v)` over the vocabulary, in nats, given the prompt and the answer's
    tokens before.
    """
    logs = _before_answers(model, batch).log_softmax(-1)
    # 0 log 0 is 0, and so is its gradient: a token masked out by -inf adds nothing.
    terms = torch.where(logs.isneginf(), 0.0, logs.exp() * logs.clamp(min=-1e4))
    return _means(-terms.sum(-1), batch)


def _before_answers(model: Generator, batch: Batch) -> Float[Tensor, "tokens words"]:
    """The logits from which each answer token was to be chosen, items one after another."""
    logits: Tensor = model.model(**batch.inputs, use_cache=False).logits
    chosen = logits[:, :-1][batch.answer[:, 1:]]
    return chosen if chosen.dtype == torch.float64 else chosen.float()


def _means(values: Float[Tensor, " tokens"], batch: Batch) -> Float[Tensor, " items"]:
    owners = batch.answer.nonzero()[:, 0]
    total = values.new_zeros(len(batch.answer)).index_add(0, owners, values)
    return total / batch.answer.sum(1)
