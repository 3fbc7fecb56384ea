"""What PEFT's adapter_config.json says about the mathematics, and what we refuse."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from copamerge.errors import AdapterError
from copamerge.io.tensorfile import LFS_MAGIC

NEUTRAL = frozenset(
    # Keys that say how an adapter was trained, stored or routed to layers; none changes B A.
    """alora_invocation_tokens alpha_pattern auto_mapping base_model_name_or_path bias
    corda_config ensure_weight_tying enable_lora eva_config exclude_modules fan_in_fan_out
    inference_mode init_lora_weights layers_pattern layers_to_transform loftq_config
    lora_alpha lora_bias lora_dropout lora_ga_config megatron_config megatron_core merge_weights
    modules_to_save peft_type peft_version qalora_group_size r rank_pattern revision
    runtime_config target_modules target_parameters task_type trainable_token_indices use_dora
    use_qalora use_rslora layer_replication arrow_config use_bdlora kasa_config
    monteclora_config velora_config""".split()
)

REFUSED = {
    "use_dora": "DoRA rescales the whole weight by a trained magnitude, which needs the base "
    "weights; merge it into the base, or retrain without use_dora",
    "use_qalora": "QA-LoRA pools its input in groups, so B A is not its weight change",
    "target_parameters": "LoRA on raw parameters (MoE experts) is stored in a layout that is "
    "not read yet",
    "trainable_token_indices": "trained token rows replace rows of the embedding and are not "
    "merged yet",
    "layer_replication": "its layer names count replicated layers, not those of the base",
    "alora_invocation_tokens": "an aLoRA adapter acts only after its invocation tokens; merged "
    "into another it would always act",
    "arrow_config": "Arrow routes tokens between experts; there is no single weight change",
    "use_bdlora": "block-diagonal LoRA is stored in a layout that is not read yet",
    "kasa_config": "KaSA puts a trained diagonal between B and A and changes the base weights",
    "monteclora_config": "MonteCLoRA adds trained noise parameters that are not merged yet",
    "velora_config": "VeLoRA's stored factors have not been checked against PEFT yet",
}

SAFE_INITS = {"gaussian", "eva", "orthogonal", "true", "false", "none"}

OTHER_TYPES = {
    "PROMPT_TUNING": "virtual tokens, not weight changes",
    "P_TUNING": "virtual tokens, not weight changes",
    "PREFIX_TUNING": "virtual keys and values, not weight changes",
    "MULTITASK_PROMPT_TUNING": "virtual tokens, not weight changes",
    "CPT": "virtual tokens, not weight changes",
    "ADAPTION_PROMPT": "prompt layers, not weight changes",
    "IA3": "multipliers of activations, not a low-rank weight change",
    "LN_TUNING": "full layer norms, not a low-rank weight change",
    "ADALORA": "LoRA with trained singular values; convert it with PEFT's `save_as_lora` first",
    "LOHA": "a Hadamard product; convert it with PEFT's `save_as_lora` first",
    "LOKR": "a Kronecker product; convert it with PEFT's `save_as_lora` first",
    "OFT": "a rotation of the weights, not an addition",
    "BOFT": "a rotation of the weights, not an addition",
    "HRA": "reflections of the weights, not an addition",
    "VERA": "shared random factors with trained vectors",
    "XLORA": "a mixture of adapters routed per token",
}


@dataclass(frozen=True)
class LoraConfig:
    """The checked content of an adapter_config.json."""

    raw: Mapping[str, Any]
    r: int
    alpha: float
    use_rslora: bool = False
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    bias: str = "none"
    modules_to_save: tuple[str, ...] = ()
    target_modules: tuple[str, ...] | str | None = None
    enable_lora: tuple[bool, ...] | None = None
    base_model: str | None = None

    def rank_of(self, layer: str) -> int:
        layer = matched_name(layer)
        return int(self.rank_pattern.get(_pattern_key(self.rank_pattern, layer), self.r))

    def scaling_of(self, layer: str, rank: int) -> float:
        """alpha / r, or alpha / sqrt(r) with rsLoRA; alpha by PEFT's own pattern matching."""
        layer = matched_name(layer)
        alpha = self.alpha_pattern.get(_pattern_key(self.alpha_pattern, layer), self.alpha)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)

    def targets(self, layer: str) -> str | None:
        """The entry of target_modules that names this layer, as PEFT matches; None if none does."""
        layer = matched_name(layer)
        if isinstance(self.target_modules, str):
            return self.target_modules if re.fullmatch(self.target_modules, layer) else None
        for target in self.target_modules or ():
            if layer == target or layer.endswith(f".{target}"):
                return target
        return None


def matched_name(layer: str) -> str:
    """The name PEFT matches for this layer: MultiheadAttention's out_proj goes by its parent's."""
    return layer.partition(".base_layer.")[0]


def _pattern_key(patterns: Mapping[str, Any], layer: str) -> str:
    # PEFT: the first key, as a regular expression, that matches the layer's name or its end.
    for key in patterns:
        if re.match(_key_pattern(key), layer):
            return key
    return layer


def _key_pattern(key: str) -> str:
    return rf"(.*\.)?({key})$"


def config_without_file(alpha: float) -> LoraConfig:
    """For bare weights: alpha from the user, rank from the shapes (r = 0 means: unknown)."""
    return LoraConfig(raw={}, r=0, alpha=alpha)


def read_config(path: Path, *, allow_unknown: bool) -> tuple[LoraConfig, list[str]]:
    """The config of a PEFT folder, and notes about it.

    Raises:
        AdapterError: not JSON, not LoRA, or a variant that cannot be merged right; all reasons.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise AdapterError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise AdapterError(
            f"{path}: not a text file, so not a PEFT config; download it again"
        ) from None
    if text.startswith(LFS_MAGIC.decode()):
        raise AdapterError(
            f"{path}: a Git LFS pointer, not the config; run `git lfs pull` in that repository or "
            "download the file itself"
        )
    if not text.strip():
        raise AdapterError(f"{path}: the file is empty; download it again")
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise AdapterError(
            f"{path}: not valid JSON (line {error.lineno}, column {error.colno}: {error.msg}); "
            "mend it there or download it again"
        ) from None
    except (ValueError, RecursionError) as error:  # numbers or nesting beyond what Python reads
        raise AdapterError(
            f"{path}: not valid JSON ({str(error)[:100]}); download it again"
        ) from None
    if not isinstance(raw, dict):
        raise AdapterError(
            f"{path}: holds a {type(raw).__name__}; expected the options that PEFT writes, {{...}}"
        )

    peft_type = raw.get("peft_type")
    if peft_type is None:
        hint = "; this looks like mlx-lm's layout" if "lora_parameters" in raw else ""
        raise AdapterError(
            f"{path}: has no peft_type, so it is not a PEFT config{hint}; PEFT's own "
            "save_pretrained writes one"
        )
    if peft_type != "LORA":
        what = OTHER_TYPES.get(str(peft_type), "not plain LoRA")
        if str(peft_type).upper() == "LORA":
            what = "PEFT spells it LORA"
        raise AdapterError(f"{path}: peft_type is {peft_type!r}: {what}; only LORA can be merged")

    problems = [
        f"{path}: {key} = {_short(raw[key])}: {reason}"
        for key, reason in REFUSED.items()
        if raw.get(key)
    ]
    init = raw.get("init_lora_weights", True)
    if str(init).lower() not in SAFE_INITS:
        problems.append(
            f"{path}: init_lora_weights = {init!r}: this initialisation also changes the base "
            "weights, so B A is not the whole change; save it with PEFT's "
            "`path_initial_model_for_weight_conversion` to make it plain LoRA"
        )
    unknown = sorted(key for key in raw.keys() - NEUTRAL if raw[key])
    notes = []
    if unknown and allow_unknown:
        notes.append(f"unknown config options taken as harmless: {', '.join(unknown)}")
    elif unknown:
        problems.append(
            f"{path}: unknown option{'s' * (len(unknown) > 1)} "
            + ", ".join(f"{key} = {_short(raw[key])}" for key in unknown)
            + ": may change what the adapter computes; if you know it does not, "
            "add --allow-unknown-config"
        )
    config = _checked(path, raw, problems)
    if problems:
        raise AdapterError(problems)
    return config, notes


def _checked(path: Path, raw: dict[str, Any], problems: list[str]) -> LoraConfig:
    def wrong(key: str, expected: str) -> None:
        problems.append(f"{path}: {key} = {_short(raw.get(key))}; expected {expected}")

    r, alpha = raw.get("r", 8), raw.get("lora_alpha", 8)
    if not _is_rank(r):
        wrong("r", "a whole number of at least 1")
        r = 1
    if not _is_number(alpha):
        wrong("lora_alpha", "a number")
        alpha = 1
    patterns: dict[str, dict[str, Any]] = {}
    for key in ("rank_pattern", "alpha_pattern"):
        pattern = raw.get(key) or {}
        right = _is_rank if key == "rank_pattern" else _is_number
        if not isinstance(pattern, dict) or not all(map(_is_number, pattern.values())):
            wrong(key, "numbers by layer name")
            pattern = {}
        elif not all(map(right, pattern.values())):
            wrong(key, "whole numbers of at least 1")
            pattern = {}
        patterns[key] = {
            name: value
            for name, value in pattern.items()
            if _is_regex(f"{path}: {key}: {name!r}", _key_pattern(name), problems)
        }
    bias = raw.get("bias", "none")
    if bias not in ("none", "all", "lora_only"):
        wrong("bias", "none, all or lora_only")
    saved = raw.get("modules_to_save") or ()
    if not _is_names(saved) and saved != ():
        wrong("modules_to_save", "a list of names")
        saved = ()
    targets = raw.get("target_modules")
    if targets == "all-linear":
        targets = None
    elif isinstance(targets, str):
        if not _is_regex(f"{path}: target_modules = {targets!r}", targets, problems):
            targets = None
    elif targets is not None:
        if not _is_names(targets):
            wrong("target_modules", "a list of names, or a regular expression")
            targets = None
        else:
            targets = tuple(targets)
    for key in ("base_model_name_or_path", "revision", "task_type"):
        if not isinstance(raw.get(key), str | None):
            wrong(key, "a text")
    for key in ("use_rslora", "fan_in_fan_out"):
        if not isinstance(raw.get(key), bool | None):
            wrong(key, "true or false")
    enable = raw.get("enable_lora")
    if enable is not None and not (
        isinstance(enable, list) and all(isinstance(each, bool) for each in enable)
    ):
        wrong("enable_lora", "a list of true or false")
        enable = None
    return LoraConfig(
        raw=raw,
        r=int(r),
        alpha=float(alpha),
        use_rslora=bool(raw.get("use_rslora")),
        rank_pattern=patterns["rank_pattern"],
        alpha_pattern=patterns["alpha_pattern"],
        bias=str(bias),
        modules_to_save=tuple(saved),
        target_modules=targets,
        enable_lora=tuple(enable) if enable else None,
        base_model=raw.get("base_model_name_or_path") or None,
    )


def _is_number(value: Any) -> bool:
    # Compared, not `math.isfinite`: that cannot take an int beyond float's range.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _is_rank(value: Any) -> bool:
    return _is_number(value) and int(value) == value and value >= 1


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_regex(place: str, pattern: str, problems: list[str]) -> bool:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        problems.append(f"{place} is not a regular expression ({getattr(error, 'msg', error)})")
        return False
    return True


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
