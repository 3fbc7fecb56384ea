"""A LoRA in the files and names of LLaVA's own code, written without copamerge.

The renaming is spelled out from the two models' class definitions, one rule for each place, so
that it can disagree with the code it tests.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CONFIG: dict[str, Any] = {
    "architectures": ["LlavaLlamaForCausalLM"],
    "model_type": "llava_llama",
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_tower": "openai/clip-vit-large-patch14-336",
    "image_aspect_ratio": "pad",
}
LORA: dict[str, Any] = {
    "auto_mapping": None,
    "base_model_name_or_path": "liuhaotian/llava-v1.5-7b",
    "bias": "none",
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "layers_pattern": None,
    "layers_to_transform": None,
    "lora_dropout": 0.05,
    "modules_to_save": None,
    "peft_type": "LORA",
    "revision": None,
    "task_type": "CAUSAL_LM",
}
"""What PEFT 0.4 wrote, less rank, alpha and targets."""


def own_name(name: str) -> str:
    """A tensor's name in PEFT on transformers 5 -> the same in PEFT on LLaVA's own code."""
    found = re.fullmatch(r"base_model\.model\.model\.language_model\.(layers\..+)", name)
    if found:
        return f"base_model.model.model.{found[1]}"
    found = re.fullmatch(
        r"base_model\.model\.model\.multi_modal_projector\.linear_(\d)\.(.+)", name
    )
    assert found, name
    return f"base_model.model.model.mm_projector.{2 * int(found[1]) - 2}.{found[2]}"


def old_name(name: str) -> str:
    """A tensor's name in PEFT on transformers 5 -> the same on transformers 4.51."""
    name = re.sub(r"^base_model\.model\.model\.", "base_model.model.", name)
    return name.replace(".language_model.layers.", ".language_model.model.layers.")


def write_own(
    folder: Path,
    tensors: Mapping[str, Tensor],
    *,
    r: int,
    alpha: float,
    targets: list[str],
    config: bool = True,
    extra: str | None = "non_lora_trainables.bin",
    extra_prefix: str = "",
    **lora: Any,
) -> Path:
    """The files of LLaVA's own LoRA training, from tensors by their names in PEFT.

    `extra` is the file for what is no LoRA (None: it is lost), `extra_prefix` stands before every
    name in it, as DeepSpeed's `module.` does.
    """
    folder.mkdir(parents=True)
    own = {own_name(name): tensor for name, tensor in tensors.items()}
    factors = {name: tensor for name, tensor in own.items() if ".lora_" in name}
    full = {extra_prefix + name: x for name, x in own.items() if name not in factors}
    torch.save(factors, folder / "adapter_model.bin")
    if extra == "mm_projector.bin":  # saved from inside the model, without PEFT
        full = {name.removeprefix("base_model.model."): x for name, x in full.items()}
    if extra:
        torch.save(full, folder / extra)
    whole = {**LORA, "r": r, "lora_alpha": alpha, "target_modules": targets, **lora}
    (folder / "adapter_config.json").write_text(json.dumps(whole, indent=2))
    if config:
        (folder / "config.json").write_text(json.dumps(CONFIG, indent=2))
    return folder


def made(seed: int, *, width: int = 6, projector: bool = True) -> dict[str, Tensor]:
    """A small adapter by PEFT's names on transformers 5: two layers, and a projector."""
    rng = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(2):
        stem = f"base_model.model.model.language_model.layers.{layer}"
        for path, rows, columns in (("self_attn.q_proj", 8, width), ("mlp.down_proj", width, 10)):
            tensors[f"{stem}.{path}.lora_A.weight"] = torch.randn(2, columns, generator=rng)
            tensors[f"{stem}.{path}.lora_B.weight"] = torch.randn(rows, 2, generator=rng)
    if projector:
        stem = "base_model.model.model.multi_modal_projector"
        for name, columns in (("linear_1", 4), ("linear_2", width)):
            tensors[f"{stem}.{name}.weight"] = torch.randn(width, columns, generator=rng)
            tensors[f"{stem}.{name}.bias"] = torch.randn(width, generator=rng)
    return tensors


TARGETS = ["q_proj", "down_proj"]
