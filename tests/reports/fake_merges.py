"""Merged folders as far as reports read them: a merge.json of any size, its numbers made up."""

import json
import random
from pathlib import Path
from typing import Any

MODULES = (
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
)
"""Of a LLaMA block, which LLaVA-1.5's adapters have."""


def fake_merge(
    path: Path,
    *,
    method: str = "copa",
    names: tuple[str, ...] = ("one", "two"),
    blocks: int = 3,
    seed: int = 0,
    **more: Any,
) -> Path:
    """A merge of `blocks` times seven layers and one outside; the last adapter lacks that one."""
    rng = random.Random(seed)
    layers = [f"model.layers.{b}.{module}" for b in range(blocks) for module in MODULES]
    content = {
        "method": {"name": method, "density": 0.2},
        "recipe": {"method": {"name": method}, "adapters": [{"adapter": x} for x in names]},
        "inputs": [_input(f"/data/{name}", i, rng) for i, name in enumerate(names)],
        "layers": [_layer(name, range(len(names)), rng) for name in layers]
        + [_layer("lm_head", range(len(names) - 1), rng)],
        "layers_silent": [],
        "saved": [],
        "rank": 64,
        "dtype": "bfloat16",
        "base_model": "liuhaotian/llava-v1.5-7b",
        "tensors": 2 * len(layers) + 2,
        "energy_kept": 0.97,
        "energy_kept_worst": 0.93,
        "worst_layer": layers[0],
        "norm": 3.5,
        "rounding_worst": 0.0016,
        "survey_passes": 0,
        "survey": {},
        "warnings": [],
        "run": {
            "seconds": 12.3,
            "peak_memory_mb": 456.7,
            "device": "cpu",
            "copamerge": "0.1.0",
            "torch": "2.13.0",
            "python": "3.11.7",
        },
    } | more
    path.mkdir(parents=True)
    (path / "merge.json").write_text(json.dumps(content))
    return path


def _input(adapter: str, i: int, rng: random.Random) -> dict[str, Any]:
    return {
        "adapter": adapter,
        "revision": None,
        "sha256": {"adapter_model.safetensors": f"{i:02x}" * 32},
        "base_model": "liuhaotian/llava-v1.5-7b",
        "weight": 1.0,
        "ranks": [128],
        "scalings": [2.0, 2.0],
        "dtypes": ["bfloat16"],
        "tensors": 450,
        "tensors_merged": 450,
        "tensors_silent": 0,
        "tensors_saved": 0,
        "dropped": [],
        "ignored": {},
        "layers": 225,
        "layers_merged": 225,
        "delta_norm": rng.uniform(2, 5),
        "cosine": rng.uniform(0.2, 0.5),
        "survey": {},
    }


def _layer(name: str, who: range, rng: random.Random) -> dict[str, Any]:
    return {
        "layer": name,
        "kind": "linear",
        "d_out": 4096,
        "d_in": 4096,
        "adapters": list(who),
        "weights": [1.0 for _ in who],
        "exact_rank": 1024,
        "rank": 64,
        "energy_kept": rng.uniform(0.9, 1),
        "norm": rng.uniform(0.1, 0.3),
        "input_norms": [10 ** rng.uniform(-2, 0) for _ in who],
        "cosines": [rng.gauss(0.2, 0.2) for _ in who],
        "rounding": rng.uniform(0.0014, 0.0018),
    }
