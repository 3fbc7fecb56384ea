"""The merge itself: one layer at a time, from files to merged factors."""

import hashlib
import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from copamerge.core.adapter import Adapter
from copamerge.core.delta import Factorized, Geometry, LowRank, cosines, factorize
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.core.survey import Tally, added
from copamerge.errors import AdapterError, CopamergeError, first_few
from copamerge.merging.plan import LayerPlan, Plan
from copamerge.merging.saved import how_not_finite

T = TypeVar("T")
SMALL = 2**28
"""Bytes that a layer may take while others are worked on beside it."""

Progress = Callable[[int, int], None]
"""Called with (layers done, layers in all)."""


@dataclass(frozen=True, eq=False)
class MergedLayer:
    """One layer of the result in float32, compressed to its rank."""

    plan: LayerPlan
    factors: Factorized
    bias: Tensor | None
    geometry: Geometry


class Digests:
    """SHA-256 of every input file, computed beside the merge."""

    def __init__(self, adapters: Sequence[Adapter]) -> None:
        self._adapters = adapters
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="hash")
        files = dict.fromkeys(file for adapter in adapters for file in adapter.files)
        self._files = {file: self._pool.submit(sha256_of, file) for file in files}

    def __enter__(self) -> "Digests":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def all(self) -> list[dict[str, str]]:
        """For each adapter, file name to hash; waits for those still being computed."""
        return [
            {file.name: self._files[file].result() for file in adapter.files}
            for adapter in self._adapters
        ]

    def keys(self, seeded: bool) -> tuple[str, ...]:
        """Names for the adapters' random draws: from content alone, copies counted.

        A method that draws nothing gets their places, so that nothing waits for a hash.
        """
        if not seeded:
            return tuple(map(str, range(len(self._adapters))))
        seen = Counter[str]()
        keys = []
        for adapter in self._adapters:
            digest = self._files[adapter.files[0]].result()
            keys.append(f"{digest}#{seen[digest]}")
            seen[digest] += 1
        return tuple(keys)


def walk(
    plan: Plan,
    then: Callable[[MergedLayer], T],
    *,
    device: torch.device,
    keys: Sequence[str],
    progress: Progress | None = None,
) -> Iterator[T]:
    """Merge layer after layer, hand each to `then`, and yield what it returns in name order.

    The plan is settled, at least as far as the method's survey. `keys` names the adapters for
    random draws.

    Raises:
        AdapterError: NaN or infinity in an input; every tensor that has one is named.
        CopamergeError: the method's result overflows float32.
    """

    def work(layer: LayerPlan, stack: FactorStack) -> T:
        return then(merge_layer(plan, layer, stack))

    return over_layers(plan, work, device=device, keys=keys, progress=progress)


def over_layers(
    plan: Plan,
    work: Callable[[LayerPlan, FactorStack], T],
    *,
    device: torch.device,
    keys: Sequence[str],
    progress: Progress | None = None,
) -> Iterator[T]:
    """What `work` makes of each layer, in name order.

    Layers are independent, so several are worked on at once on the CPU, one thread each, where
    layers are small; large dense answers get all threads for one layer at a time. A survey and
    the merge after it do the same, so both see the same bits.

    Raises:
        AdapterError: NaN or infinity in an input; every tensor that has one is named.
    """
    small = device.type == "cpu" and all(map(_is_small, plan.layers))
    threads = torch.get_num_threads()
    workers = threads if small else 1

    @torch.no_grad()
    def checked(layer: LayerPlan) -> T | None:
        modules = [plan.adapters[i].module(layer.name).to(device) for i in layer.present]
        stack = FactorStack.of(
            layer.name,
            modules,
            layer.weights,
            keys=[keys[i] for i in layer.present],
            absent=layer.absent,
            survey=plan.survey,
        )
        parts = [stack.A, stack.B] + ([stack.bias] if stack.bias is not None else [])
        return work(layer, stack) if _finite(parts) else None

    def alone() -> None:
        if small:
            torch.set_num_threads(1)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="layer", initializer=alone)
    waiting: deque[Future[T | None]] = deque()
    coming = iter(plan.layers)
    try:
        for done in range(len(plan.layers)):
            for layer in islice(coming, workers + 1 - len(waiting)):
                waiting.append(pool.submit(checked, layer))
            result = waiting.popleft().result()
            if result is None:
                wait(waiting)
                raise AdapterError(_not_finite(plan, done))
            yield result
            if progress:
                progress(done + 1, len(plan.layers))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if small:
            # A worker's setting is its own, but threads started later would copy the last one.
            torch.set_num_threads(threads)


def settled(
    plan: Plan,
    *,
    device: torch.device,
    keys: Sequence[str],
    progress: Progress | None = None,
) -> Plan:
    """A plan with nothing left open: the method's survey made, the rank known.

    Where energy decides the rank, it is the smallest at which every layer keeps enough. That
    takes a walk of its own. All layers are then written at this rank: zero-padding those that
    need less would cost as much and keep less.
    """

    def total(look: Callable[[FactorStack], Tally]) -> Tally:
        def work(_: LayerPlan, stack: FactorStack) -> Tally:
            return look(stack)

        return added(over_layers(plan, work, device=device, keys=keys, progress=progress))

    surveyed = replace(plan, survey=plan.recipe.method.survey(total))
    if surveyed.rank is not None:
        return surveyed
    needed = walk(surveyed, lambda layer: layer.factors.rank, device=device, keys=keys)
    return surveyed.with_rank(max(needed))


def _is_small(layer: LayerPlan) -> bool:
    """Whether several such layers fit beside each other in memory."""
    dense = layer.result_rank is None
    # A dense method holds every adapter's delta and a few matrices of its own, in float32.
    return not dense or 4 * layer.d_in * layer.d_out * (len(layer.present) + 4) <= SMALL


def merge_layer(plan: Plan, layer: LayerPlan, stack: FactorStack) -> MergedLayer:
    """One layer by the plan's method, compressed to the plan's rank.

    Raises:
        CopamergeError: the result overflows float32.
    """
    method, draws = plan.recipe.method, Draws(plan.recipe.seed, layer.name)
    factors = factorize(method.merge(stack, draws), layer.rank, draws)
    bias = method.merge_bias(stack, draws) if stack.bias is not None else None
    if not _finite([factors.A, factors.B] + ([bias] if bias is not None else [])):
        raise CopamergeError(
            f"layer {layer.name!r}: the merged factors are not finite in float32; "
            "smaller weights or a smaller scale would keep them in range"
        )
    geometry = cosines(LowRank(factors.A, factors.B), stack.A, stack.B)
    norms = [geometry.norm, *geometry.input_norms]
    if not all(map(math.isfinite, norms)):
        raise CopamergeError(
            f"layer {layer.name!r}: a delta, of an input or merged, is too large to be measured in "
            "float32; are the adapters' values and their lora_alpha sane?"
        )
    return MergedLayer(layer, factors, bias, geometry)


def _finite(parts: Sequence[Tensor]) -> bool:
    # A sum is finite unless an entry is not, or it overflows: only then look at each entry.
    return all(math.isfinite(float(part.sum())) or bool(part.isfinite().all()) for part in parts)


def _not_finite(plan: Plan, start: int) -> list[str]:
    """Every input tensor with NaN or infinity, from layer `start` on."""
    problems: dict[int, list[str]] = {i: [] for i in range(len(plan.adapters))}
    for layer in plan.layers[start:]:
        for i in layer.present:
            problems[i] += not_finite(plan.adapters[i], layer.name)
    return [
        line
        for i, lines in problems.items()
        for line in first_few(lines, plan.adapters[i].label, "more tensors like these")
    ]


def not_finite(adapter: Adapter, layer: str) -> list[str]:
    """What is NaN or infinite in one layer of an adapter, its scaling folded in."""
    problems: list[str] = []
    module = adapter.module(layer)
    parts = [module.A, module.B] + ([module.bias] if module.bias is not None else [])
    scaled = [parts[0].float(), *(part.float() * module.scaling for part in parts[1:])]
    if _finite(scaled):
        return problems
    for name, part in zip(adapter.layers[layer].tensors, parts, strict=True):
        if bad := how_not_finite(part):
            problems.append(
                f"{adapter.label}: tensor {name!r} has {bad}; the adapter is broken, leave it out"
            )
    if not problems:
        problems.append(
            f"{adapter.label}: layer {layer!r}: its values times its scaling alpha / r = "
            f"{module.scaling:g} are too large for float32; check its lora_alpha"
        )
    return problems


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    buffer = bytearray(4 * 2**20)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(buffer):
            digest.update(view[:size])
    return digest.hexdigest()
