"""LoRA values: the only module that multiplies A, B and scaling together."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True, eq=False)
class LoraModule:
    """One low-rank update of one layer: `delta = scaling * B @ A`.

    `scaling` is already resolved (`alpha / r`, or `alpha / sqrt(r)` for rsLoRA), so code that
    holds a module never needs to know which rule its adapter was trained with. `bias` is LoRA's
    own bias (PEFT's `lora_bias`), which PEFT scales like the weight; None where there is none.
    """

    A: Float[Tensor, "r d_in"]
    B: Float[Tensor, "d_out r"]
    scaling: float
    bias: Float[Tensor, " d_out"] | None = None

    @property
    def rank(self) -> int:
        return self.A.shape[0]

    def delta(self) -> Float[Tensor, "d_out d_in"]:
        return self.scaling * (self.B @ self.A)

    def folded(self) -> "LoraModule":
        """The same delta with scaling 1, in float32."""
        # Scaling in place on our own copy: float() returns its input when it is float32 already.
        B = self.B.float() if self.scaling == 1.0 else self.B.float() * self.scaling
        bias = None if self.bias is None else self.scaling * self.bias.float()
        return LoraModule(self.A.float(), B, 1.0, bias)


@dataclass(frozen=True, eq=False)
class FactorStack:
    """One layer as it appears in the `n` adapters that have it, in recipe order.

    This is what a merge method sees. Factors are float32, `scaling` is folded into `B`, and
    lower ranks are zero-padded to the largest: each `B[i] @ A[i]` is exactly adapter i's delta.
    `weights` are the recipe's for this layer, never 0 (an adapter of weight 0 is left out before
    stacking); a method decides where in its formula they belong.
    """

    layer: str
    A: Float[Tensor, "n r d_in"]
    B: Float[Tensor, "n d_out r"]
    weights: Float[Tensor, " n"]
    ranks: tuple[int, ...]
    """Rank of each adapter before padding."""
    scalings: tuple[float, ...]
    """What was folded into each B: for methods that reproduce code which saw raw factors."""
    keys: tuple[str, ...]
    """Identity of each adapter, independent of its place in the recipe: seeds random draws."""
    absent: tuple[float, ...] = ()
    """Weights of the recipe's adapters that lack this layer and count as a delta of zero."""
    bias: Float[Tensor, "n d_out"] | None = None
    """LoRA biases with scaling folded in, zero where an adapter has none; None if none has one."""

    @classmethod
    def of(
        cls,
        layer: str,
        modules: Sequence[LoraModule],
        weights: Sequence[float],
        *,
        keys: Sequence[str] | None = None,
        absent: Sequence[float] = (),
    ) -> "FactorStack":
        folded = [module.folded() for module in modules]
        rank = max(module.rank for module in folded)
        # Padding A with zero rows and B with zero columns adds nothing to B @ A.
        A = [pad(m.A, (0, 0, 0, rank - m.rank)) if m.rank < rank else m.A for m in folded]
        B = [pad(m.B, (0, rank - m.rank)) if m.rank < rank else m.B for m in folded]
        bias = None
        if any(m.bias is not None for m in folded):
            bias = torch.stack([m.B.new_zeros(len(m.B)) if m.bias is None else m.bias for m in folded])
        return cls(
            layer,
            torch.stack(A),
            torch.stack(B),
            torch.tensor(list(weights), dtype=torch.float32, device=A[0].device),
            ranks=tuple(module.rank for module in folded),
            scalings=tuple(module.scaling for module in modules),
            keys=tuple(keys) if keys is not None else tuple(str(i) for i in range(len(folded))),
            absent=tuple(absent),
            bias=bias,
        )

    @property
    def n(self) -> int:
        return len(self.ranks)

    def deltas(self) -> Float[Tensor, "n d_out d_in"]:
        """All deltas at once: n x d_out x d_in floats. Dense methods only."""
        return self.B @ self.A

    def total_weight(self) -> float:
        """Sum of the weights, adapters without this layer included: what a mean divides by."""
        return float(self.weights.sum()) + sum(self.absent)
