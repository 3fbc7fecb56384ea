"""What each method makes of some adapters, side by side, measured without data."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict

from copamerge._version import __version__
from copamerge.analysis.image import ROUNDING, image_of, norm_of, svd_of
from copamerge.analyzing.traces import Seen, Trace, seen, trace
from copamerge.core.delta import LowRank
from copamerge.core.lora import FactorStack
from copamerge.errors import AdapterError, CopamergeError, RecipeError
from copamerge.merging import MergedAdapter, memory, resolve_device
from copamerge.merging.common import check_methods, plan_common
from copamerge.merging.folder import store
from copamerge.merging.plan import Plan, plan
from copamerge.merging.report import merge_report
from copamerge.merging.walk import Digests, MergedLayer, settled, walk
from copamerge.methods import method_from, method_names
from copamerge.recipe import Recipe

Tell = Callable[[str, int, int], None]
"""(what is going on, how much of it is done, of how much)"""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Compared(_Part):
    """One of the adapters that were merged."""

    adapter: str
    """As it was called."""
    weight: Any
    """A number, a gradient, or filters."""
    ranks: tuple[int, ...]
    """Ranks that occur among its layers."""
    layers: int
    """Layers it adapts."""
    delta_norm: float | None
    """Frobenius norm over all layers it takes part in; null when no merge could be measured."""
    sha256: dict[str, str]
    """Hash of each file, by name."""


class Points(_Part):
    """Mean points over the tasks of a suite."""

    group: str
    """`seen` tasks, for which the suite has an adapter, or `unseen` ones."""
    mode: str
    """`official` or `corrected`."""
    points: float | None
    stderr: float | None


class Row(_Part):
    """One method. Null: it did not merge, or the number is not to be had here."""

    name: str
    method: dict[str, Any] | None
    """Name and every option as resolved."""
    failed: str | None
    """Why there is no merge."""
    seconds: float | None
    """Reading, merging and compressing to the rank; planning, measuring and writing not counted."""
    memory_mb: float | None
    """Most main memory held while it merged, beyond what the program held before, in units of 2^20
    bytes; null where the system does not tell."""
    rank: int | None
    energy_kept: float | None
    """Share of the squared norm of the method's answer that this rank holds."""
    norm: float | None
    """Frobenius norm over all layers, before rounding to a type."""
    norm_ratio: float | None
    """That over the mean norm of the adapters that take part."""
    traces: tuple[Trace, ...]
    """One for each adapter, in order; empty without a merge."""
    warnings: tuple[str, ...]
    """What holds for this method alone."""
    points: tuple[Points, ...] | None = None
    """On a suite; null where it was not asked."""
    unanswered: str | None = None
    """Why it was not asked, though it was to be."""


class Comparison(_Part):
    """Everything `copamerge compare` says."""

    adapters: tuple[Compared, ...]
    recipe: dict[str, Any]
    """What was the same for all methods, as resolved."""
    layers: int
    within_degrees: float
    """The angle up to which a direction counts as preserved."""
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]
    """What holds for every method."""
    suite: dict[str, Any] | None = None
    """What was asked: suite, split, items, tasks; null where nothing was."""
    run: dict[str, Any]
    """Where it ran: versions, device, threads."""


def compare_methods(
    recipe: Recipe,
    methods: Sequence[str] | None = None,
    *,
    within_degrees: float = 45.0,
    device: str = "auto",
    then: Callable[[str, MergedAdapter], None] | None = None,
    tell: Tell | None = None,
) -> Comparison:
    """Merge the recipe's adapters by each method, one after the other, and measure the results.

    Of the recipe all but its method counts; `methods` None is all of them. A method that cannot
    merge these adapters is a row that says why. Each merge is in memory alone while it is
    measured, and handed to `then` with its method's name. Times of two methods compare fairly:
    every file has been read once before the first.

    Raises:
        RecipeError: unknown methods, all of them; an angle out of range.
        AdapterError, PlanError: the adapters cannot be read, or not be merged by any method.
    """
    if not 0 < within_degrees <= 90:
        raise RecipeError(
            f"within: {within_degrees:g} degrees; expected an angle above 0 and up to 90"
        )
    names = method_names() if methods is None else tuple(dict.fromkeys(methods))
    if methods is not None:
        check_methods(names)
    where = resolve_device(device)
    common = plan_common(recipe)
    rows: list[Row] = []
    norms: list[float | None] = [None] * len(common.adapters)
    with Digests(common.adapters) as digests:
        hashes = digests.all()
        _read_all(common, where)
        for i, name in enumerate(names):
            try:
                job = plan(recipe.model_copy(update={"method": method_from(name)}))
                keys = digests.keys(job.recipe.method.seeded())
                report = _progress(tell, name, i, names)
                merged = _merged(job, keys, hashes, where, report)
                measured = _measured(merged.adapter.plan, merged.layers, within_degrees)
            except AdapterError:
                # Broken tensors: no method could do anything about them.
                raise
            except CopamergeError as error:
                rows.append(_failed(name, "; ".join(error.problems)))
                continue
            except Exception as error:  # a method's own failure: the others can still be compared
                said = str(error).partition("\n")[0]
                rows.append(_failed(name, f"{type(error).__name__}: {said}"))
                continue
            norms = measured.own
            rows.append(_row(name, merged, measured, common.warnings))
            if then:
                then(name, merged.adapter)
    shared = _shared_warnings(rows)
    return Comparison(
        adapters=tuple(
            Compared(
                adapter=adapter.label,
                weight=source["weight"],
                ranks=tuple(sorted({info.rank for info in adapter.layers.values()})),
                layers=len(adapter.layers),
                delta_norm=norms[i],
                sha256=dict(hashes[i]),
            )
            for i, (adapter, source) in enumerate(
                zip(common.adapters, recipe.model_dump(mode="json")["adapters"], strict=True)
            )
        ),
        recipe=recipe.model_dump(mode="json", exclude={"method", "adapters"}),
        layers=len(common.layers),
        within_degrees=within_degrees,
        rows=tuple(
            row.model_copy(update={"warnings": tuple(x for x in row.warnings if x not in shared)})
            for row in rows
        ),
        warnings=(*common.warnings, *shared),
        run={
            "copamerge": __version__,
            "torch": torch.__version__,
            "device": str(where),
            "threads": torch.get_num_threads(),
        },
    )


def _read_all(common: Plan, device: torch.device) -> None:
    """One walk for nothing: broken tensors are named, and the first method finds things warm."""
    keys = tuple(map(str, range(len(common.adapters))))
    for _ in walk(common, lambda layer: layer.plan.name, device=device, keys=keys):
        pass


class _Merged(NamedTuple):
    """A merge, and what it took."""

    adapter: MergedAdapter
    layers: tuple[MergedLayer, ...]
    seconds: float
    memory_mb: float | None


class _Measured(NamedTuple):
    """A merge beside its inputs, over all layers."""

    norm: float
    own: list[float | None]
    """Norm of each input; None where it takes no part."""
    traces: tuple[Trace, ...]


def _progress(
    tell: Tell | None, name: str, place: int, names: Sequence[str]
) -> Callable[[int, int], None] | None:
    if tell is None:
        return None
    return lambda done, total: tell(f"merging by {name}", place * total + done, len(names) * total)


def _merged(
    job: Plan,
    keys: Sequence[str],
    hashes: Sequence[dict[str, str]],
    device: torch.device,
    progress: Callable[[int, int], None] | None,
) -> _Merged:
    before = memory.begun_anew()
    started = time.perf_counter()
    job = settled(job, device=device, keys=keys, progress=progress)
    layers = tuple(walk(job, lambda layer: layer, device=device, keys=keys, progress=progress))
    seconds = time.perf_counter() - started
    added = memory.added_since(before)
    report = merge_report(
        job,
        [store(job, layer).report for layer in layers],
        keys=keys,
        digests=hashes,
        seconds=seconds,
        device=str(device),
    )
    return _Merged(MergedAdapter(job, report, layers), layers, seconds, added)


@torch.inference_mode()
def _measured(job: Plan, layers: Sequence[MergedLayer], within_degrees: float) -> _Measured:
    found: dict[int, list[Seen]] = defaultdict(list)
    square = 0.0
    for layer in layers:
        delta = LowRank(layer.factors.A.double(), layer.factors.B.double())
        square += norm_of(delta) ** 2
        stack = _inputs(job, layer, delta.A.device)
        for place, i in enumerate(layer.plan.present):
            r = stack.ranks[place]
            image = image_of(delta, svd_of(stack.A[place, :r], stack.B[place, :, :r]))
            found[i].append(seen(image))
    norm = square**0.5
    own: list[float | None] = [
        sum(x.change.own for x in found[i]) ** 0.5 if i in found else None
        for i in range(len(job.adapters))
    ]
    # Less than rounding is nothing: a cosine to it would be one of noise.
    vanished = norm <= ROUNDING * max(size or 0.0 for size in own)
    traces = tuple(
        trace(found.get(i, []), 0.0 if vanished else norm, within_degrees)
        for i in range(len(job.adapters))
    )
    return _Measured(norm, own, traces)


def _inputs(job: Plan, layer: MergedLayer, device: torch.device) -> FactorStack:
    modules = [job.adapters[i].module(layer.plan.name).to(device) for i in layer.plan.present]
    return FactorStack.of(layer.plan.name, modules, layer.plan.weights)


def _row(name: str, merged: _Merged, measured: _Measured, common: Sequence[str]) -> Row:
    report = merged.adapter.report
    sizes = [size for size in measured.own if size is not None]
    mean = fmean(sizes) if sizes else 0.0
    return Row(
        name=name,
        method=report.method,
        failed=None,
        seconds=round(merged.seconds, 4),
        memory_mb=merged.memory_mb,
        rank=report.rank,
        energy_kept=report.energy_kept,
        norm=measured.norm,
        norm_ratio=measured.norm / mean if mean > 0 else None,
        traces=measured.traces,
        warnings=tuple(x for x in report.warnings if x not in common),
    )


def _failed(name: str, reason: str) -> Row:
    return Row(
        name=name,
        method=None,
        failed=reason,
        seconds=None,
        memory_mb=None,
        rank=None,
        energy_kept=None,
        norm=None,
        norm_ratio=None,
        traces=(),
        warnings=(),
    )


def _shared_warnings(rows: Sequence[Row]) -> tuple[str, ...]:
    """What every merge warns of is about the adapters, not about a method."""
    merged = [row for row in rows if row.failed is None]
    if len(merged) < 2:
        return ()
    first, *others = merged
    return tuple(x for x in first.warnings if all(x in row.warnings for row in others))
