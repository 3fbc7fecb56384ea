"""A member of a family as an adapter of its own."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from copamerge._version import __version__
from copamerge.core.adapter import Kind
from copamerge.core.delta import Dense, Energy, Factorized, LowRank, WeightDelta, factorize
from copamerge.core.delta import squared_norm as squared
from copamerge.core.draws import Draws
from copamerge.core.lowrank import svd
from copamerge.errors import AdapterError, OutputError, RecipeError, did_you_mean
from copamerge.families.card import member_card
from copamerge.families.make import check_new
from copamerge.families.open import AGAIN, Family
from copamerge.families.plan import DTYPES
from copamerge.families.record import FamilyLayer
from copamerge.families.store import rounded, unpacked, write_tensors
from copamerge.io import LayerShape, open_adapter
from copamerge.io._atomic import whole_folder
from copamerge.io.config import matched_name
from copamerge.io.tensorfile import dtype_name
from copamerge.merging.sources import CARD
from copamerge.recipe.model import Rank

CONFIG, WEIGHTS, TAKEN = "adapter_config.json", "adapter_model.safetensors", "take.json"


class TakeReport(BaseModel):
    """What was taken, and what it cost."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    family: str
    """The folder, as it was given."""
    sha256: dict[str, str]
    """Hashes of the family's tensor files."""
    member: str
    scalar: float
    """c_n of the member."""
    layers: int
    rank: int
    """Uniform rank of the written adapter."""
    dtype: str
    energy_kept: float | None
    """Share of the member's squared norm that the rank holds; null when the member is zero."""
    energy_kept_worst: float | None
    """The smallest of a layer."""
    worst_layer: str | None
    """The layer it belongs to."""
    norm: float
    """Frobenius norm of the written delta."""
    rounding_worst: float | None
    """Relative error from `dtype`, of the factor that lost most; null when all are zero."""
    copamerge: str


class MemberDelta(NamedTuple):
    """What a member changes in one layer."""

    layer: FamilyLayer
    delta: WeightDelta
    bias: Tensor | None


def member_deltas(family: Family, name: str) -> Iterator[MemberDelta]:
    """`c_n * mask_n * unified` of each layer that the member has, in the layer's own coordinates.

    Raises:
        AdapterError: no such member, or numbers that are not finite.
    """
    i = family.index(name)
    scalar = family.record.members[i].scalar
    for layer in family.record.layers:
        if i not in layer.members:
            continue
        place = layer.members.index(i)
        shape = (layer.rows, layer.columns)
        if layer.rows * layer.columns:
            X = scalar * _masked(family, layer, "unified", "mask", place, shape)
            delta = _lifted(family, layer, X)
        else:
            delta = LowRank(A=torch.zeros(0, layer.d_in), B=torch.zeros(layer.d_out, 0))
        bias = None
        if layer.has_bias:
            size = (layer.d_out,)
            bias = (scalar * _masked(family, layer, "bias", "bias_mask", place, size)).float()
        yield MemberDelta(layer, delta, bias)


def _lifted(family: Family, layer: FamilyLayer, X: Tensor) -> WeightDelta:
    if family.record.space == "delta":
        return Dense(X.float())
    U, V = (_read(family, layer, part).double() for part in "UV")
    P, S, Qt = svd(X)
    # Shared equally by both factors, so that both suit half precision.
    root = S.sqrt()
    return LowRank(A=root[:, None] * (Qt @ V.mT), B=U @ P * root)


def _masked(
    family: Family, layer: FamilyLayer, part: str, mask: str, place: int, shape: tuple[int, ...]
) -> Tensor:
    bits = family.masks.read(f"{layer.layer}.{mask}")[place]
    unified = _read(family, layer, part).double()
    return torch.where(unpacked(bits, shape), unified, 0.0)


def _read(family: Family, layer: FamilyLayer, part: str) -> Tensor:
    name = f"{layer.layer}.{part}"
    tensor = family.shared.read(name)
    if not bool(tensor.isfinite().all()):
        raise AdapterError(f"{family.shared.path}: tensor {name!r} is not finite; {AGAIN}")
    return tensor


def checked_rank(value: Any) -> int | str | Energy:
    """
    Raises:
        RecipeError: not `full`, `max`, a whole number or `energy=SHARE`.
    """
    try:
        rank: int | str | Energy = TypeAdapter[Any](Rank).validate_python(value)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise RecipeError(f"--rank: {said} (got {value!r})") from None
    return rank


def take_member(
    family: Family, name: str, out: Path, *, rank: Any = "full", dtype: str = "auto"
) -> TakeReport:
    """Write one member as a PEFT folder, whole or not at all, read back and compared.

    `rank` is `full` (in core space all of the member; in delta space, where it is dense, the sum
    of the adapters' ranks), `max` (the largest of the adapter that it was made of), a number or
    `energy=SHARE`. `dtype` `auto` is the adapters' own.

    Raises:
        RecipeError: no such rank or dtype.
        AdapterError: no such member.
        OutputError: the place is taken, or cannot be written.
    """
    problems: list[str] = []
    wanted: int | str | Energy = "full"
    try:
        family.index(name)
    except AdapterError as error:
        problems += error.problems
    try:
        wanted = checked_rank(rank)
    except RecipeError as error:
        problems += error.problems
    if dtype not in DTYPES:
        known = ", ".join(DTYPES)
        hint = did_you_mean(dtype, DTYPES)
        problems.append(f"--dtype: expected one of {known} (got {dtype!r}){hint}")
    if family.path.resolve() in (out.resolve(), *out.resolve().parents):
        problems.append(f"{out}: lies in the family; choose another output")
    if problems:
        raise RecipeError(problems)
    stored: torch.dtype = getattr(torch, family.record.adapters_dtype if dtype == "auto" else dtype)
    with whole_folder(out, check=check_new) as folder, torch.no_grad():
        limit = _limit(family, name, wanted)
        report = _write(family, name, folder, limit, stored)
    return report


def _limit(family: Family, name: str, wanted: int | str | Energy) -> int:
    """The uniform rank to write; for an energy the smallest at which every layer keeps enough."""
    i = family.index(name)
    mine = [layer for layer in family.record.layers if i in layer.members]
    if isinstance(wanted, Energy):
        needed = (_factorized(found, wanted).rank for found in member_deltas(family, name))
        return max(1, *needed)
    if wanted == "full":
        return max(layer.rank for layer in mine)
    asked = family.record.members[i].rank if wanted == "max" else int(wanted)
    return min(asked, max(min(layer.d_in, layer.d_out) for layer in mine))


def _factorized(found: MemberDelta, rank: int | Energy) -> Factorized:
    layer = found.layer
    if isinstance(rank, int):
        rank = min(rank, layer.d_in, layer.d_out)
    made = factorize(found.delta, rank, Draws(0, layer.layer))
    return Factorized(made.A.float(), made.B.float(), made.kept, made.exact)


def _write(family: Family, name: str, folder: Path, rank: int, dtype: torch.dtype) -> TakeReport:
    record = family.record
    # PEFT's lora_bias holds for a whole adapter: layers without one get zeros.
    has_bias = any(layer.has_bias for layer in record.layers)
    shapes: list[LayerShape] = []
    tensors: dict[str, Tensor] = {}
    roundings: list[float] = []
    kept: dict[str, float] = {}
    norms: dict[str, float] = {}
    for found in member_deltas(family, name):
        layer, factors = found.layer, _factorized(found, rank)
        kind = Kind(layer.kind)
        biased = has_bias and kind is not Kind.EMBEDDING
        bias = torch.zeros(layer.d_out) if biased and found.bias is None else found.bias
        sides = (layer.d_in, layer.d_out)
        shape = LayerShape(layer.layer, kind, *sides, rank, layer.kernel, biased)
        shapes.append(shape)
        for stored, exact in shape.stored(factors.A, factors.B, bias).items():
            place = f"{name}: layer {layer.layer!r}"
            tensors[stored], error = rounded(place, exact, dtype)
            roundings += [] if error is None else [error]
        norms[layer.layer] = max(0.0, squared(LowRank(factors.A.double(), factors.B.double())))
        if factors.kept is not None and norms[layer.layer] > 0:
            kept[layer.layer] = factors.kept
    write_tensors(folder / WEIGHTS, dict(sorted(tensors.items())))
    config = {
        **record.config,
        "r": rank,
        "lora_alpha": rank,
        "lora_bias": has_bias,
        "target_modules": sorted({matched_name(shape.name) for shape in shapes}),
    }
    _write_json(folder / CONFIG, config)
    _check_opens(folder, shapes)
    worst = min(kept, key=lambda layer: kept[layer]) if kept else None
    norm = sum(norms.values())
    report = TakeReport(
        family=str(family.path),
        sha256=record.sha256,
        member=name,
        scalar=record.members[family.index(name)].scalar,
        layers=len(shapes),
        rank=rank,
        dtype=dtype_name(dtype),
        energy_kept=norm / sum(norms[x] / kept[x] for x in kept) if kept else None,
        energy_kept_worst=None if worst is None else kept[worst],
        worst_layer=worst,
        norm=norm**0.5,
        rounding_worst=max(roundings) if roundings else None,
        copamerge=__version__,
    )
    _write_json(folder / TAKEN, report.model_dump(mode="json"))
    (folder / CARD).write_text(member_card(record, report), encoding="utf-8")
    return report


def _check_opens(folder: Path, shapes: list[LayerShape]) -> None:
    """The folder, opened as any adapter is, has every layer with scaling 1, and no other."""
    adapter = open_adapter(str(folder))
    there = {
        name: (info.d_in, info.d_out, info.rank, info.scaling, info.kind)
        for name, info in adapter.layers.items()
    }
    meant = {x.name: (x.d_in, x.d_out, x.rank, 1.0, x.kind) for x in shapes}
    if there != meant:
        raise OutputError(f"{folder}: its layers read back differently from what was written")


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
