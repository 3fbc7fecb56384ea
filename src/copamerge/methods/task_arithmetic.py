"""Task arithmetic: add the deltas."""

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from copamerge.core.delta import LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.methods._base import OF_DELTAS, Law, MergeMethod
from copamerge.methods._steps import biases, concatenate, total_weight


class TaskArithmetic(MergeMethod):
    """The weighted sum of the deltas, exact: factors side by side, of rank r_1 + ... + r_n."""

    name: ClassVar = "task_arithmetic"
    source: ClassVar = "arXiv:2212.04089, section 2"
    laws: ClassVar = OF_DELTAS

    scale: float = 1.0
    """Multiplies the merged delta (the paper's lambda, which it tunes on validation data; 1 is
    the plain sum)."""

    normalize: bool = False
    """Divide by the sum of the weights, adapters without the layer included, as mergekit's
    `linear` does. Refused where the weights sum to 0."""

    def merge(self, stack: FactorStack, draws: Draws) -> LowRank:
        del draws
        return concatenate(stack, self._factor(stack))

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        del draws
        return self._factor(stack) * (stack.weights @ biases(stack))

    def _factor(self, stack: FactorStack) -> float:
        return self.scale / total_weight(stack) if self.normalize else self.scale

    def result_rank(self, ranks: Sequence[int]) -> int:
        return sum(ranks)

    def promises(self) -> frozenset[Law]:
        if self.normalize:
            return self.laws | ({Law.IDENTITY, Law.COPIES} if self.scale == 1 else set())
        laws = self.laws | {Law.LINEARITY, Law.ZERO_ADAPTER}
        return laws | {Law.IDENTITY} if self.scale == 1 else laws
