"""Checks for merge methods, ours and a plugin's: `check_method(MyMethod())` in a test of yours."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from copamerge.core.delta import Dense, LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.methods import Composed, Law, MergeMethod, method_from
from copamerge.methods._survey import surveyed

__all__ = ["check_law", "check_method", "example_stacks", "surveyed"]


GENERIC = ("generic", "unlike ranks", "one adapter", "negative weight", "missing elsewhere")
"""The example stacks without exact ties or zeros, on which promised laws must hold."""


class Result(NamedTuple):
    """A merged layer as plain tensors."""

    matrix: Tensor
    bias: Tensor | None


def check_method(method: MergeMethod) -> None:
    """Check that a method is a good citizen, and every law it promises, on `example_stacks`.

    Good citizens leave their input and the global random state alone, return finite float32 of
    the right shapes and the announced rank, repeat themselves, depend on the seed if and only if
    they say so, and survive a round trip through their own dump.

    Raises:
        AssertionError: what went wrong, and on which stack.
    """
    _require(_rebuilt(method) == method, method, "does not survive a round trip through its dump")
    _require(method.promises() <= frozenset(Law), method, "promises something that is no law")
    for name, stack in example_stacks().items():
        refusal = method.refusal(stack.ranks)
        if refusal is not None:
            _require(bool(refusal.strip()), method, f"refuses {name!r} without a reason")
            alike = len(set(stack.ranks)) == 1
            _require(not alike, method, f"refuses {name!r}, where all ranks are equal: {refusal}")
            continue
        _check_manners(method, name, stack)
        if name not in GENERIC:
            # Where entries tie exactly, rounding picks the winner and no law of a selection holds.
            continue
        for law in sorted(method.promises(), key=lambda law: law.name):
            check_law(method, law, stack)


def _check_manners(method: MergeMethod, name: str, stack: FactorStack) -> None:
    before = [x.clone() for x in _tensors(stack)]
    state = torch.get_rng_state()
    draws = Draws(0, stack.layer)
    (stack,) = surveyed(method, [stack])
    merged = method.merge(stack, draws)
    bias = None if stack.bias is None else method.merge_bias(stack, draws)
    on = f"on {name!r}"

    same = all(torch.equal(x, y) for x, y in zip(before, _tensors(stack), strict=True))
    _require(same, method, f"changes its input {on}")
    quiet = torch.equal(state, torch.get_rng_state())
    _require(quiet, method, f"draws from the global random state {on}; use `draws.stream`")

    d_out, d_in = stack.B.shape[1], stack.A.shape[2]
    rank = method.result_rank(stack.ranks)
    shapes: dict[str, tuple[Tensor, tuple[int, ...]]]
    if isinstance(merged, Dense):
        _require(rank is None, method, f"announces rank {rank} and returns a dense delta {on}")
        shapes = {"matrix": (merged.matrix, (d_out, d_in))}
    else:
        told = "a dense delta" if rank is None else f"rank {rank}"
        _require(merged.rank == rank, method, f"announces {told}, returns rank {merged.rank} {on}")
        shapes = {"A": (merged.A, (merged.rank, d_in)), "B": (merged.B, (d_out, merged.rank))}
    if bias is not None:
        shapes["bias"] = (bias, (d_out,))
    for part, (x, shape) in shapes.items():
        got = tuple(x.shape)
        _require(got == shape, method, f"returns {part} of shape {got}, not {shape}, {on}")
        _require(x.dtype == torch.float32, method, f"returns {part} in {x.dtype} {on}")
        _require(bool(x.isfinite().all()), method, f"returns {part} with NaN or infinity {on}")

    if name == "generic":
        one, other = _run(method, stack, seed=0), _run(method, stack, seed=1)
        differs = not torch.equal(one.matrix, other.matrix)
        _require(
            differs == method.seeded(),
            method,
            "depends on the seed and does not say so" if differs else "is seeded, and is not",
        )


def check_law(method: MergeMethod, law: Law, stack: FactorStack) -> None:
    """Check one law on one stack; a stack the method refuses proves nothing and passes.

    Equal means equal to float32 rounding: to 1e-4 of the larger result, or 1e-5 of the inputs.

    Raises:
        AssertionError: the law does not hold; says by how much.
    """
    if method.refusal(stack.ranks) is not None:
        return
    for left, right in _CHECKS[law](method, stack):
        exact = law is Law.DETERMINISM
        size = sum(float((B @ A).norm()) for A, B in zip(stack.A, stack.B, strict=True))
        if stack.bias is not None:
            size += float(stack.bias.norm())
        for got, wanted in zip(left, right, strict=True):
            if got is None or wanted is None:
                continue
            error = float((got - wanted).norm())
            larger = max(float(got.norm()), float(wanted.norm()))
            allowed = 0.0 if exact else 1e-4 * larger + 1e-5 * size
            # Not `error > allowed`: NaN must fail.
            if not error <= allowed:
                raise AssertionError(
                    f"{method.name}: {law.name} does not hold ({law.value}): "
                    f"off by {error:.3g} where results have norm {larger:.3g}, with {method!r}"
                )


def example_stacks() -> Mapping[str, FactorStack]:
    """Small stacks that have broken merge methods before, by name."""
    rng = torch.Generator().manual_seed(0)

    def stack(
        *ranks: int,
        d_in: int = 7,
        d_out: int = 5,
        weights: tuple[float, ...] | None = None,
        bias: bool = False,
    ) -> FactorStack:
        n, r = len(ranks), max(ranks)
        real = torch.arange(r) < torch.tensor(ranks)[:, None]
        return FactorStack(
            "layer",
            torch.randn(n, r, d_in, generator=rng) * real[:, :, None],
            torch.randn(n, d_out, r, generator=rng) * real[:, None, :],
            torch.tensor(weights or (1.0,) * n),
            ranks=ranks,
            scalings=(1.0,) * n,
            keys=tuple(f"adapter {i}" for i in range(n)),
            bias=torch.randn(n, d_out, generator=rng) if bias else None,
        )

    generic = stack(4, 4, 4, weights=(1.0, 0.5, 0.3), bias=True)
    start = stack(2, 2)
    row = stack(3, 3)
    row.A[0, 1] = 0
    empty = stack(2, 2, 2, bias=True)
    empty.A[1], empty.B[1] = 0, 0
    assert empty.bias is not None
    empty.bias[1] = 0
    nothing = stack(2, 2, bias=True)
    assert nothing.bias is not None
    nothing.A.zero_()
    nothing.B.zero_()
    nothing.bias.zero_()
    copies = stack(3, 3, 3, bias=True)
    for x in (copies.A, copies.B, copies.bias):
        assert x is not None
        x[1:] = x[:1]
    opposite = stack(2, 2, bias=True)
    opposite.A[1], opposite.B[1] = opposite.A[0], -opposite.B[0]
    level = stack(2, 2)
    level.A.fill_(1.0)
    level.B.fill_(0.5)
    return {
        "generic": generic,
        "unlike ranks": stack(3, 1, 2, bias=True),
        "one adapter": stack(3, bias=True),
        "rank one": stack(1, 1),
        "one number": stack(1, 1, d_in=1, d_out=1, bias=True),
        "negative weight": stack(2, 2, weights=(1.0, -0.5), bias=True),
        "as initialised, B = 0": replace(
            start, B=start.B * torch.tensor([0.0, 1.0])[:, None, None]
        ),
        "a zero row of A": row,
        "a zero adapter": empty,
        "only zeros": nothing,
        "copies": copies,
        "an adapter and its negative": opposite,
        "all entries equal": level,
        "missing elsewhere": replace(stack(2, 2, bias=True), absent=(0.5,)),
    }


# --- laws: pairs of results that must be equal ---------------------------------------------------

Pairs = Iterator[tuple[Result, Result]]


def _identity(method: MergeMethod, stack: FactorStack) -> Pairs:
    for i in range(stack.n):
        alone = replace(_pick(stack, [i]), weights=torch.ones(1), absent=())
        yield _run(method, alone), _own(stack, i)


def _permutation(method: MergeMethod, stack: FactorStack) -> Pairs:
    order = list(range(stack.n))
    for turned in (order[::-1], order[1:] + order[:1]):
        yield _run(method, _pick(stack, turned)), _run(method, stack)


def _gauge(method: MergeMethod, stack: FactorStack) -> Pairs:
    # An R of its own for each adapter: a common one cancels even in wrong formulas.
    rng = torch.Generator().manual_seed(1)
    A, B = stack.A.clone(), stack.B.clone()
    for i, r in enumerate(stack.ranks):
        Q, _ = torch.linalg.qr(torch.randn(r, r, generator=rng))
        R = Q * torch.linspace(0.5, 2.0, r)  # invertible, well conditioned, no rotation
        A[i, :r] = torch.linalg.solve(R, stack.A[i, :r])
        B[i, :, :r] = stack.B[i, :, :r] @ R
    yield _run(method, replace(stack, A=A, B=B)), _run(method, stack)


def _homogeneity(method: MergeMethod, stack: FactorStack) -> Pairs:
    yield _run(method, _scaled(stack, 3.0)), _times(_run(method, stack), 3.0)


def _oddness(method: MergeMethod, stack: FactorStack) -> Pairs:
    yield _run(method, _scaled(stack, -1.0)), _times(_run(method, stack), -1.0)


def _linearity(method: MergeMethod, stack: FactorStack) -> Pairs:
    rng = torch.Generator().manual_seed(2)
    v, w = torch.rand(2, stack.n, generator=rng) + 0.5
    v[::2] *= -1
    one = _run(method, replace(stack, weights=v))
    other = _run(method, replace(stack, weights=w))
    both = _run(method, replace(stack, weights=v + 3 * w))
    tripled = _times(other, 3.0)
    bias = None if one.bias is None or tripled.bias is None else one.bias + tripled.bias
    yield both, Result(one.matrix + tripled.matrix, bias)


def _copies(method: MergeMethod, stack: FactorStack) -> Pairs:
    for i in range(stack.n):
        copied = _pick(stack, [i, i, i])
        keys = tuple(f"copy {k}" for k in range(3))
        copied = replace(copied, weights=torch.ones(3), keys=keys, absent=())
        yield _run(method, copied), _own(stack, i)


def _zero_adapter(method: MergeMethod, stack: FactorStack) -> Pairs:
    # A zero delta has a zero B (LoRA's start), a zero A, or both.
    for zero_A, zero_B in ((False, True), (True, False), (True, True)):
        added = _pick(stack, [0, *range(stack.n)])
        A, B = added.A.clone(), added.B.clone()
        # Another adapter's numbers in the factor that stays, so that it does not hide.
        A[0] = 0 if zero_A else added.A[-1].flip(-1)
        B[0] = 0 if zero_B else added.B[-1].flip(0)
        bias = None
        if added.bias is not None:
            bias = added.bias.clone()
            bias[0] = 0
        keys = ("zero", *stack.keys)
        ranks = (stack.A.shape[1], *stack.ranks)
        weights = added.weights.clone()
        weights[0] = 0.7
        if method.refusal(ranks) is None:
            added = replace(added, A=A, B=B, bias=bias, keys=keys, ranks=ranks, weights=weights)
            yield _run(method, added), _run(method, stack)


def _coordinates(method: MergeMethod, stack: FactorStack) -> Pairs:
    rng = torch.Generator().manual_seed(3)
    outputs = torch.randperm(stack.B.shape[1], generator=rng)
    inputs = torch.randperm(stack.A.shape[2], generator=rng)
    bias = None if stack.bias is None else stack.bias[:, outputs]
    moved = replace(stack, A=stack.A[:, :, inputs], B=stack.B[:, outputs], bias=bias)
    plain = _run(method, stack)
    wanted = plain.matrix[outputs][:, inputs]
    yield _run(method, moved), Result(wanted, None if plain.bias is None else plain.bias[outputs])


def _rank_order(method: MergeMethod, stack: FactorStack) -> Pairs:
    # Where ranks differ, only the indices that all adapters have can move alike.
    common, r = min(stack.ranks), stack.A.shape[1]
    order = [*range(common)[::-1], *range(common, r)]
    moved = replace(stack, A=stack.A[:, order], B=stack.B[:, :, order])
    yield _run(method, moved), _run(method, stack)


def _own_rank_order(method: MergeMethod, stack: FactorStack) -> Pairs:
    plain = _run(method, stack)
    for i, r in enumerate(stack.ranks):
        A, B = stack.A.clone(), stack.B.clone()
        A[i, :r], B[i, :, :r] = A[i, :r].roll(1, 0), B[i, :, :r].roll(1, 1)
        yield _run(method, replace(stack, A=A, B=B)), plain


def _sign_flip(method: MergeMethod, stack: FactorStack) -> Pairs:
    signs = torch.ones(stack.n, stack.A.shape[1])
    signs.view(-1)[::2] = -1
    flipped = replace(stack, A=stack.A * signs[:, :, None], B=stack.B * signs[:, None, :])
    yield _run(method, flipped), _run(method, stack)


def _rotation(method: MergeMethod, stack: FactorStack) -> Pairs:
    rng = torch.Generator().manual_seed(4)
    plain = _run(method, stack)
    d_out, d_in = stack.B.shape[1], stack.A.shape[2]
    P, _ = torch.linalg.qr(torch.randn(d_out, d_out, generator=rng))
    Q, _ = torch.linalg.qr(torch.randn(d_in, d_in, generator=rng))
    bias = None if stack.bias is None else stack.bias @ P.mT
    turned = replace(stack, A=stack.A @ Q, B=P @ stack.B, bias=bias)
    wanted = Result(P @ plain.matrix @ Q, None if plain.bias is None else P @ plain.bias)
    yield _run(method, turned), wanted


def _factor_scale(method: MergeMethod, stack: FactorStack) -> Pairs:
    moved = replace(stack, A=stack.A * 3, B=stack.B / 3)
    yield _run(method, moved), _run(method, stack)


def _rank_bound(method: MergeMethod, stack: FactorStack) -> Pairs:
    (stack,) = surveyed(method, [stack])
    merged = method.merge(stack, Draws(0, stack.layer))
    announced = method.result_rank(stack.ranks)
    if announced is None:
        return
    if not (isinstance(merged, LowRank) and merged.rank <= announced):
        held = f"rank {merged.rank}" if isinstance(merged, LowRank) else "a dense delta"
        raise AssertionError(
            f"{method.name}: RANK_BOUND does not hold ({Law.RANK_BOUND.value}): "
            f"{held}, announced {announced}"
        )
    return
    yield


def _determinism(method: MergeMethod, stack: FactorStack) -> Pairs:
    yield _run(method, stack), _run(method, stack)


_CHECKS: Mapping[Law, Callable[[MergeMethod, FactorStack], Pairs]] = {
    Law.IDENTITY: _identity,
    Law.PERMUTATION: _permutation,
    Law.GAUGE: _gauge,
    Law.HOMOGENEITY: _homogeneity,
    Law.ODDNESS: _oddness,
    Law.LINEARITY: _linearity,
    Law.COPIES: _copies,
    Law.ZERO_ADAPTER: _zero_adapter,
    Law.COORDINATES: _coordinates,
    Law.RANK_ORDER: _rank_order,
    Law.OWN_RANK_ORDER: _own_rank_order,
    Law.SIGN_FLIP: _sign_flip,
    Law.ROTATION: _rotation,
    Law.FACTOR_SCALE: _factor_scale,
    Law.RANK_BOUND: _rank_bound,
    Law.DETERMINISM: _determinism,
}


# --- helpers -------------------------------------------------------------------------------------


def _run(method: MergeMethod, stack: FactorStack, seed: int = 0) -> Result:
    draws = Draws(seed, stack.layer)
    # This layer is the whole model: what a survey finds for other stacks does not hold here.
    (stack,) = surveyed(method, [stack])
    merged = method.merge(stack, draws)
    matrix = merged.matrix if isinstance(merged, Dense) else merged.B @ merged.A
    bias = None if stack.bias is None else method.merge_bias(stack, draws)
    return Result(matrix, bias)


def _own(stack: FactorStack, i: int) -> Result:
    return Result(stack.B[i] @ stack.A[i], None if stack.bias is None else stack.bias[i])


def _pick(stack: FactorStack, order: list[int]) -> FactorStack:
    """These adapters in this order, padding cut to the largest rank among them."""
    ranks = tuple(stack.ranks[i] for i in order)
    r = max(ranks)
    return replace(
        stack,
        A=stack.A[order, :r],
        B=stack.B[order, :, :r],
        weights=stack.weights[order],
        ranks=ranks,
        scalings=tuple(stack.scalings[i] for i in order),
        keys=tuple(stack.keys[i] for i in order),
        bias=None if stack.bias is None else stack.bias[order],
    )


def _scaled(stack: FactorStack, factor: float) -> FactorStack:
    bias = None if stack.bias is None else stack.bias * factor
    return replace(stack, B=stack.B * factor, bias=bias)


def _times(result: Result, factor: float) -> Result:
    bias = None if result.bias is None else result.bias * factor
    return Result(result.matrix * factor, bias)


def _tensors(stack: FactorStack) -> list[Tensor]:
    tensors = [stack.A, stack.B, stack.weights]
    return tensors if stack.bias is None else [*tensors, stack.bias]


def _rebuilt(method: MergeMethod) -> MergeMethod:
    dump = method.model_dump()
    _require(dump.get("name") == method.called, method, "does not dump its name")
    if isinstance(method, Composed):
        return method_from(dump)
    del dump["name"]
    return type(method).model_validate(dump)


def _require(holds: bool, method: MergeMethod, otherwise: str) -> None:
    # Not `assert`: checks must not vanish under `python -O`.
    if not holds:
        raise AssertionError(f"{method.name}: {otherwise}; with {method!r}")
