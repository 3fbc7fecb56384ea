"""Model Breadcrumbs: leave out the largest entries and the smallest, merge what is between."""

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from copamerge.core.delta import Dense, LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.methods._base import Law, MergeMethod
from copamerge.methods._select import keep_largest_each
from copamerge.methods._steps import (
    CROSS_TERMS,
    Combine,
    Divide,
    Extent,
    Part,
    SignRule,
    Space,
    Vote,
    lines,
    parts,
    unlike_ranks,
)
from copamerge.methods._then import Then, refuse_idle_then, then_merged, then_promises


class Breadcrumbs(MergeMethod):
    """Remove each delta's outliers, keep the largest entries of the rest, then sum or TIES-merge.

    Of the n entries of a row the int(gamma n) largest are removed and the int(density n) largest
    of the others kept; equal magnitudes go by index, the lowest counting as the largest. The paper
    has no weights; here they multiply contributions, and votes too if `vote` says so.
    """

    name: ClassVar = "breadcrumbs"
    source: ClassVar = "arXiv:2312.06795; rezazzr/breadcrumbs"
    laws: ClassVar = frozenset(
        {
            Law.PERMUTATION,
            Law.HOMOGENEITY,
            Law.COORDINATES,
            Law.RANK_ORDER,
            Law.FACTOR_SCALE,
            Law.RANK_BOUND,
            Law.DETERMINISM,
        }
    )

    density: float = Field(default=0.2, ge=0, le=1)
    """Share of the entries that is kept, by magnitude below the outliers, in [0, 1] (the authors'
    top_k_keep, in their example 0.2). 0 gives zero."""

    gamma: float = Field(default=0.1, ge=0, le=1)
    """Share of the entries that is removed as outliers, the largest, in [0, 1] (the authors'
    top_k_remove, in their example 0.1; mergekit's gamma, by default 0.01). A share of less than
    one entry removes none. `density` and `gamma` have to fit beside each other."""

    scope: Extent = "row"
    """What entries are ranked within: each `row` (the authors' code; a LoRA bias is one), or the
    whole `tensor` (mergekit)."""

    then: Then = "sum"
    """How what is left is merged: its weighted `sum` (the paper), or `ties`: sign election and
    disjoint merge without further trimming (mergekit's breadcrumbs_ties)."""

    scale: float = 1.0
    """Multiplies the merged delta (the paper's alpha, which it searches with validation data, in
    the authors' example 0.4; 1 is the choice without)."""

    sign: SignRule = "reference"
    """With `then: ties`: sign where the votes cancel exactly, as in `ties` (mergekit:
    `nonnegative`)."""

    vote: Vote = "unweighted"
    """With `then: ties`: what elects the sign, as in `ties` (mergekit: `weighted`)."""

    combine: Combine = "mean"
    """With `then: ties`: what is made of the entries that agree, as in `ties` (mergekit, which
    does not normalize here: `sum`)."""

    divide: Divide = "count"
    """With `then: ties`: what the mean divides by, as in `ties`."""

    space: Space = "delta"
    """`delta` runs the rule on the matrices B A, as the paper does on weights. `factors` runs it
    on all A and on all B, weights split by square roots: a different method, of rank r, with
    cross terms between adapters, that changes when an adapter is re-factored. Needs equal
    ranks."""

    @model_validator(mode="after")
    def _no_idle_options(self) -> "Breadcrumbs":
        # 1e-9: shares such as 0.1 are no exact floats.
        if self.density + self.gamma > 1 + 1e-9:
            raise ValueError(
                f"density {self.density:g} and gamma {self.gamma:g} are more than 1 together: what "
                f"is kept and what is removed must fit beside each other; take a density of at "
                f"most {1 - self.gamma:g}, or a smaller gamma"
            )
        refuse_idle_then(self)
        return self

    def merge(self, stack: FactorStack, draws: Draws) -> Dense | LowRank:
        del draws
        if self.space == "factors":
            A, B, *_ = parts(stack, self.space)
            return LowRank(A=self._rule(A), B=self.scale * self._rule(B))
        return Dense(self._rule(parts(stack, self.space)[0]).mul_(self.scale))

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        """The same rule on the biases as a tensor of their own, of one row."""
        del draws
        return self.scale * self._rule(parts(stack, self.space)[-1])

    def _rule(self, part: Part) -> Tensor:
        left = (between(x, self.density, self.gamma, self.scope) for x in part.xs())
        return then_merged(self, left, part.weights)

    def result_rank(self, ranks: Sequence[int]) -> int | None:
        return max(ranks) if self.space == "factors" else None

    def refusal(self, ranks: Sequence[int]) -> str | None:
        what = "breadcrumbs with space: factors"
        return unlike_ranks(ranks, what) if self.space == "factors" else None

    def cautions(self) -> tuple[str, ...]:
        if self.space != "factors":
            return ()
        found: tuple[str, ...] = (f"breadcrumbs with space: factors: {CROSS_TERMS}",)
        if self.scope == "row" and 0 < self.density < 1:
            found += (
                "breadcrumbs with space: factors and scope: row: a row of B has only as many "
                f"entries as the rank r, and keeps int({self.density:g} r) of them, none where "
                f"r < {1 / self.density:.3g}; scope: tensor does without",
            )
        return found

    def promises(self) -> frozenset[Law]:
        laws = self.laws | then_promises(self)
        return laws


def between(
    x: Float[Tensor, " *dims"], density: float, gamma: float, scope: Extent
) -> Float[Tensor, " *dims"]:
    """The largest share `density` of the entries that are not among the largest share `gamma`."""
    rows = lines(x, scope)
    rest = rows - keep_largest_each(rows, gamma)
    return keep_largest_each(rest, density).reshape(x.shape)
