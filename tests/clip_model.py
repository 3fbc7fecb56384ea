"""A CLIP of a few thousand numbers, adapters for it, and two small sets to ask it of."""

import warnings
from pathlib import Path

import torch

from copamerge.suites import Classes
from pictures_on_disk import NAMES, as_folder, as_npz, pictures

CLASSES = Classes(("dark", "grey", "light", "red", "blue", "green", "black"), ("a {}.", "the {}"))
OTHERS = Classes(("grey", "dark"), ("so {}", "a {}."))
FILE = """
suite: images
name: shades
templates: ["a {}.", "the {}"]
tasks:
  - {name: one, path: one.npz, names: [dark, grey, light]}
  - {name: two, path: two}
  - {name: three, path: three.npz, names: [dark, grey, light], seen: false}
"""


def make_clip(folder: Path, *, width: int = 16, seed: int = 0, classes=(CLASSES, OTHERS)) -> Path:
    """Untrained, its weights so large that it says different things of different pictures."""
    from copamerge.training.clip.pretrain import (
        PretrainRecipe,
        build_model,
        build_processor,
        save_clip,
    )
    from copamerge.training.clip.words import build_tokenizer

    recipe = PretrainRecipe(side=8, patch=4, width=width, layers=2, heads=2, together=16, seed=seed)
    tokenizer = build_tokenizer(classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = build_model(tokenizer, recipe)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(8)
        folder.mkdir(parents=True)
        save_clip(model, build_processor(tokenizer, recipe.side), folder)
    return folder


def add_adapter(
    base: Path,
    folder: Path,
    *,
    size: float = 1.0,
    seed: int = 0,
    targets: str = r"vision_model\..*\.(q|v)_proj",
) -> Path:
    import peft
    from transformers import CLIPModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=targets)
        model = peft.get_peft_model(CLIPModel.from_pretrained(base), config)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
        model.save_pretrained(folder)
    return folder


def task(folder: Path):
    """A task of 60 train and 12 test pictures."""
    from copamerge.suites.images import Where, task_of

    path = as_npz(folder / "one.npz", *pictures())
    return task_of("one", "One", Where(path), NAMES, ("a {}.",))


def two_sets(folder: Path, *, file: str = "shades.yaml", third: bool = False) -> Path:
    """A suite file of two seen sets, or with a third, unseen one."""
    as_npz(folder / "one.npz", *pictures(0))
    as_folder(folder / "two", *pictures(1))
    as_npz(folder / "three.npz", *pictures(2))
    text = FILE if third else "".join(line for line in FILE.splitlines(True) if "three" not in line)
    (folder / file).write_text(text)
    return folder / file
