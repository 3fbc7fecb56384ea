"""A small CLIP from nothing: pictures of image sets beside captions made of class names.

It learns as CLIP does, to tell which caption of a batch belongs to which picture, but that
pictures of one class share their right captions: with a few dozen classes a batch would otherwise
count most right captions as wrong.
"""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    PreTrainedTokenizerFast,
)

from copamerge.bench.clip import image_features, text_features
from copamerge.bench.loading import without_noise
from copamerge.errors import SuiteError
from copamerge.suites import Suite, Task
from copamerge.training.clip.folders import SKIPPED, Tell, trained
from copamerge.training.clip.rows import Drawn, collate
from copamerge.training.clip.words import LENGTH, build_tokenizer
from copamerge.training.places import Trained
from copamerge.training.run import Schedule, train

MEAN, SPREAD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
"""Pixels in 0..1 are centred and scaled by these."""


class PretrainRecipe(BaseModel):
    """How big a small CLIP is, and how it is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    side: int = Field(default=32, gt=0)
    """Pixels of the square that a picture becomes."""
    patch: int = Field(default=4, gt=0)
    """Pixels of a patch."""
    width: int = Field(default=96, gt=0)
    """Of the vision tower; the text tower has two thirds of it."""
    layers: int = Field(default=4, gt=0)
    """Blocks of the vision tower; the text tower has two."""
    heads: int = Field(default=4, gt=0)
    """Attention heads of either tower."""
    together: int = Field(default=64, gt=0)
    """Width of the space that pictures and texts share."""
    steps: int = Field(default=1500, gt=0)
    """Optimizer steps."""
    batch: int = Field(default=128, gt=0)
    """Pictures a step."""
    rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate; cosine to zero after the warm-up."""
    items: int | None = Field(default=None, gt=0)
    """Train pictures of each task; None: all."""
    seed: int = Field(default=0, ge=0)
    """Of the first weights, the pictures and their captions."""


class Pairs(nn.Module):
    """A CLIP that learns from pictures and their captions."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        pixel_values: Float[Tensor, "batch 3 side side"],
        words: Int[Tensor, "batch length"],
        mask: Int[Tensor, "batch length"],
        kind: Int[Tensor, " batch"],
    ) -> dict[str, Tensor]:
        """The contrastive loss, right captions shared among pictures of one kind."""
        seen = image_features(self.model, pixel_values)
        read = text_features(self.model, words, mask)
        logits = self.model.logit_scale.exp().clamp(max=100) * seen @ read.T
        return {"loss": contrastive(logits, kind)}


def contrastive(
    logits: Float[Tensor, "batch batch"], kind: Int[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """The mean cross entropy over rows and over columns; what is right is spread evenly over all
    of one kind."""
    same = (kind[:, None] == kind[None, :]).to(logits.dtype)
    right = same / same.sum(dim=1, keepdim=True)
    rows = -(right * logits.log_softmax(dim=1)).sum(dim=1).mean()
    columns = -(right * logits.T.log_softmax(dim=1)).sum(dim=1).mean()
    return (rows + columns) / 2


class Captioned:
    """Collates rows of pictures with a caption each: a template of the task, drawn by seed."""

    def __init__(self, tasks: Sequence[Task], tokenizer: Any, seed: int) -> None:
        self.classes = [task.asking.classes for task in tasks]
        self.tokenizer, self.seed = tokenizer, seed
        sizes = [len(classes.names) for classes in self.classes if classes is not None]
        self._starts = [sum(sizes[:i]) for i in range(len(sizes))]

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        pictures = collate(rows)
        texts = []
        for row in rows:
            classes = self.classes[row["task"]]
            assert classes is not None
            template = Random(f"caption/{self.seed}/{row['row']}").choice(classes.templates)
            texts.append(template.replace("{}", classes.names[row["label"]]))
        read = self.tokenizer(texts, padding=True, return_tensors="pt")
        return {
            "pixel_values": pictures["pixel_values"],
            "words": read["input_ids"],
            "mask": read["attention_mask"],
            "kind": torch.tensor([self._starts[row["task"]] + row["label"] for row in rows]),
        }


def pretrain(
    suite: Suite,
    out: Path,
    recipe: PretrainRecipe | None = None,
    tell: Tell = lambda *_: None,
    *,
    tasks: Sequence[str] | None = None,
    save_every: int = 500,
) -> Trained:
    """A small CLIP in the folder `out`, trained on the train splits of a suite's tasks.

    A killed training goes on from its last checkpoint.

    Raises:
        SuiteError: unknown tasks, tasks without labels or train pictures.
        OutputError: something else is at `out`.
    """
    recipe = recipe or PretrainRecipe()
    picked = suite.pick(tasks)
    problems: list[str] = []
    for task in picked:
        try:
            task.count("train", recipe.items)
            if task.asking.classes is None:
                problems.append(f"task {task.name!r}: has no labels to make captions of")
        except SuiteError as error:
            problems += error.problems
    if problems:
        raise SuiteError(problems)
    made_by = {
        "what": "clip-base",
        "suite": suite.name,
        "tasks": [task.name for task in picked],
        "data_digests": {task.name: task.digest("train") for task in picked if task.digest},
        "recipe": recipe.model_dump(mode="json"),
    }

    def run(work: Path, place: Path) -> dict[str, Any]:
        return _pretrain(picked, recipe, work, place, save_every, lambda *a: tell(out.name, *a))

    return trained(out, made_by, run)


def _pretrain(
    tasks: Sequence[Task],
    recipe: PretrainRecipe,
    work: Path,
    place: Path,
    save_every: int,
    tell: Any,
) -> dict[str, Any]:
    tokenizer = build_tokenizer(
        [classes for task in tasks if (classes := task.asking.classes) is not None]
    )
    processor = build_processor(tokenizer, recipe.side)
    model = build_model(tokenizer, recipe)
    schedule = Schedule(steps=recipe.steps, batch=recipe.batch, rate=recipe.rate, decay=0.05)
    rows = Drawn(
        tasks,
        processor,
        schedule.steps * schedule.batch,
        items=recipe.items,
        seed=recipe.seed,
        log=work.parent / SKIPPED,
    )
    with without_noise():
        loss = train(
            Pairs(model),
            rows,
            Captioned(tasks, tokenizer, recipe.seed),
            schedule,
            work=work,
            seed=recipe.seed,
            tell=tell,
            save_every=save_every,
        )
        save_clip(model, processor, place)
    return {
        "loss": loss,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "counts": rows.counts,
        "skipped": rows.skipped,
    }


def build_model(tokenizer: PreTrainedTokenizerFast, recipe: PretrainRecipe) -> CLIPModel:
    """An untrained model."""
    vision = {
        "hidden_size": recipe.width,
        "intermediate_size": 4 * recipe.width,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.heads,
        "image_size": recipe.side,
        "patch_size": recipe.patch,
        "projection_dim": recipe.together,
    }
    narrow = recipe.heads * max(4, 2 * recipe.width // (3 * recipe.heads))
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": narrow,
        "intermediate_size": 4 * narrow,
        "num_hidden_layers": 2,
        "num_attention_heads": recipe.heads,
        "max_position_embeddings": LENGTH,
        "projection_dim": recipe.together,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(recipe.seed)
    return CLIPModel(
        CLIPConfig(vision_config=vision, text_config=text, projection_dim=recipe.together)
    )


def build_processor(tokenizer: PreTrainedTokenizerFast, side: int) -> CLIPProcessor:
    """Pictures and words to inputs, in the form every CLIP of the Hub has."""
    images = CLIPImageProcessorPil(
        do_resize=True,
        size={"shortest_edge": side},
        do_center_crop=True,
        crop_size={"height": side, "width": side},
        image_mean=list(MEAN),
        image_std=list(SPREAD),
    )
    return CLIPProcessor(image_processor=images, tokenizer=tokenizer)  # type: ignore[no-untyped-call]


def save_clip(model: Any, processor: Any, folder: Path) -> None:
    """As transformers saves them."""
    with without_noise():
        model.save_pretrained(folder)
        processor.image_processor.save_pretrained(folder)
        processor.save_pretrained(folder)
