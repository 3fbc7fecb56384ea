"""From a plan to a family: the rule layer by layer, then the scalars, then a verified folder."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from copamerge._version import __version__
from copamerge.core.lora import FactorStack
from copamerge.core.lowrank import NOISE, core_of
from copamerge.errors import OutputError, first_few
from copamerge.families.open import open_family
from copamerge.families.plan import FamilyPlan
from copamerge.families.record import (
    FORMAT,
    MASKS,
    RECORD,
    SHARED,
    FamilyLayer,
    FamilyRecord,
    MemberRecord,
    Storage,
)
from copamerge.families.store import packed, rounded, write_tensors
from copamerge.io._atomic import check_place, whole_folder
from copamerge.io.tensorfile import dtype_name
from copamerge.merging.folder import check_apart, config_of
from copamerge.merging.plan import LayerPlan
from copamerge.merging.report import COARSE
from copamerge.merging.sources import source_card
from copamerge.merging.walk import Digests, Progress, over_layers, sha256_of
from copamerge.methods._steps import biases, deltas
from copamerge.methods.emr import Emr, agreement, unify

# --- one layer -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sums:
    """Of one tensor of one member, in float64."""

    own: float
    """Mean magnitude of its delta."""
    left: float
    """Mean magnitude of the unified delta under its mask."""
    norm: float
    """Square of its delta's norm."""
    left_norm: float
    inner: float
    masked: int
    entries: int


@dataclass(frozen=True, eq=False)
class _Made:
    layer: FamilyLayer
    shared: dict[str, Tensor]
    masks: dict[str, Tensor]
    sums: tuple[list[_Sums], ...]
    """For each of the layer's members: of the matrix, and of the bias where there is one."""
    rounding: tuple[float, ...]


def _layer(job: FamilyPlan, layer: LayerPlan, stack: FactorStack) -> _Made:
    exact: dict[str, Tensor] = {}
    masks: dict[str, Tensor] = {}
    if job.space == "core":
        exact["U"], exact["V"], cores = _cores(stack)
        matrix, bits, sums = _unified(cores)
    else:
        matrix, bits, sums = _unified(deltas(stack), deltas(stack))
    rows, columns = matrix.shape
    found = [sums]
    exact["unified"], masks["mask"] = matrix, bits
    if not matrix.numel():
        exact, masks = {}, {}
    if stack.bias is not None:
        exact["bias"], masks["bias_mask"], sums = _unified(list(biases(stack)))
        found.append(sums)
    stored = {}
    roundings = []
    for part, tensor in exact.items():
        place = f"layer {layer.name!r}: {part}"
        stored[f"{layer.name}.{part}"], error = rounded(place, tensor, job.dtype)
        roundings += [] if error is None else [error]
    return _Made(
        FamilyLayer(
            layer=layer.name,
            kind=layer.kind.value,
            d_out=layer.d_out,
            d_in=layer.d_in,
            kernel=layer.kernel,
            members=layer.present,
            rows=rows,
            columns=columns,
            rank=min(sum(layer.ranks), layer.d_out, layer.d_in),
            has_bias=stack.bias is not None,
        ),
        stored,
        {f"{layer.name}.{part}": tensor for part, tensor in masks.items()},
        tuple([of_part[k] for of_part in found] for k in range(stack.n)),
        tuple(roundings),
    )


def _cores(stack: FactorStack) -> tuple[Tensor, Tensor, list[Tensor]]:
    """U, V and each adapter's core between them; that of a zero adapter is zero."""
    core = core_of(stack)
    found = [core.M.new_zeros(core.U.shape[1], core.V.shape[1]) for _ in range(stack.n)]
    for i, M in zip(core.kept, core.M, strict=True):
        # Rounding noise has a sign too, and would hand one member's entry to another.
        found[i] = torch.where(M.abs() > NOISE * M.abs().max(), M, 0.0)
    return core.U, core.V, found


def _unified(
    xs: Iterable[Tensor], again: Iterable[Tensor] | None = None
) -> tuple[Tensor, Tensor, list[_Sums]]:
    """The unified tensor, the masks as bits and what the scalars need; `again` repeats `xs`."""
    unified = unify(xs)
    bits, sums = [], []
    for x in xs if again is None else again:
        mask = agreement(x, unified)
        bits.append(packed(mask[None]))
        own, left = x.double(), (unified * mask).double()
        sums.append(
            _Sums(
                own=_mean(own),
                left=_mean(left),
                norm=float(own.square().sum()),
                left_norm=float(left.square().sum()),
                inner=float((own * left).sum()),
                masked=int(mask.sum()),
                entries=mask.numel(),
            )
        )
    return unified, torch.cat(bits), sums


def _mean(x: Tensor) -> float:
    return float(x.abs().sum()) / x.numel() if x.numel() else 0.0


# --- all layers ----------------------------------------------------------------------------------


def check_new(out: Path, *, overwrite: bool = False) -> None:
    """Refuse a path that is taken; nothing is ever replaced.

    Raises:
        OutputError: the place is taken, or no folder can be made there.
    """
    if out.is_dir() and not out.is_symlink():
        raise OutputError(f"{out}: already exists; choose another output")
    check_place(out, overwrite=overwrite)


def make_family(
    job: FamilyPlan, out: Path, *, device: torch.device, progress: Progress | None = None
) -> FamilyRecord:
    """Make the family; the folder `out` appears complete and verified, or not at all.

    All of it is held in memory until it is written.

    Raises:
        OutputError: the place is taken, or what was written does not read back.
        AdapterError: NaN or infinity in an adapter; every tensor that has one is named.
        CopamergeError: values that the type of the shared tensors cannot hold.
    """
    check_apart(job.plan, out)
    with whole_folder(out, check=check_new) as folder, Digests(job.plan.adapters) as digests:
        keys = digests.keys(False)

        def work(layer: LayerPlan, stack: FactorStack) -> _Made:
            return _layer(job, layer, stack)

        made = list(over_layers(job.plan, work, device=device, keys=keys, progress=progress))
        _write(folder / SHARED, (part.shared for part in made))
        _write(folder / MASKS, (part.masks for part in made))
        record = _record(job, made, digests.all(), folder)
        text = json.dumps(record.model_dump(mode="json"), indent=2, allow_nan=False)
        (folder / RECORD).write_text(text + "\n", encoding="utf-8")
        if open_family(folder).record != record:
            raise OutputError(f"{folder / RECORD}: reads back differently from what was written")
    return record


def _write(path: Path, parts: Iterator[Mapping[str, Tensor]]) -> None:
    write_tensors(path, {name: tensor for part in parts for name, tensor in part.items()})


def _record(
    job: FamilyPlan, made: Sequence[_Made], digests: Sequence[Mapping[str, str]], folder: Path
) -> FamilyRecord:
    adapters = job.plan.adapters
    members = tuple(_member(job, i, made, digests[i]) for i in range(len(adapters)))
    roundings = [error for part in made for error in part.rounding]
    worst = max(roundings) if roundings else None
    return FamilyRecord(
        format=FORMAT,
        method={"name": Emr.name, "space": job.space},
        space=job.space,
        base_model=job.plan.base_model,
        members=members,
        layers=tuple(part.layer for part in made),
        dtype=dtype_name(job.dtype),
        adapters_dtype=dtype_name(job.plan.dtype),
        rounding=worst,
        storage=Storage(
            shared=(folder / SHARED).stat().st_size,
            masks=(folder / MASKS).stat().st_size,
            scalars=8 * len(members),
            adapters=sum(adapter.files[0].stat().st_size for adapter in adapters),
        ),
        sha256={name: sha256_of(folder / name) for name in (SHARED, MASKS)},
        config=config_of(job.plan, [job.plan.shape(layer) for layer in job.plan.layers]),
        warnings=_warnings(job, members, worst),
        copamerge=__version__,
    )


def _member(
    job: FamilyPlan, i: int, made: Sequence[_Made], digests: Mapping[str, str]
) -> MemberRecord:
    adapter = job.plan.adapters[i]
    mine = [
        part
        for one in made
        if i in one.layer.members
        for part in one.sums[one.layer.members.index(i)]
    ]
    own, left = sum(part.own for part in mine), sum(part.left for part in mine)
    scalar = own / left if left > 0 else 0.0
    norm = sum(part.norm for part in mine)
    # |c m - x|^2 from its three terms; what cancels to less than nothing is 0.
    inner, left_norm = sum(part.inner for part in mine), sum(part.left_norm for part in mine)
    missed = max(0.0, scalar**2 * left_norm - 2 * scalar * inner + norm)
    return MemberRecord(
        name=job.names[i],
        adapter=adapter.label,
        revision=adapter.revision,
        sha256=dict(digests),
        rank=max(info.rank for info in adapter.layers.values()),
        layers=len(adapter.layers),
        scalar=scalar,
        masked=sum(part.masked for part in mine),
        entries=sum(part.entries for part in mine),
        delta_norm=norm**0.5,
        error=(missed / norm) ** 0.5 if norm > 0 else None,
        dropped=tuple(adapter.saved[name].tensor for k, name in job.plan.saved.dropped if k == i),
        card=source_card(adapter),
    )


def _warnings(
    job: FamilyPlan, members: Sequence[MemberRecord], rounding: float | None
) -> tuple[str, ...]:
    alone = job.plan.recipe.method.cautions()
    warnings = [text for text in job.plan.warnings if text not in alone]
    warnings += first_few(
        [
            f"{member.name}: nothing of it is left, so its scalar is 0: "
            + ("its delta is zero" if member.error is None else "the others outvote it everywhere")
            for member in members
            if member.scalar == 0.0
        ],
        "members",
        "more of which nothing is left",
    )
    if rounding is not None and rounding > COARSE:
        warnings.append(
            f"rounding to {dtype_name(job.dtype)} changes a shared tensor by {rounding:.1%}; "
            "--dtype float32 or bfloat16 would not"
        )
    return tuple(dict.fromkeys(warnings))
