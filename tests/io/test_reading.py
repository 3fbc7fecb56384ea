"""Configs and tensor names as PEFT and others write them."""

import json

import pytest
import torch

from copamerge.errors import AdapterError
from copamerge.io import open_adapter
from copamerge.io.config import read_config
from makers import LAYERS, PREFIX, Q0, a_of, b_of, factors, make_adapter, save_tensors, write_config


def renamed(path, change, **config):
    """An adapter whose stored names are changed."""
    make_adapter(path, **config)
    save_tensors(path, {change(name): tensor for name, tensor in factors().items()})
    return open_adapter(str(path))


@pytest.mark.parametrize(
    "change",
    [
        lambda name: name,
        lambda name: PREFIX + name,
        lambda name: PREFIX * 3 + name,
        lambda name: name.removeprefix(PREFIX),
        lambda name: name.replace(".weight", ".default.weight"),
        lambda name: name.replace(".weight", ".my_adapter.weight"),
        lambda name: name.removesuffix(".weight"),
    ],
)
def test_odd_names_are_the_same_layers(tmp_path, change):
    adapter = renamed(tmp_path / "a", change)

    assert set(adapter.layers) == set(LAYERS)
    assert adapter.n_tensors == sum(len(info.tensors) for info in adapter.layers.values())
    torch.testing.assert_close(adapter.module(Q0).A, factors()[a_of(Q0)])


def test_odd_prefixes_are_noted(tmp_path):
    assert renamed(tmp_path / "plain", lambda name: name).notes == ()
    (note,) = renamed(tmp_path / "twice", lambda name: PREFIX + name).notes
    assert "8 with 2" in note


def test_copies_of_saved_modules_are_told_apart(tmp_path):
    head = torch.ones(3, 6)
    extra = {
        f"{PREFIX}score.weight": head,
        f"{PREFIX}score.modules_to_save.default.weight": head.clone(),
        f"{PREFIX}score.original_module.weight": torch.zeros(3, 6),
    }
    adapter = open_adapter(str(make_adapter(tmp_path / "a", extra=extra)))

    assert set(adapter.saved) == {"score.weight"}
    assert adapter.ignored == {
        f"{PREFIX}score.modules_to_save.default.weight": f"equal to {PREFIX}score.weight",
        f"{PREFIX}score.original_module.weight": "the base model's own copy, not trained",
    }


def test_copies_that_differ_are_an_error(tmp_path):
    extra = {
        f"{PREFIX}score.weight": torch.ones(3, 6),
        f"{PREFIX}score.modules_to_save.default.weight": torch.zeros(3, 6),
    }
    path = make_adapter(tmp_path / "a", extra=extra)

    with pytest.raises(AdapterError, match="should be equal and are not"):
        open_adapter(str(path))


def test_two_tensors_for_one_place_are_an_error(tmp_path):
    path = make_adapter(tmp_path / "a", extra={PREFIX + a_of(Q0): torch.zeros(2, 6)})

    with pytest.raises(AdapterError, match="not understood"):
        open_adapter(str(path))


@pytest.mark.parametrize("weights", ["safetensors", "bin"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_both_formats_give_the_same_tensors(tmp_path, weights, dtype):
    path = make_adapter(tmp_path / "a", weights=weights, dtype=dtype)

    adapter = open_adapter(str(path))

    assert {info.dtype for info in adapter.layers.values()} == {str(dtype).removeprefix("torch.")}
    assert torch.equal(adapter.module(Q0).B, factors(dtype=dtype)[b_of(Q0)])


def test_legacy_torch_files_are_read(tmp_path):
    path = make_adapter(tmp_path / "a", weights="bin")
    torch.save(factors(), path / "adapter_model.bin", _use_new_zipfile_serialization=False)

    assert set(open_adapter(str(path)).layers) == set(LAYERS)


def test_old_torch_does_not_unpickle(tmp_path, monkeypatch):
    path = make_adapter(tmp_path / "a", weights="bin")
    monkeypatch.setattr(torch, "__version__", "2.5.1")

    with pytest.raises(AdapterError, match=r"CVE-2025-32434.*install torch 2.6 or later"):
        open_adapter(str(path))


@pytest.mark.parametrize("name", ["", "adapter_model.safetensors"])
def test_weights_without_a_config_take_alpha_and_their_own_rank(tmp_path, name):
    path = make_adapter(tmp_path / "a")
    (path / "adapter_config.json").unlink()

    adapter = open_adapter(str(path / name), alpha=8)

    assert adapter.layers[Q0].scaling == 4.0 and adapter.layers[Q0].rank == 2


# --- adapter_config.json -------------------------------------------------------------------------


def config_of(tmp_path, **options):
    return read_config(write_config(tmp_path, **options), allow_unknown=False)[0]


@pytest.mark.parametrize(
    "options, layer, rank, scaling",
    [
        ({"r": 4, "lora_alpha": 8}, "x.q", 4, 2.0),
        ({"r": 4, "lora_alpha": 8, "use_rslora": True}, "x.q", 4, 4.0),
        ({"r": 4, "lora_alpha": 8, "rank_pattern": {"q": 2}}, "x.q", 2, 4.0),
        ({"r": 4, "lora_alpha": 8, "alpha_pattern": {"x.q": 2}}, "x.q", 4, 0.5),
        ({"r": 4, "lora_alpha": 8, "alpha_pattern": {"q": 2}}, "x.qq", 4, 2.0),
        ({"r": 4, "lora_alpha": 8, "rank_pattern": {r"layers\.\d+\.q": 1}}, "m.layers.12.q", 1, 8),
        ({"r": 4, "lora_alpha": 8, "rank_pattern": {"^m.q": 1}}, "m.q", 1, 8.0),
        ({"r": 4, "lora_alpha": 8, "rank_pattern": None, "alpha_pattern": {}}, "x.q", 4, 2.0),
        ({"r": 4.0, "lora_alpha": -8}, "x.q", 4, -2.0),
    ],
)
def test_rank_and_scaling_by_layer(tmp_path, options, layer, rank, scaling):
    config = config_of(tmp_path, **options)

    assert config.rank_of(layer) == rank
    assert config.scaling_of(layer, rank) == scaling


@pytest.mark.parametrize("init", [True, False, None, "gaussian", "eva", "orthogonal"])
def test_harmless_starts_are_read(tmp_path, init):
    assert config_of(tmp_path, init_lora_weights=init).r == 2


def test_options_of_newer_versions_matter_only_when_set(tmp_path):
    assert config_of(tmp_path, use_something_new=False, another=None, third={}).r == 2


def test_unknown_options_can_be_allowed(tmp_path):
    file = write_config(tmp_path, use_something_new=True)

    _, notes = read_config(file, allow_unknown=True)

    assert notes == ["unknown config options taken as harmless: use_something_new"]


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    file = write_config(tmp_path, r=0, lora_alpha=None, bias="x", use_dora=True, what=1)

    with pytest.raises(AdapterError) as caught:
        read_config(file, allow_unknown=False)

    assert len(caught.value.problems) == 5


@pytest.mark.parametrize("targets", ["all-linear", r".*\.(q|v)_proj", None, ["q_proj", "v_proj"]])
def test_targets_in_every_form(tmp_path, targets):
    path = make_adapter(tmp_path / "a", target_modules=targets)

    assert len(open_adapter(str(path)).layers) == len(LAYERS)


def test_a_config_with_a_byte_order_mark_is_named(tmp_path):
    path = make_adapter(tmp_path / "a")
    text = (path / "adapter_config.json").read_text()
    (path / "adapter_config.json").write_text(text, encoding="utf-8-sig")

    with pytest.raises(AdapterError, match=r"not valid JSON.*BOM"):
        open_adapter(str(path))


def test_pydantic_is_not_asked_to_read_configs(tmp_path):
    # Whatever a config holds, reading it ends in an error of ours or in a config.
    values = [None, True, 0, -1, 1.5, "x", [], [1], {}, {"a": "b"}, 10**30]
    keys = json.loads(write_config(tmp_path).read_text()).keys() | {"rank_pattern", "enable_lora"}
    for key in sorted(keys):
        for value in values:
            file = write_config(tmp_path, **{key: value})
            try:
                read_config(file, allow_unknown=False)
            except AdapterError as error:
                assert all(str(file) in problem for problem in error.problems)
