"""Bases and adapters as folders: float16 on disk, float32 in memory."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerFast

from copamerge.errors import SuiteError
from copamerge.io._atomic import whole_folder
from copamerge.training.mini.model import build_processor
from copamerge.training.places import RECORD

Record = Mapping[str, Any]


def save_base(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    out: Path,
    record: Record,
) -> None:
    """Model, tokenizer and processor as transformers saves them; the model is left in float32."""
    plain: Any = model  # transformers' `to` is wrapped beyond what a type checker follows
    with whole_folder(out) as folder:
        plain.to(dtype=torch.float16).save_pretrained(folder)
        build_processor(tokenizer).save_pretrained(folder)
        _write(folder, record)
    plain.to(dtype=torch.float32)


def open_base(folder: Path) -> tuple[LlavaForConditionalGeneration, PreTrainedTokenizerFast]:
    """The base of a folder in float32, and its tokenizer.

    Raises:
        SuiteError: there is no base there.
    """
    if not (folder / "config.json").is_file():
        raise SuiteError(
            f"{folder}: no base model here (config.json is missing); "
            "make one with `copamerge train mini-base -o DIR`"
        )
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    processor = LlavaProcessor.from_pretrained(folder)
    return model, processor.tokenizer


def save_adapter(adapted: Any, out: Path, base: str, record: Record) -> None:
    """The adapter as PEFT saves it, its tensors rounded to float16, its base named `base`."""
    adapted.peft_config["default"].base_model_name_or_path = base
    with whole_folder(out) as folder:
        # Without this PEFT asks the Hub for the base, to see whether its vocabulary grew.
        adapted.save_pretrained(folder, save_embedding_layers=False)
        weights = folder / "adapter_model.safetensors"
        tensors = {name: value.half() for name, value in load_file(weights).items()}
        save_file(tensors, weights, metadata={"format": "pt"})
        (folder / "README.md").unlink(missing_ok=True)
        _write(folder, record)


def _write(folder: Path, record: Record) -> None:
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")
