"""Adapters made by other people, merged and judged by PEFT."""

import re
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from judge import (
    PREFIX,
    assert_close,
    assert_holds,
    attached,
    deltas,
    lora_layers,
    skeleton,
    stored,
)
from peft import LoraConfig, PeftModel
from torch.nn.functional import conv1d

import copamerge
from copamerge.methods import method_names

pytestmark = [
    pytest.mark.interop,
    # PEFT 0.21 reads an attribute that transformers 5.23 deprecates.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),
    # One flag for a whole adapter: PEFT corrects it where the layer is of the other kind.
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to"),
]

RTOL = 1e-5


@dataclass(frozen=True)
class Group:
    """Adapters of one base, and what the recipe must say to merge them."""

    names: tuple[str, ...]
    weights: tuple[float, ...]
    base: str | None = None
    recipe: dict[str, Any] = field(default_factory=dict)


GROUPS = {
    "gpt2 domains": Group(
        ("gpt2-domains/legal", "gpt2-domains/medical", "gpt2-domains/sports"),
        (0.5, 1.0, -0.25),
        "gpt2",
    ),
    "dialogpt, ranks 8 and 16": Group(("dialogpt/r8", "dialogpt/r16"), (1.0, 0.3), "gpt2"),
    "gpt2, a classifier and a language model": Group(
        ("gpt2-classifiers/deepbiolab", "gpt2-classifiers/mycguo"),
        (0.7, 0.6),
        "gpt2, 2",
        {"modules_to_save": "mean"},
    ),
    "roberta, bias all and another number of labels": Group(
        ("roberta/agnews-bias-all", "roberta/portuguese-500", "roberta/portuguese-8610"),
        (1.0, 0.4, 0.4),
        "roberta, 4",
        {"modules_to_save": "first", "bias": "first"},
    ),
    "roberta, heads averaged": Group(
        ("roberta/portuguese-500", "roberta/portuguese-8610"),
        (0.5, 0.5),
        "roberta, 5",
        {"modules_to_save": "mean"},
    ),
    "roberta, heads dropped": Group(
        ("roberta/portuguese-500", "roberta/portuguese-8610"),
        (0.5, -0.5),
        "roberta, 5",
        {"modules_to_save": "drop"},
    ),
    "distilbert, safetensors and .bin": Group(
        ("distilbert/dag-r4", "distilbert/light-r8-bin"),
        (1.0, 0.5),
        "distilbert, 2",
        {"modules_to_save": "mean"},
    ),
    "a UNet": Group(("diffusion/skin-peft",), (0.8,)),
    "bloom, one linear for three": Group(("odd/bloom-mergedlinear",), (0.8,)),
    "gemma, bfloat16 and a doubled prefix": Group(("odd/gemma-bf16-doubled-prefix",), (0.8,)),
}
ALONE = {
    "gpt2-domains/legal": "gpt2",
    "dialogpt/r16": "gpt2",
    "gpt2-classifiers/mycguo": "gpt2",
    "gpt2-classifiers/deepbiolab": "gpt2, 2",
    "roberta/agnews-bias-all": "roberta, 4",
    "roberta/portuguese-500": "roberta, 5",
    "distilbert/dag-r4": "distilbert, 2",
    "distilbert/light-r8-bin": "distilbert, 2",
}
TOKENS = torch.arange(2, 12)[None]


def layer_of(tensor):
    """The layer a stored tensor belongs to, without any prefix; None if it is not a factor A."""
    match = re.fullmatch(rf"(?:{re.escape(PREFIX)})*(.+)\.lora_A\.weight", tensor)
    return match and match[1]


def layers_of(folder):
    return {layer for tensor in stored(folder) if (layer := layer_of(tensor))}


def shapes_of(folder):
    """(d_out, d_in) of every layer, by the name stored, without PEFT's one prefix."""
    tensors = stored(folder)
    return {
        name.removesuffix(".lora_A.weight").removeprefix(PREFIX): (
            tensors[name.replace("lora_A", "lora_B")].shape[0],
            A.shape[1],
        )
        for name, A in tensors.items()
        if name.endswith(".lora_A.weight")
    }


def assert_adds_up(report, folders, out):
    """Counted in the files: every tensor and layer of the inputs and of the output is accounted."""
    for part, folder in zip(report.inputs, folders, strict=True):
        used = part.tensors_merged + part.tensors_silent + part.tensors_saved
        assert used + len(part.dropped) + len(part.ignored) == part.tensors == len(stored(folder))
        assert set(part.dropped) | set(part.ignored) <= stored(folder).keys()
        assert part.layers == len(layers_of(folder))
    every = set().union(*map(layers_of, folders))
    merged = {x.layer for x in report.layers}
    assert merged | set(report.layers_silent) == every
    assert not merged & set(report.layers_silent)
    written = stored(out)
    assert {layer for name in written if (layer := layer_of(name))} == merged
    assert len(written) == report.tensors == 2 * len(merged) + len(report.saved)
    assert all(bool(x.isfinite().all()) for x in written.values())


def merged_to(out, folders, method, weights, **recipe):
    merged = copamerge.merge(folders, method=method, weights=weights, **recipe)
    merged.save_pretrained(out)
    return merged.report


@torch.no_grad()
def logits(model):
    return model(input_ids=TOKENS).logits


@pytest.mark.parametrize("method", ["task_arithmetic", "copa"])
@pytest.mark.parametrize("name", GROUPS)
def test_every_tensor_is_accounted_for_and_peft_uses_all_we_write(
    name, method, real, base, tmp_path
):
    group = GROUPS[name]
    folders, out = real(*group.names), tmp_path / "out"

    report = merged_to(out, folders, method, group.weights, **group.recipe)

    assert_adds_up(report, folders, out)
    if group.base is None:
        assert_holds(peft_model(out), out)
        return
    bare = base(group.base)
    before = logits(bare)
    with attached(bare, out) as model:
        assert_holds(model, out)
        after = logits(model)
    assert bool(after.isfinite().all()) and not torch.allclose(before, after, rtol=1e-3)


@pytest.mark.parametrize("name", ALONE)
def test_one_adapter_at_weight_1_answers_as_itself(name, real, base, tmp_path):
    (folder,), out = real(name), tmp_path / "out"

    merged_to(out, [folder], "task_arithmetic", [1.0])

    bare = base(ALONE[name])
    with attached(bare, folder) as model:
        want = logits(model)
    with attached(bare, out) as model:
        assert_holds(model, out)
        got = logits(model)
    assert_close(got, want, RTOL)


def peft_model(folder):
    """An adapter on a tree of nothing but its own layers."""
    return PeftModel.from_pretrained(skeleton(shapes_of(folder)), folder)


def beside(shapes, folders):
    """One PEFT model with an adapter for each folder, factors only: PEFT allows one with biases."""
    configs = [LoraConfig.from_pretrained(folder) for folder in folders]
    for config in configs:
        config.bias, config.modules_to_save, config.task_type = "none", None, None
    model = PeftModel(skeleton(shapes), configs[0], adapter_name="0")
    for i, (folder, config) in enumerate(zip(folders, configs, strict=True)):
        if i:
            model.add_adapter(str(i), config)
        model.load_adapter(folder, str(i))
    return model


PEFT_READS = [name for name in GROUPS if not name.startswith(("bloom", "gemma"))]


@pytest.mark.parametrize("name", PEFT_READS)
def test_task_arithmetic_is_the_weighted_sum_of_what_peft_reads(name, real, tmp_path):
    group = GROUPS[name]
    folders, out = real(*group.names), tmp_path / "out"

    merged_to(out, folders, "task_arithmetic", group.weights, **group.recipe)

    model = beside(shapes_of(out), [*folders, out])
    with torch.no_grad():
        for layer, module in lora_layers(model):
            want = sum(
                weight * module.get_delta_weight(str(i))
                for i, weight in enumerate(group.weights)
                if str(i) in module.lora_A
            )
            assert_close(module.get_delta_weight(str(len(folders))), want, RTOL, layer)


def test_a_doubled_prefix_and_bfloat16_are_read_as_they_are_meant(real, tmp_path):
    folders, out = real("odd/gemma-bf16-doubled-prefix"), tmp_path / "out"

    report = merged_to(out, folders, "task_arithmetic", [-0.3], dtype="float32")

    # PEFT reads the input on a tree that has the second prefix in its names.
    read = dict(lora_layers(peft_model(folders[0])))
    written = dict(lora_layers(peft_model(out)))
    assert read.keys() == {PREFIX + layer for layer in written} and len(written) == 72
    with torch.no_grad():
        for layer, module in written.items():
            want = -0.3 * read[PREFIX + layer].get_delta_weight("default")
            assert_close(module.get_delta_weight("default"), want, RTOL, layer)
    assert report.inputs[0].dtypes == ("bfloat16",)


def test_one_bfloat16_adapter_comes_back_exactly(real, tmp_path):
    folders, out = real("odd/gemma-bf16-doubled-prefix"), tmp_path / "out"

    report = merged_to(out, folders, "task_arithmetic", [1.0])

    # alpha / r is 4: multiplying by it rounds nothing.
    read, written = stored(folders[0]), stored(out)
    for name, tensor in read.items():
        scale = 4 if ".lora_B." in name else 1
        assert torch.equal(written[name.removeprefix(PREFIX)], scale * tensor)
    assert report.rounding_worst == 0.0


def test_merged_linear_is_what_peft_0_2_computed(real, tmp_path):
    """Its forward: A, a grouped 1x1 convolution, zeros where LoRA is off, times alpha / r."""
    folders, out = real("odd/bloom-mergedlinear"), tmp_path / "out"
    enable_lora, scaling = [True, False, True], 16 / 8

    merged_to(out, folders, "task_arithmetic", [-0.5])

    read = stored(folders[0])
    written = deltas(peft_model(out))
    assert len(written) == 24
    x = torch.randn(1024, 7, generator=torch.Generator().manual_seed(0))
    for layer, delta in written.items():
        A, B = (read[f"{PREFIX}{layer}.lora_{part}.weight"] for part in "AB")
        thirds = iter(conv1d(A @ x, B, groups=sum(enable_lora)).chunk(sum(enable_lora)))
        want = torch.cat([next(thirds) if on else torch.zeros(1024, 7) for on in enable_lora])
        assert_close(delta @ x, -0.5 * scaling * want, RTOL, layer)


FACTOR_WISE = ("factor_linear", "factor_sum")
"""Methods that pair rank indices, so they refuse unlike ranks."""


@pytest.mark.parametrize(
    "name", ["gpt2 domains", "dialogpt, ranks 8 and 16", "roberta, heads averaged"]
)
@pytest.mark.parametrize("method", list(method_names()))
def test_every_method_merges_real_adapters(method, name, real, base, tmp_path):
    group = GROUPS[name]
    folders, out = real(*group.names), tmp_path / "out"
    two = sorted(layers_of(folders[0]))[:2]
    # Weight 0 elsewhere: the dense methods need an SVD for every layer.
    weight = [{"filter": layer, "value": 0.5} for layer in two]
    weight += [{"filter": "classifier", "value": 0.5}, {"value": 0}]
    weights = [weight] * len(folders)

    if method in FACTOR_WISE and "ranks" in name:
        with pytest.raises(copamerge.CopamergeError, match="needs equal ranks"):
            merged_to(out, folders, method, weights, **group.recipe)
        assert not out.exists()
        return
    report = merged_to(out, folders, method, weights, **group.recipe)

    assert_adds_up(report, folders, out)
    assert [x.layer for x in report.layers] == two
    assert all(x.norm > 0 for x in report.layers)
    with attached(base(group.base), out) as model:
        assert_holds(model, out)
        assert bool(logits(model).isfinite().all())


@pytest.mark.parametrize(
    "names, method, recipe, sentence",
    [
        (["diffusion/cat-diffusers"], "copa", {}, "in diffusers' layout"),
        (["diffusion/disney-cloneofsimo"], "copa", {}, "in cloneofsimo's layout"),
        (["odd/truncated-bin"], "copa", {}, r"adapter_model\.bin: truncated"),
        (["dialogpt/r8", "dialogpt/r16"], "factor_linear", {}, r"factor_linear .*ranks"),
        (["gpt2-domains/legal", "dialogpt/r8"], "copa", {}, "base model is .*DialoGPT-small"),
        (
            ["roberta/agnews-bias-all", "roberta/portuguese-500"],
            "copa",
            {"modules_to_save": "mean", "bias": "mean"},
            r"'classifier.out_proj.weight' has no mean: it is \(4, 768\) .*\(5, 768\)",
        ),
        (["roberta/portuguese-500", "roberta/portuguese-8610"], "copa", {}, "--modules-to-save"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_merged_is_refused_by_name(names, method, recipe, sentence, real):
    folders = real(*names)

    with pytest.raises(copamerge.CopamergeError, match=sentence):
        copamerge.merge(folders, method=method, **recipe)
