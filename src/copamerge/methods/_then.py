"""Entries are left out first; then what is left is summed, or TIES-merged without trimming."""

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from copamerge.methods._base import Law, MergeMethod, refuse_idle
from copamerge.methods._steps import (
    DIVIDE_IN_FACTORS,
    Combine,
    Divide,
    SignRule,
    Space,
    Vote,
    disjoint_merge,
    sum_of,
)

Then = Literal["sum", "ties"]


@runtime_checkable
class Drops(Protocol):
    """The options that DARE, DELLA and Breadcrumbs have in common."""

    @property
    def density(self) -> float: ...

    @property
    def scale(self) -> float: ...

    @property
    def then(self) -> Then: ...

    @property
    def sign(self) -> SignRule: ...

    @property
    def vote(self) -> Vote: ...

    @property
    def combine(self) -> Combine: ...

    @property
    def divide(self) -> Divide: ...

    @property
    def space(self) -> Space: ...


def then_merged(method: Drops, left: Iterable[Tensor], weights: Sequence[float]) -> Tensor:
    """What the method makes of the tensors that are left."""
    if method.then == "sum":
        return sum_of(left, weights)
    return disjoint_merge(
        list(left),
        weights,
        sign=method.sign,
        vote=method.vote,
        combine=method.combine,
        divide=method.divide,
    )


def refuse_idle_then(method: Drops) -> None:
    """Refuse options of a TIES merge where there is none, or that have no meaning there.

    Raises:
        ValueError: says which.
    """
    assert isinstance(method, MergeMethod), "the options are those of a method"
    if method.space == "factors" and method.divide == "weights":
        raise ValueError(DIVIDE_IN_FACTORS)
    if method.then == "sum":
        refuse_idle(method, "then: sum", "sign", "vote", "combine", "divide")
    elif method.combine != "mean":
        refuse_idle(method, f"combine: {method.combine}", "divide")


def then_promises(method: Drops) -> set[Law]:
    """The laws that hold whichever entries are left out, as long as each adapter's choice is its
    own; `density` 1 leaves out none."""
    laws: set[Law] = set()
    if method.then == "sum" or method.sign == "drop":
        laws |= {Law.ODDNESS}
    if method.then == "sum" and method.density == 1:
        laws |= {Law.ROTATION}
    if method.density == 1 and method.scale == 1:
        laws |= {Law.IDENTITY}
        if method.then == "ties" and method.combine != "sum":
            laws |= {Law.COPIES}
    if method.space == "delta":
        laws |= {Law.GAUGE, Law.OWN_RANK_ORDER, Law.SIGN_FLIP, Law.ZERO_ADAPTER}
        counted = method.vote == "unweighted" and method.divide == "count"
        if method.then == "sum" or (counted and method.combine != "max"):
            laws |= {Law.LINEARITY}
    return laws
