"""Weighted mean of the deltas."""

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from copamerge.core.delta import LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.methods._base import Law, MergeMethod
from copamerge.methods._steps import biases, concatenate, total_weight


class Mean(MergeMethod):
    """The deltas, weighted and divided by the sum of the weights; a missing layer counts as zero.

    Exact, by factors side by side. Weights that sum to 0 are refused.
    """

    name: ClassVar = "mean"
    source: ClassVar = "arXiv:2203.05482 (model soups), on deltas"
    laws: ClassVar = frozenset(
        {
            Law.IDENTITY,
            Law.PERMUTATION,
            Law.GAUGE,
            Law.HOMOGENEITY,
            Law.ODDNESS,
            Law.COPIES,
            Law.COORDINATES,
            Law.RANK_ORDER,
            Law.OWN_RANK_ORDER,
            Law.SIGN_FLIP,
            Law.ROTATION,
            Law.FACTOR_SCALE,
            Law.RANK_BOUND,
            Law.DETERMINISM,
        }
    )

    def merge(self, stack: FactorStack, draws: Draws) -> LowRank:
        del draws
        return concatenate(stack, 1 / total_weight(stack))

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        del draws
        return stack.weights @ biases(stack) / total_weight(stack)

    def result_rank(self, ranks: Sequence[int]) -> int:
        return sum(ranks)
