import json
import threading

import pytest
import torch
from safetensors.torch import load_file

import copamerge
from copamerge.errors import AdapterError, CopamergeError, OutputError
from copamerge.merging import folder as folder_module
from copamerge.merging import merge_to_folder, plan
from copamerge.recipe import recipe_from
from makers import LAYERS, PREFIX, Q0, a_of, b_of, factors, make_adapter

CPU = torch.device("cpu")


def delta(path, layer=Q0):
    """What the folder at `path` adds to `layer`, computed from its files alone."""
    tensors = load_file(path / "adapter_model.safetensors")
    config = json.loads((path / "adapter_config.json").read_text())
    A, B = tensors[a_of(layer)].double(), tensors[b_of(layer)].double()
    return config["lora_alpha"] / config["r"] * (B @ A)


@pytest.fixture
def pair(tmp_path):
    return (
        make_adapter(tmp_path / "a", r=2, alpha=4),
        make_adapter(tmp_path / "b", r=3, alpha=1, seed=1),
    )


def test_a_weighted_sum_on_disk_is_the_sum_of_the_deltas(tmp_path, pair):
    merged = copamerge.merge(pair, "task_arithmetic", weights=[1.0, -0.5])

    merged.save_pretrained(tmp_path / "out")

    for layer in LAYERS:
        want = delta(pair[0], layer) - 0.5 * delta(pair[1], layer)
        torch.testing.assert_close(delta(tmp_path / "out", layer), want, rtol=1e-5, atol=1e-6)


def test_memory_and_streaming_write_the_same_files(tmp_path, pair):
    recipe = recipe_from({"adapters": [str(a) for a in pair], "dtype": "bfloat16"})

    copamerge.merge_plan(plan(recipe), device="cpu").save_pretrained(tmp_path / "memory")
    merge_to_folder(plan(recipe), tmp_path / "stream", device=CPU)

    for name in ("adapter_model.safetensors", "adapter_config.json", "README.md"):
        one, other = (tmp_path / way / name for way in ("memory", "stream"))
        assert one.read_bytes() == other.read_bytes(), name


def test_state_dict_is_what_is_saved(tmp_path, pair):
    merged = copamerge.merge(pair, dtype="float16")

    merged.save_pretrained(tmp_path / "out")

    saved = load_file(tmp_path / "out" / "adapter_model.safetensors")
    state = merged.state_dict()
    assert state.keys() == saved.keys()
    assert all(torch.equal(state[name], saved[name]) for name in saved)


def test_the_written_config_is_plain(tmp_path, pair):
    copamerge.merge(pair).save_pretrained(tmp_path / "out")

    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == 5
    assert config["target_modules"] == sorted(LAYERS)
    assert not config["rank_pattern"] and not config["alpha_pattern"]
    assert config["use_rslora"] is False and config["bias"] == "none"
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "merge.json",
        "README.md",
    }


def test_unlike_ranks_within_a_merge_are_padded_to_one(tmp_path):
    some = {Q0: LAYERS[Q0]}
    a, b = make_adapter(tmp_path / "a", r=2), make_adapter(tmp_path / "b", some, r=3, seed=1)

    merged = copamerge.merge([a, b], "task_arithmetic")

    state = merged.state_dict()
    assert {x.shape[0] for name, x in state.items() if "lora_A" in name} == {5}
    assert {layer.rank for layer in merged.report.layers} == {2, 5}
    other = next(name for name in LAYERS if name != Q0)
    assert not state[a_of(other)][2:].any()


def test_every_tensor_adds_up(tmp_path):
    extra = {
        f"{PREFIX}classifier.weight": torch.ones(3, 4),
        f"{PREFIX}classifier.original_module.weight": torch.zeros(3, 4),
    }
    a = make_adapter(tmp_path / "a", extra=extra, modules_to_save=["classifier"])
    b = make_adapter(tmp_path / "b", seed=1, extra=extra, modules_to_save=["classifier"])
    silent = [{"filter": "layers.0", "value": 0}, {"value": 1}]

    recipe = recipe_from(
        {
            "adapters": [{"adapter": str(a), "weight": silent}, str(b)],
            "modules_to_save": "first",
        }
    )
    report = copamerge.merge_plan(plan(recipe), device="cpu").report

    for part in report.inputs:
        parts = part.tensors_merged + part.tensors_silent + part.tensors_saved
        assert parts + len(part.dropped) + len(part.ignored) == part.tensors == 10
    one, other = report.inputs
    assert (one.tensors_merged, one.tensors_silent, one.tensors_saved) == (4, 4, 1)
    assert (other.tensors_merged, other.tensors_silent, other.tensors_saved) == (8, 0, 0)
    assert other.dropped == (f"{PREFIX}classifier.weight",)
    assert list(one.ignored) == [f"{PREFIX}classifier.original_module.weight"]


@pytest.mark.parametrize(
    "weights, mean", [([1.0, 1.0], 1.5), ([1.0, 3.0], 1.75), ([2.0, -1.0], 0.0)]
)
def test_the_mean_of_full_tensors_is_weighted(tmp_path, weights, mean):
    name = f"{PREFIX}head.weight"
    folders = [
        make_adapter(tmp_path / str(i), seed=i, extra={name: torch.full((2, 2), i + 1.0)})
        for i in range(2)
    ]

    merged = copamerge.merge(folders, weights=weights, modules_to_save="mean")

    torch.testing.assert_close(merged.state_dict()[name], torch.full((2, 2), mean))


def test_missing_present_changes_means_and_nothing_else(tmp_path):
    a = make_adapter(tmp_path / "a")
    b = make_adapter(tmp_path / "b", {Q0: LAYERS[Q0]}, seed=1)
    alone = next(name for name in LAYERS if name != Q0)

    def norm(layer, **how):
        report = copamerge.merge([a, b], **how).report
        return next(x.norm for x in report.layers if x.layer == layer)

    whole = norm(alone, method="task_arithmetic")
    assert norm(alone, method="mean") == pytest.approx(whole / 2, rel=1e-5)
    assert norm(alone, method="mean", missing="present") == pytest.approx(whole, rel=1e-5)
    for method in ("copa", "task_arithmetic"):
        zero, present = (norm(Q0, method=method, missing=m) for m in ("zero", "present"))
        assert zero == present


def test_energy_decides_one_uniform_rank(tmp_path, pair):
    merged = copamerge.merge(pair, "task_arithmetic", rank="energy=0.8")

    kept = [layer.energy_kept for layer in merged.report.layers]
    assert all(share >= 0.8 for share in kept)
    assert merged.report.rank == max(layer.rank for layer in merged.report.layers)
    shapes = {x.shape[0] for name, x in merged.state_dict().items() if "lora_A" in name}
    assert shapes == {merged.report.rank}


def test_rounding_is_measured(pair):
    exact = copamerge.merge(pair, "task_arithmetic", dtype="float32").report
    rounded = copamerge.merge(pair, "task_arithmetic", dtype="bfloat16").report

    assert exact.rounding_worst == 0.0
    assert 1e-4 < rounded.rounding_worst < 2**-8


def test_float16_that_overflows_is_an_error(tmp_path):
    a = make_adapter(tmp_path / "a", extra={b_of(Q0): 1e5 * torch.ones(8, 2)})

    with pytest.raises(CopamergeError, match=r"do not fit torch.float16.*--dtype bfloat16"):
        copamerge.merge([a], "task_arithmetic", dtype="float16")


def test_all_broken_tensors_are_named(tmp_path):
    broken = factors()
    broken[a_of(Q0)][0, 0] = float("nan")
    last = list(LAYERS)[-1]
    broken[b_of(last)][0, 0] = float("inf")
    a = make_adapter(tmp_path / "a", extra=broken)

    with pytest.raises(AdapterError) as caught:
        copamerge.merge([a])

    assert len(caught.value.problems) == 2
    assert a_of(Q0) in caught.value.problems[0] and "1 NaN" in caught.value.problems[0]
    assert b_of(last) in caught.value.problems[1] and "1 infinite" in caught.value.problems[1]


def test_a_zero_adapter_and_a_copy_are_named(tmp_path):
    zero = {b_of(name): torch.zeros(d_out, 2) for name, (d_out, _) in LAYERS.items()}
    a = make_adapter(tmp_path / "untrained", extra=zero)
    b, c = make_adapter(tmp_path / "b", seed=1), make_adapter(tmp_path / "c", seed=1)

    warnings = copamerge.merge([a, b, c]).report.warnings

    assert any("untrained: its delta is zero" in warning for warning in warnings)
    assert any("c: byte for byte the same" in warning for warning in warnings)


def test_lora_biases_become_one_setting_for_the_whole_adapter(tmp_path):
    bias = {f"{PREFIX}{Q0}.lora_B.bias": torch.ones(8)}
    a = make_adapter(tmp_path / "a", extra=bias, lora_bias=True)
    b = make_adapter(tmp_path / "b", seed=1, alpha=1)

    merged = copamerge.merge([a, b], "task_arithmetic", weights=[0.5, 1.0])

    state = merged.state_dict()
    torch.testing.assert_close(state[f"{PREFIX}{Q0}.lora_B.bias"], torch.full((8,), 0.5 * 2.0))
    others = [name for name in state if name.endswith("lora_B.bias") and Q0 not in name]
    assert len(others) == len(LAYERS) - 1
    assert not any(state[name].any() for name in others)


def test_a_failing_method_leaves_nothing_behind(tmp_path, pair, monkeypatch):
    def fail(*_):
        raise MemoryError("planted")

    monkeypatch.setattr(folder_module, "store", fail)
    job = plan(recipe_from({"adapters": [str(a) for a in pair]}))

    with pytest.raises(MemoryError):
        merge_to_folder(job, tmp_path / "out", device=CPU)

    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_the_recipe_in_the_report_repeats_the_merge(tmp_path, pair):
    first = copamerge.merge(pair, "dare", weights=[1.0, 0.5], seed=7, rank=2)

    again = copamerge.merge_plan(plan(recipe_from(first.report.recipe)), device="cpu")

    one, other = first.state_dict(), again.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_report_is_a_recipe(tmp_path, pair):
    copamerge.merge(pair, "dare", weights=[1.0, [0.5, 1.0]], seed=7).save_pretrained(
        tmp_path / "out"
    )

    recipe, _ = copamerge.load_recipe(tmp_path / "out" / "merge.json")
    copamerge.merge_plan(plan(recipe), device="cpu").save_pretrained(tmp_path / "again")

    for name in ("adapter_model.safetensors", "adapter_config.json", "README.md"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_dare_does_not_depend_on_order_or_on_other_layers(tmp_path, pair):
    a, b = pair
    one = copamerge.merge([a, b], "dare", density=0.5, rank="full").state_dict()
    other = copamerge.merge([b, a], "dare", density=0.5, rank="full").state_dict()
    only = [{"filter": Q0, "value": 1}, {"value": 0}]
    alone = copamerge.merge([a, b], "dare", weights=[only, only], density=0.5).state_dict()

    def q0(state):
        return state[b_of(Q0)] @ state[a_of(Q0)]

    torch.testing.assert_close(q0(one), q0(other), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(q0(one), q0(alone), rtol=1e-5, atol=1e-5)


def test_an_output_that_holds_an_input_is_refused(tmp_path, pair):
    for out in (pair[0], tmp_path):
        with pytest.raises(OutputError, match="choose another output"):
            copamerge.merge(pair).save_pretrained(out, overwrite=True)
    assert (pair[0] / "adapter_model.safetensors").exists()


@pytest.mark.parametrize("method", ["copa", "ties"])
def test_a_merge_leaves_the_number_of_threads_alone(pair, method):
    before = torch.get_num_threads()
    seen = []

    copamerge.merge(pair, method)

    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert [torch.get_num_threads(), *seen] == [before, before]


def test_the_cosine_of_an_input_is_that_of_all_its_layers_as_one_vector(tmp_path):
    a = make_adapter(tmp_path / "a")
    b = make_adapter(tmp_path / "b", {Q0: LAYERS[Q0]}, seed=1)

    merged = copamerge.merge([a, b], "task_arithmetic")
    merged.save_pretrained(tmp_path / "out")

    whole = torch.cat([delta(tmp_path / "out", name).flatten() for name in sorted(LAYERS)])
    one = torch.cat([delta(a, name).flatten() for name in sorted(LAYERS)])
    other = delta(b, Q0).flatten()
    want = [one @ whole / one.norm(), other @ delta(tmp_path / "out", Q0).flatten() / other.norm()]
    for part, product in zip(merged.report.inputs, want, strict=True):
        assert part.cosine == pytest.approx(float(product / whole.norm()), abs=1e-5)


def test_rounding_is_that_of_the_factor_that_lost_most(tmp_path):
    small = {b_of(Q0): 4.5e-8 * torch.ones(8, 2)}  # below float16's smallest number, 6e-8
    a = make_adapter(tmp_path / "a", {Q0: LAYERS[Q0]}, alpha=2, extra=small)

    report = copamerge.merge([a], "task_arithmetic", dtype="float16").report

    stored = float(torch.tensor(4.5e-8).half().float())
    assert report.rounding_worst == pytest.approx(abs(stored - 4.5e-8) / 4.5e-8, rel=1e-3)
    assert any("rounding to float16 changes a factor" in w for w in report.warnings)


def test_layers_that_float16_loses_are_counted(tmp_path):
    gone = {b_of(Q0): 1e-9 * torch.ones(8, 2)}  # float16 has nothing between 0 and 6e-8
    a = make_adapter(tmp_path / "a", extra=gone)

    report = copamerge.merge([a], "task_arithmetic", dtype="float16").report

    assert report.rounding_worst == 1.0
    (warning,) = [w for w in report.warnings if "rounding to float16" in w]
    assert f"in 1 layers (first: {Q0!r}), 1 of them almost wholly lost" in warning
    assert "--dtype float32 or bfloat16 would not" in warning


def test_numbers_survive_cancellation(tmp_path):
    a = make_adapter(tmp_path / "a", {Q0: LAYERS[Q0]})
    nearly = factors({Q0: LAYERS[Q0]})
    rng = torch.Generator().manual_seed(5)
    nearly[b_of(Q0)] = nearly[b_of(Q0)] + 1e-5 * torch.randn(8, 2, generator=rng)
    b = make_adapter(tmp_path / "b", {Q0: LAYERS[Q0]}, extra=nearly)

    layer = copamerge.merge([a, b], "task_arithmetic", weights=[1, -1]).report.layers[0]

    difference = delta(a) - delta(b)
    want = float((difference * delta(a)).sum() / difference.norm() / delta(a).norm())
    assert layer.norm == pytest.approx(float(difference.norm()), rel=1e-3)
    assert layer.cosines[0] == pytest.approx(want, abs=1e-3)


def test_a_zero_delta_keeps_no_energy_whatever_the_rank(tmp_path):
    zero = {b_of(Q0): torch.zeros(8, 2)}
    a = make_adapter(tmp_path / "a", {Q0: LAYERS[Q0]}, extra=zero)

    for rank in ("full", 1, "energy=0.9"):
        report = copamerge.merge([a], "task_arithmetic", rank=rank).report
        assert report.energy_kept is None and report.layers[0].energy_kept is None
        assert any("zero in every layer: loading it changes nothing" in w for w in report.warnings)


def test_energy_fills_every_layer_to_the_rank_it_asks_for(tmp_path):
    layers = {"layers.0.q_proj": (12, 10), "layers.1.q_proj": (12, 10)}
    tensors = factors(layers, r=6)
    tensors[b_of("layers.1.q_proj")] *= torch.tensor([1.0, 1e-2, 1e-2, 1e-2, 1e-2, 1e-2])
    a = make_adapter(tmp_path / "a", layers, r=6, extra=tensors)

    by_energy = copamerge.merge([a], "task_arithmetic", rank="energy=0.9").report
    by_rank = copamerge.merge([a], "task_arithmetic", rank=by_energy.rank).report

    assert 1 < by_energy.rank < 6
    assert {layer.rank for layer in by_energy.layers} == {by_energy.rank}
    assert by_energy.energy_kept == by_rank.energy_kept
    assert by_energy.energy_kept_worst >= 0.9


def test_whole_numbers_are_kept_when_equal_and_refused_when_not(tmp_path):
    name = f"{PREFIX}bn.num_batches_tracked"
    same = [
        make_adapter(tmp_path / str(i), seed=i, extra={name: torch.arange(100)}) for i in range(3)
    ]
    other = make_adapter(tmp_path / "other", seed=9, extra={name: torch.arange(100) + 1})

    merged = copamerge.merge(same, modules_to_save="mean")

    assert torch.equal(merged.state_dict()[name], torch.arange(100))
    with pytest.raises(CopamergeError, match=r"int64 values that differ.*--modules-to-save first"):
        copamerge.merge([*same, other], modules_to_save="mean").state_dict()


def test_weight_zero_leaves_its_full_tensors_out_too(tmp_path):
    name = f"{PREFIX}head.weight"
    folders = [
        make_adapter(tmp_path / str(i), seed=i, extra={name: torch.full((2, 2), i + 1.0)})
        for i in range(2)
    ]

    merged = copamerge.merge(folders, weights=[0, 1], modules_to_save="first")

    assert torch.equal(merged.state_dict()[name], torch.full((2, 2), 2.0))
    assert merged.report.inputs[0].dropped == (name,)


def test_a_bias_that_somebody_saves_with_its_module_goes_with_the_module(tmp_path):
    head = {f"{PREFIX}head.weight": torch.ones(2, 2), f"{PREFIX}head.bias": torch.ones(2)}
    a = make_adapter(tmp_path / "a", extra={f"{PREFIX}head.bias": torch.zeros(2)}, bias="all")
    b = make_adapter(tmp_path / "b", seed=1, extra=head, modules_to_save=["head"])

    for order in ([a, b], [b, a]):
        state = copamerge.merge(order, bias="drop", modules_to_save="mean").state_dict()
        assert {name for name in head if name in state} == set(head)


def test_a_value_and_a_change_of_one_module_are_refused(tmp_path):
    a = make_adapter(tmp_path / "a", {"lm_head": (8, 6)})
    b = make_adapter(
        tmp_path / "b",
        extra={f"{PREFIX}lm_head.weight": torch.ones(8, 6)},
        modules_to_save=["lm_head"],
    )

    with pytest.raises(CopamergeError, match=r"b saves 'lm_head' whole and .*a has LoRA on"):
        copamerge.merge([a, b], modules_to_save="first")
    assert copamerge.merge([a, b], modules_to_save="drop").report.layers


def test_the_merged_tensors_are_ordinary_tensors(pair):
    state = copamerge.merge(pair).state_dict()

    for tensor in state.values():
        assert not tensor.is_inference()


@pytest.mark.parametrize("method", ["dare", "ties"])
def test_the_default_dtype_changes_nothing(pair, method):
    one = copamerge.merge(pair, method, rank=2).state_dict()
    torch.set_default_dtype(torch.float64)
    try:
        other = copamerge.merge(pair, method, rank=2).state_dict()
    finally:
        torch.set_default_dtype(torch.float32)

    assert all(torch.equal(one[name], other[name]) for name in one)
