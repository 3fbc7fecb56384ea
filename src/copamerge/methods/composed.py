"""Compositions: any method, in other coordinates, on prepared adapters, brought to a scale."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, SerializeAsAny, model_serializer, model_validator
from torch import Tensor

from copamerge.core.delta import Dense, LowRank, WeightDelta, squared_norm
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.core.survey import Survey, Tally
from copamerge.methods._base import Law, MergeMethod, Total, refuse_idle
from copamerge.methods._prepare import (
    Balance,
    Calibrate,
    Gauge,
    balanced,
    calibrated,
    canonical,
    leading,
    norms,
)
from copamerge.methods._spaces import View, in_core, in_ctm, in_knots
from copamerge.methods._steps import biases, total_weight

Coordinates = Literal["delta", "core", "knots", "ctm"]
ScaleRule = Literal["fixed", "mean", "norm_match", "gain_match"]

SPACES = ("core", "knots", "ctm")
SCALES = ("fixed", "mean", "norm_match", "gain_match")

LOST_IN: Mapping[Coordinates, frozenset[Law]] = MappingProxyType(
    {
        "delta": frozenset(),
        # The bases of all B and of all A: orthogonal changes of one adapter's factors cancel.
        "core": frozenset({Law.GAUGE}),
        # Inputs keep their coordinates, outputs do not.
        "knots": frozenset({Law.ROTATION}),
        "ctm": frozenset(),
    }
)
"""Laws that a rule loses in a space, unless it is the same in all coordinates."""

CANCELLED = 1e-5
"""A merge smaller than this share of its inputs is what float32 left of terms that cancel."""

WITHOUT_COORDINATES = frozenset({Law.GAUGE, Law.ROTATION})
"""What a rule promises that gives the same in any orthonormal bases."""

UNTOUCHED_DELTAS = frozenset(
    {Law.GAUGE, Law.RANK_ORDER, Law.OWN_RANK_ORDER, Law.SIGN_FLIP, Law.FACTOR_SCALE}
)
"""Laws about other factors of the same deltas: they hold for whatever sees canonical ones."""


class Composed(MergeMethod):
    """A method in a space of its own, on prepared adapters, with a rule for the scale.

    In this order: factors in canonical form, cut to leading directions, norms balanced, what piles
    up damped, coordinates changed, the rule, coordinates changed back, scale. Each step is off
    unless asked for. Adapters whose delta is zero are left out wherever the others' directions are
    measured.

    LoRA biases have no directions: the rule merges them as they are, and the scale applies.
    """

    name: ClassVar = "composed"
    source: ClassVar = "see the parts"
    laws: ClassVar = frozenset()

    title: str
    """What a recipe calls it: the rule's name, or that of a named composition."""

    rule: SerializeAsAny[MergeMethod]
    """The method that merges."""

    gauge: Gauge = "given"
    """`canonical` replaces each adapter's factors by those of its own SVD, singular values shared
    equally: what a rule reads off factors then no longer depends on how they were trained."""

    directions: int | None = Field(default=None, ge=1)
    """How many leading singular directions of each adapter take part, 1 or more; by default all.
    (TSV-M's `keep`, for any method.)"""

    balance: Balance = "none"
    """`equal` brings all adapters to their mean norm, layer by layer; `cap` those that exceed the
    median by more than three median absolute deviations to that (OCap)."""

    calibrate: Calibrate = "none"
    """`pico` damps the output directions in which adapters pile up; `pico_each` then brings every
    adapter back to its norm (arXiv:2604.16826)."""

    space: Coordinates = "delta"
    """Where the rule works: on the `delta` or whatever it does by itself; in `core` space, on
    `U^T delta V` in bases of all B and all A; on `knots`' parts of a joint SVD; or in `ctm`'s
    common rank-r subspaces, which bound the result's rank before the rule instead of after it."""

    weighted: bool = True
    """With `space: knots`: parts carry the singular values (the paper's code); false: they get
    them after the rule."""

    beta: float = Field(default=0.0, ge=0, le=1)
    """With `space: ctm`: how far larger adapters count more for the subspaces, in [0, 1] (the
    code's default 0: all alike)."""

    bottleneck: int | None = Field(default=None, ge=1)
    """With `space: ctm`: rank of the subspaces and so of the result; by default the largest input
    rank."""

    scale: ScaleRule = "fixed"
    """`fixed`: what the rule's own `scale` says. `mean`: divided by the sum of the weights.
    `norm_match`: each layer's delta (and bias) gets the mean norm of its inputs, weights included.
    `gain_match`: each layer's delta (and bias) holds its inputs as much as they are, on average:
    the mean of `<merge, delta_n> / (w_n |delta_n|^2)` becomes 1 (ours). A named rule takes the
    place of the method's `scale`."""

    times: float = Field(default=1.0, gt=0)
    """With a named scale rule: a multiple of what it gives, above 0."""

    @model_validator(mode="after")
    def _no_idle_options(self) -> "Composed":
        if self.space != "knots":
            refuse_idle(self, f"space: {self.space}", "weighted")
        if self.space != "ctm":
            refuse_idle(self, f"space: {self.space}", "beta", "bottleneck")
        if self.scale == "fixed":
            refuse_idle(self, "a fixed scale", "times")
        if self.space != "delta" and getattr(self.rule, "space", "delta") != "delta":
            raise ValueError("a rule in a space of its own works on the deltas there, not factors")
        return self

    @property
    def called(self) -> str:
        return self.title

    @model_serializer(mode="plain")
    def _with_name(self) -> dict[str, Any]:  # type: ignore[override]
        """Flat, as a recipe says it; steps that are off are left out."""
        inner = self.rule.model_dump(mode="json")
        del inner["name"]
        own = {
            name: getattr(self, name)
            for name, field in type(self).model_fields.items()
            if name not in ("title", "rule", "space", "scale")
            and getattr(self, name) != field.default
        }
        if self.space != "delta" or "space" not in inner:
            inner["space"] = self.space
        if self.scale != "fixed" or "scale" not in inner:
            inner["scale"] = self.scale
        return {"name": self.title, "rule": self.rule.name, **inner, **own}

    def merge(self, stack: FactorStack, draws: Draws) -> WeightDelta:
        view = self._view(self._prepared(stack))
        merged = view.lift(self.rule.merge(view.stack, draws))
        if self.scale == "fixed":
            return merged
        if self.scale == "mean":
            return _times(merged, self.times / total_weight(stack))
        sizes = norms(stack)
        if self.scale == "gain_match":
            return _times(merged, self.times / _mean_gain(_inner(merged, stack), sizes, stack))
        wanted = _mean_size(sizes, stack)
        return _times(merged, self.times * _matching(squared_norm(merged) ** 0.5, wanted))

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        merged = self.rule.merge_bias(balanced(stack, self.balance), draws)
        if self.scale == "fixed":
            return merged
        if self.scale == "mean":
            return merged * (self.times / total_weight(stack))
        given = biases(stack).double()
        if self.scale == "gain_match":
            gain = _mean_gain(given @ merged.double(), given.norm(dim=1), stack)
            return merged * (self.times / gain)
        wanted = _mean_size(given.norm(dim=1), stack)
        return merged * (self.times * _matching(float(merged.double().norm()), wanted))

    def _prepared(self, stack: FactorStack) -> FactorStack:
        if self.gauge == "canonical":
            stack = canonical(stack)
        if self.directions is not None:
            stack = leading(stack, self.directions)
        return calibrated(balanced(stack, self.balance), self.calibrate)

    def _view(self, stack: FactorStack) -> View:
        if self.space == "delta":
            return View(stack, lambda merged: merged)
        if self.space == "core":
            view = in_core(stack)
        elif self.space == "knots":
            view = in_knots(stack, weighted=self.weighted)
        else:
            view = in_ctm(stack, rank=self._bottleneck(stack.ranks), beta=self.beta)
        if self.rule.passes():
            # A survey counts the bits of float32; the merge after it has to see the same.
            inside = view.stack
            view = replace(view, stack=replace(inside, A=inside.A.float(), B=inside.B.float()))
        return view

    def _bottleneck(self, ranks: Sequence[int]) -> int:
        return self.bottleneck or max(ranks)

    def result_rank(self, ranks: Sequence[int]) -> int | None:
        if self.space == "ctm":
            return self._bottleneck(ranks)
        rank = self.rule.result_rank(ranks)
        return sum(ranks) if rank is None and self.space != "delta" else rank

    def passes(self) -> int:
        return self.rule.passes()

    def survey(self, total: Total) -> Survey | None:
        def over(look: Any) -> Tally:
            return total(lambda stack: look(self._view(self._prepared(stack)).stack))

        return self.rule.survey(over)

    def refusal(self, ranks: Sequence[int]) -> str | None:
        return self.rule.refusal(ranks)

    def seeded(self) -> bool:
        return self.rule.seeded()

    def cautions(self) -> tuple[str, ...]:
        found = self.rule.cautions()
        if self.space in ("core", "knots") and self._knows_no_coordinates():
            found += (
                f"{self.title}: {self.rule.name} is the same in all coordinates, so space: "
                f"{self.space} changes nothing but the time it takes",
            )
        return found

    def _knows_no_coordinates(self) -> bool:
        return self.rule.promises() >= WITHOUT_COORDINATES

    def promises(self) -> frozenset[Law]:
        laws = set(self.rule.promises())
        if not self._knows_no_coordinates():
            laws -= LOST_IN[self.space]
        if self.space == "ctm" and self.bottleneck is not None:
            laws -= {Law.IDENTITY, Law.COPIES}
        if self.calibrate != "none":
            laws -= {Law.GAUGE, Law.COPIES}
        if self.directions is not None:
            laws -= {Law.IDENTITY, Law.COPIES}
        if self.gauge == "canonical" or self.directions is not None:
            laws |= UNTOUCHED_DELTAS
        if self.scale == "mean":
            laws -= {Law.LINEARITY, Law.COPIES, Law.ZERO_ADAPTER}
        elif self.scale in ("norm_match", "gain_match"):
            laws -= {Law.LINEARITY}
        if self.times != 1:
            laws -= {Law.IDENTITY, Law.COPIES}
        return frozenset(laws)


def _mean_size(sizes: Tensor, stack: FactorStack) -> float:
    """Mean of the inputs' norms, each times the size of its weight; what is zero does not count."""
    weighed = sizes * stack.weights.double().abs()
    there = weighed[weighed > 0]
    return float(there.mean()) if len(there) else 0.0


def _inner(merged: WeightDelta, stack: FactorStack) -> Tensor:
    """`<merge, delta_n>` for each adapter, from the factors."""
    A, B = stack.A.double(), stack.B.double()
    if isinstance(merged, Dense):
        return ((B.mT @ merged.matrix.double()) * A).sum((1, 2))
    return ((merged.B.double().mT @ B) * (merged.A.double() @ A.mT)).sum((1, 2))


def _mean_gain(inner: Tensor, sizes: Tensor, stack: FactorStack) -> float:
    """Mean of `<merge, x_n> / (w_n |x_n|^2)` over the inputs that are not zero.

    1, which changes nothing, where a merge has nothing of its inputs in it or the opposite.
    """
    there = sizes > 0
    if not there.any():
        return 1.0
    gain = float((inner[there] / (stack.weights.double()[there] * sizes[there].square())).mean())
    return gain if gain > CANCELLED else 1.0


def _matching(size: float, wanted: float) -> float:
    """What brings `size` to `wanted`; 1 where there is nothing but rounding to bring anywhere."""
    return wanted / size if size > CANCELLED * wanted else 1.0


def _times(delta: WeightDelta, factor: float) -> WeightDelta:
    if isinstance(delta, Dense):
        return Dense(delta.matrix * factor)
    return LowRank(A=delta.A, B=torch.mul(delta.B, factor))
