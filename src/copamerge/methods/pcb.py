"""PCB-Merging: weigh each entry by its importance and by how others agree with it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from copamerge.core.delta import Dense, LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.core.survey import Survey
from copamerge.methods._base import Law, MergeMethod, Total
from copamerge.methods._select import order_statistics
from copamerge.methods._steps import CROSS_TERMS, Part, Space, entries, parts, unlike_ranks
from copamerge.methods._survey import Scope, order_statistics_over, survey_of


class Magnitudes(NamedTuple):
    """Some magnitudes of one adapter's entries, in one tensor or in all."""

    least: float
    low: float
    """What smaller ones are raised to."""
    high: float
    """What larger ones are lowered to."""
    most: float


class Scores(NamedTuple):
    """Some scores of one adapter's entries, in one tensor or in all."""

    score_low: float
    """The one that counts as 0."""
    score_high: float
    """The largest."""


WIDE = "pcb with scope: global"


class Pcb(MergeMethod):
    """Score entries by magnitude within an adapter and agreement between adapters, keep the top.

    Entries are ranked within each tensor, or over the whole model as in the authors' code
    (`scope`). The recipe's weights multiply the contributions, not the scores nor what the
    contributions are divided by. An adapter whose entries are all zero is left out, and does not
    count in n. Where all magnitudes of an adapter are equal, the formula's min-max is 0/0; all
    its entries then count fully. Scores are products of deltas inside tanh, so scaling the
    adapters changes which entries win.
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

    scope: Scope = "tensor"
    """What an adapter's entries are clamped, scaled and ranked within: each `tensor` by itself, or
    `global`, all layers as one vector, LoRA biases and in `space: factors` both factors included
    (the authors' code). A layer that an adapter lacks has no entries of it. `global` reads every
    layer four times before the merge."""

    def passes(self) -> int:
        return 4 if self.scope == "global" and self.ratio > 0 else 0

    def survey(self, total: Total) -> Survey | None:
        if not self.passes():
            return None
        sizes = order_statistics_over(total, lambda s: entries(s, self.space), self._size_places)
        adapters = {key: Magnitudes(*found.values)._asdict() for key, found in sizes.items()}
        n = sum(found["most"] > 0 for found in adapters.values())
        known = Survey(adapters, model={"adapters": float(n)})
        scores = order_statistics_over(
            total,
            lambda stack: self._all_scores(replace(stack, survey=known)),
            self._score_places,
            magnitudes=False,
        )
        for key, found in scores.items():
            adapters[key] |= Scores(*found.values)._asdict()
        return replace(known, adapters=adapters)

    def _all_scores(self, stack: FactorStack) -> Iterator[tuple[str, Tensor]]:
        for part in parts(stack, self.space):
            for i, _, score in self._scored(part, stack):
                yield stack.keys[i], score

    def merge(self, stack: FactorStack, draws: Draws) -> Dense | LowRank:
        del draws
        if self.space == "factors":
            A, B, *_ = parts(stack, self.space)
            return LowRank(self._rule(A, stack), self.scale * self._rule(B, stack))
        return Dense(self._rule(parts(stack, self.space)[0], stack).mul_(self.scale))

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        """The same rule on the biases as a tensor of their own."""
        del draws
        return self.scale * self._rule(parts(stack, self.space)[-1], stack)

    def _rule(self, part: Part, stack: FactorStack) -> Tensor:
        above = torch.zeros_like(next(iter(part.xs())))
        if self.ratio == 0:
            return above
        below = torch.zeros_like(above)
        for i, clamped, score in self._scored(part, stack):
            low, high = self._scores(score, stack, i)
            if high == low:
                share = (score >= low).to(score.dtype)
            else:
                share = score.sub_(low).clamp_(min=0).div_(high - low)
            above.add_(clamped.mul_(share), alpha=part.weights[i])
            below.add_(share)
        return above.div_(below.clamp_(min=1e-12))

    def _scored(self, part: Part, stack: FactorStack) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Index, clamped tensor and scores of each adapter that is not zero.

        The deltas are walked twice and multiplied out twice: cheaper than holding them all.
        """
        total = torch.zeros(())
        n = 0
        for x in part.xs():
            total = total + x
            n += bool(x.any())
        if self.scope == "global":
            n = int(survey_of(stack, WIDE).model["adapters"])
        for i, x in enumerate(part.xs()):
            magnitudes = x.abs()
            found = self._magnitudes(magnitudes, stack, i)
            if found.most > 0:
                clamped = magnitudes.clamp_(found.low, found.high).mul_(x.sign())
                # Zeros stay zeros, so they are the least where there are any.
                least = found.low if found.least > 0 else 0.0
                intra = importance(clamped, least, found.high, n)
                yield i, clamped, intra.mul_((x * total).tanh_())

    def _magnitudes(self, magnitudes: Tensor, stack: FactorStack, i: int) -> Magnitudes:
        if self.scope == "global":
            found = survey_of(stack, WIDE).adapters[stack.keys[i]]
            return Magnitudes(*(found[name] for name in Magnitudes._fields))
        return Magnitudes(*order_statistics(magnitudes, *self._size_places(magnitudes.numel())))

    def _scores(self, score: Tensor, stack: FactorStack, i: int) -> Scores:
        if self.scope == "global":
            found = survey_of(stack, WIDE).adapters[stack.keys[i]]
            return Scores(*(found[name] for name in Scores._fields))
        return Scores(*order_statistics(score, *self._score_places(score.numel())))

    def _size_places(self, size: int) -> tuple[int, int, int, int]:
        low = int(size * self.clamp)
        return 0, low, max(int(size * (1 - self.clamp) - 1), low), size - 1

    def _score_places(self, size: int) -> tuple[int, int]:
        return min(int(size * (1 - self.ratio)), size - 1), size - 1

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


def importance(
    clamped: Float[Tensor, " *dims"], least: float, most: float, n: int
) -> Float[Tensor, " *dims"]:
    """exp(n m^2), of the magnitudes m shifted and scaled to [0, 1], up to a factor common to all.

    m is 1 where all magnitudes are equal.
    """
    sizes = clamped.abs()
    m = sizes.sub_(least).div_(most - least) if most > least else sizes.fill_(1)
    # exp(n (m^2 - 1)) rather than exp(n m^2): a common factor cancels below, overflow does not.
    return m.square_().sub_(1).mul_(n).exp_()
