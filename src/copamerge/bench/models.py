"""What answers samples: a transformers model whose adapter can be changed, bit-exactly."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from copamerge.bench.loading import (
    check_model_folder,
    greedy,
    imported,
    loaded,
    with_threads,
    without_noise,
)
from copamerge.bench.prompting import TextProcessor, read_by
from copamerge.bench.wearing import worn
from copamerge.errors import SuiteError
from copamerge.suites import Asking, Sample

ONE_THREAD_UP_TO = 20_000_000
"""Parameters up to which one CPU thread answers. Its layers are too small to share: beside other
work a second thread makes it four times slower, and every process, an actor
with one core as well, adds up in the same order."""


class Generator:
    """A base model in memory with its processor, writing answers greedily in left-padded batches.

    An `Answerer` of `copamerge.bench.executors`.
    """

    def __init__(self, model: Any, processor: Any, label: str) -> None:
        self.model, self.processor, self.label = model, processor, label
        processor.tokenizer.padding_side = "left"
        self._generation = greedy(model, processor)
        self._parameters = sum(parameter.numel() for parameter in model.parameters())

    @property
    def versions(self) -> Mapping[str, str]:
        names = ("copamerge", "torch", "transformers", "peft")
        return {
            **{name: version(name) for name in names},
            "device": self.model.device.type,
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }

    def use(self, adapter: Path | None) -> AbstractContextManager[Sequence[str]]:
        """Put an adapter on; afterwards the base has the bits it had before.

        Raises:
            AdapterError: not an adapter, or not one of this base: names layer and shapes.
        """
        return worn(self.model, self.label, adapter)

    @torch.inference_mode()
    def answer(self, samples: Sequence[Sample], asking: Asking, batch: int) -> list[str]:
        assert batch >= 1, batch
        texts: list[str] = []
        alone = self.model.device.type == "cpu" and self._parameters <= ONE_THREAD_UP_TO
        with without_noise(), with_threads(1 if alone else None):
            for start in range(0, len(samples), batch):
                texts += self._answer(samples[start : start + batch], asking)
        return texts

    def _answer(self, samples: Sequence[Sample], asking: Asking) -> list[str]:
        inputs = self.inputs(samples, asking).to(self.model.device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        said = self.model.generate(
            **inputs, generation_config=self._generation, max_new_tokens=asking.max_new_tokens
        )
        new = said[:, inputs["input_ids"].shape[1] :]
        decoded = self.processor.batch_decode(new, skip_special_tokens=True)
        return [text.strip() for text in decoded]

    def inputs(self, samples: Sequence[Sample], asking: Asking) -> Any:
        """A left-padded batch; pictures in the order of the samples that have some."""
        return read_by(self.processor, samples, asking)


def sees(folder: Path) -> bool:
    """Whether the base in this folder reads pictures.

    Raises:
        SuiteError: transformers cannot read its config.
        CopamergeError: transformers is not installed.
    """
    transformers = imported("transformers")
    check_model_folder(folder)
    try:
        with without_noise():
            config = transformers.AutoConfig.from_pretrained(folder)
    except Exception as error:  # whatever a damaged file makes transformers raise
        first = (str(error).strip() or repr(error)).splitlines()[0]
        raise SuiteError(f"{folder}: transformers cannot load this: {first}") from None
    return type(config) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING


def load_base(folder: Path) -> Generator:
    """A base in the LLaVA form, any other image-text model, or else a causal language model.

    On the GPU where there is one, else in float32 on the CPU.

    Raises:
        SuiteError: transformers cannot load the folder.
        CopamergeError: transformers or peft is not installed.
    """
    if sees(folder):
        model, processor = loaded(
            folder,
            "AutoModelForImageTextToText",
            "AutoProcessor",
            "an image-text model with its processor",
        )
        if not getattr(processor, "chat_template", None):
            raise SuiteError(
                f"{folder}: its processor has no chat template; add chat_template.jinja"
            )
        return Generator(model, processor, str(folder))
    model, tokenizer = loaded(
        folder,
        "AutoModelForCausalLM",
        "AutoTokenizer",
        "a causal language model with its tokenizer",
    )
    if tokenizer.eos_token_id is None:
        raise SuiteError(f"{folder}: its tokenizer has no end token; add one to its config")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return Generator(model, TextProcessor(tokenizer), str(folder))
