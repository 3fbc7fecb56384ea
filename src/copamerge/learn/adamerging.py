"""AdaMerging: coefficients that make the merged model sure of itself, learnt without labels."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from copamerge.errors import CopamergeError
from copamerge.learn.job import Job, LearnOptions, Tell, check_free, prepare, write_learnt
from copamerge.learn.mixture import hung, stacks_of, weighted_sum
from copamerge.learn.model import batch_of, entropies, generated_tokens, unhurried
from copamerge.learn.questions import Questions
from copamerge.merging import MergeReport, Plan, plan
from copamerge.methods.task_arithmetic import TaskArithmetic
from copamerge.recipe import Filter
from copamerge.recipe.model import Source


class AdaMerging(LearnOptions):
    """Options of AdaMerging (arXiv:2310.02575); defaults are those of its released code.

    The paper's entropy is that of a classifier's output. A model that writes has one at every
    token: the loss here is, summed over tasks, the mean over a batch of the mean over the answer's
    tokens (its end token included) of the entropy of the softmax over the vocabulary, given the
    prompt and the answer's tokens before. The answer is the merged model's own, greedy, with the
    coefficients of the moment; it is generated when a prompt is first drawn and again when it is
    drawn `refresh` or more steps later. Gradients flow through the entropies, not through the
    choice of tokens.
    """

    coefficients: Literal["layer", "task"] = "layer"
    """One for each layer and adapter, or one for each adapter."""

    steps: int = Field(default=500, ge=1)
    """Of Adam."""

    lr: float = Field(default=1e-3, gt=0)
    """Adam's learning rate."""

    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Adam's first beta."""

    beta2: float = Field(default=0.999, ge=0, lt=1)
    """Adam's second beta."""

    init: float = Field(default=0.3, ge=0, le=1)
    """Every coefficient's first value."""

    batch: int = Field(default=16, ge=1)
    """Inputs of each task in a step."""

    refresh: int | None = Field(default=50, ge=1)
    """Steps after which an answer is generated anew; null: never, each stays what it first was."""

    seed: int = Field(default=0, ge=0)
    """Of the order in which inputs are drawn."""


class Coefficients:
    """The numbers that are learnt, and what each layer takes of them: clamped to [0, 1]."""

    def __init__(self, plan: Plan, options: AdaMerging, device: torch.device) -> None:
        self.layers = [layer.name for layer in plan.layers]
        self._owners = {layer.name: list(layer.present) for layer in plan.layers}
        self._row = {
            name: i if options.coefficients == "layer" else 0 for i, name in enumerate(self.layers)
        }
        rows = max(self._row.values()) + 1
        self.raw = torch.full(
            (rows, len(plan.adapters)), options.init, device=device, requires_grad=True
        )

    def __call__(self, layer: str) -> Float[Tensor, " n"]:
        return self.raw[self._row[layer]].clamp(0, 1)[self._owners[layer]]

    def of(self, adapter: int) -> dict[str, float]:
        """Layer -> the coefficient of one adapter, for the layers it has."""
        used = self.raw.detach().clamp(0, 1).cpu()
        return {
            name: float(used[self._row[name], adapter])
            for name in self.layers
            if adapter in self._owners[name]
        }


class Answered:
    """Drawn inputs of one task with answers that are never older than `refresh` steps."""

    def __init__(self, job: Job, one: Questions, options: AdaMerging) -> None:
        self._job, self._one, self._options = job, one, options
        self._said: dict[int, tuple[int, Int[Tensor, " tokens"]]] = {}
        self._drawn = _draws(len(one.samples), options.batch, f"{options.seed}/{one.name}")

    def loss(self, step: int) -> Float[Tensor, ""]:
        """The mean entropy of the next batch; call it where the adapters hang on the model."""
        model = self._job.model
        indices = next(self._drawn)
        refresh = self._options.refresh
        stale = [
            i
            for i in indices
            if i not in self._said or (refresh and step - self._said[i][0] >= refresh)
        ]
        if stale:
            samples = [self._one.samples[i] for i in stale]
            said = generated_tokens(model, samples, self._one.asking)
            self._said.update({i: (step, ids) for i, ids in zip(stale, said, strict=True)})
        samples = [self._one.samples[i] for i in indices]
        batch = batch_of(model, samples, [self._said[i][1] for i in indices], self._one.asking)
        return entropies(model, batch).mean()


def _draws(count: int, batch: int, seed: str) -> Iterator[list[int]]:
    """Batches without end: every input once, in an order of its own each time around."""
    from random import Random

    rng = Random(seed)
    waiting: list[int] = []
    while True:
        size = min(batch, count)
        drawn: list[int] = []
        while len(drawn) < size:
            if not waiting:
                waiting = list(range(count))
                rng.shuffle(waiting)
            # Around the end of a round an input could come twice in a batch: it waits its turn.
            at = next((k for k, i in enumerate(waiting) if i not in drawn), None)
            assert at is not None
            drawn.append(waiting.pop(at))
        yield drawn


def adamerging(
    adapters: Sequence[str],
    out: Path,
    base: Path,
    questions: Sequence[Questions],
    options: AdaMerging | None = None,
    *,
    more: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    tell: Tell = lambda *_: None,
) -> tuple[MergeReport, dict[str, Any]]:
    """Learn the coefficients, write the adapter and learn.json to `out`; gives report and record.

    Raises:
        CopamergeError: what does not open, load or fit; a loss that is not finite.
    """
    started = time.perf_counter()
    options = options or AdaMerging()
    check_free(out, overwrite=overwrite)
    job = prepare(
        adapters,
        base,
        questions,
        method=TaskArithmetic(),
        answers=False,
        out=out,
        more=more or {},
    )
    found, losses = learn(job, options, tell)
    recipe = job.plan.recipe
    learnt = [found.of(i) for i in range(len(recipe.adapters))]
    sources = tuple(
        _source(source, each, options) for source, each in zip(recipe.adapters, learnt, strict=True)
    )
    if not any(value for each in learnt for value in each.values()):
        raise CopamergeError(
            "adamerging: every coefficient went to 0, so the base alone is surest and there is "
            "nothing to write; try a smaller lr or fewer steps"
        )
    record = {
        "learner": "adamerging",
        "options": options.model_dump(),
        **job.record,
        "objective": "sum over tasks of the mean over a batch of the mean over the greedy "
        "answer's tokens (end token included) of the entropy of the next-token softmax, in nats",
        "steps": [{"step": i, **one} for i, one in enumerate(losses)],
        "coefficients": {
            source.adapter: (each if options.coefficients == "layer" else _only(each))
            for source, each in zip(recipe.adapters, learnt, strict=True)
        },
    }
    count = sum(len(one.samples) for one in questions)
    return write_learnt(
        plan(recipe.model_copy(update={"adapters": sources})),
        out,
        record,
        f"with coefficients that AdaMerging learnt on {count} inputs without labels (learn.json)",
        overwrite=overwrite,
        started=started,
    )


def learn(
    job: Job, options: AdaMerging, tell: Tell = lambda *_: None
) -> tuple[Coefficients, list[dict[str, Any]]]:
    """Adam on the entropies; gives the coefficients and, for each step, the loss and its parts.

    Raises:
        CopamergeError: a loss that is not finite.
    """
    model = job.model.model
    before = [parameter.requires_grad for parameter in model.parameters()]
    model.requires_grad_(False)
    stacks = stacks_of(job.plan, model.device)
    found = Coefficients(job.plan, options, model.device)
    tasks = [Answered(job, one, options) for one in job.questions]
    optimiser = torch.optim.Adam([found.raw], lr=options.lr, betas=(options.beta1, options.beta2))
    losses: list[dict[str, Any]] = []
    try:
        with unhurried(job.model), hung(model, stacks, weighted_sum, found):
            for step in range(options.steps):
                optimiser.zero_grad()
                parts = {}
                for one, task in zip(job.questions, tasks, strict=True):
                    # Backward task by task: only one task's activations are alive.
                    parts[one.name] = _backward(task, step)
                loss = sum(parts.values())
                if not math.isfinite(loss):
                    raise CopamergeError(
                        f"adamerging: the entropy is not finite at step {step}; does the base "
                        "overflow with these adapters?"
                    )
                optimiser.step()
                losses.append({"loss": loss, "tasks": parts})
                tell(f"learning coefficients (entropy {loss:.3f})", step + 1, options.steps)
    finally:
        for parameter, was in zip(model.parameters(), before, strict=True):
            parameter.requires_grad_(was)
    return found, losses


def _backward(task: Answered, step: int) -> float:
    with torch.enable_grad():
        loss = task.loss(step)
        loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())


def _source(source: Source, each: Mapping[str, float], options: AdaMerging) -> Source:
    """The adapter with its weight of every layer, as a recipe says it."""
    if options.coefficients == "task":
        return source.model_copy(update={"weight": _only(each)})
    # A filter matches any layer whose name contains it: longer names first make it exact.
    names = sorted(each, key=lambda name: (-len(name), name))
    filters = tuple(Filter(filter=name, value=each[name]) for name in names)
    return source.model_copy(update={"weight": (*filters, Filter(value=0.0))})


def _only(each: Mapping[str, float]) -> float:
    return next(iter(each.values()))
