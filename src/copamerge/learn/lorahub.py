"""LoraHub: a few labelled examples and a search without gradients for one weight per adapter."""

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field

from copamerge.bench.loading import imported
from copamerge.errors import CopamergeError
from copamerge.learn.job import Job, LearnOptions, Tell, check_free, prepare, write_learnt
from copamerge.learn.mixture import hung, stacks_of, sum_of_factors, weighted_sum
from copamerge.learn.model import (
    Batch,
    answer_tokens,
    batch_of,
    cross_entropies,
    unhurried,
)
from copamerge.learn.questions import Questions
from copamerge.merging import MergeReport, plan
from copamerge.methods import MergeMethod
from copamerge.methods.factor_sum import FactorSum
from copamerge.methods.task_arithmetic import TaskArithmetic


class LoraHub(LearnOptions):
    """Options of LoraHub (arXiv:2307.13269); defaults are those of its released code."""

    space: Literal["factors", "delta"] = "factors"
    """`factors` adds A's and B's, as published: quadratic in the weights, equal ranks needed.
    `delta` is the exact weighted sum of the deltas."""

    steps: int = Field(default=40, ge=1)
    """Weights tried."""

    bound: float = Field(default=1.5, gt=0)
    """Each weight lies in [-bound, bound]; the search begins at 0, the base."""

    l1: float = Field(default=0.05, ge=0)
    """Times the mean absolute weight, added to the mean cross-entropy."""

    seed: int = Field(default=42, ge=0)
    """Of the optimiser."""

    batch: int = Field(default=16, ge=1)
    """Examples in memory at once; changes no result but for rounding."""

    @property
    def method(self) -> MergeMethod:
        return FactorSum() if self.space == "factors" else TaskArithmetic()


class Tried(NamedTuple):
    """One point of the search."""

    weights: tuple[float, ...]
    loss: float
    """Mean cross-entropy over the examples, in nats a token."""
    objective: float


class Objective:
    """The mean over examples of their answer's mean cross-entropy, plus the penalty."""

    def __init__(self, job: Job, options: LoraHub) -> None:
        self._job, self._options = job, options
        device = job.model.model.device
        self._stacks = stacks_of(job.plan, device)
        self._owners = {layer.name: list(layer.present) for layer in job.plan.layers}
        self._batches: list[Batch] = []
        for one in job.questions:
            for start in range(0, len(one.samples), options.batch):
                some = one.samples[start : start + options.batch]
                answers = [answer_tokens(job.model, sample.references[0]) for sample in some]
                self._batches.append(batch_of(job.model, some, answers, one.asking))

    @torch.no_grad()
    def __call__(self, weights: Sequence[float]) -> Tried:
        device = self._job.model.model.device
        w = torch.tensor(list(weights), dtype=torch.float32, device=device)
        change = sum_of_factors if self._options.space == "factors" else weighted_sum
        with hung(
            self._job.model.model, self._stacks, change, lambda layer: w[self._owners[layer]]
        ):
            losses = [cross_entropies(self._job.model, batch) for batch in self._batches]
        loss = float(torch.cat(losses).double().mean())
        penalty = self._options.l1 * sum(map(abs, weights)) / len(weights)
        return Tried(tuple(map(float, weights)), loss, loss + penalty)


def lorahub(
    adapters: Sequence[str],
    out: Path,
    base: Path,
    questions: Sequence[Questions],
    options: LoraHub | None = None,
    *,
    more: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    tell: Tell = lambda *_: None,
) -> tuple[MergeReport, dict[str, Any]]:
    """Search the weights, write the adapter and learn.json to `out`; gives report and record.

    The weights taken are the optimiser's recommendation, or the best tried if that was better.

    Raises:
        CopamergeError: what does not open, load or fit; a search in which the base was best.
    """
    started = time.perf_counter()
    options = options or LoraHub()
    nevergrad = _nevergrad()
    check_free(out, overwrite=overwrite)
    job = prepare(
        adapters,
        base,
        questions,
        method=options.method,
        answers=True,
        out=out,
        more=more or {},
    )
    objective = Objective(job, options)
    with unhurried(job.model):
        tried = _search(nevergrad, objective, len(job.plan.adapters), options, tell)
    finite = [one for one in tried if math.isfinite(one.objective)]
    if not finite:
        raise CopamergeError("lorahub: the loss was not finite at any of the weights tried")
    best = min(finite, key=lambda one: one.objective)
    if not any(best.weights):
        raise CopamergeError(
            f"lorahub: none of {len(tried)} mixtures tried was better than the base alone "
            f"(objective {best.objective:.4f}), so there is nothing to write; try more steps or "
            "other adapters"
        )
    recipe = job.plan.recipe
    sources = tuple(
        source.model_copy(update={"weight": weight})
        for source, weight in zip(recipe.adapters, best.weights, strict=True)
    )
    record = {
        "learner": "lorahub",
        "options": options.model_dump(),
        **job.record,
        "objective": "mean over examples of the answer's mean cross-entropy (nats a token, end "
        "token included), plus l1 times the mean absolute weight",
        "best": best._asdict(),
        "steps": [
            {"step": i, **one._asdict(), "objective": _finite(one.objective)}
            | {"loss": _finite(one.loss)}
            for i, one in enumerate(tried)
        ],
        "coefficients": dict(zip((x.adapter for x in recipe.adapters), best.weights, strict=True)),
    }
    count = sum(len(one.samples) for one in questions)
    return write_learnt(
        plan(recipe.model_copy(update={"adapters": sources})),
        out,
        record,
        f"with weights that LoraHub found on {count} labelled examples (learn.json)",
        overwrite=overwrite,
        started=started,
    )


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


def _search(
    nevergrad: Any, objective: Objective, n: int, options: LoraHub, tell: Tell
) -> list[Tried]:
    """All points that were tried, the recommendation last."""
    with warnings.catch_warnings():
        # Of the optimisers that NGOpt chooses from, some remark on their own tolerances.
        warnings.simplefilter("ignore")
        space = nevergrad.p.Array(
            init=[0.0] * n, lower=[-options.bound] * n, upper=[options.bound] * n
        )
        space.random_state.seed(options.seed)
        optimiser = nevergrad.optimizers.NGOpt(parametrization=space, budget=options.steps)
        tried = []
        for step in range(options.steps):
            candidate = optimiser.ask()
            one = objective([float(x) for x in candidate.value])
            tried.append(one)
            # Infinitely bad is still an order; NaN is none.
            optimiser.tell(candidate, one.objective if math.isfinite(one.objective) else 1e9)
            best = min(x.objective for x in tried)
            tell(f"searching weights (best {best:.3f})", step + 1, options.steps)
        tried.append(objective([float(x) for x in optimiser.provide_recommendation().value]))
    return tried


def _nevergrad() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return imported("nevergrad", "learn")
