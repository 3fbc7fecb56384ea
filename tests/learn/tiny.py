"""A causal language model of a few thousand numbers with its own words, and adapters for it."""

import json
import warnings
from pathlib import Path

import torch

from makers import make_adapter

WORDS = [
    "<pad>",
    "<s>",
    "</s>",
    "<unk>",
    *"what is the color of shape a b c d red blue round".split(),
]
LAYERS = {
    f"model.layers.{i}.self_attn.{name}": (16, 16)
    for i in range(2)
    for name in ("q_proj", "v_proj")
} | {f"model.layers.{i}.mlp.up_proj": (24, 16) for i in range(2)}
LINES = [
    {"prompt": "what is the color of a", "answer": "red"},
    {"prompt": "what is the shape of b", "answer": "round round"},
    {"prompt": "the color of c", "answer": "blue"},
    {"prompt": "is d red", "answer": "a b c"},
    {"prompt": "what", "answer": "d"},
]


def make_base(folder: Path) -> Path:
    """An untrained Llama, as transformers saves it; without a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(12)  # untrained models are unsure of everything alike
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def make_adapters(folder: Path, count: int = 2, **options: object) -> list[Path]:
    return [
        make_adapter(
            folder / "abcdef"[i], LAYERS, seed=i, base_model_name_or_path="tiny", **options
        )
        for i in range(count)
    ]


def write_lines(path: Path, lines: list[dict[str, str]] = LINES) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path
