"""DC-Merge: level every adapter's spectrum, then merge where the adapters share one basis."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Float64
from pydantic import Field, model_validator
from torch import Tensor

from copamerge.core.delta import LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.core.lowrank import NOISE, core_of, polar, svd
from copamerge.methods._base import OF_DELTAS, MergeMethod, refuse_idle
from copamerge.methods._steps import biases, total_weight

Smoothing = Literal["average", "linear"]
EQUAL = 1e-9
"""Entries this close, as a share of their size, are equal."""


def smoothed(S: Float64[Tensor, " k"], smoothing: Smoothing, rho: float) -> Float64[Tensor, " k"]:
    """Singular values of the same sum, all equal, or falling evenly to 1 / min(rho, S_1 / S_k)."""
    if not len(S):
        return S
    first = 1.0 if smoothing == "average" else min(rho, float(S[0] / S[-1]))
    shape = torch.linspace(first, 1.0, len(S), dtype=S.dtype, device=S.device)
    return S.sum() * shape / shape.sum()


def covered(
    deltas: Float64[Tensor, "n p q"], smoothing: Smoothing, rho: float, keep: float
) -> Float64[Tensor, "p q"]:
    """The deltas with smoothed spectra, merged entry by entry in the basis that covers all.

    U and V are the polar factors of all singular vectors side by side, R columns. Of each core
    `U^T delta V` the largest max(1, int(keep R^2)) entries stay; those of the elected sign are
    averaged; what couples one adapter's columns with another's is dropped.
    """
    if not len(deltas):
        return deltas.sum(0)
    triples = [svd(delta) for delta in deltas]
    U = polar(torch.cat([triple.U for triple in triples], dim=1))
    V = polar(torch.cat([triple.Vt.mT for triple in triples], dim=1))
    cores = torch.stack(
        [
            (U.mT @ triple.U * smoothed(triple.S, smoothing, rho)) @ (triple.Vt @ V)
            for triple in triples
        ]
    )
    own = _diagonal_blocks([len(triple.S) for triple in triples], like=U)
    merged: Tensor = U @ (agreed(strongest(cores, keep)) * own) @ V.mT
    return merged


def _diagonal_blocks(sizes: Sequence[int], like: Tensor) -> Float64[Tensor, "k k"]:
    """1 where row and column are of the same block."""
    owner = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)).to(like.device)
    return (owner[:, None] == owner).to(like.dtype)


def strongest(cores: Float64[Tensor, "n k l"], keep: float) -> Float64[Tensor, "n k l"]:
    """Each core with its max(1, int(keep k l)) largest entries, and those equal to the last.

    Equal up to rounding, which would otherwise choose: levelled spectra make ties the rule. Zeros
    that are there by orthogonality are rounding as well, and never kept.
    """
    sizes = cores.abs().flatten(1)
    count = max(1, int(keep * sizes.shape[1]))
    leading = sizes.topk(count, dim=1).values
    least = torch.maximum(leading[:, -1] * (1 - EQUAL), leading[:, 0] * NOISE)
    return cores * (cores.abs() >= least[:, None, None])


def agreed(cores: Float64[Tensor, "n k l"]) -> Float64[Tensor, "k l"]:
    """Mean of the entries that have the sign of their sum; 0 where the sum is."""
    total = cores.sum(0)
    # Entries that cancel leave rounding, whose sign would pick one of the two sides.
    total[total.abs() <= NOISE * cores.abs().sum(0)] = 0
    agrees = cores * total > 0
    return (cores * agrees).sum(0) / agrees.sum(0).clamp(min=1)


class DcMerge(MergeMethod):
    """A sparse TIES merge of adapters with levelled spectra, in a basis that covers them all.

    Exact from the factors. Adapters are multiplied by their weights first; the smoothing is of
    degree one, so that is as good as weighting what it returns. Spectra are as long as the delta's
    true rank, adapter by adapter.

    Where adapters share directions, the reference completes U and V with arbitrary ones; here
    directions without energy are left out, and the columns of U and V are then dependent. A shared
    direction is spread over the columns of all adapters that have it, and of its core only the
    blocks on the diagonal count: n copies give the smoothed adapter divided by n, which is also
    what the reference gives beside its arbitrary directions.
    """

    name: ClassVar = "dc_merge"
    source: ClassVar = "arXiv:2603.06242; Tobeginwith/DC-Merge, vlm_merge/llava/model/builder.py"
    caution: ClassVar = (
        "dc_merge: of the R x R entries by which each adapter enters, R the sum of all ranks, the "
        "share `keep` is left and at least one: with the published 0.001 and R below 45 that is "
        "one direction, so raise keep for few or small adapters"
    )
    laws: ClassVar = OF_DELTAS

    smoothing: Smoothing = "average"
    """What becomes of an adapter's singular values, their sum kept: the `average` for all, or a
    `linear` fall from the first to the last."""

    rho: float = Field(default=5.0, ge=1)
    """With `smoothing: linear`: ratio of the first to the last value, at least 1 (the paper's 5),
    or the adapter's own ratio where that is smaller."""

    keep: float = Field(default=0.001, ge=0, le=1)
    """Share of the R x R entries that is kept of each adapter, in [0, 1], and at least one (the
    code's 0.001); entries that tie with the last are kept as well."""

    scale: float = 1.0
    """Multiplies the merged delta (the code's alpha / r, 2 for MM-MergeBench)."""

    @model_validator(mode="after")
    def _no_idle_options(self) -> "DcMerge":
        if self.smoothing != "linear":
            refuse_idle(self, f"smoothing: {self.smoothing}", "rho")
        return self

    def merge(self, stack: FactorStack, draws: Draws) -> LowRank:
        del draws
        core = core_of(stack)
        merged = self.scale * covered(core.weighted(), self.smoothing, self.rho, self.keep)
        return core.lift(merged, self.result_rank(stack.ranks))

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        """The mean: a bias has no spectrum."""
        del draws
        return self.scale * (stack.weights @ biases(stack)) / total_weight(stack)

    def result_rank(self, ranks: Sequence[int]) -> int:
        return sum(ranks)
