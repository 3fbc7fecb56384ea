"""LLaVA adapters: which tensor is which, in LLaVA's own code and in each age of transformers.

Three families of names exist for one model. Every layer and full tensor is called inside
copamerge as transformers 5 calls it, so that adapters of any origin meet.
"""

import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from copamerge.core.adapter import Adapter, SavedInfo
from copamerge.core.lora import LoraModule
from copamerge.errors import AdapterError, OutputError, first_few
from copamerge.io.tensorfile import TensorFile, dtype_name, open_tensors

EXTRAS = ("non_lora_trainables.bin", "mm_projector.bin")
"""Full tensors beside LLaVA's LoRA: after fine-tuning, and after the projector's pretraining."""

PROJECTOR = "model.multi_modal_projector"

Layout = Literal["peft", "peft-4.51", "llava"]

OWN = {
    "model.layers": "model.language_model.layers",
    "model.embed_tokens": "model.language_model.embed_tokens",
    "model.norm": "model.language_model.norm",
    "model.mm_projector.0": f"{PROJECTOR}.linear_1",
    "model.mm_projector.2": f"{PROJECTOR}.linear_2",
    "lm_head": "lm_head",
}
"""LLaVA's own names -> those of transformers 5. A `mlp2x_gelu` projector has its GELU at 1."""

OLD = {
    "language_model.model": "model.language_model",
    "language_model.lm_head": "lm_head",
    "multi_modal_projector": PROJECTOR,
    "vision_tower": "model.vision_tower",
}
"""Names of transformers up to 4.51 -> those of transformers 5 (4.52 made the change)."""

NEW = ("model.language_model", PROJECTOR, "model.vision_tower")

LOOSE = {"mm_projector.0": "model.mm_projector.0", "mm_projector.2": "model.mm_projector.2"}
"""Names in files of full tensors that were saved from inside the model."""

WRAPPERS = re.compile(r"(?:module\.|base_model\.)*(?:model\.(?=model\.|lm_head\.))*")
"""What DeepSpeed, DDP and PEFT put before a model's own names, once or more."""

PEFT_ROOT = re.compile(r"(?:module\.|base_model\.model\.)*")

BASES = (
    (r"llava-v1\.5-(7b|13b)", "liuhaotian/llava-v1.5-{}"),
    (r"llava-1\.5-(7b|13b)-hf", "llava-hf/llava-1.5-{}-hf"),
)
"""The same weights in both worlds: LLaVA's own checkpoints, and transformers'."""


# --- names ---------------------------------------------------------------------------------------


def named_by(name: str) -> tuple[str | None, str | None]:
    """Whose name this is (`llava`, `4.51`, `5`, or None) and what transformers 5 calls it.

    The first is None for a name that is nobody's or everybody's, the second where transformers
    has no such place. `name` is a layer or a tensor, with or without what wraps a model's names.
    """
    bare = name[_end(PEFT_ROOT, name) :]
    if found := _moved(bare, OLD):
        return "4.51", found
    if bare.startswith("model.vision_tower.vision_tower."):
        return "llava", None
    if any(_within(bare, place) for place in NEW):
        return "5", bare
    bare = name[_end(WRAPPERS, name) :]
    bare = _moved(bare, LOOSE) or bare
    if found := _moved(bare, OWN):
        return (None if _within(bare, "lm_head") else "llava"), found
    if "mm_projector" in bare.split("."):
        return "llava", None
    return None, None


def in_layout(name: str, layout: Layout) -> str | None:
    """A name of transformers 5 as a layout has it; None where that has no such place."""
    if layout == "peft":
        return name
    table = OWN if layout == "llava" else OLD
    return _moved(name, {new: old for old, new in table.items()})


def _moved(name: str, table: Mapping[str, str]) -> str | None:
    for old, new in table.items():
        if _within(name, old):
            return new + name.removeprefix(old)
    return None


def _within(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}.")


def _end(pattern: re.Pattern[str], name: str) -> int:
    match = pattern.match(name)
    return match.end() if match else 0


def base_in_layout(base: str | None, layout: Layout) -> str | None:
    """A LLaVA-1.5 base by the name it has in the world that this layout is for."""
    last = (base or "").rstrip("/").rpartition("/")[2]
    wanted = BASES[0] if layout == "llava" else BASES[1]
    for pattern, _ in BASES:
        if match := re.fullmatch(pattern, last, re.IGNORECASE):
            known = re.fullmatch(wanted[0], last, re.IGNORECASE) is not None
            return base if known else wanted[1].format(match[1].lower())
    return base


# --- reading -------------------------------------------------------------------------------------


def open_extras(
    folder: Path, *, drop: bool, problems: list[str], notes: list[str]
) -> list[TensorFile]:
    """LLaVA's files of full tensors; with `drop`, one that cannot be read is only noted."""
    files = []
    for name in EXTRAS:
        if not (folder / name).exists():
            continue
        try:
            files.append(open_tensors(folder / name))
        except AdapterError as error:
            if drop:
                notes.append(f"{name} cannot be read; left out (--modules-to-save drop)")
            else:
                problems += [
                    f"{line} (full weights beside the adapter; --modules-to-save drop leaves "
                    "them out)"
                    for line in error.problems
                ]
    return files


def llava_config(folder: Path) -> Path | None:
    """The config.json of LLaVA's own code in a folder, if there is one that can be read."""
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    own = isinstance(content, dict) and "text_config" not in content
    return (
        path if own and ("mm_projector_type" in content or "mm_vision_tower" in content) else None
    )


def in_transformers_names(
    adapter: Adapter, folder: Path, extras: Sequence[TensorFile], *, drop: bool
) -> Adapter:
    """The adapter with every name as transformers 5 has it, and LLaVA's full tensors beside.

    Adapters that nothing says are a LLaVA's come back as they are: names alone do not, since any
    Llama's layers are called as those of LLaVA's own code.

    Raises:
        AdapterError: names that mean nothing in a LLaVA, two ways of naming in one file, two
            tensors for one place, a projector whose parts do not fit; all of it.
    """
    names = [*adapter.layers, *adapter.saved]
    found = {name: named_by(name) for name in names}
    whose = {by for by, _ in found.values() if by}
    if not extras and (whose <= {"5"} or not _is_llava(adapter, folder, found)):
        return adapter
    where = adapter.files[0]
    problems: list[str] = []
    layers = [name for name in adapter.layers if found[name][1]]
    if len(whose) > 1:
        first = {by: next(n for n in names if found[n][0] == by) for by in sorted(whose)}
        raise AdapterError(
            f"{where}: mixes ways of naming one model: "
            + ", ".join(f"{name!r} ({_called(by)})" for by, name in first.items())
            + "; save the adapter again from one code"
        )
    if not layers and not extras:
        return adapter  # a LLaVA on another language model: merged under the names it has
    strays = [
        f"{where}: layer {name!r} is no layer of a LLaVA on a Llama"
        for name in adapter.layers
        if not found[name][1] and (layers or not drop)
    ]
    problems += first_few(strays, str(where), "more layers like these")
    renamed = {name: (found[name][1] or name) for name in adapter.layers}
    problems += _doubles(where, renamed)
    saved, ignored, source = _full(adapter, found, extras, drop, problems)
    own = "llava" in whose or bool(extras)
    if own and not drop and not problems:
        problems += _projector_problems(adapter, renamed, saved)
    if problems:
        raise AdapterError(problems)

    back = {new: old for old, new in renamed.items()}

    def module(layer: str) -> LoraModule:
        return adapter.module(back[layer])

    def tensor(name: str) -> Tensor:
        file, stored = source[name]
        return file.read(stored) if file else adapter.tensor(stored)

    modules = dict.fromkeys(
        "multi_modal_projector" if _within(name, PROJECTOR) else name.rpartition(".")[0]
        for name, info in saved.items()
        if info.role == "module"
    )
    lost = [
        module
        for module in adapter.config.get("modules_to_save") or ()
        if not own and not any(f".{module}." in f".{name}." for name in adapter.saved)
    ]
    return replace(
        adapter,
        format="llava" if own else "peft",
        files=(*adapter.files, *(file.path for file in extras)),
        config={**adapter.config, "modules_to_save": [*dict.fromkeys([*modules, *lost])] or None},
        layers={new: replace(adapter.layers[back[new]], name=new) for new in sorted(back)},
        saved=dict(sorted(saved.items())),
        ignored=ignored,
        notes=(*adapter.notes, _said(own, saved, extras)),
        n_tensors=adapter.n_tensors + sum(len(file.headers) for file in extras),
        _module=module,
        _tensor=tensor,
    )


def _is_llava(
    adapter: Adapter, folder: Path, found: Mapping[str, tuple[str | None, str | None]]
) -> bool:
    """Whether something beyond the names of a Llama's layers says so."""
    if "llava" in (adapter.base_model or "").lower() or llava_config(folder):
        return True
    return any(
        "mm_projector" in name.split(".") or _within(new or "", PROJECTOR)
        for name, (_, new) in found.items()
    )


def _called(by: str) -> str:
    return "LLaVA's own code" if by == "llava" else f"transformers {by}"


def _doubles(where: Path, renamed: Mapping[str, str]) -> list[str]:
    first: dict[str, str] = {}
    return [
        f"{where}: {old!r} and {first[new]!r} are one layer of a LLaVA"
        for old, new in renamed.items()
        if first.setdefault(new, old) != old
    ]


Source = dict[str, tuple[TensorFile | None, str]]
"""Name of a tensor as the adapter calls it -> file (None: the adapter's own) and stored name."""


def _full(
    adapter: Adapter,
    found: Mapping[str, tuple[str | None, str | None]],
    extras: Sequence[TensorFile],
    drop: bool,
    problems: list[str],
) -> tuple[dict[str, SavedInfo], dict[str, str], Source]:
    """Every full tensor of every file under its name in transformers 5, or refused by name."""
    saved: dict[str, SavedInfo] = {}
    ignored = dict(adapter.ignored)
    source: Source = {
        name: (None, name) for info in adapter.layers.values() for name in info.tensors
    }
    source |= {name: (None, name) for name in ignored}
    refused: list[str] = []

    def take(info: SavedInfo, new: str | None, file: TensorFile | None, stored: str) -> None:
        place = file.path if file else adapter.files[0]
        source[info.tensor] = (file, stored)
        if reason := _refusal(info, new):
            if drop:
                ignored[info.tensor] = f"{reason} (--modules-to-save drop)"
            else:
                refused.append(
                    f"{place}: {stored!r}: {reason}; --modules-to-save drop leaves it out"
                )
        elif new is not None and (twin := saved.get(new)):
            there, its = source[twin.tensor]
            values = there.read(its) if there else adapter.tensor(its)
            if torch.equal(file.read(stored) if file else adapter.tensor(stored), values):
                ignored[info.tensor] = f"equal to {twin.tensor}"
            elif drop:
                ignored[info.tensor] = "left out (--modules-to-save drop)"
            else:
                problems.append(
                    f"{place}: {stored!r} and {twin.tensor!r} are one tensor of the model and "
                    "differ; move the file that is not of this training out of the folder"
                )
        elif new is not None:
            saved[new] = replace(info, name=new)

    for name, info in adapter.saved.items():
        take(info, found[name][1], None, info.tensor)
    for file in extras:
        for stored, header in file.headers.items():
            name = f"{file.path.name}:{stored}"
            info = SavedInfo(name, "module", header.shape, dtype_name(header.dtype), name)
            take(info, named_by(stored)[1], file, stored)
    problems += first_few(refused, str(adapter.path), "more full tensors like these")
    return saved, ignored, source


def _refusal(info: SavedInfo, new: str | None) -> str | None:
    """Why a full tensor has no place in an adapter; None where it has one."""
    steps = info.name.rpartition(":")[2].split(".")
    if new is None and "vision_tower" in steps:
        return (
            "a weight of the vision tower, which LLaVA-1.5 does not train and whose names differ "
            "between versions of transformers"
        )
    if new is None and "mm_projector" in steps:
        return (
            "not of a projector of two layers (mlp2x_gelu), the only kind that transformers' "
            "LLaVA has"
        )
    if new is None:
        return "no tensor of a LLaVA on a Llama"
    if 0 in info.shape:
        return "empty (saved by DeepSpeed ZeRO-3 without gathering the weights?)"
    if ".lora_" in new:
        return "a LoRA factor among full tensors"
    return None


def _projector_problems(
    adapter: Adapter, renamed: Mapping[str, str], saved: Mapping[str, SavedInfo]
) -> list[str]:
    """All four tensors or none, of shapes that follow each other and reach the language model."""
    where = adapter.path
    parts = {name: info for name, info in saved.items() if _within(name, PROJECTOR)}
    wanted = [f"{PROJECTOR}.linear_{i}.{leaf}" for i in (1, 2) for leaf in ("weight", "bias")]
    missing = [name for name in wanted if name not in parts]
    if not parts:
        return []
    if missing:
        return [
            f"{where}: its projector lacks {', '.join(missing)}; all of it or nothing can be "
            "merged: copy the whole file, or leave it out by --modules-to-save drop"
        ]
    first, bias_1, second, bias_2 = (parts[name].shape for name in wanted)
    width, height = first[:1], second[:1]
    if len(first) != 2 or second != height + width or (bias_1, bias_2) != (width, height):
        return [
            f"{where}: the projector's shapes {first}, {bias_1}, {second}, {bias_2} do not follow "
            "each other; is it all of one training?"
        ]
    for old, new in renamed.items():
        reads = new.endswith(("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"))
        takes = adapter.layers[old].d_in
        if reads and _within(new, "model.language_model") and takes != second[0]:
            return [
                f"{where}: the projector gives vectors of {second[0]} numbers, and layer {old!r} "
                f"takes {takes}; they are of different base models"
            ]
    return []


def _said(own: bool, saved: Iterable[str], extras: Sequence[TensorFile]) -> str:
    if not own:
        return "names of transformers up to 4.51, read under those of transformers 5"
    has = any(_within(name, PROJECTOR) for name in saved)
    files = " and ".join(file.path.name for file in extras)
    rest = (f"with {files}" if files else "") if has else f"no projector ({EXTRAS[0]}) beside it"
    rest = rest or "its projector is in the weights file"
    return f"LLaVA's own layout, read under transformers' names; {rest}"


# --- writing -------------------------------------------------------------------------------------


def write_llava(folder: Path, weights: str, config: Path | None) -> None:
    """Turn a written safetensors file of LLaVA's names into LLaVA's two files, read back.

    The second is there even if it holds nothing: LLaVA's loader asks for it.

    Raises:
        OutputError: a file reads back differently.
    """
    file = open_tensors(folder / weights)
    factors = [name for name in file.headers if ".lora_" in name]
    full = [name for name in file.headers if ".lora_" not in name]
    for target, names in (("adapter_model.bin", factors), (EXTRAS[0], full)):
        # The tensors are views of the file's memory map, whose pages the system may take back.
        torch.save({name: file.read(name) for name in names}, folder / target)
        twin = open_tensors(folder / target)
        if twin.headers != {name: file.headers[name] for name in names} or not all(
            torch.equal(file.read(name), twin.read(name)) for name in names
        ):
            raise OutputError(f"{folder / target}: reads back differently from what was written")
    (folder / weights).unlink()
    if config is not None:
        shutil.copyfile(config, folder / "config.json")
