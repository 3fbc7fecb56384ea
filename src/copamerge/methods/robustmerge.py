"""RobustMerge as its authors released it: a product of sums."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from copamerge.core.delta import LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.methods._base import Law, MergeMethod
from copamerge.methods._select import keep_from_each
from copamerge.methods._steps import biases, mass_ratio, over_adapters


class RobustMerge(MergeMethod):
    """`(fuse sum_n w_n B~_n diag(S~_n)) (fuse sum_n A~_n)`, with B~, A~ pruned and S from A alone.

    The code behind the published numbers, with its constants as options. It differs from the
    paper (`copa`): all n^2 products B~_n A~_m are in the result, the coefficient is fuse^2 = 4,
    most of S is lifted by a clamp, and n copies of one adapter give 4 n times the pruned adapter.

    The code knows no weights; here they multiply the terms of the sum over B only, so the result
    is linear in them. It gives NaN for a zero row of A, and for a row that is pruned away; here
    such a row has S = 0 and takes no part in the clamp, and S = 1. Adapters of lower rank have
    S = 0 at the indices they lack, and are clamped over the rows they have.
    """

    name: ClassVar = "robustmerge"
    caution: ClassVar = (
        "robustmerge: like the released code, this multiplies a sum of B's by a sum of A's, so the "
        "result holds cross terms B_i A_j between adapters and its size depends on whether their "
        "A's were initialised alike; copa has no cross terms"
    )
    source: ClassVar = "github.com/AuroraZengfh/RobustMerge, llava/model/builder.py"
    laws: ClassVar = frozenset(
        {
            Law.PERMUTATION,
            Law.HOMOGENEITY,
            Law.ODDNESS,
            Law.LINEARITY,
            Law.COORDINATES,
            Law.RANK_ORDER,
            Law.FACTOR_SCALE,
            Law.RANK_BOUND,
            Law.DETERMINISM,
        }
    )

    density: float = Field(default=0.2, ge=0, le=1)
    """Share of each factor's entries that is kept, in [0, 1] (the code's mask_ratio, 0.2). Of n
    entries, those that reach the k-th smallest magnitude, k = int(n (1 - density)): one more
    than the share, and ties."""

    clamp: float = Field(default=0.2, ge=0, le=1)
    """Share of S, from the top, that keeps its value, in [0, 1]; all below is raised to the
    smallest of these (the code's att_ratio, 0.2). 1 raises nothing, 0 makes all equal."""

    fuse: float = 2.0
    """Multiplies every term of the sum over A and of the sum over B, so the delta by its square
    (the code's fuse_weight, 2 for every task)."""

    average: float | None = None
    """What tensors without factors (LoRA biases) are summed with (the code's coef). None: one
    over the number of adapters, those without the layer included."""

    def merge(self, stack: FactorStack, draws: Draws) -> LowRank:
        del draws
        before = stack.A.new_zeros(stack.n, stack.A.shape[1])
        after = torch.zeros_like(before)
        A_m, B_m = torch.zeros_like(stack.A[0]), torch.zeros_like(stack.B[0])
        # One adapter after the other: what is pruned is used up while it is in the cache.
        for n, r in enumerate(stack.ranks):
            full = stack.A[n, :r]
            A = self._pruned(full)
            before[n, :r], after[n, :r] = full.abs().sum(1), A.abs().sum(1)
            A_m[:r].add_(A, alpha=self.fuse)
        S = over_adapters(self._clamped(mass_ratio(before, after)))
        on_B = (S * stack.weights[:, None].double() * self.fuse).to(stack.B.dtype)
        for n, r in enumerate(stack.ranks):
            B_m[:, :r].addcmul_(self._pruned(stack.B[n, :, :r]), on_B[n, :r])
        return LowRank(A_m, B_m)

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        del draws
        average = self.average
        if average is None:
            average = 1 / (stack.n + len(stack.absent))
        return average * (stack.weights @ biases(stack))

    def _pruned(self, x: Float[Tensor, "a b"]) -> Float[Tensor, "a b"]:
        return keep_from_each(x[None], int(x.numel() * (1 - self.density)) - 1)[0]

    def _clamped(self, S: Float[Tensor, "n r"]) -> Float[Tensor, "n r"]:
        """Each adapter's S with its lowest 1 - clamp raised to the first above; zeros stay."""
        r = S.shape[1]
        present = (S > 0).sum(1)
        raised = (present.double() * (1 - self.clamp)).long().minimum(present - 1)
        # Ascending, the zeros come first. Nothing is raised where all are zero.
        first = (r - present + raised).clamp(min=0, max=r - 1)
        low = S.sort(dim=1).values.gather(1, first[:, None])
        return torch.where(S > 0, S.maximum(low), S)

    def result_rank(self, ranks: Sequence[int]) -> int:
        return max(ranks)
