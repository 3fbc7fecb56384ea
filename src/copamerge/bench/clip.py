"""What chooses among labels: a CLIP model with its zero-shot head, whose adapter can be changed.

The head has one row for each class: the text features of the class in every template, each of
length 1, their mean, made of length 1 again. A picture's label is the class whose row has the
largest product with the picture's features. An adapter of the vision tower changes no head.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from copamerge.bench.loading import (
    CLIP,
    imported,
    kind_of,
    loaded,
    with_threads,
    without_noise,
)
from copamerge.bench.models import ONE_THREAD_UP_TO
from copamerge.bench.prompting import padded
from copamerge.bench.units import base_digest, canonical, sha256
from copamerge.bench.wearing import worn
from copamerge.errors import SuiteError, first_few
from copamerge.io import open_adapter
from copamerge.suites import Asking, Classes, Sample
from copamerge.suites.pictures import pixels

BEST = 5
"""Labels that an answer lists."""
TEXTS_AT_ONCE = 64
KEPT_FROM = 256
"""Texts of a head from which on it is kept on disk: shorter ones are made in no time."""
CACHE = "COPAMERGE_CACHE"
"""The environment variable with the folder where heads are kept; ~/.cache/copamerge without."""
FORMULA = 1
"""Heads on disk that were made in another way have another number."""
TOWER = ("vision_model.", "visual_projection.")
"""What an adapter may change without changing a head."""


class ClipAnswerer:
    """A CLIP model in memory, naming the labels that fit a picture, best first.

    An `Answerer` of `copamerge.bench.executors`.
    """

    def __init__(self, model: Any, processor: Any, label: str, digest: str | None = None) -> None:
        """`digest` of the base: heads are kept on disk under it; None: only in memory."""
        self.model, self.processor, self.label = model, processor, label
        self._digest = digest
        self._heads: dict[Classes, Float[Tensor, "classes width"]] = {}
        self._text_changed = False
        self._parameters = sum(parameter.numel() for parameter in model.parameters())

    @property
    def versions(self) -> Mapping[str, str]:
        names = ("copamerge", "torch", "transformers", "peft", "pillow")
        return {
            **{name: version(name) for name in names},
            "device": self.model.device.type,
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }

    @contextmanager
    def use(self, adapter: Path | None) -> Iterator[Sequence[str]]:
        """Put an adapter on; afterwards the base has the bits it had before.

        Gives a warning where the adapter changes more than how pictures are seen: the heads are
        then made with it, for as long as it is on.

        Raises:
            AdapterError: not an adapter, or not one of this base: names layer and shapes.
        """
        with worn(self.model, self.label, adapter) as warned:
            others = [] if adapter is None else _beside_the_tower(adapter)
            if not others:
                yield warned
                return
            kept, self._heads, self._text_changed = self._heads, {}, True
            try:
                yield (
                    *warned,
                    f"the adapter changes {len(others)} layers outside the vision tower (first: "
                    f"{others[0]!r}), so the labels' embeddings are made with it",
                )
            finally:
                self._heads, self._text_changed = kept, False

    @torch.inference_mode()
    def answer(self, samples: Sequence[Sample], asking: Asking, batch: int) -> list[str]:
        """The best five labels of each sample's picture, one per line; equal ones in the order of
        the classes.

        Raises:
            SuiteError: a task without labels, a sample without one picture.
        """
        assert batch >= 1, batch
        classes = _classes(samples, asking)
        with with_threads(1 if self._is_small else None):
            head = self.head(classes)
            texts: list[str] = []
            for start in range(0, len(samples), batch):
                some = samples[start : start + batch]
                found = [pixels(sample.images[0]) for sample in some]
                if asking.frame == "pad":
                    color = tuple(int(x * 255) for x in self.processor.image_processor.image_mean)
                    found = [padded(image, color) for image in found]
                scores = self.features(found) @ head.T
                order = scores.sort(dim=-1, descending=True, stable=True).indices
                for row in order[:, :BEST].tolist():
                    texts.append("\n".join(classes.names[i] for i in row))
        return texts

    @torch.inference_mode()
    def features(self, images: Sequence[Any]) -> Float[Tensor, "pictures width"]:
        """Of pictures, each of length 1."""
        return image_features(self.model, read_pictures(self.processor, images))

    @torch.inference_mode()
    def head(self, classes: Classes) -> Float[Tensor, "classes width"]:
        """The zero-shot head of these classes.

        Raises:
            SuiteError: texts that are longer than the model reads.
        """
        if classes not in self._heads:
            self._heads[classes] = self._kept(classes)
        return self._heads[classes]

    def _kept(self, classes: Classes) -> Float[Tensor, "classes width"]:
        """From disk where it lies there, else made and put there."""
        many = len(classes.names) * len(classes.templates) >= KEPT_FROM
        if self._digest is None or self._text_changed or not many:
            return zero_shot_head(self.model, self.processor.tokenizer, classes, self.label)
        file = head_file(self._digest, classes, self.versions)
        try:
            return load_file(file)["head"].to(self.model.device)
        except (OSError, SafetensorError, KeyError):
            head = zero_shot_head(self.model, self.processor.tokenizer, classes, self.label)
            _keep(file, head)
            return head

    @property
    def _is_small(self) -> bool:
        return bool(self.model.device.type == "cpu" and self._parameters <= ONE_THREAD_UP_TO)


def load_clip(folder: Path) -> ClipAnswerer:
    """A CLIP model with its processor; pictures are read by Pillow whatever else is installed.

    On the GPU where there is one, else in float32 on the CPU.

    Raises:
        SuiteError: transformers cannot load the folder, or it is no CLIP model.
        CopamergeError: transformers or peft is not installed.
    """
    model, processor = open_clip(folder)
    return ClipAnswerer(model, processor, str(folder), base_digest(folder))


def check_clip(folder: Path) -> None:
    """Refuse, by its config alone, a base that does not choose labels.

    Raises:
        SuiteError: it is no model folder, or no CLIP model's.
    """
    kind = kind_of(folder)
    if kind != CLIP:
        raise SuiteError(
            f"{folder}: labels are chosen by a CLIP model, and this is of type {kind!r}; give "
            "the folder of one, such as openai/clip-vit-base-patch32, by --base"
        )


def open_clip(folder: Path) -> tuple[Any, Any]:
    """As `load_clip`: the model and its processor.

    Raises:
        SuiteError: transformers cannot load the folder, or it is no CLIP model.
        CopamergeError: transformers or peft is not installed.
    """
    imported("transformers")
    check_clip(folder)
    model, processor = loaded(folder, "CLIPModel", "CLIPProcessor", "a CLIP model")
    if getattr(processor, "image_processor", None) is None:
        raise SuiteError(
            f"{folder}: transformers cannot load this as a CLIP model: it has no "
            "preprocessor_config.json; copy the folder again"
        )
    # torchvision, where it is installed, resizes pictures in another way than Pillow does.
    with without_noise():
        pil = imported("transformers").CLIPImageProcessorPil
        processor.image_processor = pil.from_pretrained(folder)
    return model, processor


# --- features ----------------------------------------------------------------------------------


def read_pictures(processor: Any, images: Sequence[Any]) -> Float[Tensor, "pictures 3 side side"]:
    """Pixels as the model reads them: resized, cropped to a square and normalised by Pillow."""
    from PIL import Image

    found = [Image.fromarray(image) for image in images]
    with without_noise():
        read: Tensor = processor.image_processor(images=found, return_tensors="pt")["pixel_values"]
    return read


def image_features(
    model: Any, read: Float[Tensor, "pictures 3 side side"]
) -> Float[Tensor, "pictures width"]:
    """Of pictures as the model reads them, each of length 1 and in float32."""
    seen = model.vision_model(pixel_values=read.to(model.device, model.dtype)).pooler_output
    return unit(model.visual_projection(seen))


def text_features(
    model: Any, words: Int[Tensor, "texts length"], mask: Int[Tensor, "texts length"]
) -> Float[Tensor, "texts width"]:
    """Of texts as the model reads them, each of length 1 and in float32."""
    read = model.text_model(
        input_ids=words.to(model.device), attention_mask=mask.to(model.device)
    ).pooler_output
    return unit(model.text_projection(read))


def zero_shot_head(
    model: Any, tokenizer: Any, classes: Classes, label: str
) -> Float[Tensor, "classes width"]:
    """One row of length 1 for each class: the mean over its templates' text features.

    Raises:
        SuiteError: texts that are longer than the model reads.
    """
    texts = [
        template.replace("{}", name) for name in classes.names for template in classes.templates
    ]
    length = int(model.config.text_config.max_position_embeddings)
    read = tokenizer(texts)["input_ids"]
    long = [
        f"{label}: {text!r} is {len(words)} tokens and the model reads {length}; shorten it"
        for text, words in zip(texts, read, strict=True)
        if len(words) > length
    ]
    if long:
        raise SuiteError(first_few(long, label, "more texts that are too long"))
    rows = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        # To one length, so that what stands beside a text does not change it.
        some = tokenizer(
            texts[start : start + TEXTS_AT_ONCE],
            padding="max_length",
            max_length=length,
            return_tensors="pt",
        )
        rows.append(text_features(model, some["input_ids"], some["attention_mask"]))
    each = torch.cat(rows).view(len(classes.names), len(classes.templates), -1)
    return unit(each.mean(dim=1))


def unit(rows: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
    """Each row made of length 1, in float32."""
    return nn.functional.normalize(rows.float(), dim=-1, eps=0)


def _classes(samples: Sequence[Sample], asking: Asking) -> Classes:
    if asking.classes is None:
        raise SuiteError(
            "a task without labels was put to a CLIP model, which only chooses among them; list "
            "the names of its classes"
        )
    if bad := [sample.id for sample in samples if len(sample.images) != 1]:
        raise SuiteError(
            first_few(
                [f"sample {id!r}: one picture is needed to choose a label" for id in bad],
                "the task",
                "more samples without one picture",
            )
        )
    return asking.classes


def _beside_the_tower(adapter: Path) -> list[str]:
    """Layers and whole tensors of an adapter that are not of the vision tower."""
    opened = open_adapter(str(adapter), allow_unmatched_targets=True)
    names = [*opened.layers, *(saved.name for saved in opened.saved.values())]
    return sorted({name for name in names if not name.startswith(TOWER)})


# --- heads on disk -----------------------------------------------------------------------------


def head_file(digest: str, classes: Classes, versions: Mapping[str, str]) -> Path:
    """Where the head of a base and classes is kept: named by all that decides it."""
    root = os.environ.get(CACHE) or Path.home() / ".cache" / "copamerge"
    decides = {
        "base": digest,
        "classes": asdict(classes),
        "formula": FORMULA,
        "versions": {name: versions[name] for name in ("torch", "transformers", "device", "dtype")},
    }
    return Path(root) / "heads" / f"{sha256(canonical(decides).encode())[:32]}.safetensors"


def _keep(file: Path, head: Tensor) -> None:
    """Put a head on disk; where that cannot be done it is made anew the next time."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{file.stem}.", dir=file.parent)
        os.close(handle)
        try:
            save_file({"head": head.contiguous().cpu()}, temporary)
            Path(temporary).replace(file)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError:
        return
