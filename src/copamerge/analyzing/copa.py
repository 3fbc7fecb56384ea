"""What CoPA's pruning and coefficients do in one layer, at its defaults."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float64
from torch import Tensor

from copamerge.analysis.coefficients import Reweighted, multiples, reweighted
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.methods.copa import Copa

RAW = Copa(normalize=False)
SCALED, PLAIN = Copa(), Copa(coefficients="none")
PRUNED = Copa(normalize=False, coefficients="none", scale=1.0)


@dataclass(frozen=True, eq=False)
class CopaOfLayer:
    """Per adapter, and of the merge."""

    S: tuple[Float64[Tensor, " r"], ...]
    """Equation 3: per rank index, the mass of a row of A over what pruning left of it."""
    multiples: tuple[Float64[Tensor, " k"], ...]
    """Of the singular values, by pruning and S."""
    multiples_without: tuple[Float64[Tensor, " k"], ...]
    """By pruning alone."""
    change: Reweighted
    """The merge with normalised S beside that with S = 1, normalised too."""


def copa_of(stack: FactorStack, spectra: Sequence[Float64[Tensor, " _"]]) -> CopaOfLayer:
    """`spectra` are the singular values of each adapter's delta.

    Weights count as 1: what S does is looked at, not the recipe.
    """
    even = replace(stack, weights=torch.ones_like(stack.weights), bias=None)
    draws = Draws(0, stack.layer)
    pruned = PRUNED.merge(even, draws)
    A, B = pruned.A.double(), pruned.B.double()
    S = _each(RAW.scales(even, draws), stack.ranks)
    with_S, without = [], []
    start = 0
    for own, coefficients in zip(spectra, S, strict=True):
        mine = slice(start, start := start + len(coefficients))
        with_S.append(multiples(A[mine], B[:, mine], coefficients, own))
        without.append(multiples(A[mine], B[:, mine], torch.ones_like(coefficients), own))
    x, y = (torch.cat(_each(m.scales(even, draws), stack.ranks)) for m in (SCALED, PLAIN))
    change = reweighted(B.mT @ B, A @ A.mT, x, y)
    return CopaOfLayer(tuple(S), tuple(with_S), tuple(without), change)


def of_rows(S: Float64[Tensor, " r"]) -> Float64[Tensor, " k"]:
    """Without the rows of A that are zero: S is 0/0 there, and 0 is only what the method takes."""
    return S[S > 0]


def _each(scales: Float64[Tensor, "n r"], ranks: Sequence[int]) -> list[Tensor]:
    """One row per adapter, without the padding."""
    return [row[:r] for row, r in zip(scales, ranks, strict=True)]
