"""Bases of a few thousand numbers as real ones are on disk, and a suite of samples in memory."""

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from copamerge.suites import Asking, Sample, Suite, Task
from copamerge.suites.pictures import PictureError

CORPUS = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions. USER: What is the color of "
    "the bus? Answer the question using a single word or phrase. ASSISTANT: red blue green yellow "
    "How many dogs are there? two three four. Which letter? A B C D"
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for p in m['content'] %}"
    "{% if p['type'] == 'image' %}<image>{% else %}{{ p['text'] }}{% endif %}{% endfor %}"
    "{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAVA_HF = (
    "{% for m in messages %}{{ m['role'] | upper }}: {% for p in m['content'] %}"
    "{% if p['type'] == 'image' %}<image>\n{% else %}{{ p['text'] }} {% endif %}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
"""In the form of the converted LLaVA-1.5's: no system sentence, and no end after an answer."""


def llama_tokenizer(chat_template=None, *, more=()):
    """A tokenizer built as Llama's: a blank before every text, bytes for what is unknown."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    special = ["<unk>", "<s>", "</s>", "<image>", *more]
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special,
        initial_alphabet=[],
        show_progress=False,
        max_token_length=8,
    )
    words = ["▁" + word for word in CORPUS.split()]
    tokenizer.train_from_iterator([*words, *(f"<0x{i:02X}>" for i in range(256))] * 2, trainer)
    vocabulary = tokenizer.get_vocab()
    size = len(vocabulary)
    missing = [f"<0x{i:02X}>" for i in range(256) if f"<0x{i:02X}>" not in vocabulary]
    vocabulary = {**vocabulary, **{name: size + i for i, name in enumerate(missing)}}
    import json

    content = json.loads(tokenizer.to_str())
    content["model"]["vocab"] = vocabulary
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
        clean_up_tokenization_spaces=False,
        chat_template=chat_template,
    )


def llava_processor(tokenizer):
    """As the converted LLaVA-1.5's: the shorter side to 48 pixels, and only the middle seen."""
    from copamerge.suites.mini.draw import SIDE
    from copamerge.training.mini.model import build_processor

    processor = build_processor(tokenizer)
    processor.image_processor.size = {"shortest_edge": SIDE}
    processor.image_processor.crop_size = {"height": SIDE, "width": SIDE}
    processor.image_processor.do_center_crop = True
    return processor


def save_llava(folder, tokenizer):
    """A small LLaVA with room for long prompts, and its processor."""
    from transformers import LlavaForConditionalGeneration

    from copamerge.training.mini.model import Size, build_config

    size = Size(vision_width=16, vision_layers=1, width=16, layers=2, heads=2)
    config = build_config(tokenizer, size)
    config.text_config.max_position_embeddings = 2048
    return _save(
        LlavaForConditionalGeneration, config, folder, llava_processor(tokenizer), tokenizer
    )


def save_llama(folder, tokenizer):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=2048,
    )
    return _save(LlamaForCausalLM, config, folder, tokenizer, tokenizer)


def _save(model_class, config, folder, reader, tokenizer):
    import torch

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = model_class(config)
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            setattr(model.generation_config, name, getattr(tokenizer, name))
        model.save_pretrained(folder)
        reader.save_pretrained(folder)
    return Path(folder)


def picture(seed, height=30, width=60):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def broken():
    raise PictureError("image bus.jpg: not there; copy it from the data set")


COLORS = ("red", "blue", "green", "yellow")
QUESTION = "What is the color of the bus?\nAnswer the question using a single word or phrase."


def sample(i, **changes):
    given = {
        "id": f"s{i}",
        "images": (picture(i),),
        "question": QUESTION,
        "references": (COLORS[i % 4],),
        **changes,
    }
    return Sample(**given)


@dataclass
class Asked:
    """Samples of a task in memory; counts how often each is read."""

    samples: list
    times: dict = field(default_factory=dict)

    def __call__(self, index, split, seed):
        assert split == "train"
        self.times[index] = self.times.get(index, 0) + 1
        return self.samples[index]


def task(name, samples, *, template="vicuna_v1", frame="crop", seen=True):
    return Task(
        name,
        name,
        metric="exact_upper",
        seen=seen,
        sample=Asked(list(samples)),
        asking=Asking(template=template, frame=frame),
        size=lambda split: len(samples) if split == "train" else 0,
        digest=lambda split: f"digest of {name}",
    )


def suite(*tasks):
    return Suite("tiny", tuple(tasks))


def save_llava_next(folder, tokenizer):
    """A model whose pictures become unlike numbers of tokens: they are cut into tiles."""
    from transformers import (
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextImageProcessorPil,
        LlavaNextProcessor,
    )

    from copamerge.suites.mini.draw import PATCH, SIDE
    from copamerge.training.mini.model import Size, build_config

    small = build_config(tokenizer, Size(16, 1, 16, 2, 2))
    small.text_config.max_position_embeddings = 2048
    grid = [[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]]
    config = LlavaNextConfig(
        vision_config=small.vision_config,
        text_config=small.text_config,
        image_token_index=small.image_token_index,
        image_grid_pinpoints=grid,
        vision_feature_layer=-1,
        image_seq_length=(SIDE // PATCH) ** 2,
    )
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        image_grid_pinpoints=grid,
    )
    processor = LlavaNextProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=tokenizer.chat_template,
        image_token="<image>",
        num_additional_image_tokens=1,
    )
    return _save(LlavaNextForConditionalGeneration, config, folder, processor, tokenizer)
