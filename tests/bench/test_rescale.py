"""Scale rules: a delta multiplied layer by layer, and nothing else changed."""

import json
from pathlib import Path

import pytest
import torch

import copamerge
from copamerge.bench.rescale import layer_norms, norm_match_factors, rescale
from copamerge.errors import OutputError
from copamerge.io import open_adapter
from copamerge.merging.card import is_own
from makers import LAYERS, make_adapter


def deltas(path: Path) -> dict[str, torch.Tensor]:
    adapter = open_adapter(str(path))
    modules = {name: adapter.module(name) for name in adapter.layers}
    return {name: x.scaling * (x.B.double() @ x.A.double()) for name, x in modules.items()}


@pytest.fixture(params=[torch.float32, torch.bfloat16, torch.float16])
def one(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return make_adapter(tmp_path / "one", seed=1, dtype=request.param, alpha=3)


def test_norms_are_those_of_the_dense_deltas(one: Path) -> None:
    norms = layer_norms(open_adapter(str(one)))

    assert norms == pytest.approx({k: float(x.norm()) for k, x in deltas(one).items()}, rel=1e-12)


@pytest.mark.parametrize("multiple", [0.25, 3.0, -1.0, 0.0])
def test_every_delta_is_multiplied(one: Path, tmp_path: Path, multiple: float) -> None:
    rescale(one, multiple, tmp_path / "out")

    before, after = deltas(one), deltas(tmp_path / "out")
    for layer in before:
        torch.testing.assert_close(after[layer], multiple * before[layer], rtol=1e-5, atol=1e-6)


def test_layers_may_have_their_own_factors(one: Path, tmp_path: Path) -> None:
    factors = {name: 1.0 + i for i, name in enumerate(sorted(LAYERS))}

    rescale(one, factors, tmp_path / "out", rule="norm_match")

    before, after = deltas(one), deltas(tmp_path / "out")
    for layer, factor in factors.items():
        torch.testing.assert_close(after[layer], factor * before[layer], rtol=1e-5, atol=1e-6)
    record = json.loads((tmp_path / "out" / "rescale.json").read_text())
    assert record["factors"] == factors and record["rule"] == "norm_match"


def test_a_bias_is_part_of_the_delta_and_full_tensors_are_not(tmp_path: Path) -> None:
    q0 = next(iter(LAYERS))
    bias = f"base_model.model.{q0}.lora_B.bias"
    head = "base_model.model.lm_head.weight"
    layer = {q0: LAYERS[q0]}
    path = make_adapter(
        tmp_path / "one",
        layer,
        extra={bias: torch.ones(8), head: torch.ones(3, 3)},
        lora_bias=True,
        modules_to_save=["lm_head"],
    )

    rescale(path, 2.0, tmp_path / "out")

    from safetensors.torch import load_file

    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert tensors[bias].unique().tolist() == [2.0]
    assert tensors[head].unique().tolist() == [1.0]


def test_the_card_of_a_rescaled_merge_says_so(tmp_path: Path) -> None:
    one = make_adapter(tmp_path / "one")
    copamerge.merge([str(one)], "mean").save_pretrained(tmp_path / "merged")

    rescale(tmp_path / "merged", 0.5, tmp_path / "half")
    rescale(one, 0.5, tmp_path / "no merge")

    card = (tmp_path / "half" / "README.md").read_text()
    assert "its deltas were multiplied: rescale.json" in card and is_own(card)
    assert not (tmp_path / "no merge" / "README.md").exists()


def test_norm_match_is_the_mean_norm_of_those_that_have_the_layer(tmp_path: Path) -> None:
    names = sorted(LAYERS)
    fewer = {name: LAYERS[name] for name in names[:2]}
    one = make_adapter(tmp_path / "one", seed=1)
    two = make_adapter(tmp_path / "two", fewer, seed=2)
    merged = tmp_path / "merged"
    copamerge.merge([str(one), str(two)], "mean").save_pretrained(merged)

    factors = norm_match_factors(merged, [one, two])

    sizes = [layer_norms(open_adapter(str(path))) for path in (one, two)]
    result = layer_norms(open_adapter(str(merged)))
    for name in names:
        wanted = [x[name] for x in sizes if name in x]
        assert factors[name] * result[name] == pytest.approx(sum(wanted) / len(wanted))


def test_a_merge_that_cancels_keeps_its_zero(tmp_path: Path) -> None:
    one = make_adapter(tmp_path / "one", seed=1)
    rescale(one, 0.0, tmp_path / "zero")

    factors = norm_match_factors(tmp_path / "zero", [one])

    assert set(factors.values()) == {1.0}


def test_a_place_that_is_taken_is_left_alone(one: Path, tmp_path: Path) -> None:
    rescale(one, 2.0, tmp_path / "out")

    with pytest.raises(OutputError, match="already exists"):
        rescale(one, 3.0, tmp_path / "out")


@pytest.mark.interop
def test_peft_loads_what_was_rescaled(one: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    rescale(one, 2.0, tmp_path / "out")

    weights = peft.load_peft_weights(str(tmp_path / "out"))

    assert len(weights) == 2 * len(LAYERS)
