"""Merges to look at beside their adapters: folders that were written, or methods in memory."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from copamerge.analyzing.layer import Merged
from copamerge.analyzing.record import Notice
from copamerge.core.adapter import Adapter
from copamerge.core.delta import LowRank
from copamerge.core.lora import FactorStack
from copamerge.errors import AdapterError, CopamergeError
from copamerge.io import open_adapter
from copamerge.merging.plan import LayerPlan, Plan, plan
from copamerge.merging.walk import merge_layer, settled
from copamerge.methods import method_from
from copamerge.recipe import Recipe


class Merge(ABC):
    """Something that has a delta for each layer of the adapters."""

    name: str
    source: Literal["folder", "method"]
    method: dict[str, Any] | None
    notices: tuple[Notice, ...]
    energy_kept: float | None = None
    """What is known beforehand of the share that the rank holds."""

    @abstractmethod
    def at(self, layer: LayerPlan, stack: FactorStack) -> Merged | None:
        """Its delta of one layer; None where it has none."""

    @property
    @abstractmethod
    def failed(self) -> str | None:
        """Why there is no merge, known for certain after the last layer."""


class FolderMerge(Merge):
    """A merged adapter in a folder, by any tool."""

    source = "folder"

    def __init__(
        self,
        name: str,
        adapter: Adapter,
        method: dict[str, Any] | None,
        notices: Sequence[Notice],
        energy_kept: float | None = None,
    ) -> None:
        self.name, self.method, self.notices = name, method, tuple(notices)
        self.energy_kept = energy_kept
        self._adapter = adapter

    def at(self, layer: LayerPlan, stack: FactorStack) -> Merged | None:
        if layer.name not in self._adapter.layers:
            return None
        module = self._adapter.module(layer.name).to(stack.A.device)
        one = FactorStack.of(layer.name, [module], [1.0])
        if not bool(one.A.isfinite().all() and one.B.isfinite().all()):
            raise AdapterError([f"{self.name}: layer {layer.name!r} has NaN or infinite values"])
        return Merged(LowRank(A=one.A[0], B=one.B[0]), None)

    @property
    def failed(self) -> str | None:
        return None


class MethodMerge(Merge):
    """What a method makes of the adapters, layer by layer, in memory."""

    source = "method"

    def __init__(
        self, name: str, job: Plan | None, failed: str | None, known: Sequence[str]
    ) -> None:
        self.name = name
        self.job = job
        self._layers = {} if job is None else {layer.name: layer for layer in job.layers}
        self._failures: dict[str, str] = {} if failed is None else {"": failed}
        self.method = None if job is None else job.recipe.method.model_dump(mode="json")
        # A method may say the same in other words, and more in brackets.
        told = {text.partition(" (")[0] for text in known}
        own = () if job is None else job.warnings
        self.notices = tuple(Notice(text=x) for x in own if x.partition(" (")[0] not in told)

    @property
    def dense(self) -> bool:
        return self.job is not None and any(x.result_rank is None for x in self.job.layers)

    def at(self, layer: LayerPlan, stack: FactorStack) -> Merged | None:
        if self.job is None or self._failures:
            return None
        mine = replace(stack, survey=self.job.survey)
        try:
            found = merge_layer(self.job, self._layers[layer.name], mine)
        except CopamergeError as error:
            self._failures[layer.name] = "; ".join(error.problems)
        except Exception as error:  # a method's own failure: the others can still be looked at
            said = str(error).partition("\n")[0]
            self._failures[layer.name] = f"{type(error).__name__}: {said}"
        else:
            return Merged(LowRank(found.factors.A, found.factors.B), found.factors.kept)
        return None

    @property
    def failed(self) -> str | None:
        return self._failures[min(self._failures)] if self._failures else None


def by_methods(
    recipe: Recipe,
    names: Sequence[str],
    *,
    known: Sequence[str],
    device: torch.device,
    keys: Sequence[str],
) -> list[MethodMerge]:
    """One for each method, surveys made; one that refuses these adapters says why.

    `known` are warnings that were given already.

    Raises:
        AdapterError: broken tensors, which no method could do anything about.
    """
    found = []
    for name in names:
        try:
            job = plan(recipe.model_copy(update={"method": method_from(name)}))
            found.append(MethodMerge(name, settled(job, device=device, keys=keys), None, known))
        except AdapterError:
            raise
        except CopamergeError as error:
            found.append(MethodMerge(name, None, "; ".join(error.problems), known))
    return found


def opened(folders: Sequence[str], problems: list[str]) -> list[Adapter]:
    """Merged folders as adapters; what cannot be opened goes into `problems`."""
    found = []
    for folder in folders:
        try:
            found.append(open_adapter(folder, drop_saved=True, allow_unknown_config=True))
        except AdapterError as error:
            problems += error.problems
    return found


def in_folders(
    adapters: Sequence[Adapter], common: Plan, digests: Sequence[Mapping[str, str]]
) -> list[FolderMerge]:
    """Opened folders as merges of these adapters.

    Raises:
        AdapterError: folders that do not fit them, all at once.
    """
    if problems := [line for merged in adapters for line in _misfits(merged, common)]:
        raise AdapterError(problems)
    found = []
    for merged in adapters:
        said = _said(merged.path)
        method = said.get("method") if isinstance(said.get("method"), dict) else None
        strange = _strangers(merged, common, said, digests)
        kept = said.get("energy_kept")
        known = isinstance(kept, float) and 0 <= kept <= 1
        found.append(FolderMerge(merged.label, merged, method, strange, kept if known else None))
    return found


def _misfits(adapter: Adapter, common: Plan) -> list[str]:
    folder = adapter.label
    layers = {layer.name: (layer.d_out, layer.d_in) for layer in common.layers}
    both = [name for name in adapter.layers if name in layers]
    if not both:
        return [
            f"{folder}: has no layer of the adapters; --merged takes a merge of these, "
            f"its first layer is {next(iter(adapter.layers), None)!r}"
        ]
    problems = []
    for name in both:
        info = adapter.layers[name]
        if (info.d_out, info.d_in) != layers[name]:
            problems.append(
                f"{folder}: layer {name!r} is {info.d_out} x {info.d_in}, in the adapters "
                f"{layers[name][0]} x {layers[name][1]}; --merged takes a merge of these"
            )
    return problems[:1]


def _said(folder: Path) -> dict[str, Any]:
    """merge.json, where there is one that can be read."""
    try:
        said = json.loads((folder / "merge.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _strangers(
    adapter: Adapter,
    common: Plan,
    said: Mapping[str, Any],
    digests: Sequence[Mapping[str, str]],
) -> list[Notice]:
    """What does not belong together although it fits."""
    notices = []
    folder = adapter.label
    layers = {layer.name for layer in common.layers}
    if lacking := sorted(layers - set(adapter.layers)):
        notices.append(
            Notice(
                text=f"{folder} lacks {len(lacking)} of {len(layers)} layers of the adapters "
                f"({lacking[0]} and so on): nothing is said of it there",
            )
        )
    if extra := sorted(set(adapter.layers) - layers):
        notices.append(
            Notice(
                text=f"{folder} has {len(extra)} layers that no adapter has ({extra[0]} and so "
                "on): they are not looked at",
                do="give every adapter that was merged",
            )
        )
    try:
        merged_from = {h for part in said.get("inputs", ()) for h in part["sha256"].values()}
    except (TypeError, KeyError, AttributeError):
        merged_from = set()
    if merged_from:
        # Weights come first among an adapter's files.
        ours = [next(iter(hashes.values())) for hashes in digests]
        others = [
            common.adapters[i].label for i, weights in enumerate(ours) if weights not in merged_from
        ]
        if others:
            notices.append(
                Notice(
                    text=f"{folder} was not made of {', '.join(others)}, as its merge.json says: "
                    "what it does to them is chance",
                    do="give the adapters that were merged",
                )
            )
        if len(merged_from & set(ours)) < len(said["inputs"]) - len(others) and not others:
            notices.append(
                Notice(
                    text=f"{folder} was made of {len(said['inputs'])} adapters, of which "
                    f"{len(ours)} are looked at",
                )
            )
    return notices
