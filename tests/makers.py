"""Small valid PEFT folders, made without PEFT: what tests merge, and what attacks damage."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

PREFIX = "base_model.model."
LAYERS: Mapping[str, tuple[int, int]] = {
    "model.layers.0.self_attn.q_proj": (8, 6),
    "model.layers.0.self_attn.v_proj": (4, 6),
    "model.layers.1.self_attn.q_proj": (8, 6),
    "model.layers.1.self_attn.v_proj": (4, 6),
}
"""Layer name -> (d_out, d_in)."""
Q0 = next(iter(LAYERS))


def make_adapter(
    path: Path,
    layers: Mapping[str, tuple[int, int]] = LAYERS,
    *,
    r: int = 2,
    alpha: float = 4,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    weights: str = "safetensors",
    extra: Mapping[str, Tensor] | None = None,
    **config: Any,
) -> Path:
    """A PEFT folder with plain linear layers.

    `extra` are tensors beside the factors, by their stored name (a name of a factor replaces it);
    `config` are further options of adapter_config.json. `weights` is "safetensors" or "bin".
    """
    path.mkdir(parents=True, exist_ok=True)
    tensors = {**factors(layers, r=r, dtype=dtype, seed=seed), **(extra or {})}
    save_tensors(path, tensors, weights)
    write_config(path, layers, r=r, lora_alpha=alpha, **config)
    return path


def factors(
    layers: Mapping[str, tuple[int, int]] = LAYERS,
    *,
    r: int = 2,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Random factors by PEFT's names."""
    rng = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (d_out, d_in) in layers.items():
        tensors[a_of(name)] = torch.randn(r, d_in, generator=rng).to(dtype)
        tensors[b_of(name)] = torch.randn(d_out, r, generator=rng).to(dtype)
    return tensors


def a_of(layer: str) -> str:
    return f"{PREFIX}{layer}.lora_A.weight"


def b_of(layer: str) -> str:
    return f"{PREFIX}{layer}.lora_B.weight"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], weights: str = "safetensors") -> Path:
    file = path / f"adapter_model.{weights}"
    if weights == "bin":
        torch.save(dict(tensors), file)
    else:
        save_file(dict(tensors), file, metadata={"format": "pt"})
    return file


def write_config(path: Path, layers: Mapping[str, tuple[int, int]] = LAYERS, **config: Any) -> Path:
    """adapter_config.json with the options given; `...` as a value leaves an option out."""
    content = {
        "base_model_name_or_path": "org/tiny-base",
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "lora_alpha": 4,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": 2,
        "target_modules": sorted({name.rpartition(".")[2] for name in layers}),
        "task_type": "CAUSAL_LM",
        **config,
    }
    file = path / "adapter_config.json"
    file.write_text(json.dumps({k: v for k, v in content.items() if v is not ...}, indent=2))
    return file


def tree(folder: Path) -> dict[str, str]:
    """Every path below a folder, with a hash of its content."""
    return {str(path.relative_to(folder)): _content(path) for path in sorted(folder.rglob("*"))}


def _content(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "not a file"
