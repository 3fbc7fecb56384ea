"""What answers samples: a transformers model whose adapter can be changed, bit-exactly."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from copamerge.bench.loading import (
    FOLD_UP_TO,
    greedy,
    imported,
    loaded,
    with_threads,
    without_noise,
)
from copamerge.core.adapter import Adapter, Kind, LayerInfo
from copamerge.core.delta import LowRank, squared_norm
from copamerge.errors import AdapterError, SuiteError, first_few
from copamerge.io import open_adapter
from copamerge.suites import Sample

ONE_THREAD_UP_TO = 20_000_000
"""Parameters up to which one CPU thread answers. Its layers are too small to share: beside other
work a second thread makes it four times slower, and every process, an actor
with one core as well, adds up in the same order."""
NO_CHANGE = (
    "the adapter changes nothing in the base model (is lora_B zero?), so its answers are those of "
    "the base"
)


class LlavaAnswerer:
    """A base model in memory with its processor, answering greedily in left-padded batches.

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

    @contextmanager
    def use(self, adapter: Path | None) -> Iterator[Sequence[str]]:
        """Put an adapter on through PEFT; afterwards the base has the bits it had before.

        Raises:
            AdapterError: not an adapter, or not one of this base: names layer and shapes.
        """
        if adapter is None:
            yield ()
            return
        opened = open_adapter(str(adapter), allow_unmatched_targets=True)
        check_fit(opened, self.model, self.label)
        fold = self._parameters <= FOLD_UP_TO
        modules = dict(self.model.named_modules())
        kept = _kept(opened, modules, layers_too=fold)
        try:
            with without_noise():
                peft_model = imported("peft").PeftModel.from_pretrained(self.model, str(adapter))
                if fold:
                    peft_model.merge_and_unload()
                else:
                    peft_model.eval()
            same = _same(kept) if fold else _is_zero(opened) and _same(kept)
            yield (NO_CHANGE,) if same else ()
        finally:
            with without_noise():
                _restore(self.model, modules, kept)

    @torch.inference_mode()
    def answer(self, samples: Sequence[Sample], max_new_tokens: int, batch: int) -> list[str]:
        assert batch >= 1, batch
        texts: list[str] = []
        alone = self.model.device.type == "cpu" and self._parameters <= ONE_THREAD_UP_TO
        with without_noise(), with_threads(1 if alone else None):
            for start in range(0, len(samples), batch):
                texts += self._answer(samples[start : start + batch], max_new_tokens)
        return texts

    def _answer(self, samples: Sequence[Sample], max_new_tokens: int) -> list[str]:
        inputs = self.inputs(samples).to(self.model.device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        said = self.model.generate(
            **inputs, generation_config=self._generation, max_new_tokens=max_new_tokens
        )
        new = said[:, inputs["input_ids"].shape[1] :]
        decoded = self.processor.batch_decode(new, skip_special_tokens=True)
        return [text.strip() for text in decoded]

    def inputs(self, samples: Sequence[Sample]) -> Any:
        """A left-padded batch; pictures in the order of the samples that have one."""
        from PIL import Image

        prompts = [self.prompt(sample) for sample in samples]
        pictures = [Image.fromarray(x.image) for x in samples if x.image is not None]
        start = self.processor.tokenizer.bos_token
        # A template that writes the start token itself must not get a second one.
        more = {"add_special_tokens": False} if start and prompts[0].startswith(start) else {}
        return self.processor(
            text=prompts, images=pictures or None, padding=True, return_tensors="pt", **more
        )

    def prompt(self, sample: Sample) -> str:
        """The question in the base's chat template."""
        picture = [{"type": "image"}] if sample.image is not None else []
        content = [*picture, {"type": "text", "text": sample.question}]
        text = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        return str(text)


def load_base(folder: Path) -> LlavaAnswerer:
    """A base model in the LLaVA form, on the GPU where there is one, else in float32 on the CPU.

    Raises:
        SuiteError: transformers cannot load the folder.
        CopamergeError: transformers or peft is not installed.
    """
    model, processor = loaded(
        folder,
        "AutoModelForImageTextToText",
        "AutoProcessor",
        "an image-text model with its processor",
    )
    if not getattr(processor, "chat_template", None):
        raise SuiteError(f"{folder}: its processor has no chat template; add chat_template.jinja")
    return LlavaAnswerer(model, processor, str(folder))


# --- does it fit -------------------------------------------------------------------------------


def check_fit(adapter: Adapter, model: nn.Module, label: str) -> None:
    """Refuse an adapter whose layers are not the base's, before PEFT fails half-way.

    Raises:
        AdapterError: layers that the base lacks or has in another shape, and how many.
    """
    modules = dict(model.named_modules())
    unlike, unknown = [], []
    for name, info in sorted(adapter.layers.items()):
        module = modules.get(name)
        if module is None or not hasattr(module, "weight"):
            unknown.append(f"{adapter.label}: layer {name!r} is not in the base {label}")
        elif (there := _sides(module, info)) != (info.d_out, info.d_in):
            unlike.append(
                f"{adapter.label}: layer {name!r} is {info.d_out}x{info.d_in} in the adapter and "
                f"{there[0]}x{there[1]} in the base {label}"
            )
    if problems := [
        *first_few(unlike, adapter.label, "more layers of other shapes"),
        *first_few(unknown, adapter.label, "more layers that the base lacks"),
    ]:
        bad = len(unlike) + len(unknown)
        raise AdapterError(
            [
                *problems,
                f"{adapter.label}: {bad} of {len(adapter.layers)} layers do not fit; it was made "
                "for another base model: give that one by --base",
            ]
        )


def _sides(module: Any, info: LayerInfo) -> tuple[int, int]:
    """(d_out, d_in) of a base layer, in the way the adapter counts them."""
    rows, *columns = module.weight.shape
    size = int(torch.Size(columns).numel())
    if info.kind is Kind.EMBEDDING or type(module).__name__ == "Conv1D":
        return size, rows
    return rows, size


# --- on and off --------------------------------------------------------------------------------

Kept = dict[str, tuple[Tensor, Tensor]]
"""Name of a parameter -> (the parameter, a copy of its values)."""


def _kept(adapter: Adapter, modules: Mapping[str, nn.Module], *, layers_too: bool) -> Kept:
    """Copies of every parameter that putting the adapter on may change."""
    names = {saved.name for saved in adapter.saved.values()}
    owners = {name.rpartition(".")[0] for name in names} | (
        set(adapter.layers) if layers_too else set()
    )
    return {
        f"{owner}.{name}": (parameter, parameter.detach().clone())
        for owner in sorted(owners)
        if owner in modules
        for name, parameter in modules[owner].named_parameters(recurse=False)
    }


def _same(kept: Kept) -> bool:
    return all(torch.equal(parameter, copy) for parameter, copy in kept.values())


def _is_zero(adapter: Adapter) -> bool:
    for name in adapter.layers:
        module = adapter.module(name)
        if squared_norm(LowRank(module.A.double(), module.B.double())) * module.scaling:
            return False
    return True


def _restore(model: nn.Module, modules: Mapping[str, nn.Module], kept: Kept) -> None:
    """Put the base's own modules back in their places, and their values into them."""
    for name, module in sorted(modules.items()):
        above, _, last = name.rpartition(".")
        if name and getattr(modules[above], last, None) is not module:
            setattr(modules[above], last, module)
    with torch.no_grad():
        for parameter, copy in kept.values():
            parameter.copy_(copy)
    if hasattr(model, "peft_config"):
        del model.peft_config
