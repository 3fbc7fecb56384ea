"""PEFT adapters: from tensor names and a config to layers."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from copamerge.core.adapter import Adapter, Kind, LayerInfo, SavedInfo
from copamerge.core.lora import LoraModule
from copamerge.errors import AdapterError, first_few
from copamerge.io.config import LoraConfig
from copamerge.io.tensorfile import Header, TensorFile

PREFIX = "base_model.model."
PART = re.compile(
    r"(?P<layer>.+)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B)"
    r"(?:\.(?!weight$|bias$)(?P<adapter>[^.]+))?(?:\.(?P<leaf>weight|bias))?"
)
SOME = 3
"""How many names of a kind an error message spells out."""


@dataclass
class _Parts:
    """The stored tensors of one layer, by part."""

    A: str | None = None
    B: str | None = None
    bias: str | None = None
    embedding: bool = False


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
    parts, rest, depth, names = _sorted(file.headers)
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
        info = _layer(where, name, found, file.headers, config, misfits)
        if info is not None:
            layers[name] = info
    problems += first_few(misfits, str(where), "more layers cannot be read")
    saved, ignored = _saved(where, rest, file, config, problems)
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
        return _module(layers[layer], parts[layer], file, enable)

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


def _sorted(
    headers: Mapping[str, Header],
) -> tuple[dict[str, _Parts], dict[str, str], dict[int, int], set[str]]:
    """Layers by name; other tensors, stored name by base name; prefix counts; adapter names."""
    parts: dict[str, _Parts] = defaultdict(_Parts)
    rest: dict[str, str] = {}
    depth: dict[int, int] = defaultdict(int)
    adapters: set[str] = set()
    for stored in headers:
        name, count = stored, 0
        while name.startswith(PREFIX):
            name, count = name.removeprefix(PREFIX), count + 1
        depth[count] += 1
        match = PART.fullmatch(name)
        if match is None:
            rest[stored] = name
            continue
        if match["adapter"]:
            adapters.add(match["adapter"])
        found = parts[match["layer"]]
        found.embedding |= "embedding" in match["part"]
        slot = "bias" if match["leaf"] == "bias" else match["part"][-1]
        if getattr(found, slot) is not None or (slot == "bias" and match["part"] != "lora_B"):
            rest[stored] = name  # a second tensor for the same place: reported as not understood
        else:
            setattr(found, slot, stored)
    return dict(parts), rest, depth, adapters


def _layer(
    where: Path,
    name: str,
    found: _Parts,
    headers: Mapping[str, Header],
    config: LoraConfig,
    problems: list[str],
) -> LayerInfo | None:
    if found.A is None or found.B is None:
        there, missing = ("lora_A", "lora_B") if found.B is None else ("lora_B", "lora_A")
        problems.append(
            f"{where}: layer {name!r} has {there} but no {missing}; the file is incomplete, "
            "save or download it again"
        )
        return None
    A, B = headers[found.A].shape, headers[found.B].shape
    place = f"{where}: layer {name!r}"
    tensors = [found.A, found.B] + ([found.bias] if found.bias else [])
    for tensor in tensors:
        dtype = headers[tensor].dtype
        if not dtype.is_floating_point:
            why = "complex" if dtype.is_complex else "quantised or whole-numbered"
            problems.append(
                f"{where}: tensor {tensor!r} is {_name(dtype)}: {why} factors are not read; "
                "save them as float32 or bfloat16"
            )
            return None

    if 0 in A or 0 in B:
        problems.append(
            f"{place} has lora_A {A} and lora_B {B}: empty (saved by DeepSpeed ZeRO-3 without "
            "gathering the weights?); save it again with them gathered"
        )
        return None
    merged_linear = config.enable_lora is not None and len(A) == 2 and len(B) == 3
    if merged_linear:
        shape = _merged_linear_shape(place, A, B, config, problems)
        if shape is None:
            return None
        rank, d_in, d_out = A[0], A[1], shape
        unit = config.rank_of(name)
    else:
        if len(A) != len(B) or len(A) not in (2, 3, 4, 5):
            problems.append(
                f"{place} has lora_A {A} and lora_B {B}: not the shapes of a LoRA layer"
            )
            return None
        if any(size != 1 for size in B[2:]):
            problems.append(f"{place} has lora_B {B}; a convolution's should end in ones")
            return None
        if A[0] != B[1]:
            if len(A) > 2 and A[0] % B[1] == 0:
                problems.append(
                    f"{place} is a grouped convolution (lora_A {A}, lora_B {B}); its B A is not "
                    "one low-rank matrix, and merging it is not supported"
                )
            else:
                problems.append(
                    f"{place} has lora_A {A} and lora_B {B}; "
                    f"the rank axes, {A[0]} and {B[1]}, should be equal"
                )
            return None
        rank, d_out, d_in = A[0], B[0], 1
        for size in A[1:]:
            d_in *= size
        unit = rank
        if config.r and config.rank_of(name) != rank:
            problems.append(
                f"{place} has rank {rank}, but its adapter_config.json says "
                f"{config.rank_of(name)}; weights and config are not of the same adapter"
            )
            return None
    if found.bias and headers[found.bias].shape != (d_out,):
        problems.append(
            f"{place} has a lora_B.bias of shape {headers[found.bias].shape}, not ({d_out},)"
        )
        return None
    kind = Kind.EMBEDDING if found.embedding else Kind.CONV if len(A) > 2 else Kind.LINEAR
    return LayerInfo(
        name=name,
        kind=kind,
        d_in=d_in,
        d_out=d_out,
        rank=rank,
        scaling=config.scaling_of(name, unit),
        dtype=_name(headers[found.B].dtype),
        kernel=A[1:] if kind is Kind.CONV else (),
        has_bias=found.bias is not None,
        tensors=tuple(tensors),
    )


def _merged_linear_shape(
    place: str,
    A: tuple[int, ...],
    B: tuple[int, ...],
    config: LoraConfig,
    problems: list[str],
) -> int | None:
    """d_out of a layer of PEFT before 0.3, where one linear held several projections."""
    assert config.enable_lora is not None
    enabled, blocks = sum(config.enable_lora), len(config.enable_lora)
    if not enabled or B[2] != 1 or A[0] != enabled * B[1] or B[0] % enabled:
        problems.append(
            f"{place} has lora_A {A} and lora_B {B}, which do not fit enable_lora = "
            f"{list(config.enable_lora)}"
        )
        return None
    return B[0] // enabled * blocks


def _module(
    info: LayerInfo, found: _Parts, file: TensorFile, enable: tuple[bool, ...] | None
) -> LoraModule:
    assert found.A is not None and found.B is not None
    A, B = file.read(found.A), file.read(found.B)
    if A.ndim == 2 and B.ndim == 3 and enable is not None:
        B = _block_diagonal(B[:, :, 0], enable)
    bias = file.read(found.bias) if found.bias else None
    return LoraModule(A.flatten(1), B.flatten(1), info.scaling, bias)


def _block_diagonal(B: Tensor, enable: tuple[bool, ...]) -> Tensor:
    """B of a grouped 1x1 convolution as a matrix over all outputs, zero where LoRA is off."""
    enabled = sum(enable)
    rows, r = B.shape[0] // enabled, B.shape[1]
    whole = B.new_zeros(rows * len(enable), r * enabled)
    group = 0
    for block, on in enumerate(enable):
        if on:
            whole[block * rows : (block + 1) * rows, group * r : (group + 1) * r] = B[
                group * rows : (group + 1) * rows
            ]
            group += 1
    return whole


def _saved(
    where: Path,
    rest: dict[str, str],
    file: TensorFile,
    config: LoraConfig,
    problems: list[str],
) -> tuple[dict[str, SavedInfo], dict[str, str]]:
    """Full tensors beside the factors, and copies that say nothing new."""
    saved: dict[str, SavedInfo] = {}
    ignored: dict[str, str] = {}
    plain = set(rest.values())
    odd: list[str] = []
    for stored, name in rest.items():
        header = file.headers[stored]
        if "lora_magnitude_vector" in name:
            problems.append(
                f"{where}: {stored!r} is a DoRA magnitude, which needs the base weights; "
                "merge that adapter into the base, or retrain it without DoRA"
            )
            continue
        if "token_adapter" in name or "trainable_tokens" in name:
            problems.append(
                f"{where}: {stored!r} holds trained token rows, which are not merged yet; "
                "leave the adapter out"
            )
            continue
        if ".original_module." in name:
            ignored[stored] = "the base model's own copy, not trained"
            continue
        if ".modules_to_save." in name:
            name = _without_wrapper(name, plain)
            if name in plain:
                twin = next(s for s, n in rest.items() if n == name)
                if torch.equal(file.read(stored), file.read(twin)):
                    ignored[stored] = f"equal to {twin}"
                else:
                    problems.append(f"{where}: {stored!r} and {twin!r} should be equal and are not")
                continue
        name = name.replace(".base_layer.", ".")
        if re.search(r"\.(lora|hada|lokr|oft|ia3|vera|boft)_", f".{name}") or name in saved:
            odd.append(stored)
            continue
        is_bias = name.endswith(".bias") and config.bias != "none" and not _in_modules(name, config)
        saved[name] = SavedInfo(
            name, "bias" if is_bias else "module", header.shape, _name(header.dtype), stored
        )
    if odd:
        shown = ", ".join(repr(name) for name in odd[:SOME])
        more = f" and {len(odd) - SOME} more" if len(odd) > SOME else ""
        problems.append(
            f"{where}: tensors that are not understood: {shown}{more}; every "
            "tensor counts, so the adapter is not merged without them"
        )
    return saved, ignored


def _without_wrapper(name: str, plain: set[str]) -> str:
    """A module's own name; PEFT takes the adapter's name out of most of these keys, not of all."""
    named = re.sub(r"\.modules_to_save\.[^.]+\.", ".", name)
    unnamed = re.sub(r"\.modules_to_save(\.default)?\.", ".", name)
    return named if named in plain and unnamed not in plain else unnamed


def _in_modules(name: str, config: LoraConfig) -> bool:
    steps = name.split(".")
    paths = [".".join(steps[:i]) for i in range(1, len(steps))]
    return any(p == m or p.endswith(f".{m}") for p in paths for m in config.modules_to_save)


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


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
