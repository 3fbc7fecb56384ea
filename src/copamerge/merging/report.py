"""What a merge did, in numbers: the content of merge.json."""

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from copamerge._version import __version__
from copamerge.core.adapter import Adapter
from copamerge.io.tensorfile import dtype_name
from copamerge.merging.card.hub import hub_base
from copamerge.merging.memory import peak_mb
from copamerge.merging.plan import Plan
from copamerge.merging.saved import spread_of
from copamerge.merging.sources import SourceCard, source_card
from copamerge.merging.walk import MergedLayer

COARSE = 0.01
"""Relative rounding error of a factor from which a warning is due; bfloat16 stays below 0.004."""
LOST = 0.5
"""The same, from which little of a layer is left; 1 where every entry became 0."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class InputReport(_Part):
    """One adapter, and where every tensor of it went."""

    adapter: str
    """As the recipe calls it."""
    revision: str | None
    """The commit a Hub adapter was resolved to; null for local paths."""
    sha256: dict[str, str]
    """Hash of each file, by name."""
    base_model: str | None
    """What its config names."""
    weight: Any
    """As the recipe gives it: a number, a gradient, or filters."""
    ranks: tuple[int, ...]
    """Ranks that occur among its layers."""
    scalings: tuple[float, float]
    """Smallest and largest resolved scaling of a layer."""
    dtypes: tuple[str, ...]
    """Types in which its factors are stored."""
    tensors: int
    """Tensors in the file: the sum of the next five."""
    tensors_merged: int
    """LoRA tensors that took part."""
    tensors_silent: int
    """LoRA tensors of layers where this adapter's weight is 0."""
    tensors_saved: int
    """Full tensors that took part under `modules_to_save` or `bias`."""
    dropped: tuple[str, ...]
    """Full tensors that the recipe's policy left out."""
    ignored: dict[str, str]
    """Tensors that say nothing new, with the reason."""
    layers: int
    """Layers it adapts."""
    layers_merged: int
    """Layers in which it took part; the rest have weight 0."""
    delta_norm: float | None
    """Frobenius norm over all merged layers."""
    cosine: float | None
    """Cosine to the merged delta, all layers as one vector; null where one of them is zero."""
    survey: dict[str, float]
    """What a survey of the whole model found of this adapter (with `scope: global`: the magnitude
    its entries have to reach, and such); empty without one."""
    format: str = "peft"
    """`peft`, or `llava` for the layout of LLaVA's own training."""
    card: SourceCard | None = None
    """What its own model card says; null in reports of versions that did not look."""


class LayerReport(_Part):
    """One layer of the result."""

    layer: str
    kind: str
    """`linear`, `embedding` or `conv`."""
    d_out: int
    """Rows of the delta."""
    d_in: int
    """Columns of the delta; for a convolution inputs x kernel."""
    adapters: tuple[int, ...]
    """Indices of the adapters that took part."""
    weights: tuple[float, ...]
    """Their weights in this layer."""
    exact_rank: int | None
    """Rank of the method's answer; null when it is a dense matrix."""
    rank: int
    """Rank that is written, before zero-padding to the uniform one."""
    energy_kept: float | None
    """Share of the squared norm that the written rank holds; null when the answer is zero."""
    norm: float
    """Frobenius norm of the written delta."""
    input_norms: tuple[float, ...]
    """Frobenius norm of each one's delta, before its weight."""
    cosines: tuple[float | None, ...]
    """Cosine between the written delta and each adapter's; null where one of them is zero."""
    rounding: float | None
    """Relative error from the dtype, of the factor that lost most; null when they are zero."""


class SavedReport(_Part):
    """One full tensor of the result."""

    tensor: str
    """Name in the base model."""
    policy: str
    """`mean` or `first`."""
    adapters: tuple[int, ...]
    """Whose values went into it."""
    spread: float | None
    """How far the input that lies farthest is from the written tensor, relative to its norm; null
    where there is nothing to compare."""


class RunReport(_Part):
    """What differs from run to run."""

    seconds: float
    """From the plan to the finished folder; importing and planning not counted."""
    peak_memory_mb: float
    """Of the whole program."""
    device: str
    copamerge: str
    torch: str
    python: str


class MergeReport(_Part):
    """Everything a merge did. The same inputs, recipe and versions give the same but for `run`."""

    method: dict[str, Any]
    """Name and every option as resolved."""
    recipe: dict[str, Any]
    """The whole recipe as resolved: `copamerge merge -c merge.json` repeats the merge."""
    inputs: tuple[InputReport, ...]
    """One for each adapter, in recipe order."""
    layers: tuple[LayerReport, ...]
    """One for each layer of the result, by name."""
    layers_silent: tuple[str, ...]
    """Layers left out because every weight is 0 there."""
    saved: tuple[SavedReport, ...]
    """One for each full tensor of the result."""
    rank: int
    """Uniform rank of the written adapter."""
    dtype: str
    """Type of the written factors; full tensors keep their own."""
    base_model: str | None
    """Name written into the result; null when nobody names one."""
    hub_base: str | None = None
    """The Hub id that this name is; null where it is a local path."""
    task_type: str | None = None
    """PEFT's word for what the adapter is for, as written into the result."""
    tensors: int
    """Tensors in the written file."""
    energy_kept: float | None
    """Over all layers together; null when the merged delta is zero."""
    energy_kept_worst: float | None
    """The smallest `energy_kept` of a layer."""
    worst_layer: str | None
    """The layer it belongs to."""
    norm: float
    """Frobenius norm of the written delta over all layers."""
    rounding_worst: float | None
    """Largest `rounding` of a layer."""
    survey_passes: int
    """Walks over all layers before the merge, for methods that look at the whole model first."""
    survey: dict[str, float]
    """What they found of all adapters together; each input has its own."""
    warnings: tuple[str, ...]
    """What its owner should know; the command prints the same to stderr."""
    learnt: str | None = None
    """How data chose the weights or options, as the model card says it; null where none did."""
    run: RunReport
    """What differs from run to run."""


def layer_report(layer: MergedLayer, rounding: float | None) -> LayerReport:
    plan, geometry = layer.plan, layer.geometry
    return LayerReport(
        layer=plan.name,
        kind=plan.kind.value,
        d_out=plan.d_out,
        d_in=plan.d_in,
        adapters=plan.present,
        weights=plan.weights,
        exact_rank=plan.result_rank,
        rank=layer.factors.rank,
        energy_kept=layer.factors.kept if geometry.norm > 0 else None,
        norm=geometry.norm,
        input_norms=geometry.input_norms,
        cosines=geometry.cosines,
        rounding=rounding,
    )


def merge_report(
    plan: Plan,
    layers: Sequence[LayerReport],
    *,
    keys: Sequence[str],
    digests: Sequence[Mapping[str, str]],
    seconds: float,
    device: str,
    learnt: str | None = None,
) -> MergeReport:
    """Put the parts together and check that every tensor and layer adds up."""
    assert plan.rank is not None, "the plan was walked, so its rank is settled"
    inputs = tuple(
        _input(plan, i, adapter, layers, keys[i], digests[i])
        for i, adapter in enumerate(plan.adapters)
    )
    warnings = list(plan.warnings)
    coarse = [x.layer for x in layers if (x.rounding or 0.0) > COARSE]
    lost = [x.layer for x in layers if (x.rounding or 0.0) >= LOST]
    if coarse:
        gone = f", {len(lost)} of them almost wholly lost (first: {lost[0]!r})" if lost else ""
        warnings.append(
            f"rounding to {dtype_name(plan.dtype)} changes a factor by more than {COARSE:.0%} in "
            f"{len(coarse)} layers (first: {coarse[0]!r}){gone}; --dtype float32 or bfloat16 would "
            "not"
        )
    seen: dict[str, str] = {}
    for part, adapter in zip(inputs, plan.adapters, strict=True):
        if part.delta_norm == 0.0:
            warnings.append(
                f"{part.adapter}: its delta is zero in every layer (lora_B never trained, or "
                "lora_alpha 0?); it adds nothing itself, but methods that average or normalise "
                "over adapters (copa, robustmerge, means) still count it: leave it out or give it "
                "weight 0"
            )
        key = part.sha256[adapter.files[0].name]
        if key in seen:
            warnings.append(
                f"{part.adapter}: byte for byte the same weights as {seen[key]}; it counts twice"
            )
        seen.setdefault(key, part.adapter)
    whole = sum(x.norm**2 / x.energy_kept for x in layers if x.energy_kept)
    if not whole:
        warnings.append("the merged delta is zero in every layer: loading it changes nothing")
    kept = {x.layer: x.energy_kept for x in layers if x.energy_kept is not None}
    worst = min(kept, key=lambda name: kept[name]) if kept else None
    roundings = [x.rounding for x in layers if x.rounding is not None]
    return MergeReport(
        method=plan.recipe.method.model_dump(mode="json"),
        recipe=plan.recipe.model_dump(mode="json"),
        inputs=inputs,
        layers=tuple(layers),
        layers_silent=plan.silent,
        saved=tuple(
            SavedReport(
                tensor=s.name,
                policy=s.policy,
                adapters=s.owners,
                spread=spread_of(s, plan.adapters),
            )
            for s in plan.saved.kept
        ),
        rank=plan.rank,
        dtype=dtype_name(plan.dtype),
        base_model=plan.base_model,
        hub_base=hub_base(plan.base_model, sure=plan.recipe.base_model is not None),
        task_type=plan.task_type,
        tensors=sum(len(plan.shape(x).tensors()) for x in plan.layers) + len(plan.saved.kept),
        energy_kept=sum(x.norm**2 for x in layers) / whole if whole else None,
        energy_kept_worst=kept[worst] if worst is not None else None,
        worst_layer=worst,
        norm=sum(x.norm**2 for x in layers) ** 0.5,
        rounding_worst=max(roundings) if roundings else None,
        survey_passes=plan.recipe.method.passes(),
        survey=dict(plan.survey.model) if plan.survey else {},
        warnings=tuple(dict.fromkeys(warnings)),
        learnt=learnt,
        run=RunReport(
            seconds=round(seconds, 3),
            peak_memory_mb=round(peak_mb(), 1),
            device=device,
            copamerge=__version__,
            torch=torch.__version__,
            python=platform.python_version(),
        ),
    )


def _input(
    plan: Plan,
    i: int,
    adapter: Adapter,
    layers: Sequence[LayerReport],
    key: str,
    digests: Mapping[str, str],
) -> InputReport:
    merged = [x for x in layers if i in x.adapters]
    names = {x.layer for x in merged}
    tensors_merged = sum(len(adapter.layers[name].tensors) for name in names)
    tensors_silent = sum(
        len(info.tensors) for name, info in adapter.layers.items() if name not in names
    )
    dropped = tuple(adapter.saved[name].tensor for who, name in plan.saved.dropped if who == i)
    # With `first`, the same tensor of a later adapter is not used: that is a drop too, named so.
    used = {s.name for s in plan.saved.kept if i in s.owners}
    passed_over = tuple(
        info.tensor
        for name, info in adapter.saved.items()
        if name not in used and info.tensor not in dropped
    )
    total = tensors_merged + tensors_silent + len(used) + len(dropped) + len(passed_over)
    total += len(adapter.ignored)
    assert total == adapter.n_tensors, (adapter.label, total, adapter.n_tensors)
    place = {x.layer: x.adapters.index(i) for x in merged}
    squares = sum(x.input_norms[place[x.layer]] ** 2 for x in merged)
    inner = sum(
        (x.cosines[place[x.layer]] or 0.0) * x.norm * x.input_norms[place[x.layer]] for x in merged
    )
    whole = sum(x.norm**2 for x in layers)
    infos = adapter.layers.values()
    return InputReport(
        adapter=adapter.label,
        revision=adapter.revision,
        sha256=dict(digests),
        base_model=adapter.base_model,
        weight=plan.recipe.model_dump(mode="json")["adapters"][i]["weight"],
        ranks=tuple(sorted({info.rank for info in infos})),
        scalings=(min(x.scaling for x in infos), max(x.scaling for x in infos)),
        dtypes=tuple(sorted({info.dtype for info in infos})),
        tensors=adapter.n_tensors,
        tensors_merged=tensors_merged,
        tensors_silent=tensors_silent,
        tensors_saved=len(used),
        dropped=dropped + passed_over,
        ignored=dict(adapter.ignored),
        layers=len(adapter.layers),
        layers_merged=len(merged),
        delta_norm=squares**0.5 if merged else None,
        cosine=inner / (squares * whole) ** 0.5 if squares > 0 and whole > 0 else None,
        survey=dict(plan.survey.adapters.get(key, {})) if plan.survey else {},
        format=adapter.format,
        card=source_card(adapter),
    )
