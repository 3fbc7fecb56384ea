"""PEFT's `svd`: the weighted sum, cut to a rank."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Float64
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from copamerge.core.delta import LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.core.lowrank import Core, core_of, svd
from copamerge.methods._base import OF_DELTAS, Law, MergeMethod
from copamerge.methods._steps import biases


def clamped(
    US: Float64[Tensor, "d_out k"], V: Float64[Tensor, "d_in k"], quantile: float
) -> tuple[Float64[Tensor, "d_out k"], Float64[Tensor, "d_in k"]]:
    """Both within plus and minus the `quantile` (0.5..1) of all their entries and the negatives.

    PEFT takes the quantile of the entries as they come. Whether a singular vector comes with one
    sign or the other is arbitrary, and must not decide where it is cut.
    """
    magnitudes = np.concatenate([x.abs().flatten().cpu().numpy() for x in (US, V)])
    most = float(np.quantile(magnitudes, 2 * quantile - 1)) if len(magnitudes) else 0.0
    return US.clamp(-most, most), V.clamp(-most, most)


class Svd(MergeMethod):
    """The best approximation of the weighted sum by a matrix of rank r, each scaling counted once.

    What PEFT's `add_weighted_adapter` does by the name `svd`, exact from the factors. PEFT leaves
    the singular values in B, here A and B share them equally: the same delta. Older PEFT counted
    the scaling twice; it agrees where all scalings are 1. `task_arithmetic` is the sum itself.
    """

    name: ClassVar = "svd"
    source: ClassVar = "PEFT 0.21, LoraModel.add_weighted_adapter, combination_type='svd'"
    laws: ClassVar = OF_DELTAS | {Law.ZERO_ADAPTER}

    rank: int | None = Field(default=None, ge=1)
    """Rank of the result (svd_rank); by default the largest of those adapters whose delta is not
    zero. More than all ranks together would add nothing and is cut to that."""

    clamp: float | None = Field(default=None, gt=0.5, lt=1)
    """Outliers among the entries of U S and V are cut to this quantile and its negative, in
    (0.5, 1) (svd_clamp); by default none are. Entries count with both signs, because the signs of
    singular vectors are arbitrary."""

    def merge(self, stack: FactorStack, draws: Draws) -> LowRank:
        del draws
        core = core_of(stack)
        # An adapter whose delta is zero must not make room for more of the others.
        ranks = [stack.ranks[i] for i in core.kept] or list(stack.ranks)
        total, k = core.weighted().sum(0), self.result_rank(ranks)
        cut = core.lift(total, k) if self.clamp is None else _clamped(core, total, k, self.clamp)
        spare = self.result_rank(stack.ranks) - cut.rank
        return LowRank(
            A=pad(cut.A, (0, 0, 0, spare)).to(stack.A.dtype),
            B=pad(cut.B, (0, spare)).to(stack.B.dtype),
        )

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        """The weighted sum: a bias has no rank to cut."""
        del draws
        return stack.weights @ biases(stack)

    def result_rank(self, ranks: Sequence[int]) -> int:
        return max(ranks) if self.rank is None else min(self.rank, sum(ranks))

    def promises(self) -> frozenset[Law]:
        if self.clamp is not None:
            # U S has the size of the deltas and V has not, and entries depend on the coordinates.
            return self.laws - {Law.HOMOGENEITY, Law.ROTATION}
        return self.laws | {Law.IDENTITY} if self.rank is None else self.laws


def _clamped(core: Core, total: Float64[Tensor, "p q"], rank: int, quantile: float) -> LowRank:
    P, S, Qt = svd(total)
    S = S[:rank]
    US, V = clamped(core.U @ P[:, :rank] * S, core.V @ Qt[:rank].mT, quantile)
    root = S.sqrt()
    return LowRank(A=(V * root).mT.contiguous(), B=US / root)
