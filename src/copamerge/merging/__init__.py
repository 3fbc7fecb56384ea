"""Merging: plan from headers, walk the layers, write a folder that is known to load."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from copamerge.errors import RecipeError
from copamerge.io._atomic import whole_folder
from copamerge.merging.folder import Sink, check_apart, merge_to_folder, store, write_words
from copamerge.merging.plan import LayerPlan, Plan, plan
from copamerge.merging.report import LayerReport, MergeReport, merge_report
from copamerge.merging.saved import merged_saved
from copamerge.merging.walk import Digests, MergedLayer, Progress, settled, walk
from copamerge.recipe import Recipe, recipe_from

__all__ = [
    "LayerPlan",
    "LayerReport",
    "MergeReport",
    "MergedAdapter",
    "Plan",
    "merge",
    "merge_plan",
    "merge_to_folder",
    "plan",
    "resolve_device",
]


@dataclass(frozen=True, eq=False)
class MergedAdapter:
    """A merge in memory."""

    plan: Plan
    report: MergeReport
    _layers: tuple[MergedLayer, ...]

    def __repr__(self) -> str:
        report = self.report
        return (
            f"MergedAdapter({len(report.inputs)} adapters, {report.method['name']}, "
            f"{len(report.layers)} layers, rank {report.rank}, {report.dtype})"
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Every tensor by PEFT's name, as `save_pretrained` writes it."""
        from copamerge.io.write import saved_name

        tensors: dict[str, Tensor] = {}
        for layer in self._layers:
            tensors |= store(self.plan, layer).tensors
        names = {layer.plan.name for layer in self._layers}
        for saved, tensor in merged_saved(self.plan.saved, self.plan.adapters):
            tensors[saved_name(saved.name, names)] = tensor
        return dict(sorted(tensors.items()))

    def save_pretrained(self, out: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write a PEFT folder, whole or not at all, read back and compared.

        Raises:
            OutputError: the place is taken, or cannot be written.
        """
        check_apart(self.plan, Path(out))
        with whole_folder(Path(out), overwrite=overwrite) as folder:
            with Sink(self.plan, folder) as sink:
                for layer in self._layers:
                    sink.put(layer)
                sink.finish()
            write_words(folder, self.report)


def merge(
    adapters: Sequence[str | PathLike[str]],
    method: str | Mapping[str, Any] | Any = "copa",
    *,
    weights: Sequence[Any] | None = None,
    alpha: float | None = None,
    device: str = "auto",
    **more: Any,
) -> MergedAdapter:
    """Merge adapters in memory.

    `adapters` are folders, files or Hub ids, in order; `weights` one for each (default 1).
    `method` is a name, a mapping of `name` and options, or a method. What else a recipe says
    (`rank`, `dtype`, `seed`, `missing`, `modules_to_save`, ...) are keyword arguments of the same
    names; any other keyword is an option of the named method (`density=0.3`). `alpha` is for
    weights without a config.

    Raises:
        RecipeError: unknown names or values out of range, number of weights.
        AdapterError, PlanError: adapters that cannot be read, or do not fit each other.
    """
    if isinstance(adapters, str | bytes | PathLike):
        raise RecipeError(f"adapters: give a list, even of one: [{str(adapters)!r}]")
    names = [str(adapter) for adapter in adapters]
    if weights is not None:
        if not isinstance(weights, Sequence) or isinstance(weights, str | bytes):
            raise RecipeError(f"weights: give a list of numbers, one per adapter (got {weights!r})")
        if len(weights) != len(names):
            raise RecipeError(
                f"weights: {len(weights)} given for {len(names)} adapters; give one for each"
            )
    options = {key: more.pop(key) for key in list(more) if key not in Recipe.model_fields}
    if options:
        if not isinstance(method, str):
            raise RecipeError(
                f"{', '.join(options)}: not part of a recipe; a method's options go into `method`, "
                "or beside its name"
            )
        method = {"name": method, **options}
    sources = [
        {
            "adapter": name,
            "weight": 1.0 if weights is None else weights[i],
            **({} if alpha is None else {"alpha": alpha}),
        }
        for i, name in enumerate(names)
    ]
    return merge_plan(
        plan(recipe_from({"method": method, "adapters": sources, **more})), device=device
    )


def merge_plan(
    plan: Plan, *, device: str = "auto", progress: Progress | None = None
) -> MergedAdapter:
    """Run a plan and keep the result in memory."""
    started = time.perf_counter()
    where = resolve_device(device)
    with Digests(plan.adapters) as digests:
        keys = digests.keys(plan.recipe.method.seeded())
        plan = settled(plan, device=where, keys=keys, progress=progress)
        layers = tuple(walk(plan, lambda layer: layer, device=where, keys=keys, progress=progress))
        hashes = digests.all()
    report = merge_report(
        plan,
        [store(plan, layer).report for layer in layers],
        keys=keys,
        digests=hashes,
        seconds=time.perf_counter() - started,
        device=str(where),
    )
    return MergedAdapter(plan, report, layers)


def resolve_device(name: str) -> torch.device:
    """`auto` is a GPU where torch sees one.

    Raises:
        RecipeError: a device torch does not know or does not see.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise RecipeError(f"device: {name!r}; expected auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise RecipeError("device: cuda was asked for, but torch sees no GPU; use --device cpu")
    return torch.device(name)
