"""From a sample to what a model reads: the prompt's text, and pictures in a square frame."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from copamerge.errors import SuiteError
from copamerge.suites import Asking, Frame, Sample
from copamerge.suites.pictures import pixels

VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
"""LLaVA-1.5's system sentence: llava/conversation.py, conv_vicuna_v1."""
IMAGE = "<image>"
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Of a processor that does not say its own: CLIP's, as LLaVA's."""


class TextProcessor:
    """A tokenizer in the form of a processor, for models without eyes.

    Without a chat template a prompt is what the user wrote.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def apply_chat_template(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> str:
        plain = [
            {"role": one["role"], "content": "".join(part["text"] for part in one["content"])}
            for one in messages
        ]
        if not self.tokenizer.chat_template:
            return "\n".join(one["content"] for one in plain)
        return str(self.tokenizer.apply_chat_template(plain, **options))

    def __call__(self, *, text: list[str], images: None, **options: Any) -> Any:
        assert images is None, "checked before anything is asked"
        return self.tokenizer(text, **options)

    def batch_decode(self, *given: Any, **options: Any) -> list[str]:
        texts: list[str] = self.tokenizer.batch_decode(*given, **options)
        return texts


def prompt(processor: Any, sample: Sample, asking: Asking) -> str:
    """The question as the model is to read it, up to where its answer begins."""
    if asking.template == "vicuna_v1":
        token = getattr(processor, "image_token", IMAGE)
        return vicuna_prompt(sample.question, len(sample.images), token)
    if asking.template == "none":
        token = getattr(processor, "image_token", IMAGE)
        return f"{token}\n" * len(sample.images) + sample.question
    pictures = [{"type": "image"}] * len(sample.images)
    content = [*pictures, {"type": "text", "text": sample.question}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    return str(text)


def vicuna_prompt(question: str, pictures: int, token: str = IMAGE) -> str:
    """LLaVA-1.5's prompt: the system sentence, the pictures, the question."""
    return f"{VICUNA_SYSTEM} USER: {f'{token}{chr(10)}' * pictures}{question} ASSISTANT:"


def read_by(processor: Any, samples: Sequence[Sample], asking: Asking) -> Any:
    """A left-padded batch; pictures in the order of the samples that have some.

    Raises:
        SuiteError: pictures for a model without eyes.
        PictureError: a picture that cannot be read.
    """
    prompts = [prompt(processor, sample, asking) for sample in samples]
    return texts_read_by(processor, prompts, samples, asking.frame)


def texts_read_by(
    processor: Any, texts: Sequence[str], samples: Sequence[Sample], frame: Frame
) -> Any:
    """A batch of these texts with the samples' pictures, padded on the tokenizer's side.

    Raises:
        SuiteError: pictures for a model without eyes.
        PictureError: a picture that cannot be read.
    """
    from PIL import Image

    found = [pixels(picture) for sample in samples for picture in sample.images]
    if found and isinstance(processor, TextProcessor):
        raise SuiteError(
            f"sample {next(x.id for x in samples if x.images)!r} has an image, but the model "
            "reads text only; give an image-text base"
        )
    more: dict[str, Any] = {}
    start = processor.tokenizer.bos_token
    # A template that writes the start token itself must not get a second one.
    if start and texts[0].startswith(start):
        more["add_special_tokens"] = False
    if frame == "pad":
        found = [padded(image, _mean_color(processor)) for image in found]
    elif frame == "crop" and found:
        if getattr(processor.image_processor, "do_pad", None):
            more["do_pad"] = False
        if not _crops(processor.image_processor):
            found = [cropped(image) for image in found]
    pictures = [Image.fromarray(image) for image in found]
    try:
        return processor(
            text=list(texts), images=pictures or None, padding=True, return_tensors="pt", **more
        )
    except (ValueError, TypeError, IndexError) as error:
        token = getattr(processor, "image_token", IMAGE)
        marked = next((sample for sample in samples if token in sample.question), None)
        if marked is not None:
            raise SuiteError(
                f"sample {marked.id!r}: its text holds {token!r}, by which this base knows where a "
                "picture is; take it out"
            ) from None
        many = next((sample for sample in samples if len(sample.images) > 1), None)
        if many is None:
            raise
        first = (str(error).strip() or repr(error)).splitlines()[0]
        raise SuiteError(
            f"sample {many.id!r} has {len(many.images)} images, which the processor of this base "
            f"does not take: {first}; give a base that reads several"
        ) from None


def padded(
    image: UInt8[np.ndarray, "height width 3"], color: tuple[int, ...]
) -> UInt8[np.ndarray, "side side 3"]:
    """The picture in the middle of a square of its longer side, as llava/mm_utils.py does it."""
    height, width, _ = image.shape
    side = max(height, width)
    square = np.empty((side, side, 3), dtype=np.uint8)
    square[:] = color
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = image
    return square


def cropped(
    image: UInt8[np.ndarray, "height width 3"],
) -> UInt8[np.ndarray, "side side 3"]:
    """The square in the middle of the picture."""
    height, width, _ = image.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def _crops(image_processor: Any) -> bool:
    """Whether it crops as CLIP's does: the shorter side brought to size, then the middle."""
    size = getattr(image_processor, "size", None)
    shorter = size["shortest_edge"] if size and "shortest_edge" in size else None
    return bool(getattr(image_processor, "do_center_crop", None) and shorter)


def _mean_color(processor: Any) -> tuple[int, ...]:
    found = getattr(getattr(processor, "image_processor", None), "image_mean", None) or CLIP_MEAN
    return tuple(int(x * 255) for x in found)
