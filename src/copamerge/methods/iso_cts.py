"""Iso-CTS: common directions of the sum, room for each adapter's own, all with the same size."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, Float64
from pydantic import Field
from torch import Tensor

from copamerge.core.delta import LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.core.lowrank import core_of, polar, svd
from copamerge.methods._base import OF_DELTAS, MergeMethod
from copamerge.methods._steps import biases, total_weight


def common_and_own(deltas: Float64[Tensor, "n p q"], share: float) -> Float64[Tensor, "p q"]:
    """Algorithm 2 of the paper for deltas of low rank.

    Of the rank k that the deltas have together, about `share` (0..1) goes to the leading singular
    directions of their sum; each adapter gets an equal part of the rest, at least one direction,
    for what the common output directions leave of it. All vectors are made orthonormal together
    and get the mean of the singular values chosen.
    """
    n = len(deltas)
    if not n:
        return deltas.sum(0)
    rank = min(_rank(torch.cat(list(deltas), dim=1)), _rank(torch.cat(list(deltas))))
    own = min(max(1, round((1 - share) * rank / n)), rank // n)
    total = svd(deltas.sum(0))
    k = min(rank - n * own, len(total.S))
    common = total.U[:, :k]
    rests = [svd(delta - common @ (common.mT @ delta)) for delta in deltas]
    U = torch.cat([*(rest.U[:, :own] for rest in rests), common], dim=1)
    V = torch.cat([*(rest.Vt[:own].mT for rest in rests), total.Vt[:k].mT], dim=1)
    sizes = torch.cat([*(rest.S[:own] for rest in rests), total.S[:k]])
    return sizes.sum() / max(1, len(sizes)) * polar(U) @ polar(V).mT


def _rank(X: Float64[Tensor, "d e"]) -> int:
    return len(svd(X).S)


class IsoCts(MergeMethod):
    """Iso-C in which the weakest common directions make room for directions of single adapters.

    The paper counts against min(d_out, d_in) directions; adapters together have R at most, and
    shares are of those.
    """

    name: ClassVar = "iso_cts"
    source: ClassVar = "arXiv:2502.04959, algorithm 2; danielm1405/iso-merging"
    laws: ClassVar = OF_DELTAS

    common: float = Field(default=0.8, ge=0, le=1)
    """Share of the directions that are common ones, in [0, 1] (the paper's 0.8)."""

    scale: float = 1.0
    """Multiplies the merged delta (the paper's alpha, tuned on validation data)."""

    def merge(self, stack: FactorStack, draws: Draws) -> LowRank:
        del draws
        core = core_of(stack)
        merged = self.scale * common_and_own(core.weighted(), self.common)
        return core.lift(merged, self.result_rank(stack.ranks))

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        """The mean, as in the reference for everything that is not a matrix."""
        del draws
        return self.scale * (stack.weights @ biases(stack)) / total_weight(stack)

    def result_rank(self, ranks: Sequence[int]) -> int:
        return sum(ranks)
