"""TIES: trim, elect a sign, combine whoever agrees."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from copamerge.core.delta import Dense, LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.methods._base import Law, MergeMethod, refuse_idle
from copamerge.methods._select import Convention, keep_largest
from copamerge.methods._steps import (
    CROSS_TERMS,
    DIVIDE_IN_FACTORS,
    Combine,
    Divide,
    SignRule,
    Space,
    Vote,
    biases,
    deltas,
    disjoint_merge,
    split,
    unlike_ranks,
)


class Ties(MergeMethod):
    """Trim each delta to its largest entries, elect a sign per entry, average who agrees.

    Everything is per layer: thresholds, and the majority that decides exact ties of the sign.
    The paper's notebook does both over the whole model at once. The paper has no weights; here
    they multiply contributions, and votes too if `vote` says so.
    """

    name: ClassVar = "ties"
    source: ClassVar = "arXiv:2306.01708, Algorithm 1; prateeky2806/ties-merging"
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
    """Share of each adapter's entries that survives trimming, by magnitude, in [0, 1] (the
    paper's k, 20 %)."""

    scale: float = 1.0
    """Multiplies the merged delta (the paper's lambda; 1 is its choice without validation
    data)."""

    combine: Combine = "mean"
    """What is made of the entries that agree with the sign: their `mean` (the paper), `sum`, or
    the one of largest magnitude (`max`)."""

    sign: SignRule = "reference"
    """Sign where the votes cancel exactly: `reference` takes the majority of the layer's elected
    signs (the notebook; minus if that is a tie too), `nonnegative` takes plus (PEFT, mergekit),
    `drop` leaves the entry at zero."""

    vote: Vote = "unweighted"
    """Whether the sign is elected from the trimmed deltas (`unweighted`: the paper, PEFT) or
    from weight times delta (`weighted`: mergekit)."""

    divide: Divide = "count"
    """What the mean divides by: the `count` of those who agree (the paper, PEFT) or the sum of
    their `weights` (mergekit's normalize; not with `space: factors`)."""

    convention: Convention = "topk"
    """Which entries are the largest of n: `topk` exactly int(density n), ties to the lowest
    index (as PEFT counts); `kth` all that reach the threshold, one more and ties (the notebook);
    `quantile` all that reach the interpolated quantile."""

    space: Space = "delta"
    """`delta` runs the rule on the matrices B A, as the paper does on weights. `factors` runs it
    on all A and on all B, weights split by square roots, as PEFT's `ties` does: a different
    method, of rank r, with cross terms between adapters, that changes when an adapter is
    re-factored. Needs equal ranks."""

    @model_validator(mode="after")
    def _no_idle_options(self) -> "Ties":
        if self.space == "factors" and self.divide == "weights":
            raise ValueError(DIVIDE_IN_FACTORS)
        if self.combine != "mean":
            refuse_idle(self, f"combine: {self.combine}", "divide")
        return self

    def merge(self, stack: FactorStack, draws: Draws) -> Dense | LowRank:
        del draws
        if self.space == "factors":
            raw = split(stack)
            B = self.scale * self._rule(raw.B, raw.on_B)
            return LowRank(A=self._rule(raw.A, raw.on_A), B=B)
        return Dense(self.scale * self._rule(deltas(stack), stack.weights.tolist()))

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        """The same rule on the biases as a tensor of their own."""
        del draws
        return self.scale * self._rule(biases(stack), stack.weights.tolist())

    def _rule(self, xs: Iterable[Tensor], weights: Sequence[float]) -> Tensor:
        return disjoint_merge(
            [keep_largest(x, self.density, self.convention) for x in xs],
            weights,
            sign=self.sign,
            vote=self.vote,
            combine=self.combine,
            divide=self.divide,
        )

    def result_rank(self, ranks: Sequence[int]) -> int | None:
        return max(ranks) if self.space == "factors" else None

    def refusal(self, ranks: Sequence[int]) -> str | None:
        return unlike_ranks(ranks, "ties with space: factors") if self.space == "factors" else None

    def cautions(self) -> tuple[str, ...]:
        return (f"ties with space: factors: {CROSS_TERMS}",) if self.space == "factors" else ()

    def promises(self) -> frozenset[Law]:
        laws = set(self.laws)
        if self.sign == "drop":
            # The other rules prefer a sign where votes cancel, and negation does not turn that.
            laws |= {Law.ODDNESS}
        if self.density == 1 and self.scale == 1:
            laws |= {Law.IDENTITY}
            if self.combine != "sum":
                laws |= {Law.COPIES}
        if self.space == "delta":
            laws |= {Law.GAUGE, Law.OWN_RANK_ORDER, Law.SIGN_FLIP, Law.ZERO_ADAPTER}
            if self.vote == "unweighted" and self.combine != "max" and self.divide == "count":
                laws |= {Law.LINEARITY}
        return frozenset(laws)
