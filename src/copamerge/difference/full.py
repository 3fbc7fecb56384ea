"""Which full tensors beside the factors differ between two adapters, and how much."""

import torch

from copamerge.analysis.apart import FAINT
from copamerge.core.adapter import Adapter, SavedInfo
from copamerge.difference.record import FullTensor
from copamerge.merging.saved import BLOCK


def full_tensors(one: Adapter, other: Adapter) -> tuple[FullTensor, ...]:
    """Every full tensor of either, by name."""
    return tuple(_full(one, other, name) for name in sorted(one.saved.keys() | other.saved.keys()))


def _full(one: Adapter, other: Adapter, name: str) -> FullTensor:
    a, b = one.saved.get(name), other.saved.get(name)
    if a is None or b is None:
        info = a or b
        assert info is not None
        where = "second" if a is None else "first"
        why = f"only the {where} has it; what the base has is not known here"
        return _record(a, b, info, "only_in_other" if a is None else "only_in_one", None, why)
    if a.shape != b.shape:
        return _record(a, b, a, "other_shape", None, "the shapes are unlike")
    x, y = one.tensor(a.tensor).flatten(), other.tensor(b.tensor).flatten()
    if not (x.dtype.is_floating_point and y.dtype.is_floating_point):
        found = "equal" if x.dtype == y.dtype and torch.equal(x, y) else "differs"
        return _record(a, b, a, found, None, "whole numbers have no distance")
    found, apart, first, second = "equal", 0.0, 0.0, 0.0
    size = max(float(x.abs().max()), float(y.abs().max())) if len(x) else 0.0
    # Squares of what only float64 can hold would be 0.
    unit = size if 0 < size < FAINT else 1.0
    # A block at a time: such tensors can be whole embeddings.
    for start in range(0, len(x), BLOCK):
        block = slice(start, start + BLOCK)
        u, v = x[block].double() / unit, y[block].double() / unit
        if not torch.equal(u, v):
            found = "differs"
        apart += float((u - v).square().sum())
        first, second = first + float(u.square().sum()), second + float(v.square().sum())
    larger = max(first, second)
    if larger <= 0:
        return _record(a, b, a, found, None, "both are zero")
    return _record(a, b, a, found, min(2.0, (apart / larger) ** 0.5), None)


def _record(
    a: SavedInfo | None,
    b: SavedInfo | None,
    info: SavedInfo,
    found: str,
    distance: float | None,
    why: str | None,
) -> FullTensor:
    return FullTensor.model_validate(
        {
            "name": info.name,
            "role": info.role,
            "found": found,
            "shapes": (a and a.shape, b and b.shape),
            "dtypes": (a and a.dtype, b and b.dtype),
            "relative_distance": distance,
            "missing": why,
        }
    )
