"""PEFT adapters: from tensor names and a config to layers."""

from collections.abc import Mapping
from pathlib import Path

from copamerge.core.adapter import Adapter, LayerInfo
from copamerge.core.lora import LoraModule
from copamerge.errors import AdapterError, first_few
from copamerge.io.config import LoraConfig
from copamerge.io.full import full_tensors
from copamerge.io.layers import layer_info, read_module
from copamerge.io.names import PREFIX, sort_names
from copamerge.io.tensorfile import TensorFile


def peft_adapter(
    label: str,
    file: TensorFile,
    config: LoraConfig,
    *,
    files: tuple[Path, ...],
    notes: list[str],
    revision: str | None,
    allow_unmatched_targets: bool,
) -> Adapter:
    """Sort every tensor of a PEFT file into layers, saved tensors and redundant copies.

    Raises:
        AdapterError: names, shapes or ranks that do not fit each other or the config; all of it.
    """
    problems: list[str] = []
    notes = list(notes)
    parts, rest, depth, names = sort_names(file.headers)
    where = file.path
    if deep := sorted(d for d in depth if d != 1):
        times = ", ".join(f"{depth[d]} with {d}" for d in deep)
        notes.append(
            f"prefix `{PREFIX}` not found exactly once in some names ({times}); normalised"
        )
    if len(names) > 1:
        raise AdapterError(
            f"{where}: holds several adapters ({', '.join(sorted(names))}); save the one you want "
            "alone, in PEFT by `save_pretrained(folder, selected_adapters=[name])`"
        )

    layers: dict[str, LayerInfo] = {}
    misfits: list[str] = []
    for name, found in parts.items():
        info = layer_info(where, name, found, file.headers, config, misfits)
        if info is not None:
            layers[name] = info
    problems += first_few(misfits, str(where), "more layers cannot be read")
    saved, ignored = full_tensors(where, rest, file, config, problems)
    if not parts and not problems:
        problems.append(f"{where}: no LoRA tensors in it (no name ends in lora_A or lora_B)")
    if not problems:
        _check_targets(where, layers, config, problems, notes, allow_unmatched_targets)
    if problems:
        raise AdapterError(problems)

    used = {tensor for info in layers.values() for tensor in info.tensors}
    used |= {info.tensor for info in saved.values()} | ignored.keys()
    assert used == file.headers.keys(), f"unaccounted: {sorted(file.headers.keys() ^ used)}"

    enable = config.enable_lora

    def module(layer: str) -> LoraModule:
        return read_module(layers[layer], parts[layer], file, enable)

    return Adapter(
        label=label,
        format="peft",
        path=files[0].parent if len(files) > 1 else files[0],
        files=files,
        config=config.raw,
        base_model=config.base_model,
        layers=dict(sorted(layers.items())),
        saved=dict(sorted(saved.items())),
        ignored=ignored,
        notes=tuple(notes),
        n_tensors=len(file.headers),
        revision=revision,
        _module=module,
        _tensor=file.read,
    )


def _check_targets(
    where: Path,
    layers: Mapping[str, LayerInfo],
    config: LoraConfig,
    problems: list[str],
    notes: list[str],
    allow_unmatched: bool,
) -> None:
    if config.target_modules is None:
        return
    hits = {layer: config.targets(layer) for layer in layers}
    if strays := [layer for layer, hit in hits.items() if hit is None]:
        notes.append(
            f"{len(strays)} layers have LoRA tensors but target_modules does not name them "
            f"(first: {strays[0]!r}); they are merged all the same"
        )
    named = config.target_modules
    wanted = [named] if isinstance(named, str) else list(named)
    silent = [target for target in wanted if target not in hits.values()]
    # A longer name can claim a layer that a shorter one matches too: silent is not yet unmatched.
    silent = [
        target
        for target in silent
        if isinstance(named, str)
        or not any(layer == target or layer.endswith(f".{target}") for layer in layers)
    ]
    if silent and allow_unmatched:
        notes.append(f"targets without any tensor, allowed: {', '.join(sorted(silent))}")
    elif silent:
        problems.append(
            f"{where}: target_modules names {', '.join(repr(t) for t in sorted(silent))}, but no "
            "tensor belongs to it: the weights may be incomplete; if they are whole, add "
            "--allow-unmatched-targets"
        )
