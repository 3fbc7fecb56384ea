"""Iso-C: the directions of the sum, all with the same size."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from jaxtyping import Float, Float64
from torch import Tensor

from copamerge.core.delta import LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.core.lowrank import core_of, svd
from copamerge.methods._base import OF_DELTAS, MergeMethod
from copamerge.methods._steps import biases, total_weight


def isotropic(X: Float64[Tensor, "p q"], count: int | None = None) -> Float64[Tensor, "p q"]:
    """X with equal singular values: their mean over those there are, or their sum / `count`."""
    U, S, Vt = svd(X)
    return float(S.sum()) / max(1, len(S) if count is None else count) * U @ Vt


class IsoC(MergeMethod):
    """Singular vectors of the summed deltas, every singular value replaced by their mean.

    The paper writes it for full fine-tuning, where all min(d_out, d_in) values are above zero. A
    sum of adapters has rank R at most: the mean is over those, and directions without energy stay
    without.
    """

    name: ClassVar = "iso_c"
    source: ClassVar = "arXiv:2502.04959, algorithm 1; danielm1405/iso-merging"
    laws: ClassVar = OF_DELTAS

    over: Literal["rank", "side"] = "rank"
    """What the mean of the singular values is over: the `rank` of the sum, or the smaller `side`
    of the matrix, as in the reference; only the size of the result differs."""

    scale: float = 1.0
    """Multiplies the merged delta (the paper's alpha, tuned on validation data)."""

    def merge(self, stack: FactorStack, draws: Draws) -> LowRank:
        del draws
        core = core_of(stack)
        count = None if self.over == "rank" else min(len(core.U), len(core.V))
        merged = self.scale * isotropic(core.weighted().sum(0), count)
        return core.lift(merged, self.result_rank(stack.ranks))

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        """The mean, as in the reference for everything that is not a matrix."""
        del draws
        return self.scale * (stack.weights @ biases(stack)) / total_weight(stack)

    def result_rank(self, ranks: Sequence[int]) -> int:
        return sum(ranks)
