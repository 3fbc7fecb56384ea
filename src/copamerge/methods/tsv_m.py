"""TSV-M: cut every adapter to its leading singular triples, then take them apart."""

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
from copamerge.methods._base import OF_DELTAS, Law, MergeMethod
from copamerge.methods._steps import biases, total_weight


def decorrelated(
    deltas: Float64[Tensor, "n p q"], keep: int | None = None, flatten: float = 0.0
) -> Float64[Tensor, "p q"]:
    """`polar([U_1 .. U_n]) diag(S_1 .. S_n) polar([V_1 .. V_n])^T` of the deltas' leading triples.

    `flatten` moves every singular value that share of the way to their mean.

    In any orthonormal bases the same: on the d_out x d_in deltas, or on their p x q cores.
    """
    if not len(deltas):
        return deltas.sum(0)
    triples = [svd(delta) for delta in deltas]
    U = polar(torch.cat([triple.U[:, :keep] for triple in triples], dim=1))
    V = polar(torch.cat([triple.Vt[:keep].mT for triple in triples], dim=1))
    S = torch.cat([triple.S[:keep] for triple in triples])
    S = (1 - flatten) * S + flatten * S.mean()
    return (U * S) @ V.mT


class TsvM(MergeMethod):
    """Sum of the adapters' singular triples, with all singular vectors made orthonormal together.

    Exact from the factors, R = r_1 + ... + r_n. Where adapters share directions, the reference's
    orthonormalisation fills up with arbitrary ones; here directions without energy are left out,
    so that copies give the adapter itself.
    """

    name: ClassVar = "tsv_m"
    source: ClassVar = "arXiv:2412.00081, algorithm 1; AntoAndGar/task_singular_vectors"
    laws: ClassVar = OF_DELTAS

    keep: int | None = Field(default=None, ge=1)
    """Leading singular triples kept of each adapter; by default all that it has. (The paper keeps
    min(d_out, d_in) / n of a full matrix, which is more than an adapter has.)"""

    flatten: float = Field(default=0.0, ge=0, le=1)
    """How far singular values are moved to their mean, in [0, 1]: 0 is TSV-M, 1 gives all
    directions the same size, as Iso-C does to those of the sum (ours, not the paper's)."""

    scale: float = 1.0
    """Multiplies the merged delta (the paper's alpha, 1 without validation data)."""

    def merge(self, stack: FactorStack, draws: Draws) -> LowRank:
        del draws
        core = core_of(stack)
        merged = self.scale * decorrelated(core.weighted(), self.keep, self.flatten)
        return core.lift(merged, self.result_rank(stack.ranks))

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        """The mean, as in the reference for everything that is not a matrix."""
        del draws
        return self.scale * (stack.weights @ biases(stack)) / total_weight(stack)

    def result_rank(self, ranks: Sequence[int]) -> int:
        return sum(ranks if self.keep is None else (min(r, self.keep) for r in ranks))

    def promises(self) -> frozenset[Law]:
        if self.scale == 1 and self.keep is None and not self.flatten:
            return self.laws | {Law.IDENTITY, Law.COPIES}
        return self.laws
