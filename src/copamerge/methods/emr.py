"""EMR: elect a sign per entry, keep the largest entry that has it."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from copamerge.core.delta import Dense, LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.methods._base import Law, MergeMethod
from copamerge.methods._steps import CROSS_TERMS, Part, Space, cast, parts, unlike_ranks

ALONE = (
    "emr: one adapter holds the unified delta only, which is larger than what any task needs; the "
    "mask and the scalar that the method gives each task are in a family (`copamerge family make`)"
)


def unify(xs: Iterable[Float[Tensor, " *dims"]]) -> Float[Tensor, " *dims"]:
    """Entry by entry the largest x_n of the elected sign: plus where the sum is positive.

    Where the sum is exactly 0 the sign is minus, as in the reference.
    """
    total: Tensor | None = None
    for x in xs:
        if total is None:
            total, highest, lowest = x.clone(), x.clamp(min=0), x.clamp(max=0)
        else:
            total += x
            torch.maximum(highest, x, out=highest)
            torch.minimum(lowest, x, out=lowest)
    assert total is not None, "a stack has at least one adapter"
    return torch.where(total > 0, highest, lowest)


def agreement(
    x: Float[Tensor, " *dims"], unified: Float[Tensor, " *dims"]
) -> Bool[Tensor, " *dims"]:
    """A task's mask: where its delta has the sign of the unified one, and neither is 0."""
    # Of the signs, not of the numbers: the product of two small numbers may be 0.
    return x.sign() * unified.sign() > 0


class Emr(MergeMethod):
    """The unified delta of EMR-Merging: in each entry the largest one that has the elected sign.

    The sign is that of the mean. The paper's models are this delta times a mask and a scalar for
    each task, which takes knowing the task: `copamerge family make` keeps them. Weights, which
    the paper does not have, multiply the deltas before anything else.
    """

    name: ClassVar = "emr"
    source: ClassVar = "arXiv:2405.17461, Algorithm 1; harveyhuang18/EMR_Merging"
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
    caution: ClassVar = ALONE

    scale: float = 1.0
    """Multiplies the unified delta (the paper has none: its scalars are per task, in a family)."""

    space: Space = "delta"
    """`delta` runs the rule on the matrices B A, as the paper does on weights. `factors` runs it
    on all A and on all B, weights split by square roots: a different method, of rank r, with
    cross terms between adapters, that changes when an adapter is re-factored. Needs equal
    ranks."""

    def merge(self, stack: FactorStack, draws: Draws) -> Dense | LowRank:
        del draws
        if self.space == "factors":
            A, B, *_ = parts(stack, self.space)
            return LowRank(A=_rule(A), B=self.scale * _rule(B))
        return Dense(self.scale * _rule(parts(stack, self.space)[0]))

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        """The same rule on the biases as a tensor of their own."""
        del draws
        return self.scale * _rule(parts(stack, self.space)[-1])

    def result_rank(self, ranks: Sequence[int]) -> int | None:
        return max(ranks) if self.space == "factors" else None

    def refusal(self, ranks: Sequence[int]) -> str | None:
        return unlike_ranks(ranks, "emr with space: factors") if self.space == "factors" else None

    def cautions(self) -> tuple[str, ...]:
        if self.space == "factors":
            return (ALONE, f"emr with space: factors: {CROSS_TERMS}")
        return (ALONE,)

    def promises(self) -> frozenset[Law]:
        laws = set(self.laws)
        if self.scale == 1:
            laws |= {Law.IDENTITY, Law.COPIES}
        if self.space == "delta":
            laws |= {Law.GAUGE, Law.OWN_RANK_ORDER, Law.SIGN_FLIP, Law.ZERO_ADAPTER}
        return frozenset(laws)


def _rule(part: Part) -> Tensor:
    return unify(cast(part.xs(), part.weights, "weighted"))
