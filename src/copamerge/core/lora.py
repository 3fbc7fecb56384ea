"""LoRA values: the only module that multiplies A, B and scaling together.

It does so in three places: `LoraModule.delta`, `LoraModule.exact` and `FactorStack.of`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from copamerge.core.delta import LowRank
from copamerge.core.survey import Survey


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

    def to(self, device: torch.device) -> "LoraModule":
        if self.A.device == device:
            return self
        bias = None if self.bias is None else self.bias.to(device)
        return LoraModule(self.A.to(device), self.B.to(device), self.scaling, bias)

    def delta(self) -> Float[Tensor, "d_out d_in"]:
        return self.scaling * (self.B @ self.A)

    def exact(self) -> LowRank:
        """The delta as factors in float64, scaling in B: for measures, which must not round."""
        return LowRank(A=self.A.double(), B=self.scaling * self.B.double())


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
    survey: Survey | None = None
    """What the method's survey of all layers found; None for methods that make none."""

    @classmethod
    def of(
        cls,
        layer: str,
        modules: Sequence[LoraModule],
        weights: Sequence[float],
        *,
        keys: Sequence[str] | None = None,
        absent: Sequence[float] = (),
        survey: Survey | None = None,
    ) -> "FactorStack":
        n = len(modules)
        A, B = _stacked_A([m.A for m in modules]), _stacked_B([m.B for m in modules])
        scalings = [module.scaling for module in modules]
        if any(scaling != 1.0 for scaling in scalings):
            B *= torch.tensor(scalings, dtype=torch.float32, device=B.device)[:, None, None]
        bias = None
        if any(module.bias is not None for module in modules):
            bias = B.new_zeros(n, B.shape[1])
            for i, module in enumerate(modules):
                if module.bias is not None:
                    bias[i] = module.scaling * module.bias.float()
        return cls(
            layer,
            A,
            B,
            torch.tensor(list(weights), dtype=torch.float32, device=A.device),
            ranks=tuple(module.rank for module in modules),
            scalings=tuple(scalings),
            keys=tuple(keys) if keys is not None else tuple(map(str, range(n))),
            absent=tuple(absent),
            bias=bias,
            survey=survey,
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


def _stacked_A(factors: Sequence[Tensor]) -> Float[Tensor, "n r d_in"]:
    rank = max(A.shape[0] for A in factors)
    return _stacked([_padded(A, (0, 0, 0, rank - A.shape[0])) for A in factors])


def _stacked_B(factors: Sequence[Tensor]) -> Float[Tensor, "n d_out r"]:
    rank = max(B.shape[1] for B in factors)
    return _stacked([_padded(B, (0, rank - B.shape[1])) for B in factors])


def _padded(factor: Tensor, sizes: tuple[int, ...]) -> Tensor:
    # Zero rows in A and zero columns in B add nothing to B @ A.
    return pad(factor, sizes) if any(sizes) else factor


def _stacked(factors: Sequence[Tensor]) -> Tensor:
    """A new float32 tensor. Unlike types are converted one by one: stack would promote them."""
    if len({factor.dtype for factor in factors}) > 1:
        factors = [factor.float() for factor in factors]
    stack = torch.empty(
        len(factors), *factors[0].shape, dtype=torch.float32, device=factors[0].device
    )
    # Into an output of the right type: one pass over the data instead of two.
    return torch.stack(list(factors), out=stack)
