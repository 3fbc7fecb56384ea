"""From a sample to what a model reads: the prompt's text, and what is seen of a picture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from copamerge.bench.models import Generator, load_base
from copamerge.bench.prompting import padded, prompt, vicuna_prompt
from copamerge.errors import SuiteError
from copamerge.suites import Asking, Sample
from copamerge.suites.pictures import PictureError, pixels

QUESTION = "What is it?\nAnswer with one word."
ONE = Sample("1", (np.zeros((4, 8, 3), np.uint8),), QUESTION, ("cat",))


def noise(height: int, width: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_vicuna_prompt_is_llava_s_letter_by_letter() -> None:
    assert vicuna_prompt(QUESTION, 1) == (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions. USER: <image>\n"
        "What is it?\nAnswer with one word. ASSISTANT:"
    )
    assert vicuna_prompt("Why?", 0).endswith("questions. USER: Why? ASSISTANT:")
    assert vicuna_prompt("Why?", 2).count("<image>\n") == 2


@pytest.fixture(scope="module")
def answerer(base: Path) -> Generator:
    return load_base(base)


def test_each_template_is_what_the_model_reads(answerer: Generator) -> None:
    assert prompt(answerer.processor, ONE, Asking(template="vicuna_v1")) == vicuna_prompt(
        QUESTION, 1
    )
    chat = prompt(answerer.processor, ONE, Asking())
    assert QUESTION in chat and "curious" not in chat and "<image>" in chat


def test_a_second_mark_of_a_picture_is_a_sentence_that_names_the_sample(
    answerer: Generator,
) -> None:
    other = Sample("2", ONE.images, "<image>\nWhat is it?", ("cat",))

    with pytest.raises(SuiteError, match=r"sample '2': its text holds '<image>'.*take it out"):
        answerer.answer([ONE, other], Asking(4), 2)


@pytest.mark.parametrize("sides", [(30, 50), (50, 30), (31, 50), (40, 40)])
def test_padding_is_that_of_the_hf_processor(sides: tuple[int, int]) -> None:
    """The oracle is transformers' own LlavaImageProcessor(do_pad=True), in its Pillow form."""
    from transformers import CLIPImageProcessorPil
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    image = noise(*sides)
    size: dict[str, Any] = {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}
    theirs = LlavaImageProcessorPil(do_pad=True, **size)
    plain = CLIPImageProcessorPil(**size)
    color = tuple(int(x * 255) for x in plain.image_mean)

    ours = plain(Image.fromarray(padded(image, color)), return_tensors="np")["pixel_values"]
    expected = theirs(Image.fromarray(image), return_tensors="np")["pixel_values"]

    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_a_frame_decides_what_is_seen_of_a_picture(answerer: Generator) -> None:
    image = noise(24, 96)
    left_gone = image.copy()
    left_gone[:, :20] = 0

    def seen(picture: np.ndarray[Any, Any], frame: Any) -> Any:
        sample = Sample("1", (picture,), "what is it", ())
        return answerer.inputs([sample], Asking(frame=frame))["pixel_values"]

    assert (seen(image, "crop") == seen(left_gone, "crop")).all()
    assert not (seen(image, "pad") == seen(left_gone, "pad")).all()
    square = noise(48, 48)
    assert (seen(square, "crop") == seen(square, "pad")).all()


# --- pictures on disk ----------------------------------------------------------------------------


def test_a_processor_that_crops_is_left_to_crop() -> None:
    """CLIP brings the shorter side to size first; cropping before that gives other bits."""
    from transformers import CLIPImageProcessorPil

    from copamerge.bench.prompting import _crops

    assert _crops(CLIPImageProcessorPil())
    assert not _crops(CLIPImageProcessorPil(do_center_crop=False))
    assert not _crops(CLIPImageProcessorPil(size={"height": 24, "width": 24}))


def test_a_picture_is_read_as_rgb(tmp_path: Path) -> None:
    image = noise(3, 5)
    for name, mode in (("a.png", "RGB"), ("b.png", "L"), ("c.png", "RGBA")):
        Image.fromarray(image).convert(mode).save(tmp_path / name)

    assert (pixels(tmp_path / "a.png") == image).all()
    assert pixels(tmp_path / "b.png").shape == (3, 5, 3)
    assert (pixels(tmp_path / "c.png") == image).all()
    assert pixels(image) is image
    assert pixels(lambda: image) is image


def damaged(path: Path) -> None:
    Image.fromarray(noise(40, 40)).save(path, format="png")
    path.write_bytes(path.read_bytes()[:400])


@pytest.mark.parametrize(
    ("make", "fact"),
    [
        (lambda path: None, "not there"),
        (lambda path: path.write_text("no picture"), "not a picture that Pillow can read"),
        (lambda path: path.mkdir(), "cannot be read"),
        (damaged, "cannot be read"),
    ],
)
def test_a_picture_that_does_not_open_is_named(
    tmp_path: Path, make: Callable[[Path], object], fact: str
) -> None:
    path = tmp_path / "a.png"
    make(path)

    with pytest.raises(PictureError, match=fact) as caught:
        pixels(path)

    assert str(path) in str(caught.value)


def test_a_picture_for_a_model_without_eyes_is_refused(answerer: Generator) -> None:
    from copamerge.bench.prompting import TextProcessor, read_by

    with pytest.raises(SuiteError, match="sample '1' has an image, but the model reads text only"):
        read_by(TextProcessor(answerer.processor.tokenizer), [ONE], Asking(template="vicuna_v1"))
