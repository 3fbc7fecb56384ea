"""LoRA-LEGO: cluster the rank-1 units of all adapters, one unit of the result per cluster."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from copamerge.core.delta import LowRank, squared_norm
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.methods._base import Law, MergeMethod
from copamerge.methods._steps import biases

MOST_ROUNDS = 300
"""Rounds of Lloyd's algorithm at most; it ends by itself, as a rule within ten."""
SAME = 1e-10
"""Distance, as a share of the largest unit, up to which two units are one: rounding."""


# --- k-means -------------------------------------------------------------------------------------


class Grouping(NamedTuple):
    """Points in clusters, none of them empty."""

    labels: Int64[Tensor, " m"]
    signs: Float64[Tensor, " m"]
    """What each point was multiplied by to be compared: 1, or -1 where both signs are one."""
    cost: float
    """Sum of squared distances to the means."""


def k_means(
    points: Float64[Tensor, "m d"],
    k: int,
    restarts: int,
    stream: torch.Generator,
    *,
    unsigned: bool = False,
) -> Grouping:
    """The best of `restarts` runs of Lloyd's algorithm from k-means++ starts, at most k clusters.

    `unsigned` takes x and -x for the same point. Fewer clusters come back where fewer than k
    points differ.
    """
    runs = (_lloyd(points, _start(points, k, stream, unsigned), unsigned) for _ in range(restarts))
    return min(runs, key=lambda run: run.cost)


def _start(
    points: Float64[Tensor, "m d"], k: int, stream: torch.Generator, unsigned: bool
) -> Float64[Tensor, "k d"]:
    """Points drawn one by one, with chances as their squared distance to those already drawn.

    Source: Arthur and Vassilvitskii 2007.
    """
    rounding = (SAME * float(points.norm(dim=1).max())) ** 2
    chances = torch.ones(len(points), dtype=points.dtype)
    nearest = torch.full_like(chances, torch.inf)
    drawn: list[int] = []
    while len(drawn) < k and float(chances.sum()) > 0:
        ladder = chances.cumsum(0)
        at = torch.rand((), generator=stream, dtype=points.dtype) * ladder[-1]
        drawn.append(min(int(torch.searchsorted(ladder, at, right=True)), len(points) - 1))
        far = _distances(points, points[drawn[-1:]], unsigned)[:, 0].square()
        nearest = torch.minimum(nearest, far)
        chances = torch.where(nearest > rounding, nearest, 0.0)
    return points[drawn]


def _lloyd(
    points: Float64[Tensor, "m d"], centres: Float64[Tensor, "k d"], unsigned: bool
) -> Grouping:
    found = _assigned(points, centres, unsigned)
    for _ in range(MOST_ROUNDS):
        before = found
        # A cluster that has lost its points is gone; its centre was nearest to none.
        centres = mixing(before) @ points
        found = _assigned(points, centres, unsigned)
        if torch.equal(found.labels, before.labels) and torch.equal(found.signs, before.signs):
            break
    return found


def _assigned(
    points: Float64[Tensor, "m d"], centres: Float64[Tensor, "k d"], unsigned: bool
) -> Grouping:
    near, labels = _distances(points, centres, unsigned).min(dim=1)
    signs = torch.ones_like(near)
    if unsigned:
        signs[(points * centres[labels]).sum(1) < 0] = -1
    _, labels = torch.unique(labels, return_inverse=True)
    return Grouping(labels, signs, float(near.square().sum()))


def _distances(
    points: Float64[Tensor, "m d"], centres: Float64[Tensor, "k d"], unsigned: bool
) -> Float64[Tensor, "m k"]:
    # By differences: through inner products, equal points would be sqrt(eps) apart.
    exact = "donot_use_mm_for_euclid_dist"
    found = torch.cdist(points, centres, compute_mode=exact)
    if unsigned:
        found = torch.minimum(found, torch.cdist(points, -centres, compute_mode=exact))
    return found


def mixing(grouping: Grouping) -> Float64[Tensor, "k m"]:
    """What makes the clusters' means of the points."""
    labels, signs, _ = grouping
    members = torch.zeros(int(labels.max()) + 1, len(labels), dtype=signs.dtype)
    members[labels, torch.arange(len(labels))] = signs
    return members / members.abs().sum(1, keepdim=True)


# --- units ---------------------------------------------------------------------------------------


def bricks(
    units: Float64[Tensor, "m d"],
    k: int,
    restarts: int,
    stream: torch.Generator,
    *,
    unsigned: bool = False,
) -> Float64[Tensor, "k d"]:
    """Means of at most k clusters, each at the mean size of its members (largest magnitudes)."""
    # The same distances in at most m coordinates, and on the CPU, where the stream is.
    points = torch.linalg.qr(units.mT).R.mT.cpu()
    mix = mixing(k_means(points, k, restarts, stream, unsigned=unsigned)).to(units.device)
    means = mix @ units
    sizes, wanted = means.abs().amax(1), mix.abs() @ units.abs().amax(1)
    # Members that cancel leave rounding, which must not be blown up to their size.
    there = sizes > SAME * wanted
    return means * torch.where(there, wanted / torch.where(there, sizes, 1.0), 0.0)[:, None]


def _units(stack: FactorStack, kept: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Rows of A and weighted columns of B, side by side, without those that add nothing.

    In an order of their own, by size: the order of the adapters must not change what is drawn, nor
    must that of coordinates or a sign. Where sizes are equal the content decides.
    """
    A = torch.cat([stack.A[i, : stack.ranks[i]].double() for i in kept])
    B = torch.cat(
        [float(stack.weights[i]) * stack.B[i, :, : stack.ranks[i]].double().mT for i in kept]
    )
    moves = A.any(dim=1) & B.any(dim=1)
    A, B = A[moves], B[moves]
    ramps = [torch.linspace(1, 2, X.shape[1], dtype=X.dtype, device=X.device) for X in (A, B)]
    content = (A * ramps[0]).sum(1) + (B * ramps[1]).sum(1)
    in_A, in_B = A.square().sum(1), B.square().sum(1)
    # The last key counts most.
    order = np.lexsort([key.cpu().numpy() for key in (content, in_A, in_A + in_B)])
    return A[order], B[order]


class Lego(MergeMethod):
    """Units [a_i ; b_i] of all adapters clustered by k-means, means as the units of the result.

    a_i are the rows of A, b_i the columns of B with scaling and weight in them: an adapter of
    larger weight pulls its clusters' outputs, not their inputs. Each mean is brought to the mean
    size of its members, a and b alike, and B is multiplied by sqrt(R / k) for R units in k
    clusters. Where there are no more units than clusters, the result is their sum. Units that add
    nothing (a or b is zero) are left out and do not count.

    No official code is public; this follows the paper with the choices of a re-implementation.
    k-means finds a local optimum: other seeds may find others.
    """

    name: ClassVar = "lego"
    source: ClassVar = "arXiv:2409.16167; re-implementation in ZhengbaoHe/compress-then-merge"
    random: ClassVar = True
    laws: ClassVar = frozenset(
        {
            Law.PERMUTATION,
            Law.ODDNESS,
            Law.ZERO_ADAPTER,
            Law.COORDINATES,
            Law.RANK_ORDER,
            Law.OWN_RANK_ORDER,
            Law.RANK_BOUND,
            Law.DETERMINISM,
        }
    )

    clusters: int | None = Field(default=None, ge=1)
    """Clusters, and rank of the result (the paper's k); by default the largest rank among those
    adapters whose delta is not zero."""

    restarts: int = Field(default=10, ge=1)
    """Runs of k-means, of which the tightest is taken (the re-implementation's 10)."""

    align_signs: bool = False
    """Take (a, b) and (-a, -b) for one unit, as which they act, and turn members of a cluster to
    the same side. Off, they lie apart or cancel in a mean, as in the re-implementation."""

    def merge(self, stack: FactorStack, draws: Draws) -> LowRank:
        kept = [i for i, (A, B) in enumerate(zip(stack.A, stack.B, strict=True)) if _moves(A, B)]
        rank = self.result_rank(stack.ranks)
        A, B = stack.A.new_zeros(0, stack.A.shape[2]), stack.B.new_zeros(0, stack.B.shape[1])
        if kept:
            A, B = _units(stack, kept)
        k = self.clusters or max((stack.ranks[i] for i in kept), default=1)
        if len(A) > k:
            found = bricks(
                torch.cat([A, B], dim=1),
                k,
                self.restarts,
                draws.stream("", "lego"),
                unsigned=self.align_signs,
            )
            share = len(A) / len(found)
            A, B = found[:, : A.shape[1]], share**0.5 * found[:, A.shape[1] :]
        spare = rank - len(A)
        return LowRank(
            A=pad(A, (0, 0, 0, spare)).to(stack.A.dtype),
            B=pad(B.mT.contiguous(), (0, spare)).to(stack.B.dtype),
        )

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        """The weighted sum, which `merge` gives as well where there are clusters enough."""
        del draws
        return stack.weights @ biases(stack)

    def result_rank(self, ranks: Sequence[int]) -> int:
        return max(ranks) if self.clusters is None else min(self.clusters, sum(ranks))

    def seeded(self) -> bool:
        return self.clusters != 1 or self.align_signs

    def promises(self) -> frozenset[Law]:
        laws = set(self.laws)
        if self.clusters is None:
            laws |= {Law.IDENTITY}
        if self.align_signs:
            laws |= {Law.SIGN_FLIP}
        return frozenset(laws)


def _moves(A: Float[Tensor, "r d_in"], B: Float[Tensor, "d_out r"]) -> bool:
    return squared_norm(LowRank(A.double(), B.double())) > 0
