"""DELLA: drop small entries more often than large ones, rescale, then merge."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from copamerge.core.delta import Dense, LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.methods._base import Law, MergeMethod, refuse_idle
from copamerge.methods._steps import (
    CROSS_TERMS,
    Combine,
    Divide,
    Extent,
    Rescale,
    SignRule,
    Space,
    Vote,
    biases,
    deltas,
    lines,
    mass_ratio,
    split,
    streams,
    unlike_ranks,
)
from copamerge.methods._then import refuse_idle_then, then_merged, then_promises


class Della(MergeMethod):
    """Drop entries at random, small ones more often, rescale, then TIES-merge or sum.

    Within a row the keep probability rises evenly from density - window / 2 for the smallest
    entry to density + window / 2 for the largest. Each adapter draws from a stream of its own in
    each layer, so order and absence of others change nothing. The paper has no weights; here they
    multiply contributions, and votes too if `vote` says so.
    """

    name: ClassVar = "della"
    source: ClassVar = "arXiv:2406.11617; declare-lab/della"
    random: ClassVar = True
    laws: ClassVar = frozenset(
        {Law.PERMUTATION, Law.HOMOGENEITY, Law.FACTOR_SCALE, Law.RANK_BOUND, Law.DETERMINISM}
    )

    density: float = Field(default=0.7, ge=0, le=1)
    """Mean probability to keep an entry, in [0, 1] (1 - the paper's p; 0.7 is the authors'
    example, drop rate 0.3). 1 keeps everything and 0 nothing, whatever the window."""

    window: float = Field(default=0.14, ge=0, le=1)
    """How far the keep probabilities of a row's smallest and largest entry lie apart, in [0, 1]
    (twice the paper's epsilon; 0.14 is the authors' example, mergekit's default 0.3). Around
    `density` it has to stay within [0, 1]. 0 keeps all entries alike, as `dare` does."""

    scope: Extent = "row"
    """What entries are ranked within: each `row` (the paper, mergekit), or the whole `tensor` (the
    authors' rank_magnitude_layer_sampling). Equal magnitudes rank in flat order; the only entry
    of a row is kept with probability `density`."""

    rescale: Rescale = "inverse"
    """What kept entries are multiplied by: `inverse` 1 / their own keep probability, which keeps
    the expectation (the paper); `l1` what restores the tensor's sum of magnitudes (mergekit);
    `none`."""

    then: Literal["ties", "sum"] = "ties"
    """How the dropped deltas are merged: `ties`, sign election and disjoint merge without
    trimming (the paper's elect and fuse), or their weighted `sum` (mergekit's della_linear)."""

    scale: float = 1.0
    """Multiplies the merged delta (the paper's lambda; 1 is the default of the authors' code, 1.1
    its example)."""

    sign: SignRule = "nonnegative"
    """With `then: ties`: sign where the votes cancel exactly, as in `ties` (the authors' code and
    mergekit: `nonnegative`)."""

    vote: Vote = "unweighted"
    """With `then: ties`: what elects the sign, as in `ties` (the authors' code and mergekit:
    `weighted`, the same where all weights are 1)."""

    combine: Combine = "mean"
    """With `then: ties`: what is made of the entries that agree, as in `ties` (the paper:
    `mean`)."""

    divide: Divide = "count"
    """With `then: ties`: what the mean divides by, as in `ties` (the authors' code and mergekit:
    `weights`, the same where all weights are 1)."""

    space: Space = "delta"
    """`delta` drops entries of the matrices B A, as the paper does on weights. `factors` drops
    entries of A and of B with masks of their own: a different method, of rank r, with cross terms
    between adapters and more variance. Needs equal ranks."""

    @model_validator(mode="after")
    def _probabilities(self) -> "Della":
        low, high = self.density - self.window / 2, self.density + self.window / 2
        # 1e-9: 0.93 + 0.14 / 2 is 1 in decimals, and what lies beyond by rounding is cut.
        if 0 < self.density < 1 and (low < -1e-9 or high > 1 + 1e-9):
            raise ValueError(
                f"density {self.density:g} with window {self.window:g} asks for keep "
                f"probabilities from {low:g} to {high:g}, and they lie in [0, 1]; take a window "
                f"of at most {2 * min(self.density, 1 - self.density):g}, or another density"
            )
        return self

    @model_validator(mode="after")
    def _no_idle_options(self) -> "Della":
        refuse_idle_then(self)
        if self.window == 0:
            refuse_idle(self, "window: 0", "scope")
        return self

    def merge(self, stack: FactorStack, draws: Draws) -> Dense | LowRank:
        if self.space == "factors":
            raw = split(stack)
            A = self._rule(raw.A, raw.on_A, streams(stack, draws, "della A"))
            B = self._rule(raw.B, raw.on_B, streams(stack, draws, "della B"))
            return LowRank(A, self.scale * B)
        weights = stack.weights.tolist()
        total = self._rule(deltas(stack), weights, streams(stack, draws, "della delta"))
        return Dense(total.mul_(self.scale))

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        """The same rule on the biases as a tensor of their own, of one row."""
        weights = stack.weights.tolist()
        return self.scale * self._rule(biases(stack), weights, streams(stack, draws, "della bias"))

    def _rule(
        self, xs: Iterable[Tensor], weights: Sequence[float], drawn: Sequence[torch.Generator]
    ) -> Tensor:
        dropped = (self._dropped(x, stream) for x, stream in zip(xs, drawn, strict=True))
        return then_merged(self, dropped, weights)

    def _dropped(
        self, x: Float[Tensor, " *dims"], stream: torch.Generator
    ) -> Float[Tensor, " *dims"]:
        keep = self._probability_of(x)
        drawn = torch.rand(x.shape, generator=stream, dtype=torch.float32, device="cpu")
        kept = torch.where(drawn.to(x.device) < keep, x, 0.0)
        if self.rescale == "inverse":
            kept /= torch.where(keep > 0, keep, 1.0)
        elif self.rescale == "l1":
            kept *= mass_ratio(
                x.abs().sum(dtype=torch.float64), kept.abs().sum(dtype=torch.float64)
            )
        return kept

    def _probability_of(self, x: Float[Tensor, " *dims"]) -> Float[Tensor, " *dims"]:
        """The probability to keep each entry, by its rank."""
        magnitudes = lines(x.abs(), self.scope)
        size = magnitudes.shape[1]
        # A single entry is the smallest and the largest, and the formula 0/0.
        half = self.window / 2 if self.seeded() and size > 1 else 0.0
        by_rank = torch.linspace(self.density - half, self.density + half, size).clamp(0, 1)
        order = magnitudes.argsort(dim=1, stable=True)
        by_rank = by_rank.to(x.device, x.dtype).expand_as(magnitudes)
        return torch.empty_like(magnitudes).scatter_(1, order, by_rank).reshape(x.shape)

    def result_rank(self, ranks: Sequence[int]) -> int | None:
        return max(ranks) if self.space == "factors" else None

    def refusal(self, ranks: Sequence[int]) -> str | None:
        return unlike_ranks(ranks, "della with space: factors") if self.space == "factors" else None

    def cautions(self) -> tuple[str, ...]:
        return (f"della with space: factors: {CROSS_TERMS}",) if self.space == "factors" else ()

    def seeded(self) -> bool:
        return 0 < self.density < 1

    def promises(self) -> frozenset[Law]:
        laws = self.laws | then_promises(self)
        if not self.seeded():
            laws |= {Law.COORDINATES, Law.RANK_ORDER}
        if self.space == "delta":
            laws |= {Law.RANK_ORDER}
        return laws
