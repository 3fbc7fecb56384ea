"""Full tensors beside the factors: values, not deltas, so they follow a policy, not a method."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from copamerge.core.adapter import Adapter, SavedInfo
from copamerge.errors import AdapterError, CopamergeError
from copamerge.io.tensorfile import dtype_name
from copamerge.recipe import Recipe
from copamerge.recipe.schedule import weight_at

SOME = 4
BLOCK = 2**20
"""Entries of a full tensor that are worked on at once."""


@dataclass(frozen=True)
class SavedTensor:
    """One full tensor of the result: whose, how combined."""

    name: str
    role: str
    policy: str
    owners: tuple[int, ...]
    """Adapters that have it, in recipe order."""
    weights: tuple[float, ...]
    """Weights of the owners, divided by their sum (policy `mean`)."""
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class SavedPlan:
    """What becomes of every full tensor of every adapter."""

    kept: tuple[SavedTensor, ...] = ()
    dropped: tuple[tuple[int, str], ...] = ()
    """(adapter, name) of the tensors left out because the recipe says so."""


def plan_saved(
    recipe: Recipe, adapters: Sequence[Adapter], problems: list[str], warnings: list[str]
) -> SavedPlan:
    """Apply the recipe's policies; a single adapter needs none: nothing has to be combined."""
    owners: dict[str, list[int]] = defaultdict(list)
    for i, adapter in enumerate(adapters):
        for name in adapter.saved:
            # An adapter of weight 0 is not there (docs/adr/0003).
            if weight_at(recipe.adapters[i].weight, name, 1.0) != 0.0:
                owners[name].append(i)
    by_role: dict[str, list[str]] = defaultdict(list)
    for name, who in owners.items():
        roles = {adapters[i].saved[name].role for i in who}
        # A bias of a module that somebody saves whole goes with the module.
        by_role["module" if "module" in roles else "bias"].append(name)
    kept: list[SavedTensor] = []
    dropped: list[tuple[int, str]] = []
    for role, names in sorted(by_role.items()):
        policy = recipe.bias if role == "bias" else recipe.modules_to_save
        option = _option(role)
        if policy == "drop":
            dropped += [(i, name) for name in names for i in owners[name]]
            warnings.append(f"{len(names)} full tensors left out ({option} drop): {_some(names)}")
            continue
        if policy == "error" and len(adapters) > 1:
            whose = sorted({adapters[i].label for name in names for i in owners[name]})
            problems.append(
                f"{', '.join(whose)}: full {'biases' if role == 'bias' else 'modules'} beside the "
                f"factors ({_some(names)}): they are values, not deltas, so say what to do with "
                f"them: {option} mean, first or drop"
            )
            continue
        effective = "first" if len(adapters) == 1 else policy
        if effective == "first":
            warnings += _passed_over(names, owners, option, adapters)
        for name in sorted(names):
            tensor = _one(name, role, owners[name], effective, recipe, adapters, problems)
            if tensor is not None:
                kept.append(tensor)
        partial = [name for name in names if len(owners[name]) < len(adapters)]
        if partial and effective == "mean":
            warnings.append(
                f"{len(partial)} full tensors are in some adapters only ({_some(partial)}); their "
                "mean is over those, the others' base values being unknown"
            )
    return SavedPlan(tuple(kept), tuple(dropped))


def _passed_over(
    names: Sequence[str], owners: dict[str, list[int]], option: str, adapters: Sequence[Adapter]
) -> list[str]:
    """What keeping the first adapter's tensors costs the others, in at most one sentence."""
    left = {name: owners[name][1:] for name in names if len(owners[name]) > 1}
    if not left:
        return []
    count, whose = sum(map(len, left.values())), {i for who in left.values() for i in who}
    keepers = sorted({owners[name][0] for name in left})
    return [
        f"{count} full tensors of {len(whose)} adapters left out ({option} first keeps those of "
        f"{', '.join(adapters[i].label for i in keepers)}): {_some(list(left))}"
    ]


def _option(role: str) -> str:
    return "--bias" if role == "bias" else "--modules-to-save"


def _one(
    name: str,
    role: str,
    who: list[int],
    policy: str,
    recipe: Recipe,
    adapters: Sequence[Adapter],
    problems: list[str],
) -> SavedTensor | None:
    infos = [adapters[i].saved[name] for i in who]
    option = _option(role)
    if policy == "first":
        return _tensor(name, role, infos[:1], "first", who[:1], (1.0,))
    shapes = {info.shape for info in infos}
    if len(shapes) > 1:
        each = ", ".join(
            f"{tuple(info.shape)} in {adapters[i].label}"
            for i, info in zip(who, infos, strict=True)
        )
        problems.append(f"{name!r} has no mean: it is {each}; {option} first or drop would do")
        return None
    weights = [weight_at(recipe.adapters[i].weight, name, 1.0) for i in who]
    plain = [1.0 if weight is None else weight for weight in weights]
    total = sum(plain)
    if abs(total) < 1e-6 * sum(map(abs, plain)) or total == 0.0:
        problems.append(
            f"{name!r} has no mean: the weights {plain} of the adapters that have it add up to 0; "
            f"{option} first or drop would do"
        )
        return None
    return _tensor(name, role, infos, "mean", who, tuple(weight / total for weight in plain))


def _tensor(
    name: str,
    role: str,
    infos: Sequence[SavedInfo],
    policy: str,
    who: Sequence[int],
    weights: tuple[float, ...],
) -> SavedTensor:
    dtype = getattr(torch, infos[0].dtype)
    for info in infos[1:]:
        dtype = torch.promote_types(dtype, getattr(torch, info.dtype))
    stored = dtype_name(dtype)
    return SavedTensor(name, role, policy, tuple(who), weights, infos[0].shape, stored)


def merged_saved(
    plan: SavedPlan, adapters: Sequence[Adapter]
) -> Iterator[tuple[SavedTensor, Tensor]]:
    """The kept tensors, in their own dtype: values are not re-typed with the factors.

    Raises:
        AdapterError: NaN or infinity in a full tensor of an input; every one is named.
    """
    for saved in plan.kept:
        tensors = [adapters[i].tensor(adapters[i].saved[saved.name].tensor) for i in saved.owners]
        if not all(map(_all_finite, tensors)):
            raise AdapterError(
                line
                for later in plan.kept
                for i in later.owners
                for line in saved_not_finite(adapters[i], later.name)
            )
        if len(tensors) == 1:
            yield saved, tensors[0]
            continue
        merged = _mean(saved, tensors)
        if not _all_finite(merged):
            raise CopamergeError(
                f"{saved.name!r}: its mean with weights {list(saved.weights)} does not fit "
                f"{saved.dtype}; choose other weights, or {_option(saved.role)} first or drop"
            )
        yield saved, merged


def _mean(saved: SavedTensor, tensors: Sequence[Tensor]) -> Tensor:
    """Weighted mean in float64, a block at a time: such tensors can be whole embeddings.

    Raises:
        CopamergeError: whole numbers or other types that have no mean, and are not all equal.
    """
    mean = torch.empty(saved.shape, dtype=getattr(torch, saved.dtype))
    if not mean.dtype.is_floating_point:
        if all(torch.equal(tensors[0], tensor) for tensor in tensors[1:]):
            return tensors[0]
        raise CopamergeError(
            f"{saved.name!r} holds {saved.dtype} values that differ between the adapters and have "
            f"no mean; {_option(saved.role)} first or drop would do"
        )
    flats = [tensor.contiguous().flatten() for tensor in tensors]
    for start in range(0, mean.numel(), BLOCK):
        block = slice(start, start + BLOCK)
        terms = [w * x[block].double() for w, x in zip(saved.weights, flats, strict=True)]
        mean.view(-1)[block] = torch.stack(terms).sum(0)
    return mean


def spread_of(saved: SavedTensor, adapters: Sequence[Adapter]) -> float | None:
    """How far the inputs' values of a full tensor lie from the written ones, relative to these.

    The largest Frobenius distance over all adapters that have it, also those that `first` passes
    over, divided by the norm of what is written. None where nothing can be compared: one adapter,
    other shapes, a norm of zero, whole numbers, or values that are not finite.
    """
    holders = [a for a in adapters if saved.name in a.saved]
    tensors = [a.tensor(a.saved[saved.name].tensor).flatten() for a in holders]
    mine = [adapters[i].tensor(adapters[i].saved[saved.name].tensor) for i in saved.owners]
    alike = all(x.shape == tensors[0].shape and x.dtype.is_floating_point for x in tensors)
    if len(holders) < 2 or not alike:
        return None
    distances, norm = [0.0] * len(tensors), 0.0
    for start in range(0, len(tensors[0]), BLOCK):
        block = slice(start, start + BLOCK)
        written = torch.stack(
            [w * x.flatten()[block].double() for w, x in zip(saved.weights, mine, strict=True)]
        ).sum(0)
        norm += float(written.square().sum())
        for i, x in enumerate(tensors):
            distances[i] += float((x[block].double() - written).square().sum())
    largest = max(distances)
    return (largest / norm) ** 0.5 if norm > 0 and math.isfinite(largest + norm) else None


def _all_finite(tensor: Tensor) -> bool:
    """Whether there is no NaN or infinity in it, looked at a block at a time."""
    if not tensor.dtype.is_floating_point:
        return True
    flat = tensor.contiguous().flatten()
    starts = range(0, len(flat), BLOCK)
    return all(bool(flat[start : start + BLOCK].float().isfinite().all()) for start in starts)


def saved_not_finite(adapter: Adapter, name: str) -> list[str]:
    """What is NaN or infinite in one full tensor of an adapter."""
    info = adapter.saved[name]
    bad = how_not_finite(adapter.tensor(info.tensor))
    option = "--bias" if info.role == "bias" else "--modules-to-save"
    remedy = f"leave the adapter out, or the tensor by {option} drop"
    return [f"{adapter.label}: tensor {info.tensor!r} has {bad}; {remedy}"] if bad else []


def how_not_finite(tensor: Tensor) -> str:
    """`2 NaN and 1 infinite values of 64`; empty when all are finite."""
    values = tensor.float()
    counts = {"NaN": int(values.isnan().sum()), "infinite": int(values.isinf().sum())}
    found = " and ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    return f"{found} values of {tensor.numel()}" if found else ""


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(sorted(names)[:SOME])
    return f"{shown} and {len(names) - SOME} more" if len(names) > SOME else shown
