"""Steps that several methods are made of."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from copamerge.core.delta import LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.errors import RecipeError

Space = Literal["delta", "factors"]
SignRule = Literal["reference", "nonnegative", "drop"]
Vote = Literal["unweighted", "weighted"]
Combine = Literal["mean", "sum", "max"]
Divide = Literal["count", "weights"]
Rescale = Literal["inverse", "l1", "none"]
Extent = Literal["row", "tensor"]

CROSS_TERMS = (
    "the rule runs on A and on B apart, so the result holds cross terms B_i A_j between adapters "
    "and depends on how each adapter happens to be factored; it is not the sum of the deltas"
)

DIVIDE_IN_FACTORS = (
    "divide: weights means nothing with space: factors, where weights are split by square roots "
    "and carry the scaling; use divide: count"
)


def drop_at_random(
    x: Float[Tensor, " *dims"], density: float, rescale: Rescale, stream: torch.Generator
) -> Float[Tensor, " *dims"]:
    """Keep each entry with probability `density`, then rescale what is left.

    `inverse` divides by `density`, which keeps the expectation; `l1` restores the sum of the
    magnitudes of this tensor; `none` leaves the entries. Nothing kept gives zeros.
    """
    drawn = torch.rand(x.shape, generator=stream, dtype=torch.float32, device="cpu")
    kept = x * (drawn < density).to(x.device)
    if rescale == "inverse" and density > 0:
        kept /= density
    elif rescale == "l1":
        left = float(kept.abs().sum(dtype=torch.float64))
        kept *= float(x.abs().sum(dtype=torch.float64)) / left if left > 0 else 0.0
    return kept


# --- signs -------------------------------------------------------------------------------------


def elect_sign(
    xs: Iterable[Float[Tensor, " *dims"]], rule: SignRule, majority: float | None = None
) -> Float[Tensor, " *dims"]:
    """The sign with the larger total magnitude, entry by entry: -1, 1, or 0 for no one.

    Where the total is exactly 0, `reference` takes the `majority`, or if that is None the one of
    the elected signs of this tensor, and -1 when that is 0 as well; `nonnegative` takes 1; `drop`
    elects no one.
    """
    total = sum_of(xs)
    if rule == "nonnegative":
        return torch.where(total >= 0, 1.0, -1.0).to(total.dtype)
    signs = total.sign()
    if rule == "reference":
        if majority is None:
            majority = 1.0 if balance(signs) > 0 else -1.0
        signs[signs == 0] = majority
    return signs


def balance(signs: Float[Tensor, " *dims"]) -> int:
    """How many more entries are 1 than are -1."""
    return int(signs.sum(dtype=torch.float64))


def cast(
    xs: Iterable[Float[Tensor, " *dims"]], weights: Sequence[float], vote: Vote
) -> Iterator[Float[Tensor, " *dims"]]:
    """What each adapter votes with: its tensor, or its weight times that."""
    for x, w in zip(xs, weights, strict=True):
        yield _times(x, w) if vote == "weighted" else x


def disjoint_merge(
    xs: Sequence[Float[Tensor, " *dims"]],
    weights: Sequence[float],
    *,
    sign: SignRule,
    vote: Vote,
    combine: Combine,
    divide: Divide,
    majority: float | None = None,
) -> Float[Tensor, " *dims"]:
    """Combine, entry by entry, the weighted contributions of those who agree with the sign.

    `unweighted` votes are the tensors themselves, `weighted` ones carry the weights. A mean
    divides by the number of those who agree, or by the sum of their weights (1 where it is 0).
    """
    elected = elect_sign(cast(xs, weights, vote), sign, majority)
    result = torch.zeros_like(elected)
    share = torch.zeros_like(elected)
    for x, votes, w in zip(xs, cast(xs, weights, vote), weights, strict=True):
        agrees = votes * elected > 0
        if combine == "max":
            offer = _times(x, w)
            result = torch.where(agrees & (offer.abs() > result.abs()), offer, result)
            continue
        result.add_(x * agrees, alpha=w)
        share.add_(agrees, alpha=w if divide == "weights" else 1.0)
    if combine != "mean":
        return result
    # Weights of both signs can cancel to rounding noise; that is a sum of 0, not a divisor.
    noise = 1e-6 * sum(map(abs, weights)) if min(weights) < 0 < max(weights) else 0.0
    return result.div_(torch.where(share.abs() > noise, share, 1.0))


def _times(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1.0 else x * factor


# --- sums --------------------------------------------------------------------------------------


def sum_of(
    xs: Iterable[Float[Tensor, " *dims"]], weights: Iterable[float] | None = None
) -> Float[Tensor, " *dims"]:
    """Weighted sum, holding one term at a time."""
    total: Tensor | None = None
    for x, w in zip(xs, repeat(1.0) if weights is None else weights):  # noqa: B905
        total = x * w if total is None else total.add_(x, alpha=w)
    assert total is not None, "a stack has at least one adapter"
    return total


def concatenate(stack: FactorStack, scale: float) -> LowRank:
    """`scale * sum_i w_i B_i A_i`, exact, of rank r_1 + ... + r_n.

    Padding is left out. With equal ranks A is a view of the stack: nothing is copied.
    """
    n, r, d_in = stack.A.shape
    d_out = stack.B.shape[1]
    w = stack.weights * scale
    if set(stack.ranks) == {r}:
        B = stack.B.new_empty(d_out, n, r)
        torch.mul(stack.B.movedim(0, 1), w[:, None], out=B)
        return LowRank(A=stack.A.reshape(n * r, d_in), B=B.view(d_out, n * r))
    A, Bs = factors(stack)
    return LowRank(A=torch.cat(list(A)), B=torch.cat([w[i] * B for i, B in enumerate(Bs)], dim=1))


def total_weight(stack: FactorStack) -> float:
    """What a weighted mean divides by: never 0.

    Raises:
        RecipeError: the weights cancel, so a mean does not exist.
    """
    total = stack.total_weight()
    size = float(stack.weights.abs().sum()) + sum(map(abs, stack.absent))
    # 1e-6: float32 weights such as 0.1, 0.2 and -0.3 do not cancel to the last bit.
    if abs(total) <= 1e-6 * size:
        raise RecipeError(
            f"layer {stack.layer!r}: the weights sum to 0, so nothing can be divided by their "
            "sum; change a weight, or take a method or option that sums"
        )
    return total


# --- stacks ------------------------------------------------------------------------------------


Each = Tensor | list[Tensor]
"""One tensor per adapter: stacked where all have one shape, which is faster, or else a list."""


class Factors(NamedTuple):
    """The factors of each adapter without padding, scaling in B."""

    A: Each
    B: Each


def factors(stack: FactorStack) -> Factors:
    """Views of the stack, cut back to each adapter's true rank."""
    if set(stack.ranks) == {stack.A.shape[1]}:
        return Factors(stack.A, stack.B)
    return Factors(
        [stack.A[i, :r] for i, r in enumerate(stack.ranks)],
        [stack.B[i, :, :r] for i, r in enumerate(stack.ranks)],
    )


def deltas(stack: FactorStack) -> Iterator[Float[Tensor, "d_out d_in"]]:
    """The deltas one by one: never more than one dense matrix from here."""
    for A, B in zip(*factors(stack), strict=True):
        yield B @ A


def biases(stack: FactorStack) -> Float[Tensor, "n d_out"]:
    assert stack.bias is not None, "merge_bias is called for layers with a bias only"
    return stack.bias


class Part(NamedTuple):
    """Tensors of one layer that an element-wise rule merges, one of each adapter."""

    xs: Callable[[], Iterable[Tensor]]
    weights: Sequence[float]


def parts(stack: FactorStack, space: Space) -> list[Part]:
    """Everything that a rule in this `space` runs on: the delta, or A and B; then the bias."""
    weights = stack.weights.tolist()
    if space == "factors":
        raw = split(stack)
        found = [Part(lambda: raw.A, raw.on_A), Part(lambda: raw.B, raw.on_B)]
    else:
        found = [Part(lambda: deltas(stack), weights)]
    bias = stack.bias
    return found if bias is None else [*found, Part(lambda: bias, weights)]


def entries(stack: FactorStack, space: Space) -> Iterator[tuple[str, Tensor]]:
    """The tensors of `parts`, each with its adapter's key."""
    for part in parts(stack, space):
        yield from zip(stack.keys, part.xs(), strict=True)


class Split(NamedTuple):
    """Factors as trained and the square root of each adapter's coefficient, as PEFT splits it."""

    A: list[Tensor]
    B: list[Tensor]
    on_A: list[float]
    """`sign(w) sqrt(|w scaling|)`"""
    on_B: list[float]
    """`sqrt(|w scaling|)`"""


def split(stack: FactorStack) -> Split:
    """What PEFT's `add_weighted_adapter` combines: raw factors, and a root of `w * scaling`.

    Needs equal ranks.
    """
    coefficients = [w * s for w, s in zip(stack.weights.tolist(), stack.scalings, strict=True)]
    roots = [abs(c) ** 0.5 for c in coefficients]
    # A scaling of 0 has left nothing of B to recover, and its root is 0 anyway.
    raw_B = [B / s if s else B for B, s in zip(stack.B, stack.scalings, strict=True)]
    signed = [root if c >= 0 else -root for root, c in zip(roots, coefficients, strict=True)]
    return Split(A=list(stack.A), B=raw_B, on_A=signed, on_B=roots)


def unlike_ranks(ranks: Sequence[int], what: str) -> str | None:
    """The sentence that refuses unlike ranks, or None when they are equal."""
    if len(set(ranks)) <= 1:
        return None
    listed = ", ".join(map(str, ranks))
    return f"{what} needs equal ranks, and these are {listed}"


def lines(x: Float[Tensor, " *dims"], extent: Extent) -> Float[Tensor, "m k"]:
    """The vectors within which entries are ranked: each row, or all of `x`; a bias is one row."""
    return x.reshape(1, -1) if extent == "tensor" else x.reshape(-1, x.shape[-1])


def mass_ratio(
    full: Float[Tensor, " *dims"], kept: Float[Tensor, " *dims"]
) -> Float[Tensor, " *dims"]:
    """`full / kept`, sums of magnitudes before and after pruning, in float64.

    0 where there was nothing (nothing to compensate), 1 where nothing is left (nothing that
    could carry a compensation); the formula is 0/0 and x/0 there.
    """
    full, kept = full.double(), kept.double()
    ratio = full / torch.where(kept > 0, kept, 1.0)
    return torch.where(kept > 0, ratio, (full > 0).double())


def lost_mass(full: Each, pruned: Each, dim: int) -> Each:
    """`mass_ratio` of sums of magnitudes over `dim` (0 or 1) of each adapter's matrix."""
    if isinstance(full, Tensor) and isinstance(pruned, Tensor):
        return mass_ratio(full.abs().sum(dim + 1), pruned.abs().sum(dim + 1))
    return [
        mass_ratio(x.abs().sum(dim), kept.abs().sum(dim))
        for x, kept in zip(full, pruned, strict=True)
    ]


def over_adapters(S: Float[Tensor, " n *dims"]) -> Float[Tensor, " n *dims"]:
    """Normalise so that the adapters' coefficients sum to 1 (0 where all are 0)."""
    total = S.sum(0)
    return S / torch.where(total > 0, total, 1.0)


def streams(stack: FactorStack, draws: Draws, purpose: str) -> list[torch.Generator]:
    return [draws.stream(key, purpose) for key in stack.keys]
