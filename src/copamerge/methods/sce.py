"""SCE: select entries that differ, weigh adapters by energy, erase minority signs."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, Float64
from pydantic import Field
from torch import Tensor

from copamerge.core.delta import Dense, LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.methods._base import Law, MergeMethod
from copamerge.methods._select import keep_from_each
from copamerge.methods._steps import (
    CROSS_TERMS,
    Part,
    SignRule,
    Space,
    cast,
    disjoint_merge,
    parts,
    sum_of,
    unlike_ranks,
)


class Sce(MergeMethod):
    """Keep entries of high variance over the adapters, average by energy who has the elected sign.

    An adapter counts by its energy, the sum of squares of its selected entries in this tensor.
    Weights, which the paper does not have, multiply the deltas before anything else, as if the
    adapters had been trained that strong. An adapter without the layer, or with a delta of zero,
    counts as one of zeros in the variance.
    """

    name: ClassVar = "sce"
    source: ClassVar = "arXiv:2408.07990; fanqiwan/FuseAI; mergekit's sce"
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

    density: float = Field(default=1.0, ge=0, le=1)
    """Share of the entries with any variance over the adapters that is selected, those of largest
    variance, in [0, 1] (select_topk; 1, no selection, is mergekit's default, 0.1 the authors'
    example). Below 1, entries on which all adapters agree exactly are never selected, so one
    adapter alone, and copies of one, give zero."""

    scale: float = 1.0
    """Multiplies the merged delta (the paper has none)."""

    sign: SignRule = "nonnegative"
    """Sign where the votes cancel exactly, as in `ties` (the authors' code and mergekit:
    `nonnegative`)."""

    space: Space = "delta"
    """`delta` runs the rule on the matrices B A, as the paper does on weights. `factors` runs it
    on all A and on all B, weights split by square roots: a different method, of rank r, with
    cross terms between adapters, that changes when an adapter is re-factored. Needs equal
    ranks."""

    def merge(self, stack: FactorStack, draws: Draws) -> Dense | LowRank:
        del draws
        if self.space == "factors":
            A, B, *_ = parts(stack, self.space)
            return LowRank(A=self._rule(A, stack), B=self.scale * self._rule(B, stack))
        return Dense(self._rule(parts(stack, self.space)[0], stack).mul_(self.scale))

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        """The same rule on the biases as a tensor of their own."""
        del draws
        return self.scale * self._rule(parts(stack, self.space)[-1], stack)

    def _rule(self, part: Part, stack: FactorStack) -> Tensor:
        xs = list(cast(part.xs(), part.weights, "weighted"))
        if self.density < 1:
            chosen = selected(variance(xs, len(stack.absent)), self.density)
            xs = [x * chosen for x in xs]
        energies = [float(x.double().square().sum()) for x in xs]
        total = sum(energies)
        return disjoint_merge(
            xs,
            [energy / total if total > 0 else 0.0 for energy in energies],
            sign=self.sign,
            vote="unweighted",
            combine="mean",
            divide="weights",
        )

    def result_rank(self, ranks: Sequence[int]) -> int | None:
        return max(ranks) if self.space == "factors" else None

    def refusal(self, ranks: Sequence[int]) -> str | None:
        return unlike_ranks(ranks, "sce with space: factors") if self.space == "factors" else None

    def cautions(self) -> tuple[str, ...]:
        found: tuple[str, ...] = ()
        if self.space == "factors":
            found += (f"sce with space: factors: {CROSS_TERMS}",)
        if self.density < 1:
            found += (
                "sce with density below 1: entries are selected by their variance over the "
                "adapters, so a layer on which all agree exactly, or that one adapter alone has, "
                "becomes zero",
            )
        return found

    def promises(self) -> frozenset[Law]:
        laws = set(self.laws)
        if self.sign == "drop":
            # The other rules prefer a sign where votes cancel, and negation does not turn that.
            laws |= {Law.ODDNESS}
        if self.density == 1 and self.scale == 1:
            laws |= {Law.IDENTITY, Law.COPIES}
        if self.space == "delta":
            laws |= {Law.GAUGE, Law.OWN_RANK_ORDER, Law.SIGN_FLIP}
            if self.density == 1:
                # A further adapter of zeros moves the variance, not energies and signs.
                laws |= {Law.ZERO_ADAPTER}
        return frozenset(laws)


def variance(xs: Sequence[Float[Tensor, " *dims"]], absent: int) -> Float64[Tensor, " *dims"]:
    """Population variance of each entry over the adapters and `absent` ones that are zero.

    0 where it is nothing but rounding: copies do not differ.
    """
    n = len(xs) + absent
    mean = sum_of(x.double() for x in xs) / n
    found = sum_of((x - mean).square() for x in xs)
    found = found.add_(mean.square(), alpha=absent) / n
    noise = (n * torch.finfo(torch.float64).eps) ** 2
    return torch.where(found > noise * mean.square(), found, 0.0)


def selected(spread: Float64[Tensor, " *dims"], density: float) -> Tensor:
    """True for this share of the entries above 0, the largest; ties go to the lowest index."""
    kept = int(density * int(spread.count_nonzero()))
    if kept == 0:
        return torch.zeros_like(spread, dtype=torch.bool)
    return keep_from_each(spread[None], spread.numel() - kept, exact=True)[0] > 0
