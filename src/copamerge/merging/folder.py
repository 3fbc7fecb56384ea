"""A merged adapter on disk: written layer by layer, verified, then shown under its name."""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from copamerge.errors import CopamergeError, OutputError
from copamerge.io import AdapterWriter, LayerShape, open_adapter
from copamerge.io._atomic import whole_folder
from copamerge.io.llava import in_layout, llava_config, write_llava
from copamerge.io.names import PREFIX
from copamerge.io.write import peft_config, saved_name
from copamerge.merging.card import model_card
from copamerge.merging.plan import Plan
from copamerge.merging.report import LayerReport, MergeReport, layer_report, merge_report
from copamerge.merging.saved import merged_saved
from copamerge.merging.sources import CARD
from copamerge.merging.walk import Digests, MergedLayer, Progress, settled, walk

LLAVA_WORDS = ("llava", "lora")
"""What a folder's name must hold for LLaVA's own loader to take it for an adapter."""

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
REPORT = "merge.json"
RECENT = ("alpha_pattern", "lora_bias", "rank_pattern", "use_dora", "use_rslora")
"""Options younger than LLaVA's own PEFT, left out where they say nothing."""


@dataclass(frozen=True, eq=False)
class Stored:
    """One layer as it is written: named tensors in the output dtype, and what that cost."""

    tensors: dict[str, Tensor]
    report: LayerReport


def store(plan: Plan, layer: MergedLayer) -> Stored:
    """Round a layer to the output dtype, and measure the rounding.

    Raises:
        CopamergeError: float16 cannot hold the values.
    """
    shape = plan.shape(layer.plan)
    bias = layer.bias
    if shape.has_bias and bias is None:
        # PEFT's lora_bias holds for a whole adapter: layers without one get zeros.
        bias = layer.factors.B.new_zeros(shape.d_out)
    exact = shape.stored(layer.factors.A, layer.factors.B, bias)
    tensors = {name: tensor.to("cpu", plan.dtype) for name, tensor in exact.items()}
    return Stored(tensors, layer_report(layer, _rounding(layer.plan.name, exact, tensors)))


def _rounding(layer: str, exact: dict[str, Tensor], stored: dict[str, Tensor]) -> float | None:
    worst = None
    for name, meant in exact.items():
        size = _square(meant)
        error = 0.0
        if stored[name].dtype != meant.dtype:
            error = _square(stored[name].float().sub_(meant.cpu()))
        if not math.isfinite(error):
            raise CopamergeError(
                f"layer {layer!r}: values do not fit {stored[name].dtype}; "
                "choose --dtype bfloat16 or float32"
            )
        if size:
            # Tensor by tensor: pooled, a large A would hide that a small B was lost.
            worst = max(worst or 0.0, (error / size) ** 0.5)
    return worst


def _square(x: Tensor) -> float:
    flat = x.contiguous().flatten()
    return float(torch.dot(flat, flat))


class Sink:
    """The folder of a merge: layers go in, from any thread, in any order."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan, self._folder = plan, folder
        self._shapes = [plan.shape(layer) for layer in plan.layers]
        self._names = {shape.name for shape in self._shapes}
        announced = {
            self._called(name): (size, plan.dtype)
            for shape in self._shapes
            for name, size in shape.tensors().items()
        }
        for saved in plan.saved.kept:
            dtype = getattr(torch, saved.dtype)
            announced[self._saved(saved.name)] = (saved.shape, dtype)
        self._writer = AdapterWriter(folder / WEIGHTS, announced)

    def put(self, layer: MergedLayer) -> LayerReport:
        stored = store(self._plan, layer)
        for name, tensor in stored.tensors.items():
            self._writer.write(self._called(name), tensor)
        return stored.report

    def _called(self, name: str) -> str:
        """A tensor's name as the layout has it; `plan` has checked that there is one."""
        called = in_layout(name.removeprefix(PREFIX), self._plan.recipe.layout)
        assert called is not None, name
        return PREFIX + called

    def _saved(self, name: str) -> str:
        # LLaVA's own loader puts full tensors in before PEFT wraps anything.
        llava = self._plan.recipe.layout == "llava"
        return self._called(saved_name(name, set() if llava else self._names))

    def finish(self) -> None:
        """Write what is left, then read everything back.

        Raises:
            AdapterError, CopamergeError: as `merged_saved` does.
            OutputError: what was written does not read back.
        """
        plan = self._plan
        for saved, tensor in merged_saved(plan.saved, plan.adapters):
            self._writer.write(self._saved(saved.name), tensor)
        self._writer.close()
        self._writer.verify()
        _write_json(self._folder / CONFIG, config_of(plan, self._shapes))
        if plan.recipe.layout == "llava":
            configs = [llava_config(adapter.path) for adapter in plan.adapters]
            write_llava(self._folder, WEIGHTS, next(filter(None, configs), None))
        _check_opens(self._folder, self._shapes, plan)

    def __enter__(self) -> "Sink":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()


def merge_to_folder(
    plan: Plan,
    out: Path,
    *,
    device: torch.device,
    overwrite: bool = False,
    progress: Progress | None = None,
    learnt: str | None = None,
) -> MergeReport:
    """Run the plan; the folder `out` appears complete and verified, or not at all.

    `learnt` says how data chose its weights or options, for the model card.

    Raises:
        OutputError: the place is taken, or what was written does not read back.
        AdapterError, CopamergeError: as `walk` and `store` do.
    """
    started = time.perf_counter()
    check_apart(plan, out)
    with whole_folder(out, overwrite=overwrite) as folder, Digests(plan.adapters) as digests:
        keys = digests.keys(plan.recipe.method.seeded())
        plan = settled(plan, device=device, keys=keys, progress=progress)
        with Sink(plan, folder) as sink:
            written = list(walk(plan, sink.put, device=device, keys=keys, progress=progress))
            sink.finish()
        report = merge_report(
            plan,
            written,
            keys=keys,
            digests=digests.all(),
            seconds=time.perf_counter() - started,
            device=str(device),
            learnt=learnt,
        )
        write_words(folder, report)
    return report


def write_words(folder: Path, report: MergeReport) -> None:
    """The report and the model card."""
    _write_json(folder / REPORT, report.model_dump(mode="json"))
    (folder / CARD).write_text(model_card(report), encoding="utf-8")


def config_of(plan: Plan, shapes: list[LayerShape]) -> dict[str, Any]:
    """adapter_config.json of the result."""
    assert plan.rank is not None
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
    layout = plan.recipe.layout
    config = peft_config(
        layers=shapes,
        rank=plan.rank,
        base_model=plan.base_model,
        revision=next(
            (a.config["revision"] for a in plan.adapters if a.config.get("revision")), None
        ),
        task_type=plan.task_type,
        fan_in_fan_out=any(a.config.get("fan_in_fan_out") for a in plan.adapters),
        bias=("all" if "all" in biases else "lora_only") if "bias" in roles else "none",
        modules_to_save=list(dict.fromkeys(modules)),
        shared=shared,
    )
    if layout != "peft":
        config["target_modules"] = sorted(
            in_layout(name, layout) or name for name in config["target_modules"]
        )
    if layout == "llava":
        config["modules_to_save"] = None  # they lie in a file of their own
        # PEFT of LLaVA's days refuses or ignores options that came later.
        config = {key: value for key, value in config.items() if value or key not in RECENT}
    elif layout == "peft-4.51":
        config["modules_to_save"] = [
            in_layout(name, layout) or name for name in config["modules_to_save"] or ()
        ] or None
    return config


def _within(name: str, module: str) -> bool:
    return f".{module}." in f".{name}"


def check_apart(plan: Plan, out: Path) -> None:
    """An output that is, holds or lies in an input would put the input at risk."""
    target = out.resolve()
    problems = []
    for adapter in plan.adapters:
        folders = {file.resolve().parent for file in adapter.files}
        if any(target == folder or target in folder.parents for folder in folders):
            problems.append(f"{out}: holds the input {adapter.label}; choose another output")
        elif adapter.path.is_dir() and adapter.path.resolve() in target.parents:
            problems.append(f"{out}: lies in the input {adapter.label}; choose another output")
    if problems:
        raise OutputError(problems)


def name_advice(plan: Plan, out: Path) -> list[str]:
    """What LLaVA's own loader will not find in the folder's name."""
    lacking = [word for word in LLAVA_WORDS if word not in out.name.lower()]
    if plan.recipe.layout != "llava" or not lacking:
        return []
    return [
        f"{out}: LLaVA's own loader takes a folder for an adapter only if its name holds `llava` "
        f"and `lora`; this one lacks {' and '.join(lacking)}"
    ]


def _check_opens(folder: Path, shapes: list[LayerShape], plan: Plan) -> None:
    """The folder, opened as any input is, has every layer with scaling 1, and every full tensor."""
    adapter = open_adapter(str(folder))
    # Where nothing says that it is a LLaVA, names are read as they are written.
    as_written = {shape.name: in_layout(shape.name, plan.recipe.layout) for shape in shapes}
    for shape in shapes:
        info = adapter.layers.get(shape.name) or adapter.layers.get(as_written[shape.name] or "")
        there = info and (info.d_in, info.d_out, info.rank, info.scaling, info.kind)
        if there != (shape.d_in, shape.d_out, shape.rank, 1.0, shape.kind):
            raise OutputError(f"{folder}: layer {shape.name!r} reads back as {there}")
    assert len(adapter.layers) == len(shapes)
    assert len(adapter.saved) == len(plan.saved.kept), "a full tensor reads back as nothing"


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
