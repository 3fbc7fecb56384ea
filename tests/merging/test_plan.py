import pytest
import torch

from copamerge.errors import PlanError
from copamerge.merging import plan
from copamerge.merging.bases import same_base
from copamerge.recipe import recipe_from
from makers import LAYERS, Q0, make_adapter


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
