from itertools import permutations

import pytest
import torch

from copamerge.errors import PlanError
from copamerge.merging import plan
from copamerge.merging.bases import same_base
from copamerge.recipe import recipe_from
from makers import LAYERS, PREFIX, Q0, make_adapter

HEAD = {f"{PREFIX}lm_head.weight": torch.ones(4, 6)}


def planned(*adapters, **recipe):
    return plan(recipe_from({"adapters": [str(a) for a in adapters], **recipe}))


@pytest.mark.parametrize(
    "one, other",
    [
        ("gpt2", "GPT2"),
        ("org/base", "org/base/"),
        ("org/base", "/home/me/.cache/huggingface/hub/models--org--base/snapshots/abc"),
        ("/data/models/base", "org/base"),
        ("/data/models/base/", "C:\\models\\base"),
    ],
)
def test_names_of_one_base(one, other):
    assert same_base(one, other) and same_base(other, one)


@pytest.mark.parametrize(
    "one, other",
    [("gpt2", "gpt2-medium"), ("org/base", "fork/base"), ("/m/llama-7b", "/m/llama-13b")],
)
def test_names_of_two_bases(one, other):
    assert not same_base(one, other) and not same_base(other, one)


def based(tmp_path, *bases):
    return [
        make_adapter(tmp_path / str(i), seed=i, base_model_name_or_path=base)
        for i, base in enumerate(bases)
    ]


@pytest.mark.parametrize(
    "bases", list(permutations(["gpt2", "evil/gpt2", "openai-community/gpt2"]))
)
def test_a_bare_name_does_not_make_two_bases_one(tmp_path, bases):
    with pytest.raises(PlanError, match=r"'(evil|openai-community)/gpt2', but that of"):
        planned(*based(tmp_path, *bases))


@pytest.mark.parametrize("bases", list(permutations(["/models/gpt2", "org/gpt2", "org/GPT2"])))
def test_a_bare_name_taken_for_a_whole_one_is_told(tmp_path, bases):
    job = planned(*based(tmp_path, *bases))

    told = [w for w in job.warnings if "is taken for" in w]
    assert len(told) == 1 and "base model '/models/gpt2' is taken for 'org/" in told[0]


def test_bare_names_alone_need_no_word(tmp_path):
    assert planned(*based(tmp_path, "gpt2", "/models/gpt2")).warnings == ()


def test_the_bare_name_of_a_recipe_is_compared_too(tmp_path):
    adapters = based(tmp_path, "evil/gpt2", "openai-community/gpt2")

    with pytest.raises(PlanError, match="'openai-community/gpt2', but that of"):
        planned(*adapters, base_model="gpt2")
    job = planned(adapters[0], base_model="gpt2")
    assert job.base_model == "gpt2"
    assert "the recipe: base model 'gpt2' is taken for 'evil/gpt2'" in job.warnings


def test_every_layer_of_every_adapter_is_in_the_plan(tmp_path):
    some = dict(list(LAYERS.items())[:2])
    a, b = make_adapter(tmp_path / "a"), make_adapter(tmp_path / "b", some, seed=1)

    job = planned(a, b, method="task_arithmetic")

    assert [layer.name for layer in job.layers] == sorted(LAYERS)
    assert sum(len(layer.present) for layer in job.layers) == len(LAYERS) + len(some)


@pytest.mark.parametrize("missing, absent", [("zero", (1.0,)), ("present", ())])
def test_a_layer_that_an_adapter_lacks(tmp_path, missing, absent):
    a = make_adapter(tmp_path / "a")
    b = make_adapter(tmp_path / "b", dict(list(LAYERS.items())[:2]), seed=1)

    job = planned(a, b, missing=missing)

    lacking = [layer for layer in job.layers if layer.present == (0,)]
    assert len(lacking) == 2
    assert all(layer.absent == absent for layer in lacking)
    assert any("lacks 2 of 4 layers" in warning for warning in job.warnings)


@pytest.mark.parametrize(
    "method, told",
    [
        ("copa", "zero (copa, which normalises over the adapters that have one, does not count"),
        ({"rule": "robustmerge", "scale": "mean"}, "zero (robustmerge, which normalises"),
        ("ties", "they count as a delta of zero (--missing zero)"),
    ],
)
def test_only_methods_that_normalise_are_named(tmp_path, method, told):
    a = make_adapter(tmp_path / "a")
    b = make_adapter(tmp_path / "b", dict(list(LAYERS.items())[:2]), seed=1)

    (warning,) = [w for w in planned(a, b, method=method).warnings if "lacks" in w]

    assert told in warning


def test_missing_error_names_the_layers_and_the_option(tmp_path):
    a = make_adapter(tmp_path / "a")
    b = make_adapter(tmp_path / "b", dict(list(LAYERS.items())[:2]), seed=1)

    with pytest.raises(PlanError, match=r"b: lacks 2 of 4 layers.*--missing zero"):
        planned(a, b, missing="error")


def test_weight_zero_leaves_an_adapter_out(tmp_path):
    a, b = make_adapter(tmp_path / "a"), make_adapter(tmp_path / "b", seed=1)

    job = plan(recipe_from({"adapters": [str(a), {"adapter": str(b), "weight": 0}]}))

    assert all(layer.present == (0,) and not layer.absent for layer in job.layers)


def test_an_adapter_of_weight_zero_is_not_even_absent(tmp_path):
    a = make_adapter(tmp_path / "a")
    b = make_adapter(tmp_path / "b", dict(list(LAYERS.items())[:2]), seed=1)

    job = plan(recipe_from({"adapters": [str(a), {"adapter": str(b), "weight": 0}]}))

    assert not any(layer.absent for layer in job.layers)


def test_layers_where_all_weights_are_zero_are_named(tmp_path):
    a = make_adapter(tmp_path / "a")
    weight = [{"filter": "layers.0", "value": 0}, {"value": 1}]

    job = plan(recipe_from({"adapters": [{"adapter": str(a), "weight": weight}]}))

    assert len(job.layers) == 2
    assert set(job.silent) == {name for name in LAYERS if "layers.0" in name}


def test_all_weights_zero_is_nothing_to_merge(tmp_path):
    a = make_adapter(tmp_path / "a")

    with pytest.raises(PlanError, match="nothing to merge"):
        plan(recipe_from({"adapters": [{"adapter": str(a), "weight": 0}]}))


def test_a_weight_filter_that_matches_nothing_is_an_error(tmp_path):
    a = make_adapter(tmp_path / "a")
    weight = [{"filter": "k_proj", "value": 1}]

    with pytest.raises(PlanError, match="no filter of its weight matches"):
        plan(recipe_from({"adapters": [{"adapter": str(a), "weight": weight}]}))


def test_adapters_without_a_common_layer_are_suspicious(tmp_path):
    a = make_adapter(tmp_path / "a", {"model.layers.0.q_proj": (4, 6)})
    b = make_adapter(tmp_path / "b", {"language_model.layers.0.q_proj": (4, 6)})

    job = planned(a, b)

    assert any("no layer in common" in warning for warning in job.warnings)


@pytest.mark.parametrize(
    "rank, method, uniform, budgets",
    [
        ("full", "task_arithmetic", 5, {None}),
        ("full", "robustmerge", 3, {None}),
        ("full", "ties", 4, {4}),  # dense: sum of ranks, but a side of the layer is 4
        ("max", "task_arithmetic", 3, {3}),
        ("max", "robustmerge", 3, {None}),
        (2, "task_arithmetic", 2, {2}),
        (64, "task_arithmetic", 5, {None}),
        (64, "ties", 4, {4}),
    ],
)
def test_output_ranks(tmp_path, rank, method, uniform, budgets):
    layers = {Q0: (8, 4)}
    a = make_adapter(tmp_path / "a", layers, r=2)
    b = make_adapter(tmp_path / "b", layers, r=3, seed=1)

    job = planned(a, b, rank=rank, method=method)

    assert job.rank == uniform
    assert {layer.rank for layer in job.layers} == budgets


@pytest.mark.parametrize(
    "dtypes, asked, got",
    [
        ((torch.bfloat16, torch.bfloat16), "auto", torch.bfloat16),
        ((torch.bfloat16, torch.float16), "auto", torch.float32),
        ((torch.float64, torch.float64), "auto", torch.float32),
        ((torch.float32, torch.float32), "bfloat16", torch.bfloat16),
    ],
)
def test_output_types(tmp_path, dtypes, asked, got):
    adapters = [
        make_adapter(tmp_path / str(i), dtype=dtype, seed=i) for i, dtype in enumerate(dtypes)
    ]

    assert planned(*adapters, dtype=asked).dtype == got


def lost(job):
    return [w for w in job.warnings if "may have been lost" in w]


@pytest.mark.parametrize("modules", [["classifier"], ["score", "lm_head"]])
def test_a_head_that_is_named_alone_is_missed(tmp_path, modules):
    a = make_adapter(tmp_path / "a", modules_to_save=modules, extra=HEAD)

    assert len(lost(planned(a))) == 1


def test_a_saved_module_without_tensors_is_named(tmp_path):
    a = make_adapter(tmp_path / "a", modules_to_save=["lm_head", "embed_tokens"], extra=HEAD)

    told = lost(planned(a))

    assert told == [
        f"{a}: its config names 'embed_tokens' in modules_to_save, but no tensor belongs to it; "
        "it may have been lost"
    ]
    assert not lost(planned(a, modules_to_save="drop"))


@pytest.mark.parametrize("name, told", [("score", 0), ("classifier", 0), ("lm_head", 2)])
def test_of_the_two_heads_that_peft_names_by_itself_one_is_enough(tmp_path, name, told):
    extra = {f"{PREFIX}{name}.weight": torch.ones(2, 6)}
    a = make_adapter(tmp_path / "a", modules_to_save=["classifier", "score"], extra=extra)

    assert len(lost(planned(a))) == told


@pytest.mark.parametrize(
    "option, kind, extra, name",
    [
        ("modules_to_save", {"modules_to_save": ["lm_head"]}, "lm_head.weight", "modules-to-save"),
        ("bias", {"bias": "all"}, f"{Q0}.bias", "bias"),
    ],
)
def test_the_first_keeps_its_tensors_and_the_others_are_counted(
    tmp_path, option, kind, extra, name
):
    a, b, c = (
        make_adapter(tmp_path / x, seed=i, extra={f"{PREFIX}{extra}": torch.ones(8)}, **kind)
        for i, x in enumerate("abc")
    )

    job = planned(a, b, c, **{option: "first"})

    assert job.warnings == (
        f"2 full tensors of 2 adapters left out (--{name} first keeps those of {a}): {extra}",
    )
    assert planned(a, **{option: "first"}).warnings == ()


def test_all_misfits_are_told_at_once(tmp_path):
    a = make_adapter(tmp_path / "a")
    wide = {name: (d_out + 1, d_in) for name, (d_out, d_in) in LAYERS.items()}
    b = make_adapter(tmp_path / "b", wide, base_model_name_or_path="org/other")

    with pytest.raises(PlanError) as caught:
        planned(a, b)

    text = str(caught.value)
    assert "'org/other'" in text and "--allow-different-bases" in text
    assert "9x6, not 8x6" in text
    assert "1 more layers do not fit" in text
