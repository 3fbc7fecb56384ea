"""PCB-Merging: weigh each entry by its importance and by how others agree with it."""

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from copamerge.core.delta import Dense, LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.methods._base import Law, MergeMethod
from copamerge.methods._select import order_statistics
from copamerge.methods._steps import CROSS_TERMS, Space, biases, deltas, split, unlike_ranks


class Pcb(MergeMethod):
    """Score entries by magnitude within an adapter and agreement between adapters, keep the top.

    Everything is per layer (the authors' code ranks entries over the whole model). The recipe's
    weights multiply the contributions, not the scores nor what the contributions are divided by.
    An adapter whose delta is zero is left out, and does not count in n. Where all magnitudes of
    an adapter are equal, the formula's min-max is 0/0; all its entries then count fully. Scores
    are products of deltas inside tanh, so scaling the adapters changes which entries win.
    """

    name: ClassVar = "pcb"
    source: ClassVar = "arXiv:2410.02396, section 3; duguodong7/pcb-merging, pcb-merging.py"
    laws: ClassVar = frozenset(
        {
            Law.PERMUTATION,
            Law.ODDNESS,
            Law.COORDINATES,
            Law.RANK_ORDER,
            Law.RANK_BOUND,
            Law.DETERMINISM,
        }
    )

    ratio: float = Field(default=0.1, ge=0, le=1)
    """Share of each adapter's entries whose score counts, in [0, 1] (the paper's r; 0.1 is the
    default of the authors' function). 0 gives zero."""

    scale: float = 1.0
    """Multiplies the merged delta (the paper's lambda, which it searches around 1.2 with
    validation data; 1 is the choice without)."""

    clamp: float = Field(default=1e-4, ge=0, lt=0.5)
    """Share of magnitudes cut at each end before scoring, in [0, 0.5): the smallest are raised
    and the largest lowered to the values there (the authors' code)."""

    space: Space = "delta"
    """`delta` runs the rule on the matrices B A, as the paper does on weights. `factors` runs it
    on all A and on all B, weights split by square roots: a different method, of rank r, with
    cross terms between adapters, that changes when an adapter is re-factored. Needs equal
    ranks."""

    def merge(self, stack: FactorStack, draws: Draws) -> Dense | LowRank:
        del draws
        if self.space == "factors":
            raw = split(stack)
            A = self._rule(lambda: raw.A, raw.on_A)
            return LowRank(A, self.scale * self._rule(lambda: raw.B, raw.on_B))
        # The deltas are walked twice and multiplied out twice: cheaper than holding them all.
        total = self._rule(lambda: deltas(stack), stack.weights.tolist())
        return Dense(total.mul_(self.scale))

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        """The same rule on the biases as a tensor of their own."""
        del draws
        bias = biases(stack)
        return self.scale * self._rule(lambda: bias, stack.weights.tolist())

    def _rule(self, xs: Callable[[], Iterable[Tensor]], weights: Sequence[float]) -> Tensor:
        total = torch.zeros(())
        n = 0
        for x in xs():
            total = total + x
            n += bool(x.any())
        if n == 0 or self.ratio == 0:
            return torch.zeros_like(total)
        above, below = torch.zeros_like(total), torch.zeros_like(total)
        for x, w in zip(xs(), weights, strict=True):
            if not x.any():
                continue
            clamped = self._clamped(x)
            score = self._score(x, clamped, total, n)
            above.add_(clamped.mul_(score), alpha=w)
            below.add_(score)
        return above.div_(below.clamp_(min=1e-12))

    def _clamped(self, x: Tensor) -> Tensor:
        size = x.numel()
        low = int(size * self.clamp)
        high = max(int(size * (1 - self.clamp) - 1), low)
        magnitudes = x.abs()
        return magnitudes.clamp_(*order_statistics(magnitudes, low, high)).mul_(x.sign())

    def _score(self, x: Tensor, clamped: Tensor, total: Tensor, n: int) -> Tensor:
        """Share in [0, 1] that each entry of one adapter counts with."""
        # exp(n (m^2 - 1)) rather than exp(n m^2): a common factor cancels below, overflow does not.
        intra = min_max(clamped.abs()).square_().sub_(1).mul_(n).exp_()
        score = intra.mul_((x * total).tanh_())
        place = min(int(score.numel() * (1 - self.ratio)), score.numel() - 1)
        low, high = order_statistics(score, place, score.numel() - 1)
        if high == low:
            return (score >= low).to(score.dtype)
        return score.sub_(low).clamp_(min=0).div_(high - low)

    def result_rank(self, ranks: Sequence[int]) -> int | None:
        return max(ranks) if self.space == "factors" else None

    def refusal(self, ranks: Sequence[int]) -> str | None:
        return unlike_ranks(ranks, "pcb with space: factors") if self.space == "factors" else None

    def cautions(self) -> tuple[str, ...]:
        return (f"pcb with space: factors: {CROSS_TERMS}",) if self.space == "factors" else ()

    def promises(self) -> frozenset[Law]:
        if self.space == "factors":
            return self.laws
        return self.laws | {
            Law.GAUGE,
            Law.OWN_RANK_ORDER,
            Law.SIGN_FLIP,
            Law.FACTOR_SCALE,
            Law.ZERO_ADAPTER,
            Law.LINEARITY,
        }


def min_max(x: Float[Tensor, " *dims"]) -> Float[Tensor, " *dims"]:
    """Shifted and scaled to [0, 1]; ones where all entries are equal."""
    low, high = x.aminmax()
    return (x - low) / (high - low) if high > low else torch.ones_like(x)
