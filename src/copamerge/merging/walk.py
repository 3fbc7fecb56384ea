"""The merge itself: one layer at a time, from files to merged factors."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from copamerge.core.adapter import Adapter
from copamerge.core.delta import Factorized, Geometry, LowRank, cosines, factorize
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack, LoraModule
from copamerge.errors import AdapterError, CopamergeError
from copamerge.merging.plan import LayerPlan, Plan

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

    def __init__(self, adapters: Sequence[Adapter], pool: ThreadPoolExecutor) -> None:
        self._files: dict[Path, Future[str]] = {}
        for file in dict.fromkeys(file for a in adapters for file in a.files):
            self._files[file] = pool.submit(_sha256, file)

    def of(self, adapter: Adapter) -> Mapping[str, str]:
        """File name to hash; waits for those still being computed."""
        return {file.name: self._files[file].result() for file in adapter.files}

    def keys(self, adapters: Sequence[Adapter]) -> tuple[str, ...]:
        """A name for each adapter from its content alone; copies are counted."""
        seen = Counter[str]()
        keys = []
        for adapter in adapters:
            digest = self._files[adapter.files[0]].result()
            keys.append(f"{digest}#{seen[digest]}")
            seen[digest] += 1
        return tuple(keys)


@torch.inference_mode()
def walk(
    plan: Plan,
    *,
    device: torch.device,
    keys: Sequence[str],
    progress: Progress | None = None,
) -> Iterator[MergedLayer]:
    """Merge layer after layer, in name order. `keys` names the adapters for random draws.

    The next layer is read while this one is merged; no more than two are in memory.

    Raises:
        AdapterError: NaN or infinity in an input; every tensor that has one is named.
        CopamergeError: the method's result overflows float32.
    """
    with ExitStack() as stack:
        reader = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="read"))
        ahead: Future[list[LoraModule]] | None = None
        for done, layer in enumerate(plan.layers):
            modules = ahead.result() if ahead else _read(plan, layer)
            following = plan.layers[done + 1] if done + 1 < len(plan.layers) else None
            ahead = reader.submit(_read, plan, following) if following else None
            if not all(map(_finite, modules)):
                if ahead:
                    ahead.result()  # the files are ours alone again
                raise AdapterError(_not_finite(plan, done))
            yield _merge_layer(plan, layer, modules, keys, device)
            if progress:
                progress(done + 1, len(plan.layers))


def _read(plan: Plan, layer: LayerPlan) -> list[LoraModule]:
    return [plan.adapters[i].module(layer.name) for i in layer.present]


def _merge_layer(
    plan: Plan,
    layer: LayerPlan,
    modules: Sequence[LoraModule],
    keys: Sequence[str],
    device: torch.device,
) -> MergedLayer:
    method = plan.recipe.method
    moved = [
        LoraModule(
            m.A.to(device), m.B.to(device), m.scaling, None if m.bias is None else m.bias.to(device)
        )
        for m in modules
    ]
    stack = FactorStack.of(
        layer.name,
        moved,
        layer.weights,
        keys=[keys[i] for i in layer.present],
        absent=layer.absent,
    )
    draws = Draws(plan.recipe.seed, layer.name)
    delta = method.merge(stack, draws)
    factors = factorize(delta, layer.rank, draws)
    bias = method.merge_bias(stack, draws) if stack.bias is not None else None
    del delta
    parts = [factors.A, factors.B] + ([bias] if bias is not None else [])
    if not all(bool(torch.isfinite(part.sum())) or bool(part.isfinite().all()) for part in parts):
        raise CopamergeError(
            f"layer {layer.name!r}: the merged factors are not finite in float32; "
            "smaller weights or a smaller scale would keep them in range"
        )
    geometry = cosines(LowRank(factors.A, factors.B), stack.A, stack.B)
    return MergedLayer(layer, factors, bias, geometry)


def _finite(module: LoraModule) -> bool:
    parts = (module.A, module.B) if module.bias is None else (module.A, module.B, module.bias)
    # A sum is finite unless an entry is not, or it overflows: only then look at each entry.
    return all(
        bool(torch.isfinite(part.sum(dtype=torch.float32))) or bool(part.float().isfinite().all())
        for part in parts
    )


def _not_finite(plan: Plan, start: int) -> list[str]:
    """Every input tensor with NaN or infinity, from layer `start` on."""
    problems = []
    for layer in plan.layers[start:]:
        for i, module in zip(layer.present, _read(plan, layer), strict=True):
            adapter = plan.adapters[i]
            parts = [module.A, module.B] + ([module.bias] if module.bias is not None else [])
            for name, part in zip(adapter.layers[layer.name].tensors, parts, strict=True):
                values = part.float()
                nan, inf = int(values.isnan().sum()), int(values.isinf().sum())
                if nan or inf:
                    problems.append(
                        f"{adapter.label}: tensor {name!r} has {nan} NaN and {inf} infinite values "
                        f"of {part.numel()}; the adapter is broken, leave it out"
                    )
    return problems


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    buffer = bytearray(4 * 2**20)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(buffer):
            digest.update(view[:size])
    return digest.hexdigest()
