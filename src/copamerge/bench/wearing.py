"""An adapter on a base model through PEFT, and off again to the bit."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from copamerge.bench.loading import FOLD_UP_TO, imported, without_noise
from copamerge.core.adapter import Adapter, Kind, LayerInfo
from copamerge.core.delta import LowRank, squared_norm
from copamerge.errors import AdapterError, first_few
from copamerge.io import open_adapter
from copamerge.merging import merge_to_folder, plan
from copamerge.recipe import Recipe

NO_CHANGE = (
    "the adapter changes nothing in the base model (is lora_B zero?), so its answers are those of "
    "the base"
)


@contextmanager
def worn(model: Any, label: str, adapter: Path | None) -> Iterator[Sequence[str]]:
    """Put an adapter on inside the block; afterwards the base has the bits it had before.

    Gives warnings. Up to `FOLD_UP_TO` parameters it is folded into the weights.

    Raises:
        AdapterError: not an adapter, or not one of this base: names layer and shapes.
    """
    if adapter is None:
        yield ()
        return
    opened = open_adapter(str(adapter), allow_unmatched_targets=True)
    check_fit(opened, model, label)
    fold = sum(parameter.numel() for parameter in model.parameters()) <= FOLD_UP_TO
    modules = dict(model.named_modules())
    kept = _kept(opened, modules, layers_too=fold)
    try:
        with without_noise(), _in_peft_names(opened) as folder:
            peft_model = imported("peft").PeftModel.from_pretrained(model, str(folder))
            if fold:
                peft_model.merge_and_unload()
            else:
                peft_model.eval()
        same = _same(kept) if fold else _is_zero(opened) and _same(kept)
        yield (NO_CHANGE,) if same else ()
    finally:
        with without_noise():
            _restore(model, modules, kept)


@contextmanager
def _in_peft_names(adapter: Adapter) -> Iterator[Path]:
    """The adapter's folder, or where PEFT would not find its names, a copy that it reads."""
    as_stored = all(info.name in info.tensors[0] for info in adapter.layers.values())
    if adapter.format == "peft" and as_stored:
        yield adapter.path
        return
    recipe = Recipe.model_validate(
        {"method": "mean", "adapters": [str(adapter.path)], "allow_unmatched_targets": True}
    )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "adapter"
        merge_to_folder(plan(recipe), out, device=torch.device("cpu"))
        yield out


# --- does it fit -------------------------------------------------------------------------------


def check_fit(adapter: Adapter, model: nn.Module, label: str) -> None:
    """Refuse an adapter whose layers are not the base's, before PEFT fails half-way.

    Raises:
        AdapterError: layers that the base lacks or has in another shape, and how many.
    """
    modules = dict(model.named_modules())
    unlike, unknown = [], []
    for name, info in sorted(adapter.layers.items()):
        module = modules.get(name)
        if module is None or not hasattr(module, "weight"):
            unknown.append(f"{adapter.label}: layer {name!r} is not in the base {label}")
        elif (there := _sides(module, info)) != (info.d_out, info.d_in):
            unlike.append(
                f"{adapter.label}: layer {name!r} is {info.d_out}x{info.d_in} in the adapter and "
                f"{there[0]}x{there[1]} in the base {label}"
            )
    if problems := [
        *first_few(unlike, adapter.label, "more layers of other shapes"),
        *first_few(unknown, adapter.label, "more layers that the base lacks"),
    ]:
        bad = len(unlike) + len(unknown)
        raise AdapterError(
            [
                *problems,
                f"{adapter.label}: {bad} of {len(adapter.layers)} layers do not fit; it was made "
                "for another base model: give that one by --base",
            ]
        )


def _sides(module: Any, info: LayerInfo) -> tuple[int, int]:
    """(d_out, d_in) of a base layer, in the way the adapter counts them."""
    rows, *columns = module.weight.shape
    size = int(torch.Size(columns).numel())
    if info.kind is Kind.EMBEDDING or type(module).__name__ == "Conv1D":
        return size, rows
    return rows, size


# --- on and off --------------------------------------------------------------------------------

Kept = dict[str, tuple[Tensor, Tensor]]
"""Name of a parameter -> (the parameter, a copy of its values)."""


def _kept(adapter: Adapter, modules: Mapping[str, nn.Module], *, layers_too: bool) -> Kept:
    """Copies of every parameter that putting the adapter on may change."""
    names = {saved.name for saved in adapter.saved.values()}
    owners = {name.rpartition(".")[0] for name in names} | (
        set(adapter.layers) if layers_too else set()
    )
    return {
        f"{owner}.{name}": (parameter, parameter.detach().clone())
        for owner in sorted(owners)
        if owner in modules
        for name, parameter in modules[owner].named_parameters(recurse=False)
    }


def _same(kept: Kept) -> bool:
    return all(torch.equal(parameter, copy) for parameter, copy in kept.values())


def _is_zero(adapter: Adapter) -> bool:
    for name in adapter.layers:
        module = adapter.module(name)
        if squared_norm(LowRank(module.A.double(), module.B.double())) * module.scaling:
            return False
    return True


def _restore(model: nn.Module, modules: Mapping[str, nn.Module], kept: Kept) -> None:
    """Put the base's own modules back in their places, and their values into them."""
    for name, module in sorted(modules.items()):
        above, _, last = name.rpartition(".")
        if name and getattr(modules[above], last, None) is not module:
            setattr(modules[above], last, module)
    with torch.no_grad():
        for parameter, copy in kept.values():
            parameter.copy_(copy)
    if hasattr(model, "peft_config"):
        del model.peft_config
