"""A merged adapter on disk: streamed, verified, then shown under its name."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from copamerge.core.lora import LoraModule
from copamerge.errors import AdapterError, CopamergeError, OutputError
from copamerge.io import AdapterWriter, LayerShape, open_adapter
from copamerge.io._atomic import check_place, whole_folder
from copamerge.io.write import peft_config, saved_name
from copamerge.merging.card import model_card
from copamerge.merging.plan import Plan
from copamerge.merging.report import LayerReport, MergeReport, layer_report, merge_report
from copamerge.merging.saved import merged_saved
from copamerge.merging.walk import Digests, MergedLayer, Progress, walk

IN_FLIGHT = 4
"""Layers that may wait for the disk."""


@dataclass(frozen=True, eq=False)
class Stored:
    """One layer as it is written: named tensors in the output dtype, and what that cost."""

    tensors: dict[str, Tensor]
    report: LayerReport


def store(plan: Plan, layer: MergedLayer, rank: int) -> Stored:
    """Round a layer to the output dtype, and measure the rounding.

    Raises:
        CopamergeError: float16 cannot hold the values.
    """
    shape = plan.shape(layer.plan, rank)
    bias = layer.bias
    if shape.has_bias and bias is None:
        # PEFT's lora_bias holds for a whole adapter: layers without one get zeros.
        bias = layer.factors.B.new_zeros(shape.d_out)
    exact = shape.stored(layer.factors.A, layer.factors.B, bias)
    tensors = {name: tensor.to("cpu", plan.dtype) for name, tensor in exact.items()}
    return Stored(tensors, layer_report(layer, _rounding(layer.plan.name, exact, tensors)))


def _rounding(layer: str, exact: dict[str, Tensor], stored: dict[str, Tensor]) -> float | None:
    error, size = 0.0, 0.0
    for name, meant in exact.items():
        size += float(torch.linalg.vector_norm(meant)) ** 2
        if stored[name].dtype != meant.dtype:
            error += float(torch.linalg.vector_norm(stored[name].float() - meant.cpu())) ** 2
    if error != error or error == float("inf"):
        raise CopamergeError(
            f"layer {layer!r}: values do not fit {stored[next(iter(stored))].dtype}; "
            "choose --dtype bfloat16 or float32"
        )
    return (error / size) ** 0.5 if size else None


def merge_to_folder(
    plan: Plan,
    out: Path,
    *,
    device: torch.device,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> MergeReport:
    """Run the plan; the folder `out` appears complete and verified, or not at all.

    Raises:
        OutputError: the place is taken, or what was written does not read back.
        AdapterError, CopamergeError: as `walk` and `store` do.
    """
    started = time.perf_counter()
    _check_apart(plan, out)
    check_place(out, overwrite=overwrite)
    with ThreadPoolExecutor(1, thread_name_prefix="hash") as hashing:
        digests = Digests(plan.adapters, hashing)
        try:
            keys = _keys(plan, digests)
            layers = walk(plan, device=device, keys=keys, progress=progress)
            return write_folder(
                plan,
                layers,
                out,
                overwrite=overwrite,
                digests=lambda: [dict(digests.of(a)) for a in plan.adapters],
                seconds=lambda: time.perf_counter() - started,
                device=str(device),
            )
        finally:
            hashing.shutdown(wait=True, cancel_futures=True)


def _keys(plan: Plan, digests: Digests) -> tuple[str, ...]:
    if plan.recipe.method.random:
        return digests.keys(plan.adapters)
    return tuple(str(i) for i in range(len(plan.adapters)))


def write_folder(
    plan: Plan,
    layers: Iterable[MergedLayer],
    out: Path,
    *,
    overwrite: bool,
    digests: Callable[[], list[dict[str, str]]],
    seconds: Callable[[], float],
    device: str,
) -> MergeReport:
    """Write merged layers as they come, read everything back, then make `out` appear."""
    with whole_folder(out, overwrite=overwrite) as folder:
        rank = plan.rank
        if rank is None:
            layers = list(layers)
            rank = max(layer.factors.rank for layer in layers)
        shapes = [plan.shape(layer, rank) for layer in plan.layers]
        config = config_of(plan, shapes, rank)
        names = {shape.name for shape in shapes}
        announced = {
            name: (size, plan.dtype) for shape in shapes for name, size in shape.tensors().items()
        }
        for saved in plan.saved.kept:
            dtype = getattr(torch, saved.dtype)
            announced[saved_name(saved.name, names)] = (saved.shape, dtype)
        writer = AdapterWriter(folder / "adapter_model.safetensors", announced)
        reports = []
        with writer, ThreadPoolExecutor(1, thread_name_prefix="write") as disk:
            for stored in _bounded(plan, layers, rank, writer, disk):
                reports.append(stored)
            for saved, tensor in merged_saved(plan.saved, plan.adapters):
                if not bool(tensor.float().isfinite().all()):
                    raise AdapterError(_saved_not_finite(plan, saved.name))
                writer.write(saved_name(saved.name, names), tensor)
        writer.verify()
        _write_json(folder / "adapter_config.json", config)
        _check_opens(folder, shapes)
        report = merge_report(
            plan,
            reports,
            rank=rank,
            tensors=len(announced),
            digests=digests(),
            seconds=seconds(),
            device=device,
        )
        _write_json(folder / "merge.json", report.model_dump(mode="json"))
        (folder / "README.md").write_text(model_card(plan, report), encoding="utf-8")
    return report


def _bounded(
    plan: Plan,
    layers: Iterable[MergedLayer],
    rank: int,
    writer: AdapterWriter,
    disk: ThreadPoolExecutor,
) -> Iterator[LayerReport]:
    """Hand layers to the disk's thread, never more than a few ahead of it."""

    def put(layer: MergedLayer) -> LayerReport:
        with torch.inference_mode():
            stored = store(plan, layer, rank)
        for name, tensor in stored.tensors.items():
            writer.write(name, tensor)
        return stored.report

    waiting: list[Future[LayerReport]] = []
    for layer in layers:
        waiting.append(disk.submit(put, layer))
        if len(waiting) > IN_FLIGHT:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()


def config_of(plan: Plan, shapes: list[LayerShape], rank: int) -> dict[str, Any]:
    """adapter_config.json of the result."""
    roles = {saved.role for saved in plan.saved.kept}
    biases = [str(a.config.get("bias", "none")) for a in plan.adapters]
    modules = [
        name
        for adapter in plan.adapters
        for name in adapter.config.get("modules_to_save") or ()
        if any(_within(saved.name, name) for saved in plan.saved.kept if saved.role == "module")
    ]
    # Options that no two adapters disagree on and that servers or PEFT read.
    shared = {}
    for key in ("auto_mapping", "megatron_core"):
        values = [a.config.get(key) for a in plan.adapters]
        if values[0] is not None and all(value == values[0] for value in values):
            shared[key] = values[0]
    return peft_config(
        layers=shapes,
        rank=rank,
        base_model=plan.base_model,
        revision=next((a.config["revision"] for a in plan.adapters if a.config.get("revision")), None),
        task_type=plan.task_type,
        fan_in_fan_out=any(a.config.get("fan_in_fan_out") for a in plan.adapters),
        bias=("all" if "all" in biases else "lora_only") if "bias" in roles else "none",
        modules_to_save=list(dict.fromkeys(modules)),
        shared=shared,
    )


def _within(name: str, module: str) -> bool:
    return f".{module}." in f".{name}"


def _check_apart(plan: Plan, out: Path) -> None:
    """An output that is, holds or lies in an input would put the input at risk."""
    target = out.resolve()
    for adapter in plan.adapters:
        for file in adapter.files:
            source = file.resolve().parent
            if target == source or target in source.parents:
                raise OutputError(
                    f"{out}: holds the input {adapter.label}; choose another output"
                )


def _check_opens(folder: Path, shapes: list[LayerShape]) -> None:
    """The folder, opened as any input is, has every layer with scaling 1."""
    adapter = open_adapter(str(folder))
    for shape in shapes:
        info = adapter.layers.get(shape.name)
        there = info and (info.d_in, info.d_out, info.rank, info.scaling, info.kind)
        if there != (shape.d_in, shape.d_out, shape.rank, 1.0, shape.kind):
            raise OutputError(f"{folder}: layer {shape.name!r} reads back as {there}")
    assert len(adapter.layers) == len(shapes)


def _saved_not_finite(plan: Plan, name: str) -> list[str]:
    return [
        f"{a.label}: tensor {a.saved[name].tensor!r} has NaN or infinite values; leave the adapter "
        "out, or the tensor by --modules-to-save drop"
        for a in plan.adapters
        if name in a.saved and not bool(a.tensor(a.saved[name].tensor).float().isfinite().all())
    ]


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=False) + "\n", encoding="utf-8")


def modules_of(layers: Iterable[MergedLayer]) -> dict[str, LoraModule]:
    """Merged layers as LoRA modules of scaling 1."""
    return {
        layer.plan.name: LoraModule(layer.factors.A, layer.factors.B, 1.0, layer.bias)
        for layer in layers
    }
