"""Two planted adapters: the verdict, every number against dense float64, what has no number."""

import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import copamerge
from copamerge import diff_adapters
from copamerge.difference import folded
from copamerge.difference.record import Kind
from copamerge.difference.verdict import CLOSE
from copamerge.errors import AdapterError
from makers import LAYERS, PREFIX, Q0, a_of, b_of, factors, make_adapter, write_config

WIDE = {name: (64, 48) if name.endswith("q_proj") else (32, 48) for name in LAYERS}
"""Layers in which unrelated deltas have a cosine near 0: chance gives 0.018."""
EXACT = 1e-8


@pytest.fixture
def one(tmp_path):
    return make_adapter(tmp_path / "one", WIDE, r=4, alpha=8)


def kind(a, b):
    return diff_adapters(str(a), str(b)).verdict.kind


def sentence(a, b):
    return diff_adapters(str(a), str(b)).verdict.sentence


def tensors_of(path):
    return load_file(path / "adapter_model.safetensors")


def changed(path, of, change, *, alpha=8, r=4, layers=WIDE, **config):
    """A copy of an adapter whose factors of each layer are what `change(layer, A, B)` says."""
    stored = tensors_of(of)
    extra = {}
    for layer in layers:
        A, B = change(layer, stored[a_of(layer)], stored[b_of(layer)])
        extra |= {a_of(layer): A.contiguous(), b_of(layer): B.contiguous()}
    return make_adapter(path, layers, r=r, alpha=alpha, extra=extra, **config)


def turn(r=4, seed=0):
    """An invertible matrix of good condition."""
    Q, _ = torch.linalg.qr(torch.randn(r, r, generator=torch.Generator().manual_seed(seed)))
    return Q @ torch.diag(torch.linspace(0.5, 2, r))


# --- verdicts ------------------------------------------------------------------------------------


def test_a_copy_is_the_same_file(tmp_path, one):
    other = Path(shutil.copytree(one, tmp_path / "other"))

    found = diff_adapters(str(one), str(other))

    assert found.verdict.kind == "same_file" and found.same and found.same_files
    assert found.whole.relative_distance == 0.0 and found.whole.multiple == 1.0
    assert found.whole.share is None and found.whole.missing["share"] == "there is no difference"
    assert not found.config and all(x.factors == "same" for x in found.layers)


def test_other_files_with_the_same_factors_are_told_from_copies(tmp_path, one):
    torn = make_adapter(tmp_path / "bin", WIDE, r=4, alpha=8, weights="bin")
    renamed = make_adapter(tmp_path / "dropout", WIDE, r=4, alpha=8, lora_dropout=0.1)

    for other in (torn, renamed):
        found = diff_adapters(str(one), str(other))
        assert found.verdict.kind == "same_factors" and found.same and not found.same_files
    assert found.same_weights
    assert [(x.field, x.one, x.other) for x in found.config] == [("lora_dropout", None, 0.1)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_a_rounded_copy_is_known_by_its_bits(tmp_path, one, dtype):
    other = changed(tmp_path / "other", one, lambda _, A, B: (A.to(dtype), B.to(dtype)))

    assert kind(one, other) == kind(other, one) == "rounded"
    name = str(dtype).removeprefix("torch.")
    assert sentence(one, other).startswith(f"The second is the first rounded to {name}")
    assert sentence(other, one).startswith(f"The first is the second rounded to {name}")
    assert not diff_adapters(str(one), str(other)).same


def test_one_number_off_is_no_rounding(tmp_path, one):
    def change(layer, A, B):
        A, B = A.bfloat16(), B.bfloat16()
        if layer == Q0:
            A[0, 0] *= 1.01
        return A, B

    assert kind(one, changed(tmp_path / "other", one, change)) == "same_delta"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("seed", range(3))
def test_a_turned_copy_is_the_same_delta(tmp_path, one, seed, dtype):
    R = turn(seed=seed)
    other = changed(
        tmp_path / "other",
        one,
        lambda _, A, B: (torch.linalg.solve(R, A).to(dtype), (B @ R).to(dtype)),
    )

    found = diff_adapters(str(one), str(other))

    assert found.verdict.kind == "same_delta"
    assert "which is rounding" in found.verdict.sentence
    assert 0 < found.whole.relative_distance <= found.verdict.equal_below
    assert all(x.factors == "unlike" for x in found.layers)


def test_a_turned_copy_of_a_larger_rank_is_the_same_delta(tmp_path, one):
    def change(_, A, B):
        return torch.cat([A, A]), torch.cat([0.25 * B, 0.75 * B], dim=1)

    other = changed(tmp_path / "other", one, change, r=8, alpha=16)

    found = diff_adapters(str(one), str(other))

    assert found.verdict.kind == "same_delta"
    assert found.whole.cosine_A is None
    assert found.whole.missing["cosine_A"] == "the ranks are unlike"
    assert found.whole.input_overlap == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("config", "times"),
    [
        ({"alpha": 4}, 2.0),
        ({"alpha": 80}, 0.1),
        ({"alpha": 8, "use_rslora": True}, 0.5),  # 8 / 4 over 8 / sqrt(4)
        ({"alpha": -8}, -1.0),
    ],
)
def test_another_scaling_is_a_multiple(tmp_path, one, config, times):
    other = make_adapter(tmp_path / "other", WIDE, r=4, **config)

    found = diff_adapters(str(one), str(other))

    assert found.verdict.kind == ("scaled" if times > 0 else "opposite")
    assert f"the first is {times:g} times the second" in found.verdict.sentence
    assert found.whole.multiple == pytest.approx(times, rel=1e-12)
    assert found.whole.remainder < 1e-12
    assert all(x.factors == "same" for x in found.layers) and not found.same
    assert found.same_weights
    assert "scaling" in [x.field for x in found.config if x.read]


def test_unlike_multiples_are_a_copy_scaled_layer_by_layer(tmp_path, one):
    other = make_adapter(tmp_path / "other", WIDE, r=4, alpha=8, alpha_pattern={"q_proj": 32})

    found = diff_adapters(str(one), str(other))

    assert found.verdict.kind == "scaled_by_layer"
    assert "between 0.25 and 1 times" in found.verdict.sentence


def test_multiples_that_differ_by_more_than_rounding_are_not_one(tmp_path, one):
    times = {layer: 2.0 + 1e-4 * i for i, layer in enumerate(WIDE)}
    other = changed(tmp_path / "other", one, lambda layer, A, B: (A, B * times[layer]))

    assert kind(one, other) == "scaled_by_layer"


@pytest.mark.parametrize(
    "dtype, limit",
    [(torch.float32, 1e-6), (torch.float16, 2**-10), (torch.bfloat16, 2**-7)],
)
def test_the_same_is_two_unit_roundoffs_of_the_coarser_type(tmp_path, one, dtype, limit):
    other = make_adapter(tmp_path / "other", WIDE, r=4, alpha=8, dtype=dtype)

    assert diff_adapters(str(one), str(other)).verdict.equal_below == limit


def test_layers_that_one_lacks_count_among_those_that_differ(tmp_path, one):
    few = list(WIDE)[:2]
    layers = {name: WIDE[name] for name in few}
    other = changed(
        tmp_path / "other", one, lambda layer, A, B: (A, B.flip(0) if layer == few[0] else B),
        layers=layers,
    )  # fmt: skip

    # One of four differs and two are not there: that is more than half.
    assert kind(one, other) != "all_but"


def test_a_changed_layer_is_named(tmp_path, one):
    other = changed(
        tmp_path / "other", one, lambda layer, A, B: (A, B + 0.3 * (layer == Q0) * B.flip(0))
    )

    found = diff_adapters(str(one), str(other))

    assert found.verdict.kind == "all_but" and found.verdict.differing == (Q0,)
    assert f"but for 1 of the 4 layers that both have ({Q0})" in found.verdict.sentence
    shares = {x.layer: x.likeness.share for x in found.layers}
    assert shares == {name: float(name == Q0) for name in WIDE}


def test_layers_that_one_lacks_are_named_and_not_compared(tmp_path, one):
    fewer = {name: WIDE[name] for name in list(WIDE)[:3]}
    other = changed(tmp_path / "other", one, lambda _, A, B: (A, B), layers=fewer)

    found = diff_adapters(str(one), str(other))

    (lone,) = found.only_in_one
    assert found.verdict.kind == "all_but" and not found.only_in_other
    assert lone.layer == found.verdict.differing[0] == list(WIDE)[3]
    stored = tensors_of(one)
    assert lone.norm == pytest.approx(
        2 * float((stored[b_of(lone.layer)] @ stored[a_of(lone.layer)]).norm()), rel=1e-6
    )
    assert "1 layer only in the first" in found.verdict.sentence
    assert found.whole.distance == 0.0 and not found.same
    assert found.one.delta_norm > found.other.delta_norm


def test_layers_of_unlike_shapes_are_named_and_not_compared(tmp_path, one):
    wider = {**WIDE, Q0: (65, 48)}
    other = make_adapter(tmp_path / "other", wider, r=4, alpha=8)

    found = diff_adapters(str(one), str(other))

    (unlike,) = found.unlike
    assert (unlike.layer, unlike.one, unlike.other) == (Q0, "64x48 linear", "65x48 linear")
    assert Q0 not in {x.layer for x in found.layers} and not found.same
    assert "1 layer of unlike shapes" in found.verdict.sentence


@pytest.mark.parametrize(("noise", "wanted"), [(0.03, "close"), (0.3, "shared_start")])
def test_near_deltas_are_close(tmp_path, one, noise, wanted):
    rng = torch.Generator().manual_seed(3)
    other = changed(
        tmp_path / "other",
        one,
        lambda _, A, B: (A, B + noise * torch.randn(B.shape, generator=rng)),
    )

    found = diff_adapters(str(one), str(other))

    assert found.verdict.kind == wanted
    assert (found.whole.relative_distance <= CLOSE) == (wanted == "close")


def test_one_start_and_another_training(tmp_path, one):
    start = {name: x for name, x in tensors_of(one).items() if "lora_A" in name}
    other = make_adapter(tmp_path / "other", WIDE, r=4, alpha=8, seed=1, extra=start)

    found = diff_adapters(str(one), str(other))

    assert found.verdict.kind == "shared_start" and "were trained apart" in found.verdict.sentence
    assert found.whole.cosine_A == pytest.approx(1.0)
    assert found.whole.input_overlap == pytest.approx(1.0) and found.whole.output_overlap < 0.3


def test_random_adapters_are_unrelated(tmp_path, one):
    other = make_adapter(tmp_path / "other", WIDE, r=2, alpha=2, seed=1)

    found = diff_adapters(str(one), str(other))

    assert found.verdict.kind == "unrelated"
    assert found.whole.remainder == pytest.approx(1.0, abs=0.01)
    assert found.whole.input_chance == pytest.approx(4 / 48)
    assert found.whole.cosine_chance == pytest.approx(1 / 48**0.5 / 48**0.5, rel=0.6)


@pytest.mark.parametrize(
    ("mix", "begin"),
    [(1.0, "Related:"), (0.4, "Somewhat related:"), (-0.4, "Somewhat related, and against")],
)
def test_what_two_have_in_common_is_told_by_its_size(tmp_path, one, mix, begin):
    alone = factors(WIDE, r=4, seed=1)

    def change(layer, A, B):
        return torch.cat([A, alone[a_of(layer)]]), torch.cat([mix * B, alone[b_of(layer)]], dim=1)

    other = changed(tmp_path / "other", one, change, r=8, alpha=16)

    found = diff_adapters(str(one), str(other))

    assert found.verdict.kind == "related" and found.verdict.sentence.startswith(begin)


def test_a_zero_adapter_is_named_and_ratios_to_it_are_null_with_a_reason(tmp_path, one):
    other = changed(tmp_path / "other", one, lambda _, A, B: (A, 0 * B))

    found = diff_adapters(str(one), str(other))

    assert found.verdict.kind == "zero" and found.verdict.sentence.startswith("The second changes")
    assert found.whole.relative_distance == 1.0
    for x in (found.whole, *(layer.likeness for layer in found.layers)):
        for name in ("cosine", "cosine_chance", "multiple", "remainder", "input_overlap"):
            assert getattr(x, name) is None
            assert x.missing[name] == "the second's delta is zero"
        assert x.cosine_A == pytest.approx(1.0)
    assert any("delta is zero in every layer" in line for line in found.warnings)
    assert kind(other, other) == "same_file"
    both = changed(tmp_path / "both", one, lambda _, A, B: (2 * A, 0 * B))
    assert sentence(other, both).startswith("Neither changes anything")


def test_a_layer_of_zero_in_both_changes_no_verdict(tmp_path, one):
    def change(layer, A, B):
        return A, B * (layer != Q0)

    a = changed(tmp_path / "a", one, change)
    b = changed(tmp_path / "b", one, change, alpha=16)

    found = diff_adapters(str(a), str(b))

    layer = next(x for x in found.layers if x.layer == Q0).likeness
    assert found.verdict.kind == "scaled" and found.whole.multiple == pytest.approx(0.5)
    assert layer.relative_distance is None
    assert layer.missing["relative_distance"] == "both deltas are zero"
    R = turn()
    turned = changed(tmp_path / "c", a, lambda _, A, B: (torch.linalg.solve(R, A), B @ R))
    assert kind(a, turned) == "same_delta"


def test_a_small_layer_of_its_own_is_no_scaled_copy(tmp_path, one):
    def change(layer, A, B):
        return A, 1e-8 * B.flip(0) if layer == Q0 else B

    a = changed(tmp_path / "a", one, lambda layer, A, B: (A, 1e-8 * B if layer == Q0 else B))
    b = changed(tmp_path / "b", one, change, alpha=16)

    assert kind(a, b) == "shared_start"


def test_nothing_in_common_is_an_answer(tmp_path, one):
    other = make_adapter(tmp_path / "other", {"h.0.c_attn": (6, 5)})

    found = diff_adapters(str(one), str(other))

    assert found.verdict.kind == "nothing_shared" and not found.layers
    assert len(found.only_in_one) == 4 and len(found.only_in_other) == 1
    assert found.whole.relative_distance is None
    assert found.whole.missing["relative_distance"] == "no layer is shared"
    assert any("no layer in common" in line for line in found.warnings)


# --- numbers -------------------------------------------------------------------------------------


@st.composite
def pairs(draw):
    """What two adapters are made of; LAYERS are 8x6 and 4x6, so that spaces can fill a side."""
    return [
        {
            "layers": {k: LAYERS[k] for k in draw(st.sampled_from([list(LAYERS), [Q0]]))},
            "r": draw(st.integers(1, 7)),
            "alpha": draw(st.sampled_from([1.0, 4.0, -3.0])),
            "dtype": draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float64])),
            "seed": draw(st.integers(0, 5)),
            "use_rslora": draw(st.booleans()),
        }
        for _ in range(2)
    ]


@given(pairs())
def test_every_number_is_that_of_the_dense_matrices(made):
    with tempfile.TemporaryDirectory() as folder:
        paths = [make_adapter(Path(folder) / str(i), **each) for i, each in enumerate(made)]
        deltas = [dense(path, each) for path, each in zip(paths, made, strict=True)]
        found, back = (diff_adapters(*map(str, way)) for way in (paths, paths[::-1]))

    shared = [name for name in sorted(LAYERS) if name in deltas[0] and name in deltas[1]]
    assert [x.layer for x in found.layers] == shared
    layers = [[delta[name] for name in shared] for delta in deltas]
    _check(found.whole, *layers)
    assert found.whole.norm_one == pytest.approx(back.whole.norm_other, rel=1e-12)
    for name in ("relative_distance", "cosine", "remainder", "input_overlap", "output_overlap"):
        there, again = getattr(found.whole, name), getattr(back.whole, name)
        assert there == pytest.approx(again, abs=1e-12)
    for groups, key in ((found.by_module, "module"), (found.by_block, "block")):
        for group in groups:
            inside = [i for i, x in enumerate(found.layers) if getattr(x, key) == group.name]
            _check(group.likeness, *([side[i] for i in inside] for side in layers))
    for x, a, b in zip(found.layers, *layers, strict=True):
        _check(x.likeness, [a], [b])
    total = sum(x.likeness.share or 0.0 for x in found.layers)
    assert total == pytest.approx(1.0 if found.whole.distance else 0.0)


def dense(path, made):
    stored = {k: v.double() for k, v in tensors_of(path).items()}
    root = math.sqrt(made["r"]) if made["use_rslora"] else made["r"]
    return {
        name: (made["alpha"] / root * stored[b_of(name)] @ stored[a_of(name)]).numpy()
        for name in made["layers"]
    }


def _check(found, ones, others):
    a, b = (np.concatenate([x.ravel() for x in side]) for side in (ones, others))
    size_a, size_b, inner = np.linalg.norm(a), np.linalg.norm(b), a @ b
    assert found.layers == len(ones)
    assert found.norm_one == pytest.approx(size_a, rel=EXACT)
    assert found.norm_other == pytest.approx(size_b, rel=EXACT)
    assert found.distance == pytest.approx(np.linalg.norm(a - b), abs=EXACT * size_a)
    wanted = np.linalg.norm(a - b) / max(size_a, size_b)
    assert found.relative_distance == pytest.approx(wanted, abs=EXACT)
    assert found.cosine == pytest.approx(inner / size_a / size_b, abs=EXACT)
    c = inner / size_b**2
    assert found.multiple == pytest.approx(c, rel=EXACT, abs=EXACT)
    assert found.remainder == pytest.approx(np.linalg.norm(a - c * b) / size_a, abs=EXACT)
    chance = [
        (np.linalg.norm(x) * np.linalg.norm(y)) ** 2 / x.size
        for x, y in zip(ones, others, strict=True)
    ]
    assert found.cosine_chance == pytest.approx(sum(chance) ** 0.5 / size_a / size_b, rel=EXACT)
    for name, side in (("input_overlap", 2), ("output_overlap", 0)):
        each = [_overlap(x, y, side) for x, y in zip(ones, others, strict=True)]
        assert getattr(found, name) == pytest.approx(np.mean(each), abs=EXACT)


def _overlap(x, y, side):
    spaces = []
    for delta in (x, y):
        U, S, Vt = np.linalg.svd(delta, full_matrices=False)
        k = int((S > 1e-10 * S[0]).sum())
        spaces.append(Vt[:k].T if side else U[:, :k])
    cosines = np.linalg.svd(spaces[0].T @ spaces[1], compute_uv=False)
    return np.mean(cosines**2)


def test_small_distances_of_adapters_keep_their_digits(tmp_path):
    a = make_adapter(tmp_path / "a", WIDE, r=4, alpha=8, dtype=torch.float64)
    b = changed(tmp_path / "b", a, lambda _, A, B: (A, B * (1 + 1e-11)))

    assert diff_adapters(str(a), str(b)).whole.relative_distance == pytest.approx(1e-11, rel=1e-3)


def test_unrelated_starts_of_one_rank_have_a_cosine_near_zero(tmp_path, one):
    other = make_adapter(tmp_path / "other", WIDE, r=4, alpha=8, seed=1)

    found = diff_adapters(str(one), str(other)).whole

    rows = [tensors_of(path) for path in (one, other)]
    wanted = [
        float(torch.nn.functional.cosine_similarity(*(t[a_of(name)].double() for t in rows)).sum())
        for name in WIDE
    ]
    assert found.rows_of_A == 16
    assert found.cosine_A == pytest.approx(sum(wanted) / 16, abs=1e-12)


def test_blocks_fold_into_ranges_that_add_up(tmp_path):
    layers = {f"model.layers.{i}.q_proj": (8, 6) for i in range(30)} | {"lm_head": (9, 6)}
    a, b = (make_adapter(tmp_path / str(i), layers, seed=i) for i in range(2))
    found = diff_adapters(str(a), str(b))

    lines = folded(found, 12)

    names = [group.name for group in found.by_block]
    assert len(names) == 31 and [name for run, _ in lines for name in run] == names
    assert len(lines) <= 12
    assert sum(x.share for _, x in lines) == pytest.approx(1.0)
    assert sum(x.layers for _, x in lines) == 31


# --- beside the factors --------------------------------------------------------------------------


def test_full_tensors_are_compared_as_values(tmp_path):
    def adapter(name, **heads):
        extra = {f"{PREFIX}{key}.weight": x.clone() for key, x in heads.items()}
        return make_adapter(tmp_path / name, extra=extra, modules_to_save=list(heads))

    ones = torch.ones(2, 3)
    a = adapter("a", same=ones, off=ones, shape=ones, mine=ones, zero=0 * ones)
    b = adapter("b", same=ones, off=ones.bfloat16() * 2, shape=torch.ones(3, 3), zero=0 * ones)

    found = diff_adapters(str(a), str(b))

    full = {x.name.partition(".")[0]: x for x in found.full_tensors}
    assert {name: x.found for name, x in full.items()} == {
        "same": "equal",
        "off": "differs",
        "shape": "other_shape",
        "mine": "only_in_one",
        "zero": "equal",
    }
    assert full["same"].relative_distance == 0.0
    assert full["off"].relative_distance == pytest.approx(0.5)
    assert full["off"].dtypes == ("float32", "bfloat16")
    assert full["zero"].relative_distance is None and full["zero"].missing == "both are zero"
    assert full["shape"].missing and full["mine"].missing
    assert found.verdict.kind == "same_factors" and not found.same
    assert "3 of 5 full tensors not the same" in found.verdict.sentence


def test_full_tensors_that_only_float64_can_hold_are_not_zero(tmp_path):
    def adapter(name, size):
        head = {f"{PREFIX}head.weight": torch.full((2, 3), size, dtype=torch.float64)}
        return make_adapter(tmp_path / name, extra=head, modules_to_save=["head"])

    (full,) = diff_adapters(str(adapter("a", 1e-200)), str(adapter("b", 3e-200))).full_tensors

    assert full.found == "differs" and full.missing is None
    assert full.relative_distance == pytest.approx(2 / 3)


def test_lora_biases_count(tmp_path):
    def adapter(name, alpha=4, times=1.0):
        bias = {f"{PREFIX}{x}.lora_B.bias": times * torch.ones(d) for x, (d, _) in LAYERS.items()}
        return make_adapter(tmp_path / name, alpha=alpha, extra=bias, lora_bias=True)

    a = adapter("a")
    none = make_adapter(tmp_path / "none", alpha=4)

    assert diff_adapters(str(a), str(adapter("b"))).same
    assert sentence(a, adapter("c", alpha=8)).endswith("0.5 times the second.")
    other = adapter("d", times=3.0)
    assert sentence(a, other).endswith("; the LoRA biases of 4 layers not the same.")
    assert not diff_adapters(str(a), str(other)).same
    # Scaling 8 / 2 of a half beside 4 / 2 of a whole: factors are scaled, the biases are not.
    other = adapter("e", alpha=8, times=0.5)
    assert kind(a, other) == "scaled"
    assert sentence(a, other).endswith("; the LoRA biases of 4 layers not the same.")
    found = diff_adapters(str(a), str(none))
    bias = found.layers[0].bias
    assert (bias.norm_one, bias.norm_other) == (pytest.approx(2 * 8**0.5), 0.0)
    assert bias.relative_distance == 1.0 and bias.multiple is None and not found.same


# --- configs -------------------------------------------------------------------------------------


def test_configs_differ_field_by_field_and_unset_is_unset(tmp_path):
    a = make_adapter(
        tmp_path / "a", use_dora=False, rank_pattern={}, target_modules=["v_proj", "q_proj"]
    )
    b = make_adapter(tmp_path / "b", alpha=8, lora_dropout=0.5, target_modules=["q_proj", "v_proj"])

    found = {x.field: (x.one, x.other) for x in diff_adapters(str(a), str(b)).config}

    assert found == {
        "scaling": ({"2": 4}, {"4": 4}),
        "lora_alpha": (4, 8),
        "lora_dropout": (None, 0.5),
    }


def test_a_strangers_config_cannot_break_the_record(tmp_path):
    a = make_adapter(tmp_path / "a")
    b = make_adapter(tmp_path / "b")
    deep = "[" * 500 + "]" * 500
    text = (b / "adapter_config.json").read_text().rstrip()[:-1]
    (b / "adapter_config.json").write_text(
        text + f', "nan": NaN, "half": "\\ud800", "deep": {deep}, "huge": {"9" * 400},'
        '"\\ud800": 1, "steer": "\\u001b[2J"}'
    )

    found = diff_adapters(str(a), str(b))

    told = {x["field"]: x["other"] for x in json.loads(found.model_dump_json())["config"]}
    assert told["nan"] == "nan" and told["half"] == "\\ud800" and told["\\ud800"] == 1
    assert told["huge"] == int("9" * 400) and "nested deeper" in str(told["deep"])


def test_bases_of_other_names_are_a_warning(tmp_path):
    a = make_adapter(tmp_path / "a")
    b = make_adapter(tmp_path / "b", base_model_name_or_path="org/other")
    c = make_adapter(tmp_path / "c", base_model_name_or_path="/models/Tiny-Base/")

    assert any("'org/other'" in line for line in diff_adapters(str(a), str(b)).warnings)
    assert not diff_adapters(str(a), str(c)).warnings


def test_every_verdict_is_on_its_page(pytestconfig):
    page = (pytestconfig.rootpath / "docs/diff.md").read_text()

    assert all(f"| `{kind}` |" in page for kind in get_args(Kind))


# --- as a whole ----------------------------------------------------------------------------------


def test_the_record_is_the_same_from_run_to_run(tmp_path, one):
    other = make_adapter(tmp_path / "other", WIDE, r=3, alpha=8, seed=1)

    first, second = (diff_adapters(str(one), str(other)).model_dump_json() for _ in range(2))

    assert first == second and "NaN" not in first
    assert copamerge.difference.Difference.model_validate_json(first).model_dump_json() == first


def test_all_problems_of_both_are_told_at_once(tmp_path):
    nan = {a_of(Q0): torch.full((2, 6), math.nan), f"{PREFIX}head.weight": torch.tensor([math.inf])}
    a = make_adapter(tmp_path / "a", extra=nan, modules_to_save=["head"])
    write_config(tmp_path)

    with pytest.raises(AdapterError) as caught:
        diff_adapters(str(a), str(tmp_path))

    first, second, third = caught.value.problems
    assert a_of(Q0) in first and "12 NaN" in first
    assert "head.weight" in second and "1 infinite" in second
    assert "no adapter_model.safetensors" in third


def test_bare_weights_need_an_alpha(tmp_path, one):
    other = Path(shutil.copytree(one, tmp_path / "other"))
    (other / "adapter_config.json").unlink()

    with pytest.raises(AdapterError, match="--alpha"):
        diff_adapters(str(one), str(other))

    assert diff_adapters(str(one), str(other), alpha=8).verdict.kind == "same_factors"
