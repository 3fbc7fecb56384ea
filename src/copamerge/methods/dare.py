"""DARE: drop entries at random, rescale, then merge."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from copamerge.core.delta import Dense, LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.methods._base import Law, MergeMethod
from copamerge.methods._steps import (
    CROSS_TERMS,
    Combine,
    Divide,
    Rescale,
    SignRule,
    Space,
    Vote,
    biases,
    deltas,
    drop_at_random,
    split,
    streams,
    unlike_ranks,
)
from copamerge.methods._then import Then, refuse_idle_then, then_merged, then_promises


class Dare(MergeMethod):
    """Drop each entry of each delta with probability 1 - density, then sum or TIES-merge.

    Each adapter draws from a stream of its own in each layer, so order and absence of others
    change nothing.
    """

    name: ClassVar = "dare"
    source: ClassVar = "arXiv:2311.03099, section 3; yule-BUAA/MergeLM"
    random: ClassVar = True
    laws: ClassVar = frozenset(
        {Law.PERMUTATION, Law.HOMOGENEITY, Law.FACTOR_SCALE, Law.RANK_BOUND, Law.DETERMINISM}
    )

    density: float = Field(default=0.9, ge=0, le=1)
    """Probability to keep an entry, in [0, 1] (1 - the paper's p; 0.9 is MergeLM's default,
    weight_mask_rate 0.1)."""

    rescale: Rescale = "inverse"
    """What kept entries are multiplied by: `inverse` 1/density, which keeps the expectation (the
    paper); `l1` what restores the tensor's sum of magnitudes (mergekit); `none` (MergeLM's
    default flag)."""

    then: Then = "sum"
    """How the dropped deltas are merged: their weighted `sum` (task arithmetic), or `ties`: sign
    election and disjoint merge without trimming (dare_ties)."""

    scale: float = 1.0
    """Multiplies the merged delta (lambda; 1 is the plain merge)."""

    sign: SignRule = "reference"
    """With `then: ties`: sign where the votes cancel exactly, as in `ties`."""

    vote: Vote = "unweighted"
    """With `then: ties`: what elects the sign, as in `ties` (mergekit: `weighted`)."""

    combine: Combine = "mean"
    """With `then: ties`: what is made of the entries that agree, as in `ties` (mergekit, which
    does not normalize here: `sum`)."""

    divide: Divide = "count"
    """With `then: ties`: what the mean divides by, as in `ties`."""

    space: Space = "delta"
    """`delta` drops entries of the matrices B A, as the paper does on weights. `factors` drops
    entries of A and of B with masks of their own, as PEFT's `dare_linear` and `dare_ties` do: a
    different method, of rank r, with cross terms between adapters and more variance. Needs equal
    ranks."""

    @model_validator(mode="after")
    def _no_idle_options(self) -> "Dare":
        refuse_idle_then(self)
        return self

    def merge(self, stack: FactorStack, draws: Draws) -> Dense | LowRank:
        if self.space == "factors":
            raw = split(stack)
            A = self._rule(raw.A, raw.on_A, streams(stack, draws, "dare A"))
            B = self._rule(raw.B, raw.on_B, streams(stack, draws, "dare B"))
            return LowRank(A, self.scale * B)
        weights = stack.weights.tolist()
        total = self._rule(deltas(stack), weights, streams(stack, draws, "dare delta"))
        return Dense(total.mul_(self.scale))

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        """The same rule on the biases as a tensor of their own."""
        weights = stack.weights.tolist()
        return self.scale * self._rule(biases(stack), weights, streams(stack, draws, "dare bias"))

    def _rule(
        self, xs: Iterable[Tensor], weights: Sequence[float], drawn: Sequence[torch.Generator]
    ) -> Tensor:
        dropped = (
            drop_at_random(x, self.density, self.rescale, stream)
            for x, stream in zip(xs, drawn, strict=True)
        )
        return then_merged(self, dropped, weights)

    def result_rank(self, ranks: Sequence[int]) -> int | None:
        return max(ranks) if self.space == "factors" else None

    def refusal(self, ranks: Sequence[int]) -> str | None:
        return unlike_ranks(ranks, "dare with space: factors") if self.space == "factors" else None

    def cautions(self) -> tuple[str, ...]:
        return (f"dare with space: factors: {CROSS_TERMS}",) if self.space == "factors" else ()

    def seeded(self) -> bool:
        return 0 < self.density < 1

    def promises(self) -> frozenset[Law]:
        laws = self.laws | then_promises(self)
        if self.density == 1:
            laws |= {Law.COORDINATES, Law.RANK_ORDER}
        if self.space == "delta":
            laws |= {Law.RANK_ORDER}
        return laws
