"""The small LLaVA itself: a CLIP tower, a projector, a Llama, and the processor of the real one."""

from dataclasses import dataclass

import torch
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from copamerge.suites.mini.draw import GRID, PATCH, SIDE
from copamerge.training.mini.words import IMAGE

MEAN, SPREAD = (0.4, 0.4, 0.4), (0.3, 0.3, 0.3)
"""Pixels in 0..1 are centred and scaled by these."""


@dataclass(frozen=True)
class Size:
    """How big the small LLaVA is."""

    vision_width: int = 96
    vision_layers: int = 3
    width: int = 128
    layers: int = 5
    heads: int = 4


def build_config(tokenizer: PreTrainedTokenizerFast, size: Size) -> LlavaConfig:
    words = tokenizer.get_vocab()
    vision = CLIPVisionConfig(
        hidden_size=size.vision_width,
        intermediate_size=4 * size.vision_width,
        num_hidden_layers=size.vision_layers,
        num_attention_heads=size.heads,
        image_size=SIDE,
        patch_size=PATCH,
        projection_dim=size.vision_width,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.width,
        intermediate_size=3 * size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=256,
        initializer_range=size.width**-0.5 / 2,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=words[IMAGE],
        image_seq_length=GRID * GRID,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
        vision_feature_select_strategy="default",
    )


def build_model(
    tokenizer: PreTrainedTokenizerFast, size: Size, seed: int
) -> LlavaForConditionalGeneration:
    """An untrained model."""
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(build_config(tokenizer, size))
    generation = model.generation_config
    generation.eos_token_id = tokenizer.eos_token_id
    generation.bos_token_id = tokenizer.bos_token_id
    generation.pad_token_id = tokenizer.pad_token_id
    return model


def build_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Pictures and words to inputs, in the form every LLaVA of the Hub has."""
    images = CLIPImageProcessorPil(
        do_resize=True,
        size={"height": SIDE, "width": SIDE},
        do_center_crop=False,
        do_convert_rgb=True,
        image_mean=list(MEAN),
        image_std=list(SPREAD),
    )
    return LlavaProcessor(  # type: ignore[no-untyped-call]
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=tokenizer.chat_template,
        image_token=IMAGE,
        num_additional_image_tokens=1,
    )
