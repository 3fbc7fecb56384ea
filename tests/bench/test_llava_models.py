"""What LLaVA's own folders become on a real LLaVA class: the same model, to the logits."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from copamerge.bench.units import adapter_digest
from copamerge.bench.wearing import worn
from copamerge.merging import merge_to_folder, plan
from copamerge.recipe import recipe_from
from llava_folder import old_name, own_name, write_own

Forms = dict[str, Path]


def loaded(base: Path) -> Any:
    from transformers import AutoModelForImageTextToText

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return AutoModelForImageTextToText.from_pretrained(base).eval()


def logits(model: Any) -> Tensor:
    """Of one picture and a few words."""
    vision = model.config.vision_config
    picture = torch.rand(
        1, 3, vision.image_size, vision.image_size, generator=torch.Generator().manual_seed(0)
    )
    image = model.config.image_token_id
    patches = (vision.image_size // vision.patch_size) ** 2
    ids = torch.tensor([[20, *[image] * patches, 21, 22, 23]])
    with torch.no_grad():
        found: Tensor = model(input_ids=ids, pixel_values=picture).logits
    return found


def with_peft(base: Path, adapter: Path) -> Tensor:
    import peft

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return logits(peft.PeftModel.from_pretrained(loaded(base), str(adapter)).eval())


def merged(out: Path, *adapters: Path, **more: Any) -> Path:
    recipe = recipe_from({"method": "mean", "adapters": [str(a) for a in adapters], **more})
    merge_to_folder(plan(recipe), out, device=torch.device("cpu"))
    return out


@pytest.fixture(scope="module")
def forms(
    base: Path, adapter: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Forms:
    """One adapter as PEFT wrote it, and in the other two ways of naming."""
    folder = tmp_path_factory.mktemp("forms")
    new = adapter(folder / "new", modules_to_save=["multi_modal_projector"])
    tensors = load_file(new / "adapter_model.safetensors")
    rng = torch.Generator().manual_seed(5)
    for name in tensors:
        if "projector" in name:
            tensors[name] += torch.randn(tensors[name].shape, generator=rng)
    save_file(tensors, new / "adapter_model.safetensors", metadata={"format": "pt"})
    old = folder / "old"
    shutil.copytree(new, old)
    renamed = {old_name(name): x for name, x in tensors.items()}
    save_file(renamed, old / "adapter_model.safetensors", metadata={"format": "pt"})
    config = json.loads((old / "adapter_config.json").read_text())
    config["target_modules"] = ["q_proj", "v_proj", "down_proj"]
    (old / "adapter_config.json").write_text(json.dumps(config))
    own = write_own(
        folder / "own", tensors, r=2, alpha=4, targets=["q_proj", "v_proj", "down_proj"]
    )
    return {"new": new, "old": old, "own": own}


@pytest.mark.parametrize("form", ["own", "old", "new"])
def test_merged_alone_it_is_the_same_model(
    base: Path, forms: Forms, form: str, tmp_path: Path
) -> None:
    source = with_peft(base, forms["new"])
    assert not torch.allclose(source, logits(loaded(base)), atol=1e-2), "the adapter does nothing"
    out = merged(tmp_path / "out", forms[form])
    torch.testing.assert_close(with_peft(base, out), source, rtol=0, atol=1e-5)


def test_to_llavas_layout_and_back_it_is_the_same_model(
    base: Path, forms: Forms, tmp_path: Path
) -> None:
    there = merged(tmp_path / "llava-lora", forms["new"], layout="llava")
    back = merged(tmp_path / "back", there)
    torch.testing.assert_close(
        with_peft(base, back), with_peft(base, forms["new"]), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("form", ["own", "old", "new"])
def test_every_form_is_worn_and_taken_off(
    base: Path, forms: Forms, form: str, tmp_path: Path
) -> None:
    model = loaded(base)
    before = logits(model)
    with worn(model, "base", forms[form]):
        torch.testing.assert_close(logits(model), with_peft(base, forms["new"]), rtol=0, atol=1e-4)
    assert torch.equal(logits(model), before)


def test_another_projector_is_another_adapter(forms: Forms, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(forms["own"], copy)
    assert adapter_digest(copy) == adapter_digest(forms["own"])
    extra = torch.load(copy / "non_lora_trainables.bin", weights_only=True)
    torch.save({name: x + 1 for name, x in extra.items()}, copy / "non_lora_trainables.bin")
    assert adapter_digest(copy) != adapter_digest(forms["own"])


def test_a_trained_embedding_beside_the_projector_loads(
    base: Path, forms: Forms, tmp_path: Path
) -> None:
    """`modules_to_save` spells paths out: PEFT matches them by how a module's name ends."""
    model = loaded(base)
    # LLaVA-1.5 does not tie its head to its embedding, as the small base does.
    head = model.lm_head.weight.detach().clone()
    model.config.tie_word_embeddings = model.config.text_config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(head)
    model.save_pretrained(tmp_path / "untied")

    own = tmp_path / "own"
    shutil.copytree(forms["own"], own)
    extra = torch.load(own / "non_lora_trainables.bin", weights_only=True)
    places = {"model.norm.weight": 3, "model.embed_tokens.weight": 2, "lm_head.weight": 0.5}
    with torch.no_grad():
        for name, factor in places.items():
            place = name.replace("model.", "model.language_model.")
            parameter = model.get_parameter(place).mul_(factor)
            extra[f"base_model.model.{name}"] = parameter.detach().clone()
    torch.save(extra, own / "non_lora_trainables.bin")
    model.save_pretrained(tmp_path / "changed")

    out = merged(tmp_path / "out", own)
    found = with_peft(tmp_path / "untied", out)
    assert not torch.allclose(found, with_peft(tmp_path / "untied", forms["new"]), atol=1e-2)
    torch.testing.assert_close(
        found, with_peft(tmp_path / "changed", forms["new"]), rtol=0, atol=1e-5
    )


def test_peft_loads_llavas_layout_on_llavas_class(base: Path, forms: Forms, tmp_path: Path) -> None:
    """LLaVA's own class is a LlamaForCausalLM with a projector, and is what PEFT wraps there."""
    import peft
    from transformers import LlamaForCausalLM

    out = merged(tmp_path / "llava-lora", forms["own"], layout="llava")
    llama = LlamaForCausalLM(loaded(base).config.text_config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = peft.PeftModel.from_pretrained(llama, str(out))
    there = {
        name.replace(".default.", "."): x for name, x in model.named_parameters() if "lora_" in name
    }
    stored = torch.load(out / "adapter_model.bin", weights_only=True)
    source = load_file(forms["new"] / "adapter_model.safetensors")
    assert stored.keys() == there.keys() == {own_name(n) for n in source if "lora_" in n}
    assert all(torch.equal(there[name], x) for name, x in stored.items())
