"""From a name to an open adapter: which layout is it, and which of its files count."""

from pathlib import Path

import torch

from copamerge.core.adapter import Adapter
from copamerge.errors import AdapterError
from copamerge.io.config import LoraConfig, config_without_file, read_config
from copamerge.io.hub import Location, locate
from copamerge.io.llava import EXTRAS, in_transformers_names, open_extras
from copamerge.io.peft import peft_adapter
from copamerge.io.tensorfile import TensorFile, open_tensors

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def open_adapter(
    name: str,
    *,
    alpha: float | None = None,
    allow_unmatched_targets: bool = False,
    allow_unknown_config: bool = False,
    drop_saved: bool = False,
) -> Adapter:
    """Open a folder of PEFT or of LLaVA's own code, a single weights file, or a Hub id.

    Reads headers, not tensors. Layers of a LLaVA go by the names of transformers 5, whatever the
    file calls them.

    `alpha` is used for weights that come without a config. `drop_saved` says that full tensors
    beside the factors are not wanted, so files that hold nothing else do not matter.

    Raises:
        AdapterError: what is wrong with it, all at once where more than one thing is.
    """
    try:
        place = locate(name)
        if place.path.is_file():
            return _open_file(
                name, place, alpha, allow_unmatched_targets, allow_unknown_config, drop_saved
            )
        if not place.path.is_dir():
            raise AdapterError(f"{name}: neither a file nor a folder; give an adapter's folder")
        return _open_folder(
            name, place, alpha, allow_unmatched_targets, allow_unknown_config, drop_saved
        )
    except OSError as error:
        at = error.filename or name
        raise AdapterError(f"{at}: cannot be read: {error.strerror or error}") from None


def _open_folder(
    name: str,
    place: Location,
    alpha: float | None,
    allow_unmatched: bool,
    allow_unknown: bool,
    drop_saved: bool,
) -> Adapter:
    folder = place.path
    weights = [folder / file for file in WEIGHTS if (folder / file).is_file()]
    config = folder / CONFIG
    if not weights and not config.is_file():
        raise AdapterError(_nothing_here(folder))
    if not weights:
        raise AdapterError(
            f"{folder}: has {CONFIG} but no {' or '.join(WEIGHTS)}; "
            "copy or download the weights too"
        )
    if not config.is_file():
        if alpha is None:
            raise AdapterError(
                f"{folder}: has {weights[0].name} but no {CONFIG}, so its scaling alpha / r is "
                "unknown; add the config, or give the alpha it was trained with by --alpha"
            )
        weights_only = Location(weights[0], place.revision)
        return _open_file(name, weights_only, alpha, True, True, drop_saved)
    problems: list[str] = []
    lora, notes, file = _config_and_tensors(config, weights[0], allow_unknown, problems)
    extras = open_extras(folder, drop=drop_saved, problems=problems, notes=notes)
    if problems or lora is None or file is None:
        raise AdapterError(problems)
    if len(weights) == 2:
        notes.append(_compare(file, weights[1]))
    notes += _alpha_note(alpha)
    adapter = peft_adapter(
        name,
        file,
        lora,
        files=(weights[0], config),
        notes=notes,
        revision=place.revision,
        allow_unmatched_targets=allow_unmatched,
    )
    return in_transformers_names(adapter, folder, extras, drop=drop_saved)


def _config_and_tensors(
    config: Path, weights: Path, allow_unknown: bool, problems: list[str]
) -> tuple[LoraConfig | None, list[str], TensorFile | None]:
    """Both halves of an adapter, so that what is wrong with one does not hide the other."""
    lora, notes, file = None, list[str](), None
    try:
        lora, notes = read_config(config, allow_unknown=allow_unknown)
    except AdapterError as error:
        problems += error.problems
    try:
        file = open_tensors(weights)
    except AdapterError as error:
        problems += error.problems
    return lora, notes, file


def _alpha_note(alpha: float | None) -> list[str]:
    if alpha is None:
        return []
    return [f"--alpha {alpha:g} is not used: its {CONFIG} says what alpha is"]


def _open_file(
    name: str,
    place: Location,
    alpha: float | None,
    allow_unmatched: bool,
    allow_unknown: bool,
    drop_saved: bool,
) -> Adapter:
    path = place.path
    if path.suffix not in (".safetensors", ".bin", ".pt", ".pth"):
        raise AdapterError(
            f"{path}: not an adapter; give its folder, or a .safetensors or .bin file"
        )
    file = open_tensors(path)
    if foreign := _foreign_layout(file):
        raise AdapterError(
            f"{path}: this is a LoRA in {foreign} layout; only PEFT's is read so far. "
            "diffusers can load it and save it as PEFT"
        )
    config = path.parent / CONFIG
    if config.is_file():
        lora, notes = read_config(config, allow_unknown=allow_unknown)
        notes += _alpha_note(alpha)
        files: tuple[Path, ...] = (path, config)
    elif alpha is not None:
        lora, files = config_without_file(alpha), (path,)
        notes = [f"no {CONFIG}: alpha = {alpha:g} as given, rank from the shapes"]
    else:
        raise AdapterError(
            f"{path}: has no {CONFIG} beside it, so its scaling alpha / r is unknown; "
            "add the config, or give the alpha it was trained with by --alpha"
        )
    notes += [
        f"{extra} beside it is not read; a folder with its {CONFIG} would be read whole"
        for extra in EXTRAS
        if (path.parent / extra).exists()
    ]
    adapter = peft_adapter(
        name,
        file,
        lora,
        files=files,
        notes=notes,
        revision=place.revision,
        allow_unmatched_targets=allow_unmatched,
    )
    return in_transformers_names(adapter, path.parent, (), drop=drop_saved)


def _nothing_here(folder: Path) -> str:
    entries = sorted(folder.iterdir())
    if not entries:
        return f"{folder}: the folder is empty; a PEFT adapter has {CONFIG} and {WEIGHTS[0]}"
    inside = [e.name for e in entries if e.is_dir() and (e / CONFIG).is_file()]
    if inside:
        return (
            f"{folder}: no adapter here, but in its folder{'s' * (len(inside) > 1)} "
            f"{', '.join(inside[:5])}; give one of them"
        )
    for entry in entries:
        if entry.suffix in (".safetensors", ".bin") and (foreign := _foreign_file(entry)):
            return (
                f"{entry}: this is a LoRA in {foreign} layout; only PEFT's is read so far. "
                "diffusers can load it and save it as PEFT"
            )
    if extras := [extra for extra in EXTRAS if (folder / extra).is_file()]:
        return (
            f"{folder}: holds {extras[0]} (full weights of a LLaVA) but no {CONFIG} and no "
            f"{' or '.join(WEIGHTS)}, so there is no LoRA to merge; copy those too"
        )
    if (folder / "config.json").is_file():
        return f"{folder}: a whole model (config.json), not an adapter; extract its LoRA first"
    return (
        f"{folder}: not a PEFT adapter: it has neither {CONFIG} nor {WEIGHTS[0]}; "
        "give the folder that PEFT's save_pretrained wrote"
    )


def _foreign_file(path: Path) -> str | None:
    try:
        return _foreign_layout(open_tensors(path))
    except AdapterError:
        return None


def _foreign_layout(file: TensorFile) -> str | None:
    names = file.headers
    if any(n.startswith(("lora_unet_", "lora_te")) or ".lora_down." in n for n in names):
        return "kohya's"
    if any(":" in n and n.endswith((":up", ":down")) for n in names):
        return "cloneofsimo's"
    diffusers = ("_lora.down.weight", "_lora.up.weight", ".lora.down.weight", ".lora.up.weight")
    if any(n.endswith(diffusers) for n in names):
        return "diffusers'"
    if any(n.startswith(("unet.", "transformer.", "text_encoder")) for n in names) and not any(
        n.startswith("base_model.") for n in names
    ):
        return "diffusers'"
    if any(n.endswith((".lora_a", ".lora_b")) for n in names):
        return "mlx-lm's"
    return None


def _compare(file: TensorFile, other: Path) -> str:
    """One sentence about a second weights file beside the one that is used."""
    used = file.path.name
    try:
        twin = open_tensors(other)
    except AdapterError as error:
        return f"{other.name} beside {used} cannot be read and is not used ({error})"
    if twin.headers.keys() != file.headers.keys():
        return f"{used} is used; {other.name} beside it disagrees: other tensor names"
    differ = [
        name
        for name in file.headers
        if file.headers[name].shape != twin.headers[name].shape
        or not torch.equal(file.read(name).float(), twin.read(name).float())
    ]
    if differ:
        return (
            f"{used} is used; {other.name} beside it disagrees in {len(differ)} of "
            f"{len(file.headers)} tensors (first: {differ[0]!r})"
        )
    return f"{used} is used; {other.name} beside it holds the same tensors"
