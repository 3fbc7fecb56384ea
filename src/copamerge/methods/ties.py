"""TIES: trim, elect a sign, combine whoever agrees."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from copamerge.core.delta import Dense, LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.core.survey import Survey, Tally
from copamerge.methods._base import Law, MergeMethod, Total, refuse_idle
from copamerge.methods._select import Convention, keep_largest, keep_reaching
from copamerge.methods._steps import (
    CROSS_TERMS,
    DIVIDE_IN_FACTORS,
    Combine,
    Divide,
    Part,
    SignRule,
    Space,
    Vote,
    balance,
    cast,
    disjoint_merge,
    elect_sign,
    entries,
    parts,
    unlike_ranks,
)
from copamerge.methods._survey import Scope, survey_of, thresholds_over

WIDE = "ties with scope: global"


class Ties(MergeMethod):
    """Trim each delta to its largest entries, elect a sign per entry, average who agrees.

    Thresholds, and the majority that decides exact ties of the sign, are per tensor, or over the
    whole model as in the paper's notebook (`scope`). The paper has no weights; here they multiply
    contributions, and votes too if `vote` says so.
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
    """Sign where the votes cancel exactly: `reference` takes the majority of the elected signs of
    the `scope` (the notebook; minus if that is a tie too), `nonnegative` takes plus (PEFT,
    mergekit), `drop` leaves the entry at zero."""

    vote: Vote = "unweighted"
    """Whether the sign is elected from the trimmed deltas (`unweighted`: the paper, PEFT) or
    from weight times delta (`weighted`: mergekit)."""

    divide: Divide = "count"
    """What the mean divides by: the `count` of those who agree (the paper, PEFT) or the sum of
    their `weights` (mergekit's normalize; not with `space: factors`)."""

    convention: Convention = "topk"
    """Which entries are the largest of n: `topk` exactly int(density n), ties to the lowest
    index (as PEFT counts); `argsort` the same, but refuses to keep none (mergekit); `kth` all
    that reach the threshold, one more and ties (the notebook); `quantile` all that reach the
    interpolated quantile."""

    scope: Scope = "tensor"
    """What one threshold and one majority hold for: each `tensor` by itself (PEFT, mergekit), or
    `global`, all layers as one vector per adapter, LoRA biases and in `space: factors` both
    factors included (the notebook). A layer that an adapter lacks has no entries of it. `global`
    reads every layer up to three times before the merge; it needs `convention: kth` (the
    notebook) or `quantile`."""

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
        if self.scope == "global" and self.convention not in ("kth", "quantile"):
            raise ValueError(
                "scope: global needs convention: kth (the notebook) or quantile; "
                f"{self.convention} breaks ties by index, and layers have no order"
            )
        return self

    def passes(self) -> int:
        if self.scope == "tensor":
            return 0
        return 3 if self.sign == "reference" else 2

    def survey(self, total: Total) -> Survey | None:
        if self.scope == "tensor":
            return None
        thresholds = thresholds_over(
            total, lambda stack: entries(stack, self.space), self.density, self.convention
        )
        found = Survey({key: {"threshold": least} for key, least in thresholds.items()})
        if self.sign != "reference":
            return found
        signs = total(lambda stack: self._signs(replace(stack, survey=found)))
        return replace(found, model={"majority": 1.0 if signs["balance"].sum() > 0 else -1.0})

    def _signs(self, stack: FactorStack) -> Tally:
        """How many more signs are plus than minus in one layer."""
        elected = (
            elect_sign(cast(self._trimmed(part.xs(), stack), part.weights, self.vote), "drop")
            for part in parts(stack, self.space)
        )
        return {"balance": np.array([sum(map(balance, elected))])}

    def merge(self, stack: FactorStack, draws: Draws) -> Dense | LowRank:
        del draws
        if self.space == "factors":
            A, B, *_ = parts(stack, self.space)
            return LowRank(A=self._rule(A, stack), B=self.scale * self._rule(B, stack))
        return Dense(self.scale * self._rule(parts(stack, self.space)[0], stack))

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        """The same rule on the biases as a tensor of their own."""
        del draws
        return self.scale * self._rule(parts(stack, self.space)[-1], stack)

    def _rule(self, part: Part, stack: FactorStack) -> Tensor:
        survey = survey_of(stack, WIDE) if self.scope == "global" else None
        return disjoint_merge(
            list(self._trimmed(part.xs(), stack)),
            part.weights,
            sign=self.sign,
            vote=self.vote,
            combine=self.combine,
            divide=self.divide,
            majority=None if survey is None else survey.model.get("majority"),
        )

    def _trimmed(self, xs: Iterable[Tensor], stack: FactorStack) -> Iterator[Tensor]:
        if self.scope == "tensor":
            place = f"layer {stack.layer!r}"
            return (keep_largest(x, self.density, self.convention, place=place) for x in xs)
        found = survey_of(stack, WIDE).adapters
        thresholds = [found[key]["threshold"] for key in stack.keys]
        return (keep_reaching(x[None], [least])[0] for x, least in zip(xs, thresholds, strict=True))

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
        elif self.scope == "global":
            # One threshold for A and B together: what scales one of them moves it among the other.
            laws -= {Law.HOMOGENEITY, Law.FACTOR_SCALE}
        return frozenset(laws)
