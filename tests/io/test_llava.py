"""LLaVA's own folders and both ages of transformers: one adapter under every name it can have."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from torch import Tensor

from copamerge.core.adapter import Adapter
from copamerge.errors import AdapterError, CopamergeError
from copamerge.inspection import inspect_adapters
from copamerge.io import open_adapter
from copamerge.io.llava import base_in_layout, in_layout, named_by
from copamerge.merging import merge, merge_to_folder, plan
from copamerge.merging.bases import same_base
from copamerge.merging.card.rewrite import rewrite_card
from copamerge.merging.folder import name_advice
from copamerge.recipe import recipe_from
from llava_folder import CONFIG, TARGETS, made, old_name, own_name, write_own

PROJECTOR = "model.multi_modal_projector"
PARTS = [f"{PROJECTOR}.linear_{i}.{leaf}" for i in (1, 2) for leaf in ("bias", "weight")]
Q0 = "model.language_model.layers.0.self_attn.q_proj"


def own(folder: Path, tensors: dict[str, Tensor] | None = None, **more: Any) -> Path:
    tensors = made(1) if tensors is None else tensors
    return write_own(folder, tensors, **{"r": 2, "alpha": 4, "targets": TARGETS, **more})


def peft(folder: Path, tensors: dict[str, Tensor], **config: Any) -> Path:
    """The same in PEFT's layout, under the names that the tensors have."""
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    content = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": TARGETS}
    content |= {"modules_to_save": ["multi_modal_projector"]}
    content |= {"base_model_name_or_path": "llava-hf/llava-1.5-7b-hf", **config}
    (folder / "adapter_config.json").write_text(json.dumps(content))
    return folder


def old(folder: Path, tensors: dict[str, Tensor], **config: Any) -> Path:
    return peft(folder, {old_name(name): x for name, x in tensors.items()}, **config)


def assert_same(one: Adapter, other: Adapter) -> None:
    assert list(one.layers) == list(other.layers)
    for name, info in one.layers.items():
        mine, its = one.module(name), other.module(name)
        assert (info.rank, info.scaling) == (other.layers[name].rank, other.layers[name].scaling)
        assert torch.equal(mine.A, its.A) and torch.equal(mine.B, its.B)
    assert list(one.saved) == list(other.saved)
    for name in one.saved:
        assert torch.equal(values(one, name), values(other, name))


def values(adapter: Adapter, name: str) -> Tensor:
    return adapter.tensor(adapter.saved[name].tensor)


def merged(out: Path, *adapters: Path, method: str = "mean", **more: Any) -> Path:
    recipe = recipe_from({"method": method, "adapters": [str(a) for a in adapters], **more})
    merge_to_folder(plan(recipe), out, device=torch.device("cpu"))
    return out


def stored(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".bin":
            found |= torch.load(path, weights_only=True)
        elif path.suffix == ".safetensors":
            found |= load_file(path)
    return found


# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"extra": "mm_projector.bin"},
        {"extra_prefix": "module."},
        {"config": False},
        {"config": False, "base_model_name_or_path": "lmsys/vicuna-7b-v1.5"},
        {"targets": r"model\.layers\.\d+\.(self_attn\.q_proj|mlp\.down_proj)"},
        {
            "targets": [
                f"model.layers.{i}.{x}"
                for i in (0, 1)
                for x in ("self_attn.q_proj", "mlp.down_proj")
            ]
        },
    ],
)
def test_llavas_own_files_are_the_same_adapter(tmp_path: Path, form: dict[str, Any]) -> None:
    tensors = made(1)
    mine = open_adapter(str(own(tmp_path / "own", tensors, **form)))
    assert_same(mine, open_adapter(str(peft(tmp_path / "peft", tensors))))
    assert mine.format == "llava"
    assert mine.config["modules_to_save"] == ["multi_modal_projector"]
    assert list(mine.saved) == PARTS
    assert mine.n_tensors == 12
    assert any("projector" in note or "with" in note for note in mine.notes)


def test_patterns_match_the_names_of_the_training(tmp_path: Path) -> None:
    folder = own(tmp_path / "own", alpha_pattern={"model.layers.0.self_attn.q_proj": 16})
    adapter = open_adapter(str(folder))
    assert adapter.layers[Q0].scaling == 8
    assert adapter.layers[Q0.replace(".0.", ".1.")].scaling == 2


def test_names_of_transformers_4_51_are_the_same_adapter(tmp_path: Path) -> None:
    tensors = made(1)
    new = open_adapter(str(peft(tmp_path / "new", tensors)))
    before = open_adapter(str(old(tmp_path / "old", tensors)))
    assert_same(new, before)
    assert new.notes == () and "4.51" in before.notes[0]
    # The projector's name alone says so as well, whatever the base is called.
    assert_same(new, open_adapter(str(old(tmp_path / "x", tensors, base_model_name_or_path="x"))))


def test_other_models_keep_their_names(tmp_path: Path) -> None:
    tensors = made(1, projector=False)
    remote = old(
        tmp_path / "remote", tensors, base_model_name_or_path="some/vlm", modules_to_save=None
    )
    assert next(iter(open_adapter(str(remote)).layers)).startswith("language_model.model.layers")
    text = own(
        tmp_path / "text", tensors, config=False, extra=None, base_model_name_or_path="some/llama"
    )
    adapter = open_adapter(str(text))
    assert (adapter.format, adapter.notes) == ("peft", ())
    assert next(iter(adapter.layers)).startswith("model.layers")


def test_a_llava_on_another_language_model_keeps_its_names(tmp_path: Path) -> None:
    tensors = {
        f"base_model.model.transformer.blocks.0.ffn.up_proj.lora_{x}.weight": torch.ones(shape)
        for x, shape in (("A", (2, 3)), ("B", (4, 2)))
    }
    folder = peft(
        tmp_path / "mpt",
        tensors,
        base_model_name_or_path="llava-mpt",
        target_modules=["up_proj"],
        modules_to_save=None,
    )
    assert list(open_adapter(str(folder)).layers) == ["transformer.blocks.0.ffn.up_proj"]


def test_without_its_projector_it_is_read_and_said(tmp_path: Path) -> None:
    adapter = open_adapter(str(own(tmp_path / "own", extra=None)))
    assert adapter.saved == {} and adapter.config["modules_to_save"] is None
    assert "no projector (non_lora_trainables.bin) beside it" in adapter.notes[0]


def test_embeddings_and_norms_are_full_tensors(tmp_path: Path) -> None:
    folder = own(tmp_path / "own")
    extra = torch.load(folder / "non_lora_trainables.bin", weights_only=True)
    stem = "base_model.model."
    extra |= {
        f"{stem}model.embed_tokens.weight": torch.ones(9, 6),
        f"{stem}lm_head.weight": torch.ones(9, 6),
    }
    torch.save(extra, folder / "non_lora_trainables.bin")
    adapter = open_adapter(str(folder))
    assert set(adapter.saved) - set(PARTS) == {
        "lm_head.weight",
        "model.language_model.embed_tokens.weight",
    }
    assert adapter.config["modules_to_save"] == [
        "multi_modal_projector",
        "model.language_model.embed_tokens",
        "lm_head",
    ]


def test_equal_copies_of_the_projector_count_once(tmp_path: Path) -> None:
    folder = own(tmp_path / "own")
    extra = torch.load(folder / "non_lora_trainables.bin", weights_only=True)
    torch.save(extra, folder / "mm_projector.bin")
    adapter = open_adapter(str(folder))
    assert len(adapter.ignored) == 4 and list(adapter.saved) == PARTS and adapter.n_tensors == 16
    merged(tmp_path / "out", folder)  # the report accounts for every tensor


def test_a_weights_file_alone_leaves_the_projector(tmp_path: Path) -> None:
    folder = own(tmp_path / "own")
    adapter = open_adapter(str(folder / "adapter_model.bin"))
    assert Q0 in adapter.layers and not adapter.saved
    assert any("non_lora_trainables.bin beside it is not read" in note for note in adapter.notes)


def test_a_weights_file_alone_can_leave_out_what_it_holds(tmp_path: Path) -> None:
    file = own(tmp_path / "own", extra=None) / "adapter_model.bin"
    tower = "base_model.model.model.vision_tower.vision_tower.vision_model.post_layernorm.weight"
    torch.save({**torch.load(file, weights_only=True), tower: torch.ones(2)}, file)
    with pytest.raises(AdapterError, match=r"vision tower.*--modules-to-save drop"):
        open_adapter(str(file))
    assert list(open_adapter(str(file), drop_saved=True).ignored) == [tower]


def test_inspect_shows_the_format_and_the_projector(tmp_path: Path) -> None:
    found = inspect_adapters([str(own(tmp_path / "own"))])
    summary = found.adapters[0]
    assert found.fit, found.problems
    assert summary.format == "llava .bin"
    assert list(summary.saved) == PARTS
    assert any("LLaVA's own layout" in note for note in summary.notes)


# --- broken --------------------------------------------------------------------------------------


def with_extra(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Any]]) -> Path:
    path = own(folder) / "non_lora_trainables.bin"
    torch.save(change(torch.load(path, weights_only=True)), path)
    return folder


def renamed(before: str, after: str) -> Callable[[dict[str, Tensor]], dict[str, Any]]:
    return lambda extra: {name.replace(before, after): x for name, x in extra.items()}


P = "base_model.model.model.mm_projector"
BROKEN: dict[str, tuple[Callable[[dict[str, Tensor]], dict[str, Any]], str]] = {
    "linear": (
        lambda x: {f"{P}.weight": x[f"{P}.0.weight"], f"{P}.bias": x[f"{P}.0.bias"]},
        "mlp2x_gelu",
    ),
    "deeper": (renamed(".2.", ".4."), "mlp2x_gelu"),
    "half": (lambda x: {k: v for k, v in x.items() if ".0." in k}, "lacks .*linear_2.weight"),
    "unlike": (lambda x: {**x, f"{P}.0.bias": torch.ones(3)}, "do not follow each other"),
    "other base": (
        lambda x: {k: torch.ones([5 if n == 6 else n for n in v.shape]) for k, v in x.items()},
        "vectors of 5 numbers, and layer .* takes 6",
    ),
    "gathered not": (lambda x: {k: torch.empty(0) for k in x}, "ZeRO-3"),
    "nothing": (
        lambda x: {"what.is.this": torch.ones(2), **x},
        "'what.is.this': no tensor of a LLaVA",
    ),
    "vision tower": (
        lambda x: {
            "model.vision_tower.vision_tower.vision_model.post_layernorm.weight": torch.ones(2),
            **x,
        },
        "vision tower",
    ),
    "factors": (
        lambda x: {"model.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(2, 6), **x},
        "LoRA factor",
    ),
    "list": (lambda x: {"a": [1]}, "not a tensor"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_full_tensors_that_cannot_be_merged_are_refused_by_name(tmp_path: Path, case: str) -> None:
    change, told = BROKEN[case]
    folder = with_extra(tmp_path / "own", change)
    with pytest.raises(AdapterError, match=told) as caught:
        open_adapter(str(folder))
    assert str(folder) in caught.value.problems[0]
    # The LoRA is sound, and can be had without them.
    assert len(open_adapter(str(folder), drop_saved=True).layers) == 4
    merge([folder], "mean", modules_to_save="drop")


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, Any]:
            return (Path.touch, (tmp_path / "owned",))

    folder = own(tmp_path / "own")
    (folder / "non_lora_trainables.bin").write_bytes(pickle.dumps({"x": Evil()}, protocol=2))
    with pytest.raises(AdapterError, match=r"non_lora_trainables.bin: .*would run code"):
        open_adapter(str(folder))
    assert "left out" in open_adapter(str(folder), drop_saved=True).notes[0]
    assert not (tmp_path / "owned").exists()


def test_both_truncated_files_are_named_at_once(tmp_path: Path) -> None:
    folder = own(tmp_path / "own")
    for name in ("adapter_model.bin", "non_lora_trainables.bin"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AdapterError) as caught:
        open_adapter(str(folder))
    assert [("adapter_model" in x, "truncated" in x) for x in caught.value.problems] == [
        (True, True),
        (False, True),
    ]


def test_one_file_with_two_ways_of_naming_is_refused(tmp_path: Path) -> None:
    tensors = made(1)
    mixed = {(own_name(k) if ".layers.0." in k else k): v for k, v in tensors.items()}
    folder = peft(tmp_path / "mixed", mixed)
    with pytest.raises(
        AdapterError, match=r"mixes ways of naming .*\(transformers 5\).*\(LLaVA's own code\)"
    ):
        open_adapter(str(folder))


def test_layers_of_another_model_among_a_llavas(tmp_path: Path) -> None:
    folder = own(tmp_path / "own")
    factors = torch.load(folder / "adapter_model.bin", weights_only=True)
    for part, shape in (("A", (2, 3)), ("B", (4, 2))):
        factors[f"base_model.model.encoder.q_proj.lora_{part}.weight"] = torch.ones(shape)
    torch.save(factors, folder / "adapter_model.bin")
    with pytest.raises(AdapterError, match=r"'encoder.q_proj' is no layer of a LLaVA"):
        open_adapter(str(folder))


def test_two_files_that_disagree_on_the_projector(tmp_path: Path) -> None:
    folder = own(tmp_path / "own")
    other = {own_name(k): v for k, v in made(2).items() if "projector" in k}
    torch.save(other, folder / "mm_projector.bin")
    with pytest.raises(AdapterError, match="one tensor of the model and differ"):
        open_adapter(str(folder))


def test_a_projector_alone_is_no_adapter(tmp_path: Path) -> None:
    folder = own(tmp_path / "own", extra="mm_projector.bin")
    (folder / "adapter_model.bin").unlink()
    (folder / "adapter_config.json").unlink()
    with pytest.raises(AdapterError, match="no LoRA to merge"):
        open_adapter(str(folder))


def test_adapters_of_different_sizes_do_not_merge(tmp_path: Path) -> None:
    a, b = own(tmp_path / "a"), own(tmp_path / "b", made(2, width=7))
    with pytest.raises(CopamergeError, match="are they of one base model"):
        merge([a, b], "mean", modules_to_save="mean")


# --- merging -------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["mean", "first", "drop"])
def test_policies_for_the_projector(tmp_path: Path, policy: str) -> None:
    a, b = made(1), made(2)
    out = merged(
        tmp_path / "out", own(tmp_path / "a", a), peft(tmp_path / "b", b), modules_to_save=policy
    )
    found, config = stored(out), json.loads((out / "adapter_config.json").read_text())
    report = json.loads((out / "merge.json").read_text())
    full = {name: x for name, x in found.items() if "projector" in name}
    if policy == "drop":
        assert not full and config["modules_to_save"] is None and not report["saved"]
        assert [len(part["dropped"]) for part in report["inputs"]] == [4, 4]
        return
    assert config["modules_to_save"] == ["multi_modal_projector"]
    for name, x in full.items():
        mean = (a[name].double() + b[name].double()) / 2
        wanted = mean.float() if policy == "mean" else a[name]
        torch.testing.assert_close(x, wanted, rtol=1e-6, atol=1e-6)
        (said,) = [s for s in report["saved"] if f"base_model.model.{s['tensor']}" == name]
        apart = max((v[name].double() - wanted).norm() for v in (a, b)) / wanted.double().norm()
        assert said["policy"] == policy and said["spread"] == pytest.approx(float(apart), rel=1e-5)


def test_all_three_names_of_one_model_merge(tmp_path: Path) -> None:
    a, b, c = made(1), made(2), made(3)
    folders = [own(tmp_path / "a", a), peft(tmp_path / "b", b), old(tmp_path / "c", c)]
    report = merge(folders, "mean", modules_to_save="mean", missing="error").report
    assert [part.layers_merged for part in report.inputs] == [4, 4, 4]
    assert report.base_model == "llava-hf/llava-1.5-7b-hf"
    assert len(report.saved) == 4 and all(s.adapters == (0, 1, 2) for s in report.saved)


def test_no_policy_is_an_error_that_names_the_projector(tmp_path: Path) -> None:
    folders = [own(tmp_path / "a"), own(tmp_path / "b", made(2))]
    with pytest.raises(CopamergeError, match=r"multi_modal_projector.*--modules-to-save mean"):
        merge(folders, "mean")


def test_an_adapter_without_a_projector_is_said(tmp_path: Path) -> None:
    folders = [own(tmp_path / "a"), own(tmp_path / "b", made(2), extra=None)]
    report = merge(folders, "mean", modules_to_save="mean").report
    assert any("are in some adapters only" in warning for warning in report.warnings)
    assert any("no projector" in warning for warning in report.warnings)
    assert [s.spread for s in report.saved] == [None] * 4


# --- writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_back_in_llavas_layout_to_the_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {name: x.to(dtype) for name, x in made(1).items()}
    source = own(tmp_path / "own", tensors, alpha=2)
    out = merged(tmp_path / "out-llava-lora", source, layout="llava")
    assert {path.name for path in out.iterdir()} == {
        "adapter_config.json", "adapter_model.bin", "non_lora_trainables.bin", "config.json",
        "merge.json", "README.md",
    }  # fmt: skip
    for file in ("adapter_model.bin", "non_lora_trainables.bin"):
        before = torch.load(source / file, weights_only=True)
        after = torch.load(out / file, weights_only=True)
        assert before.keys() == after.keys()
        assert all(x.dtype == dtype and torch.equal(x, after[k]) for k, x in before.items())
    assert json.loads((out / "config.json").read_text()) == CONFIG
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "liuhaotian/llava-v1.5-7b"
    assert "model.layers.0.self_attn.q_proj" in config["target_modules"]
    assert config["modules_to_save"] is None and (config["r"], config["lora_alpha"]) == (2, 2)
    assert_same(open_adapter(str(source)), open_adapter(str(out)))
    merged_again(out, source)


def merged_again(out: Path, source: Path) -> None:
    """An earlier merge in this layout may be replaced."""
    recipe = recipe_from({"method": "mean", "adapters": [str(source)], "layout": "llava"})
    merge_to_folder(plan(recipe), out, device=torch.device("cpu"), overwrite=True)


def test_a_scaling_of_two_moves_into_B_exactly(tmp_path: Path) -> None:
    tensors = made(1)
    out = merged(tmp_path / "out", own(tmp_path / "own", tensors, alpha=4), layout="llava")
    after = torch.load(out / "adapter_model.bin", weights_only=True)
    for name, x in tensors.items():
        if ".lora_" in name:
            assert torch.equal(after[own_name(name)], x if ".lora_A." in name else 2 * x)


def test_names_of_transformers_4_51_are_written(tmp_path: Path) -> None:
    tensors = made(1)
    out = merged(
        tmp_path / "out", peft(tmp_path / "new", tensors, lora_alpha=2), layout="peft-4.51"
    )
    found = stored(out)
    assert found.keys() == {old_name(name) for name in tensors}
    assert all(torch.equal(found[old_name(name)], x) for name, x in tensors.items())
    config = json.loads((out / "adapter_config.json").read_text())
    assert "language_model.model.layers.0.self_attn.q_proj" in config["target_modules"]
    assert config["modules_to_save"] == ["multi_modal_projector"]


def test_names_of_4_51_without_anything_that_says_llava_read_back(tmp_path: Path) -> None:
    tensors = made(1, projector=False)
    folder = peft(tmp_path / "new", tensors, base_model_name_or_path=None, modules_to_save=None)
    out = merged(tmp_path / "out", folder, layout="peft-4.51")
    assert stored(out).keys() == {old_name(name) for name in tensors}


def test_an_empty_file_stands_for_no_projector(tmp_path: Path) -> None:
    # LLaVA's loader asks for the file, and the Hub where there is none.
    out = merged(tmp_path / "out", own(tmp_path / "own", extra=None), layout="llava")
    assert torch.load(out / "non_lora_trainables.bin", weights_only=True) == {}
    assert Q0 in open_adapter(str(out)).layers


def test_a_layout_without_a_config_is_said(tmp_path: Path) -> None:
    recipe = recipe_from(
        {"method": "mean", "adapters": [str(peft(tmp_path / "a", made(1)))], "layout": "llava"}
    )
    job = plan(recipe)
    assert any("no adapter has a config.json" in warning for warning in job.warnings)
    assert any("liuhaotian/llava-v1.5-7b" in warning for warning in job.warnings)
    assert name_advice(job, Path("out"))[0].endswith("this one lacks llava and lora")
    assert name_advice(job, Path("x/LLaVA-v1.5-7b-LoRA-merged")) == []


def test_a_layout_for_another_model_is_refused(tmp_path: Path) -> None:
    text = own(
        tmp_path / "text", made(1, projector=False), config=False, extra=None,
        base_model_name_or_path="some/llama",
    )  # fmt: skip
    for layout in ("llava", "peft-4.51"):
        with pytest.raises(CopamergeError, match="4 of 4 layers and full tensors have no name"):
            merge([text], "mean", layout=layout)


def test_the_card_says_how_llava_loads_it(tmp_path: Path) -> None:
    folder = own(tmp_path / "own")
    card = (merged(tmp_path / "a", folder, layout="llava") / "README.md").read_text()
    assert "load_pretrained_model" in card and "PeftModel" not in card
    rewrite_card(tmp_path / "a")  # from merge.json alone
    assert (tmp_path / "a" / "README.md").read_text() == card
    assert ModelCard(card).data.pipeline_tag == "image-text-to-text"
    card = (merged(tmp_path / "b", folder) / "README.md").read_text()
    assert "AutoModelForImageTextToText" in card and f"{PROJECTOR}.linear_1.weight" in card


def test_memory_and_disk_write_the_same_files(tmp_path: Path) -> None:
    folder = own(tmp_path / "own")
    in_memory = merge([folder], "mean", layout="llava")
    in_memory.save_pretrained(tmp_path / "memory")
    merged(tmp_path / "disk", folder, layout="llava")
    for file in ("adapter_model.bin", "non_lora_trainables.bin", "adapter_config.json"):
        assert (tmp_path / "memory" / file).read_bytes() == (tmp_path / "disk" / file).read_bytes()


def test_the_command_shows_the_projector_and_warns_of_the_name(tmp_path: Path) -> None:
    def run(*words: object) -> subprocess.CompletedProcess[str]:
        code = "from copamerge.cli import run; run()"
        asked = [sys.executable, "-c", code, "merge", *map(str, words)]
        return subprocess.run(asked, capture_output=True, text=True, check=False)

    a, b = own(tmp_path / "a"), own(tmp_path / "b", made(2))
    found = run(
        a, b, "-m", "mean", "--modules-to-save", "mean", "--layout", "llava", "-o", tmp_path / "out"
    )
    assert found.returncode == 0, found.stderr
    assert "4 full tensors in model.multi_modal_projector.linear_1" in found.stdout
    assert "of the norm away" in found.stdout
    assert "this one lacks llava and lora" in found.stderr
    found = run(a, "-m", "mean", "--layout", "lava", "-o", tmp_path / "other")
    assert found.returncode == 2
    assert "--layout: expected one of peft, peft-4.51, llava; did you mean 'llava'" in found.stderr
    assert not (tmp_path / "other").exists()


def test_spectra_of_llavas_layout_are_not_rescaled_in_place(tmp_path: Path) -> None:
    from copamerge.bench.transforms import Half, write_transformed

    with pytest.raises(AdapterError, match="merge it alone into PEFT's"):
        write_transformed(str(own(tmp_path / "own")), Half("all"), tmp_path / "out")


# --- names ---------------------------------------------------------------------------------------


def test_names_go_there_and_back() -> None:
    for name in [Q0, *PARTS, "lm_head.weight", "model.language_model.embed_tokens.weight"]:
        for layout in ("peft", "peft-4.51", "llava"):
            there = in_layout(name, layout)
            assert there is not None and named_by(there)[1] == name, (name, layout)
    assert in_layout("model.vision_tower.x", "llava") is None


def test_prefixes_of_every_kind_come_off() -> None:
    for prefix in ("", "model.", "module.", "base_model.model.", "base_model.model.model.",
                   "module.base_model.model.model.", "base_model.model.model.model."):  # fmt: skip
        assert named_by(f"{prefix}mm_projector.2.bias") == ("llava", f"{PROJECTOR}.linear_2.bias")


def test_one_base_has_two_names() -> None:
    assert same_base("liuhaotian/llava-v1.5-7b", "llava-hf/llava-1.5-7b-hf")
    assert same_base("./checkpoints/llava-v1.5-13b", "llava-hf/llava-1.5-13b-hf")
    assert not same_base("liuhaotian/llava-v1.5-7b", "llava-hf/llava-1.5-13b-hf")
    assert base_in_layout("/x/llava-v1.5-7b", "peft") == "llava-hf/llava-1.5-7b-hf"
    assert base_in_layout("llava-hf/llava-1.5-7b-hf", "peft") == "llava-hf/llava-1.5-7b-hf"
    assert base_in_layout("some/other", "llava") == "some/other"
    assert base_in_layout(None, "llava") is None
