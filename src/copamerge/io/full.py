"""Full tensors beside the factors: trained heads and biases, and copies that say nothing new."""

import re
from pathlib import Path

import torch

from copamerge.core.adapter import SavedInfo
from copamerge.io.config import LoraConfig
from copamerge.io.tensorfile import TensorFile, dtype_name

SOME = 3
"""How many names of a kind an error message spells out."""


def full_tensors(
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
            name, "bias" if is_bias else "module", header.shape, dtype_name(header.dtype), stored
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
