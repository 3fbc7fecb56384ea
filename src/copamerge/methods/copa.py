"""CoPA-Merging as the paper states it: a sum of products."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from copamerge.core.delta import LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.methods._base import Law, MergeMethod, refuse_idle
from copamerge.methods._select import Convention, keep_largest, keep_largest_each
from copamerge.methods._steps import (
    Each,
    biases,
    drop_at_random,
    elect_sign,
    factors,
    lost_mass,
    over_adapters,
    streams,
    unlike_ranks,
)


class Copa(MergeMethod):
    """Prune A and B, compensate between them from A alone, normalise over adapters, add.

    `scale * sum_n w_n B~_n diag(S~_n) A~_n`, equations 2 to 5, as exact factors of rank
    r_1 + ... + r_n. The paper has no weights; here they multiply their adapter's term. S~
    compares rank index i across adapters, although it means something only if their A began
    alike; where ranks differ, an index is normalised over the adapters that have it. A zero row
    of A has S = 0, a row that is pruned away has S = 1 (the formula is 0/0 and x/0 there).

    A LoRA bias is one more rank-one unit that reads the constant 1. It is never pruned and has
    S = 1.
    """

    name: ClassVar = "copa"
    source: ClassVar = "arXiv:2502.17159v1, equations 2 to 5 and Algorithm 1"
    random: ClassVar = True
    laws: ClassVar = frozenset(
        {
            Law.PERMUTATION,
            Law.HOMOGENEITY,
            Law.ODDNESS,
            Law.LINEARITY,
            Law.FACTOR_SCALE,
            Law.RANK_BOUND,
            Law.DETERMINISM,
        }
    )

    density: float = Field(default=0.2, ge=0, le=1)
    """Share of each factor's entries that is kept, in [0, 1]: 1 - the paper's pruning rate k. The
    paper prints no k; 0.2 is what the authors' released code keeps, the only published number."""

    scale: float = 2.0
    """Multiplies the merged delta (the paper's lambda; 2 is the appendix's)."""

    normalize: bool = True
    """Divide S by its sum over adapters (equation 4). Without, S is used as it is, and the result
    is about n times larger."""

    coefficients: Literal["inter", "A", "B", "AB", "none"] = "inter"
    """Where S is taken from and what it multiplies. `inter`: the mass that each row of A lost to
    pruning scales the rank index between B and A (equation 3). The paper's Table 7 compares
    "individual" coefficients without a formula; our reading is that each factor makes up for
    itself along its own dimension: `A` scales the inputs by the mass each column of A lost, `B`
    the outputs by the mass each row of B lost, `AB` both. Each is normalised over adapters, per
    input or output; for `AB` the product is multiplied by n, so that n equal adapters still get
    1/n each. `none`: S = 1, so 1/n when normalised."""

    prune: Literal["magnitude", "random", "sign"] = "magnitude"
    """Which entries are pruned (Figure 6b): the smallest by `magnitude` (equation 2); each at
    `random` with probability 1 - density, as in DARE but not rescaled; or those whose `sign`
    differs from that of the sum of this factor over adapters, whatever the density: our reading
    of the paper's "aggregated sign". `sign` needs equal ranks."""

    convention: Convention = "topk"
    """With `prune: magnitude`, which of n entries are the smallest: `topk` keeps exactly
    int(density n), ties to the lowest index; `argsort` the same, but refuses to keep none
    (mergekit); `kth` all that reach the threshold, one more and ties; `quantile` all that reach
    the interpolated quantile."""

    @model_validator(mode="after")
    def _no_idle_options(self) -> "Copa":
        if self.prune != "magnitude":
            refuse_idle(self, f"prune: {self.prune}", "convention")
        if self.prune == "sign":
            refuse_idle(self, "prune: sign", "density")
        return self

    def merge(self, stack: FactorStack, draws: Draws) -> LowRank:
        full_A, full_B = factors(stack)
        A = self._pruned(full_A, stack, draws, "A")
        B = self._pruned(full_B, stack, draws, "B")
        on_inputs = on_outputs = None
        if self.coefficients in ("A", "AB"):
            on_inputs = self._on_coordinates(full_A, A, dim=0)
        if self.coefficients in ("B", "AB"):
            on_outputs = self._on_coordinates(full_B, B, dim=1)
        on_ranks = self._on_ranks(stack, full_A, A) * stack.weights[:, None].double() * self.scale
        if self.coefficients == "AB" and self.normalize:
            on_ranks *= stack.n
        on_ranks = on_ranks.to(stack.B.dtype)
        d_out = stack.B.shape[1]
        total_B = stack.B.new_empty(d_out, sum(stack.ranks))
        if isinstance(B, Tensor):
            torch.mul(B.movedim(0, 1), on_ranks, out=total_B.view(d_out, stack.n, -1))
        else:
            for n, place in enumerate(torch.split(total_B, list(stack.ranks), dim=1)):
                torch.mul(B[n], on_ranks[n, : stack.ranks[n]], out=place)
        if on_outputs is not None:
            for n, place in enumerate(torch.split(total_B, list(stack.ranks), dim=1)):
                place.mul_(on_outputs[n][:, None])
        if on_inputs is not None:
            for n, inputs in enumerate(on_inputs):
                A[n].mul_(inputs)
        total_A = A.flatten(0, 1) if isinstance(A, Tensor) else torch.cat(A)
        return LowRank(A=total_A, B=total_B)

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        del draws
        scale = self.scale / stack.n if self.normalize else self.scale
        return scale * (stack.weights @ biases(stack))

    def scales(self, stack: FactorStack, draws: Draws) -> Float[Tensor, "n r"]:
        """What this method multiplies each rank index of each adapter by, without weight and scale.

        S of equation 3, or S~ of equation 4 if normalised, in float64; 0 beyond an adapter's rank.
        """
        full_A, _ = factors(stack)
        return self._on_ranks(stack, full_A, self._pruned(full_A, stack, draws, "A"))

    def _pruned(self, xs: Each, stack: FactorStack, draws: Draws, factor: str) -> Each:
        if self.prune == "magnitude":
            place = f"layer {stack.layer!r}, factor {factor}"
            if isinstance(xs, Tensor):
                return keep_largest_each(xs, self.density, self.convention, place=place)
            return [keep_largest(x, self.density, self.convention, place=place) for x in xs]
        if self.prune == "random":
            return [
                drop_at_random(x, self.density, "none", stream)
                for x, stream in zip(xs, streams(stack, draws, f"copa {factor}"), strict=True)
            ]
        elected = elect_sign(xs, "drop")
        return [x * (x.sign() == elected) for x in xs]

    def _on_ranks(self, stack: FactorStack, full: Each, pruned: Each) -> Float[Tensor, "n r"]:
        """S per adapter and rank index; 1 where coefficients are not between B and A."""
        S = stack.A.new_zeros(stack.n, stack.A.shape[1], dtype=torch.float64)
        ratios = lost_mass(full, pruned, dim=1) if self.coefficients == "inter" else None
        for n, r in enumerate(stack.ranks):
            S[n, :r] = 1.0 if ratios is None else ratios[n]
        if self.normalize and self.coefficients in ("inter", "none"):
            return over_adapters(S)
        return S

    def _on_coordinates(self, full: Each, pruned: Each, dim: int) -> Float[Tensor, "n d"]:
        """S per adapter and input or output: what each lost over the rank index."""
        S = torch.stack(list(lost_mass(full, pruned, dim)))
        return (over_adapters(S) if self.normalize else S).to(full[0].dtype)

    def result_rank(self, ranks: Sequence[int]) -> int:
        return sum(ranks)

    def refusal(self, ranks: Sequence[int]) -> str | None:
        return unlike_ranks(ranks, "copa with prune: sign") if self.prune == "sign" else None

    def seeded(self) -> bool:
        return self.prune == "random" and 0 < self.density < 1

    def promises(self) -> frozenset[Law]:
        laws = set(self.laws)
        unpruned = self.prune == "sign" or self.density == 1
        if unpruned and self.scale == 1:
            laws |= {Law.IDENTITY, Law.COPIES} if self.normalize else {Law.IDENTITY}
        if self.prune != "random":
            laws |= {Law.COORDINATES, Law.RANK_ORDER}
        if self.prune != "sign":
            laws |= {Law.SIGN_FLIP}
            if not self.normalize:
                # Normalised, an adapter whose B is zero still takes its share through its A.
                laws |= {Law.ZERO_ADAPTER}
        if self.prune == "magnitude" and (
            not self.normalize or self.coefficients in ("A", "B", "AB")
        ):
            laws |= {Law.OWN_RANK_ORDER}
        return frozenset(laws)
