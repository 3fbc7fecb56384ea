"""A model of a few thousand numbers in the form of a real LLaVA, and adapters for it."""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from echo import MINI, Echo, plain_adapter

from copamerge.bench.zoo import write_manifest

TARGETS = r".*language_model.*\.(q_proj|v_proj|down_proj)"


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """An untrained small LLaVA, smaller still, as transformers saves it."""
    pytest.importorskip("transformers")
    pytest.importorskip("peft")
    from copamerge.training.mini import words
    from copamerge.training.mini.model import Size, build_model, build_processor

    tokenizer = words.build_tokenizer()
    size = Size(vision_width=16, vision_layers=1, width=32, layers=2, heads=2)
    folder = tmp_path_factory.mktemp("model") / "base"
    model = build_model(tokenizer, size, seed=0)
    model.requires_grad_(False)
    # Untrained models say the same to everyone; larger weights make them say something else.
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "vision" not in name:
            parameter.mul_(6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
        build_processor(tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def adapter(base: Path) -> Callable[..., Path]:
    """Makes a PEFT adapter of the base at a path."""
    import peft
    from transformers import AutoModelForImageTextToText

    def make(path: Path, seed: int = 1, *, size: float = 0.3, **config: object) -> Path:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = AutoModelForImageTextToText.from_pretrained(base)
            lora = {"r": 2, "lora_alpha": 4, "target_modules": TARGETS, **config}
            peft_model = peft.get_peft_model(model, peft.LoraConfig(**lora))
            rng = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for name, parameter in peft_model.named_parameters():
                    if "lora_" in name:
                        parameter.copy_(size * torch.randn(parameter.shape, generator=rng))
            peft_model.save_pretrained(path)
        return path

    return make


@pytest.fixture(scope="session")
def adapters(
    adapter: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {name: adapter(folder / name, seed) for seed, name in enumerate("ab", start=1)}


@pytest.fixture(scope="session")
def zoo(base: Path, adapter: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo with two of the seen tasks: everything a real one has, untrained."""
    import shutil

    folder = tmp_path_factory.mktemp("zoo") / "zoo"
    shutil.copytree(base, folder / "base")
    for seed, task in enumerate(("vqa", "classes"), start=1):
        adapter(folder / "shared" / task, seed)
        adapter(folder / "own" / task, seed + 10)
    adapter(folder / "mtl", 9)
    write_manifest(folder, script="tests", criteria={"none": True})
    return folder


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def plain_zoo(tmp_path: Path) -> Path:
    """A zoo whose base is a stub: enough for everything but answering."""
    folder = tmp_path / "zoo"
    (folder / "base").mkdir(parents=True)
    (folder / "base" / "config.json").write_text(json.dumps({"model_type": "none"}))
    for i, task in enumerate(MINI.seen):
        plain_adapter(folder / "shared" / task.name, i)
        plain_adapter(folder / "own" / task.name, 100 + i)
    plain_adapter(folder / "mtl", 99)
    write_manifest(folder)
    return folder
