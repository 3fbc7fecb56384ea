"""PEFT's `linear`: add the A's and add the B's."""

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from copamerge.core.delta import LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.methods._base import Law, MergeMethod
from copamerge.methods._steps import CROSS_TERMS, biases, split, sum_of, unlike_ranks


class FactorLinear(MergeMethod):
    """`(sum_i c_i B_i) (sum_i +-c_i A_i)` with `c_i = sqrt(|w_i scaling_i|)`, of rank r.

    What PEFT's `add_weighted_adapter` does by the name `linear`, sign of the coefficient on A.
    It holds all n^2 cross products: n copies of one adapter with weights 1/n give n times that
    adapter. Kept to reproduce such merges; `task_arithmetic` is the sum it is taken for.
    """

    name: ClassVar = "factor_linear"
    source: ClassVar = "PEFT 0.21, LoraModel.add_weighted_adapter, combination_type='linear'"
    caution: ClassVar = f"factor_linear: {CROSS_TERMS} (task_arithmetic is)"
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
        raw = split(stack)
        return LowRank(A=sum_of(raw.A, raw.on_A), B=sum_of(raw.B, raw.on_B))

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        """The weighted sum: a bias has no factors to cross."""
        del draws
        return stack.weights @ biases(stack)

    def result_rank(self, ranks: Sequence[int]) -> int:
        return max(ranks)

    def refusal(self, ranks: Sequence[int]) -> str | None:
        return unlike_ranks(ranks, "factor_linear")
