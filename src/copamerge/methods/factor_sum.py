"""LoraHub's merge: add the A's and add the B's."""

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from copamerge.core.delta import LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.methods._base import Law, MergeMethod
from copamerge.methods._steps import CROSS_TERMS, biases, sum_of, unlike_ranks


class FactorSum(MergeMethod):
    """`(sum_i w_i B_i) (sum_i w_i A_i)`, scaling in B, of rank r: quadratic in the weights.

    What LoraHub makes of given weights; `copamerge learn lorahub` finds them. It holds all n^2
    cross products, and a weight of -1 alone gives the adapter itself.
    """

    name: ClassVar = "factor_sum"
    source: ClassVar = "arXiv:2307.13269, equation 1"
    caution: ClassVar = f"factor_sum: {CROSS_TERMS} (task_arithmetic is)"
    laws: ClassVar = frozenset(
        {
            Law.IDENTITY,
            Law.PERMUTATION,
            Law.HOMOGENEITY,
            Law.ODDNESS,
            Law.COORDINATES,
            Law.RANK_ORDER,
            Law.ROTATION,
            Law.FACTOR_SCALE,
            Law.RANK_BOUND,
            Law.DETERMINISM,
        }
    )

    def merge(self, stack: FactorStack, draws: Draws) -> LowRank:
        del draws
        weights = stack.weights.tolist()
        return LowRank(A=sum_of(stack.A, weights), B=sum_of(stack.B, weights))

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        """The weighted sum: a bias has no factors to cross."""
        del draws
        return stack.weights @ biases(stack)

    def result_rank(self, ranks: Sequence[int]) -> int:
        return max(ranks)

    def refusal(self, ranks: Sequence[int]) -> str | None:
        return unlike_ranks(ranks, "factor_sum")
