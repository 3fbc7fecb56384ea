"""Our sum of adapters is the sum of what PEFT computes from each of them."""

import json
from functools import cache

import pytest
import torch
from judge import (
    SHAPES,
    Attention,
    Net,
    Shelf,
    assert_close,
    assert_weighted_sum,
    deltas,
    edit_config,
    loaded,
    make,
    seeded,
    shelf_effect,
)
from peft import PeftModel
from safetensors.torch import load_file

import copamerge

pytestmark = [
    pytest.mark.interop,
    # PATTERNS has such a key on purpose: its being ignored is what is tested.
    pytest.mark.filterwarnings("ignore:The following alpha_pattern keys did not match .* ..in.].$"),
]

# PEFT's results are taken in float64; what is left is our rounding of B to float32 (6e-8).
RTOL = 1e-6
# SVD and Gram matrices from float32 factors.
SVD_RTOL = 1e-5

LINEAR = ["lin", "out"]  # "lin" names two layers: lin and block.lin
PATTERNS = {
    "rank_pattern": {"block.lin": 2, "out": 5},
    # The first key that matches is used, and "in" is a whole name: it does not match "lin".
    "alpha_pattern": {"lin": 7, "block.lin": 1, "in": 11},
}
REGEX = {
    "rank_pattern": {"^lin": 5, r"block\.(lin|out)": 2},
    "alpha_pattern": {"^lin": 3, ".*out": 9, "li.": 4},
}


def alike(**config):
    return ({"r": 3, "lora_alpha": 5, **config},) * 3


# For each kind, the configs of three adapters.
KINDS = {
    "plain": alike(target_modules=LINEAR),
    "rsLoRA": alike(target_modules=LINEAR, use_rslora=True),
    "patterns": alike(target_modules=LINEAR, **PATTERNS),
    "regex patterns": alike(target_modules=LINEAR, **REGEX),
    "regex patterns with rsLoRA": alike(target_modules=LINEAR, use_rslora=True, **REGEX),
    "regex targets": alike(target_modules=r".*(lin|conv\dd)"),
    "lora_bias": alike(target_modules=["lin", "conv3x3"], lora_bias=True),
    "Conv1D": alike(target_modules=["gpt"], fan_in_fan_out=True),
    "Conv2d 3x3": alike(target_modules=["conv3x3"]),
    "Conv2d 1x1": alike(target_modules=["conv1x1"]),
    "Conv1d": alike(target_modules=["conv1d"]),
    "Conv3d": alike(target_modules=["conv3d"]),
    "embedding": alike(target_modules=["emb"]),
    "embedding with rsLoRA and patterns": alike(
        target_modules=["emb", "lin"], use_rslora=True, rank_pattern={"emb": 2}
    ),
    "ranks, alphas and scalings that differ": (
        {"target_modules": LINEAR, "r": 2, "lora_alpha": 3},
        {"target_modules": LINEAR, "r": 4, "lora_alpha": 1},
        {"target_modules": LINEAR, "r": 3, "lora_alpha": 7, "use_rslora": True},
    ),
    "patterns that differ": (
        {"target_modules": LINEAR, "r": 2, "lora_alpha": 3, **PATTERNS},
        {"target_modules": LINEAR, "r": 4, "lora_alpha": 3, **REGEX},
        {"target_modules": LINEAR, "r": 3, "lora_alpha": 3},
    ),
    "lora_bias in one": (
        {"target_modules": LINEAR, "r": 2, "lora_alpha": 3},
        {"target_modules": ["lin"], "r": 4, "lora_alpha": 3, "lora_bias": True},
        {"target_modules": ["conv1x1"], "r": 1, "lora_alpha": 3},
    ),
    "convolutions of unlike rank": (
        {"target_modules": ["conv3x3", "conv1d"], "r": 2, "lora_alpha": 3},
        {"target_modules": ["conv3x3", "conv1x1"], "r": 3, "lora_alpha": 3},
        {"target_modules": ["conv3x3", "conv3d"], "r": 1, "lora_alpha": 3},
    ),
    "layers that differ": (
        {"target_modules": ["block.lin", "conv3x3"], "r": 2, "lora_alpha": 3},
        {"target_modules": ["out", "emb"], "r": 3, "lora_alpha": 4},
        {"target_modules": ["out", "conv1d"], "r": 2, "lora_alpha": 5},
    ),
}
# A layer without a base bias has no lora_bias to merge into; forward and our sum do not need one.
UNMERGEABLE = "ignore:`lora_bias=True` was passed but the targeted layer"
WEIGHTS = [(1.0,), (0.7, 0.3), (-0.5, 1.0), (2.5, 1.0, -0.75)]


@pytest.fixture(scope="module")
def shelves(tmp_path_factory):
    """Folders of three adapters of a kind, and what PEFT computes from each; made once."""

    @cache
    def of(kind):
        folder = tmp_path_factory.mktemp("shelves")
        folders = [
            make(seeded(Shelf), folder / str(i), seed=10 + i, **config)
            for i, config in enumerate(KINDS[kind])
        ]
        return folders, [shelf_effect(f) for f in folders]

    return of


def merged_to(out, folders, weights, **recipe):
    """The folder of a weighted sum, and its report."""
    merged = copamerge.merge(folders, method="task_arithmetic", weights=weights, **recipe)
    merged.save_pretrained(out)
    return out, merged.report


@pytest.mark.filterwarnings(UNMERGEABLE)
@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_merge_does_what_the_weighted_sum_of_its_adapters_does(kind, weights, shelves, tmp_path):
    folders, effects = shelves(kind)
    n = len(weights)

    out, _ = merged_to(tmp_path / "out", folders[:n], weights)

    assert_weighted_sum(shelf_effect(out), effects[:n], weights, RTOL)


FAN_IN_FAN_OUT = "ignore:fan_in_fan_out is set to:UserWarning"


@pytest.mark.filterwarnings(FAN_IN_FAN_OUT)  # PEFT corrects the flag layer by layer, and says so
@pytest.mark.parametrize("targets", [["gpt"], ["gpt", "lin"], ["lin", "out"]], ids=str)
@pytest.mark.parametrize("flags", [(False, False), (True, False), (False, True)], ids=str)
def test_fan_in_fan_out_does_not_matter(targets, flags, tmp_path):
    folders = []
    for i, flag in enumerate(flags):
        folders.append(make(seeded(Shelf), tmp_path / str(i), seed=i, target_modules=targets, r=2))
        edit_config(folders[i], fan_in_fan_out=flag)

    out, _ = merged_to(tmp_path / "out", folders, (0.5, -2.0))

    assert_weighted_sum(shelf_effect(out), [shelf_effect(f) for f in folders], (0.5, -2.0), RTOL)


@pytest.mark.parametrize("dtypes", [("bfloat16",) * 2, ("float16",) * 2, ("bfloat16", "float16")])
def test_half_precision_inputs_are_summed_in_full(dtypes, tmp_path):
    folders = [half(tmp_path / str(i), i, dtype) for i, dtype in enumerate(dtypes)]
    parts = [shelf_effect(f) for f in folders]

    out, _ = merged_to(tmp_path / "out", folders, (0.7, -1.0), dtype="float32")

    assert_weighted_sum(shelf_effect(out), parts, (0.7, -1.0), RTOL)


@pytest.mark.parametrize(
    "dtypes, result",
    [
        (("bfloat16", "bfloat16"), "bfloat16"),
        (("float16", "float16"), "float16"),
        (("bfloat16", "float16"), "float32"),
        (("bfloat16", "float32"), "float32"),
    ],
)
def test_the_output_keeps_the_type_of_the_inputs_and_loses_one_rounding(dtypes, result, tmp_path):
    folders = [half(tmp_path / str(i), i, dtype) for i, dtype in enumerate(dtypes)]
    parts = [shelf_effect(f) for f in folders]

    out, report = merged_to(tmp_path / "out", folders, (0.7, -1.0))

    dtype = getattr(torch, result)
    tensors = load_file(out / "adapter_model.safetensors")
    assert {x.dtype for x in tensors.values()} == {dtype} and report.dtype == result
    # Each entry of B is off by up to eps / 2; the terms of the sum may cancel a little.
    assert_weighted_sum(shelf_effect(out), parts, (0.7, -1.0), 2 * torch.finfo(dtype).eps)
    assert report.rounding_worst < torch.finfo(dtype).eps


def half(folder, seed, dtype):
    return make(
        seeded(Shelf),
        folder,
        seed=seed,
        dtype=getattr(torch, dtype),
        target_modules=["lin", "conv3x3", "emb"],
        r=3,
        lora_alpha=5,
    )


def test_bin_files_are_read_like_safetensors(tmp_path):
    config = {"target_modules": ["lin", "emb"], "r": 3, "lora_alpha": 5}
    folders = [
        make(seeded(Shelf), tmp_path / "a", seed=1, safe_serialization=False, **config),
        make(seeded(Shelf), tmp_path / "b", seed=2, **config),
    ]
    assert (folders[0] / "adapter_model.bin").exists()

    out, _ = merged_to(tmp_path / "out", folders, (1.5, -0.5))

    assert_weighted_sum(shelf_effect(out), [shelf_effect(f) for f in folders], (1.5, -0.5), RTOL)


# --- a smaller rank -------------------------------------------------------------------------------

COMPRESSED = [
    "plain",
    "regex patterns with rsLoRA",
    "Conv1D",
    "Conv2d 3x3",
    "embedding",
    "layers that differ",
    "lora_bias",
]


@pytest.mark.parametrize("kind", COMPRESSED)
def test_energy_1_finds_the_rank_of_a_sum_that_is_low(kind, shelves, tmp_path):
    folders, effects = shelves(kind)
    again = [folders[0], folders[0]]
    single = copamerge.merge(again[:1], method="task_arithmetic").report

    out, report = merged_to(tmp_path / "out", again, (0.5, 0.25), rank="energy=1.0")

    # One rank for all: the largest true rank. Layers of a lower one are filled, not padded.
    assert report.rank == max(x.exact_rank for x in single.layers)
    assert [x.rank for x in report.layers] == [
        min(report.rank, x.exact_rank) for x in report.layers
    ]
    assert [x.exact_rank for x in report.layers] == [2 * x.exact_rank for x in single.layers]
    assert_weighted_sum(shelf_effect(out), effects[:1], (0.75,), SVD_RTOL)


@pytest.mark.parametrize("rank", ["max", 2, "energy=0.8"])
@pytest.mark.parametrize("kind", COMPRESSED)
def test_the_report_states_what_peft_would_measure(kind, rank, shelves, tmp_path):
    folders, effects = shelves(kind)
    weights = (0.7, -1.2)

    out, report = merged_to(tmp_path / "out", folders[:2], weights, rank=rank)

    written = shelf_effect(out)
    squares, enough = [], []
    for layer in report.layers:
        parts = [effects[i][layer.layer] for i in layer.adapters]
        exact = sum(weights[i] * effects[i][layer.layer] for i in layer.adapters)
        there = written[layer.layer]
        assert layer.energy_kept == pytest.approx(share(there, exact), rel=SVD_RTOL)
        assert layer.energy_kept == pytest.approx(best_share(exact, layer.rank), rel=SVD_RTOL)
        assert layer.norm == pytest.approx(float(there.norm()), rel=SVD_RTOL)
        assert layer.input_norms == pytest.approx([float(p.norm()) for p in parts], rel=SVD_RTOL)
        assert layer.cosines == pytest.approx([cosine(there, p) for p in parts], abs=SVD_RTOL)
        enough.append(best_share(exact, report.rank - 1) >= 0.8)
        squares.append((float(there.norm() ** 2), float(exact.norm() ** 2)))
    if rank == "energy=0.8":
        assert report.energy_kept_worst >= 0.8
        assert not all(enough), "one rank less would have done"
    kept, whole = map(sum, zip(*squares, strict=True))
    assert report.energy_kept == pytest.approx(kept / whole, rel=SVD_RTOL)
    assert report.energy_kept_worst == min(x.energy_kept for x in report.layers)
    assert report.norm == pytest.approx(kept**0.5, rel=SVD_RTOL)


def share(part, whole):
    return float(part.norm() ** 2 / whole.norm() ** 2)


def best_share(delta, rank):
    """Energy of the largest `rank` singular values (Eckart and Young 1936)."""
    matrix = delta.flatten(1)
    energy = torch.linalg.svdvals(matrix).square()
    return float(energy[:rank].sum() / energy.sum())


def cosine(x, y):
    return float((x * y).sum() / (x.norm() * y.norm()))


# --- biases and whole modules ---------------------------------------------------------------------

BOTH = ["first", "second"]
TRAINED = {
    "bias all": {"bias": "all"},
    "bias lora_only": {"bias": "lora_only"},
    "head": {"modules_to_save": ["head"]},
    "head and norm": {"modules_to_save": ["head", "norm"]},
    "bias all and head": {"bias": "all", "modules_to_save": ["head"]},
    "bias all and lora_bias": {"bias": "all", "lora_bias": True},
}
SAVED = {
    "bias all": {"first.bias", "norm.bias", "second.bias", "head.bias"},
    "bias lora_only": {"first.bias", "second.bias"},
    "head": {"head.weight", "head.bias"},
    "head and norm": {"head.weight", "head.bias", "norm.weight", "norm.bias"},
    "bias all and head": {"first.bias", "norm.bias", "second.bias", "head.weight", "head.bias"},
}


def net_adapter(folder, seed, **config):
    return make(
        seeded(Net), folder, seed=seed, **{"target_modules": BOTH, "r": 2, "lora_alpha": 3} | config
    )


@torch.no_grad()
def answers(model):
    rng = torch.Generator().manual_seed(3)
    return model(torch.randn(4, 6, generator=rng, dtype=torch.float64))


def whole(folder):
    """The weights of the base with an adapter merged into it by PEFT."""
    return loaded(seeded(Net), folder).merge_and_unload().state_dict()


def by_hand(folders, weights, values):
    """A plain Net: deltas added to the base, and the tensors of `values` in place of its own."""
    base = seeded(Net).double()
    state = base.state_dict()
    moved = [whole(f) for f in folders]
    for name in ("first.weight", "second.weight"):
        state[name] = state[name] + sum(
            w * (m[name] - state[name]) for w, m in zip(weights, moved, strict=True)
        )
    base.load_state_dict(state | values)
    return base


@pytest.mark.parametrize("kind", TRAINED)
def test_one_adapter_keeps_its_biases_and_modules(kind, tmp_path):
    folder = net_adapter(tmp_path / "a", seed=1, **TRAINED[kind])

    out, report = merged_to(tmp_path / "out", [folder], [1.0])

    got, want = answers(loaded(seeded(Net), out)), answers(loaded(seeded(Net), folder))
    assert_close(got, want, RTOL)
    assert float((want - answers(seeded(Net).double())).norm()) > 0.1
    if kind in SAVED:
        assert {s.tensor for s in report.saved} == SAVED[kind]


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0), (2.0, -0.5)], ids=str)
@pytest.mark.parametrize("kind", SAVED)
def test_mean_averages_values_with_the_weights(kind, weights, tmp_path):
    folders = [net_adapter(tmp_path / str(i), seed=i, **TRAINED[kind]) for i in range(2)]

    out, _ = merged_to(tmp_path / "out", folders, weights, bias="mean", modules_to_save="mean")

    moved, total = [whole(f) for f in folders], sum(weights)
    mean = {
        name: sum(w / total * m[name] for w, m in zip(weights, moved, strict=True))
        for name in SAVED[kind]
    }
    want = answers(by_hand(folders, weights, mean))
    assert_close(answers(loaded(seeded(Net), out)), want, RTOL)


@pytest.mark.parametrize("kind", SAVED)
def test_first_takes_the_values_of_the_first_adapter(kind, tmp_path):
    folders = [net_adapter(tmp_path / str(i), seed=i, **TRAINED[kind]) for i in range(2)]

    out, report = merged_to(
        tmp_path / "out", folders, (0.5, 2.0), bias="first", modules_to_save="first"
    )

    first = whole(folders[0])
    want = answers(by_hand(folders, (0.5, 2.0), {name: first[name] for name in SAVED[kind]}))
    assert_close(answers(loaded(seeded(Net), out)), want, RTOL)
    assert len(report.inputs[1].dropped) == len(SAVED[kind])


@pytest.mark.parametrize("kind", SAVED)
def test_drop_leaves_the_values_of_the_base(kind, tmp_path):
    folders = [net_adapter(tmp_path / str(i), seed=i, **TRAINED[kind]) for i in range(2)]

    out, report = merged_to(
        tmp_path / "out", folders, (0.5, 2.0), bias="drop", modules_to_save="drop"
    )

    want = answers(by_hand(folders, (0.5, 2.0), {}))
    assert_close(answers(loaded(seeded(Net), out)), want, RTOL)
    assert [len(x.dropped) for x in report.inputs] == [len(SAVED[kind])] * 2
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["bias"] == "none" and config["modules_to_save"] is None


def test_a_value_that_one_adapter_has_is_its_own_mean(tmp_path):
    folders = [
        net_adapter(tmp_path / "a", seed=1),
        net_adapter(tmp_path / "b", seed=2, **TRAINED["bias all and head"]),
    ]

    out, _ = merged_to(tmp_path / "out", folders, (1.0, 0.5), bias="mean", modules_to_save="mean")

    own = whole(folders[1])
    values = {name: own[name] for name in SAVED["bias all and head"]}
    want = answers(by_hand(folders, (1.0, 0.5), values))
    assert_close(answers(loaded(seeded(Net), out)), want, RTOL)


def test_two_adapters_with_values_need_a_policy(tmp_path):
    folders = [
        net_adapter(tmp_path / str(i), seed=i, **TRAINED["bias all and head"]) for i in range(2)
    ]

    with pytest.raises(copamerge.PlanError) as refused:
        merged_to(tmp_path / "out", folders, (1.0, 1.0))

    assert "--bias mean, first or drop" in str(refused.value)
    assert "--modules-to-save mean, first or drop" in str(refused.value)


def test_bias_all_in_a_module_saved_under_another_name_than_default(tmp_path):
    """PEFT leaves the adapter's name inside the keys of such biases."""
    from peft import LoraConfig, get_peft_model

    base = seeded(Net)
    base.head = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 3))
    config = LoraConfig(target_modules=BOTH, bias="all", modules_to_save=["head"])
    get_peft_model(base, config, adapter_name="mine").save_pretrained(tmp_path)
    names = load_file(tmp_path / "mine" / "adapter_model.safetensors")
    assert "base_model.model.head.modules_to_save.mine.0.bias" in names

    merged = copamerge.merge([tmp_path / "mine"], method="task_arithmetic")

    heads = {s.tensor for s in merged.report.saved if s.tensor.startswith("head")}
    assert heads == {"head.0.weight", "head.0.bias", "head.1.weight", "head.1.bias"}


# --- layers PEFT treats in a way of its own -------------------------------------------------------

ATTENTION = {
    "plain": {},
    "alpha_pattern": {"alpha_pattern": {"mha": 7}},
    "rank_pattern": {"rank_pattern": {"^mha": 4}, "use_rslora": True},
    "bias all": {"bias": "all"},
}


@pytest.mark.parametrize("kind", ATTENTION)
def test_multihead_attention_is_summed_as_peft_does(kind, tmp_path):
    config = {"target_modules": ["mha", "lin"], "r": 2, "lora_alpha": 3, **ATTENTION[kind]}
    folders = [
        make(seeded(Attention), tmp_path / "a", seed=1, **config),
        make(seeded(Attention), tmp_path / "b", seed=2, **config | {"r": 3}),
    ]

    out, _ = merged_to(tmp_path / "out", folders, (0.5, -1.5), bias="first")

    parts = [loaded(seeded(Attention), f) for f in folders]
    model = loaded(seeded(Attention), out)
    assert deltas(model).keys() == {"mha", "mha.base_layer.out_proj", "lin"}
    assert_weighted_sum(deltas(model), [deltas(p) for p in parts], (0.5, -1.5), RTOL)


@pytest.mark.parametrize("kind", ATTENTION)
def test_multihead_attention_comes_back_as_itself(kind, tmp_path):
    config = {"target_modules": ["mha", "lin"], "r": 2, "lora_alpha": 3, **ATTENTION[kind]}
    folder = make(seeded(Attention), tmp_path / "a", seed=1, **config)

    out, _ = merged_to(tmp_path / "out", [folder], [1.0])

    x = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        got, want = (loaded(seeded(Attention), f)(x) for f in (out, folder))
    assert_close(got, want, RTOL)
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["target_modules"] == ["lin", "mha"]


@pytest.mark.filterwarnings("ignore:LoRA adapter added to ConvNd layer with groups")  # the subject
def test_grouped_convolutions_are_refused_with_a_sentence(tmp_path):
    base = seeded(Net)
    base.conv = torch.nn.Conv1d(4, 6, 3, groups=2)
    folder = make(base, tmp_path / "a", seed=1, target_modules=["conv"], r=4)

    with pytest.raises(copamerge.AdapterError, match="'conv' is a grouped convolution"):
        merged_to(tmp_path / "out", [folder], [1.0])


# PEFT saves the embedding itself beside its factors, and tells so; and it reads an attribute
# that transformers 5.23 deprecates.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`")
def test_an_embedding_that_peft_saves_beside_its_factors_is_kept(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    def base():
        torch.manual_seed(0)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=13,
                hidden_size=8,
                intermediate_size=8,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=1,
            )
        )

    config = {"target_modules": ["embed_tokens", "q_proj", "v_proj"], "r": 2, "lora_alpha": 3}
    with torch.random.fork_rng():
        folders = [make(base(), tmp_path / str(i), seed=i, **config) for i in range(2)]
        models = [loaded(base(), f) for f in folders]

        out, report = merged_to(tmp_path / "out", folders, (1.0, -0.5), modules_to_save="first")

        assert [s.tensor for s in report.saved] == ["model.embed_tokens.weight"]
        merged = loaded(base(), out)
        assert_weighted_sum(deltas(merged), [deltas(m) for m in models], (1.0, -0.5), RTOL)
        one, _ = merged_to(tmp_path / "one", folders[:1], [1.0])
        tokens = torch.arange(6)[None]
        with torch.no_grad():
            got, want = loaded(base(), one)(tokens).logits, models[0](tokens).logits
        assert_close(got, want, RTOL)


# --- PEFT's own merge -----------------------------------------------------------------------------


def test_peft_weighs_rslora_wrongly_where_we_do_not(shelves, tmp_path):
    folders, effects = shelves("rsLoRA")
    weights = (0.6, 0.4)
    model = PeftModel.from_pretrained(seeded(Shelf), folders[0], adapter_name="a")
    model.load_adapter(folders[1], "b")
    model.add_weighted_adapter(["a", "b"], list(weights), "theirs", combination_type="cat")
    theirs = deltas(model, "theirs")

    out, _ = merged_to(tmp_path / "out", folders[:2], weights)

    ours = deltas(loaded(seeded(Shelf), out))
    errors = []
    for name in ours:
        want = sum(w * e[name] for w, e in zip(weights, effects, strict=False))
        assert_close(ours[name], want, RTOL)
        errors.append(float((theirs[name] - want).norm() / want.norm()))
    if max(errors) < 0.01:
        pytest.skip("this PEFT weighs rsLoRA adapters right")
    # conventions.md 2.1: 0.21 multiplies by sqrt of the merged rank, 6, once too often.
    assert errors == pytest.approx([6**0.5 - 1] * len(errors), rel=1e-4)


def test_a_layer_named_like_the_end_of_another_leaves_the_other_as_it_is(tmp_path):
    """PEFT takes a name in target_modules for an ending: `lin` also reaches `block.lin`.

    The file has nothing for it, so PEFT warns, and adapts it by zero.
    """
    folder = make(seeded(Shelf), tmp_path / "a", seed=1, target_modules="lin", r=2, lora_alpha=3)

    out, _ = merged_to(tmp_path / "out", [folder], [0.5])

    with pytest.warns(UserWarning, match="missing adapter keys .*block.lin"):
        model = PeftModel.from_pretrained(seeded(Shelf), out)
    found, want = deltas(model.double()), deltas(loaded(seeded(Shelf), folder))
    assert found.keys() == {"lin", "block.lin"}
    assert_close(found["lin"], 0.5 * want["lin"], RTOL)
    assert float(found["block.lin"].norm()) == 0.0


def test_every_kind_of_layer_is_covered():
    targets = {t for configs in KINDS.values() for c in configs for t in c["target_modules"]}

    assert targets >= {name.rpartition(".")[2] for name in SHAPES} | {"emb"}
