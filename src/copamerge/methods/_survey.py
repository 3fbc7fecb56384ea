"""Order statistics over all layers at once, without holding them: a survey's means."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from copamerge.core.lora import FactorStack
from copamerge.core.survey import Survey, Tally, added
from copamerge.methods._base import MergeMethod, Total
from copamerge.methods._select import Convention, cut_at

Scope = Literal["tensor", "global"]

Entries = Callable[[FactorStack], Iterable[tuple[str, Tensor]]]
"""The float32 tensors of one layer that count, each with its adapter's key."""

HALF = 2**16
CHUNK = 2**18
"""Entries counted at once: what fits the cache is counted twice as fast."""


class Ordered(NamedTuple):
    """Some of an adapter's entries in ascending order, all layers as one vector."""

    size: int
    """How many entries there are."""
    values: list[float]
    """Those at the places asked for."""


def order_statistics_over(
    total: Total,
    entries: Entries,
    places: Callable[[int], Sequence[int]],
    *,
    magnitudes: bool = True,
) -> dict[str, Ordered]:
    """The entries (or their magnitudes) at `places(size)`, from 0, of each adapter.

    Exactly the values that sorting the whole vector would give, in two passes: floats sort like
    their bits, so the first counts upper halves, the second the lower halves of those that share
    the upper half at a place. Counts are whole numbers: no order of layers changes them.
    """
    upper = total(lambda stack: _counted(entries(stack), magnitudes, lambda _, bits: _upper(bits)))
    sizes = {key: int(counts.sum()) for key, counts in upper.items()}
    spots = {key: _at(counts, places(sizes[key])) for key, counts in upper.items()}
    buckets = {key: sorted({spot.digit for spot in found}) for key, found in spots.items()}

    def lower_halves(key: str, bits: Int32[Tensor, " k"]) -> Int32[Tensor, " m"]:
        """Of those in a bucket; the second bucket counts from HALF on, and so forth."""
        of = _upper(bits)
        inside = [bits[of == bucket] & (HALF - 1) for bucket in buckets[key]]
        return torch.cat([lower + i * HALF for i, lower in enumerate(inside)])

    lower = total(lambda stack: _counted(entries(stack), magnitudes, lower_halves, buckets))

    def value(key: str, spot: Spot) -> float:
        table = lower[key].reshape(-1, HALF)[buckets[key].index(spot.digit)]
        (inside,) = _at(table, [spot.place])
        return _float(((spot.digit - HALF // 2) << 16) + inside.digit)

    return {
        key: Ordered(sizes[key], [value(key, spot) for spot in found])
        for key, found in spots.items()
    }


def thresholds_over(
    total: Total, entries: Entries, density: float, convention: Convention
) -> dict[str, float]:
    """For each adapter, what a magnitude has to reach to be kept, all layers as one vector."""
    found = order_statistics_over(
        total, entries, lambda size: cut_at(size, density, convention).places
    )
    return {
        key: cut_at(size, density, convention).between(*values)
        for key, (size, values) in found.items()
    }


def survey_of(stack: FactorStack, what: str) -> Survey:
    """The survey that a method's own `survey` has made before its `merge`.

    Raises:
        RuntimeError: there is none: who called `merge` has left it out.
    """
    if stack.survey is None:
        raise RuntimeError(
            f"{what} needs a survey of all layers before it merges layer {stack.layer!r}: merge "
            "through a plan, or pass the stacks of all layers to copamerge.testing.surveyed first"
        )
    return stack.survey


def surveyed(method: MergeMethod, stacks: Sequence[FactorStack]) -> list[FactorStack]:
    """All layers of a model, as `method.merge` wants to see them: with its survey, if it has one.

    Raises:
        AssertionError: the method makes more or fewer passes than it says.
    """
    passes = 0

    def total(look: Callable[[FactorStack], Tally]) -> Tally:
        nonlocal passes
        passes += 1
        return added(look(stack) for stack in stacks)

    survey = method.survey(total)
    if passes != method.passes():
        raise AssertionError(
            f"{method.name}: announces {method.passes()} passes and makes {passes}; with {method!r}"
        )
    return [replace(stack, survey=survey) for stack in stacks]


# --- radix selection -----------------------------------------------------------------------------


class Spot(NamedTuple):
    digit: int
    place: int
    """Among those with this digit, from 0."""


def _counted(
    entries: Iterable[tuple[str, Tensor]],
    magnitudes: bool,
    digits: Callable[[str, Int32[Tensor, " k"]], Int32[Tensor, " m"]],
    tables: Mapping[str, Sequence[int]] | None = None,
) -> Tally:
    """How often each digit occurs, adapter by adapter; `tables` has more than one of them."""

    def tallies() -> Iterator[Tally]:
        for key, x in entries:
            bins = HALF * (len(tables[key]) if tables else 1)
            for part in torch.split(x.flatten(), CHUNK if x.device.type == "cpu" else x.numel()):
                yield {key: _histogram(digits(key, _bits(part, magnitudes)), bins)}

    return added(tallies())


def _histogram(digits: Int32[Tensor, " k"], bins: int) -> Int64[np.ndarray, " bins"]:
    if digits.device.type == "cpu":
        # torch's starts threads, which spin when the machine is busy: up to 100 times slower.
        return np.bincount(digits.numpy(), minlength=bins)
    return torch.bincount(digits, minlength=bins).cpu().numpy()


def _bits(x: Float[Tensor, " k"], magnitudes: bool) -> Int32[Tensor, " k"]:
    """Whole numbers in the order of the floats."""
    bits = x.view(torch.int32)
    if magnitudes:
        return bits & 0x7FFFFFFF
    # Of negative floats all bits but the sign are turned: the larger, the further down.
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _upper(bits: Int32[Tensor, " k"]) -> Int32[Tensor, " k"]:
    return (bits >> 16) + HALF // 2


def _float(bits: int) -> float:
    """The float of this place in the order: `_bits` undone."""
    turned = bits if bits >= 0 else bits ^ 0x7FFFFFFF
    return float(torch.tensor(turned, dtype=torch.int32).view(torch.float32))


def _at(counts: Int64[np.ndarray, " k"], places: Sequence[int]) -> list[Spot]:
    """The digit that stands at each place."""
    until = counts.cumsum()
    return [
        Spot(digit, place - int(until[digit] - counts[digit]))
        for place in places
        for digit in [int(np.searchsorted(until, place, side="right"))]
    ]
