"""The record against dense float64, planted structure, and what is not to be had."""

import json
import sys

import dense
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from copamerge import analyze, merge
from copamerge.analyzing.files import json_text, read_analysis, tables
from copamerge.errors import AdapterError, PlanError, RecipeError
from copamerge.recipe import recipe_from
from makers import LAYERS, Q0, a_of, b_of, make_adapter

EXACT = 1e-8
METHODS = ("task_arithmetic", "copa", "tsv_m")


def recipe(paths, **more):
    sources = [{"adapter": str(path)} for path in paths]
    return recipe_from({"method": "task_arithmetic", "adapters": sources, **more})


def analysed(*paths, methods=(), merged=(), within=45.0, **more):
    return analyze(
        recipe(paths, **more), methods=methods, merged=list(map(str, merged)), within_degrees=within
    )


def change(path, **tensors):
    """Replace tensors of an adapter by functions of what is there."""
    file = path / "adapter_model.safetensors"
    content = load_file(file)
    for name, function in tensors.items():
        for key in [k for k in content if name in k]:
            content[key] = function(content[key]).contiguous()
    save_file(content, file, metadata={"format": "pt"})
    return path


@pytest.fixture
def three(tmp_path):
    """Unlike ranks; the last lacks a layer."""
    layers = dict(list(LAYERS.items())[:-1])
    return (
        make_adapter(tmp_path / "a", seed=1),
        make_adapter(tmp_path / "b", seed=2, r=3),
        make_adapter(tmp_path / "c", layers, seed=3),
    )


def near(value):
    return pytest.approx(value, rel=EXACT, abs=EXACT)


# --- against dense matrices ----------------------------------------------------------------------


def test_adapters_are_those_of_the_dense_matrices(three):
    found = analysed(*three)
    energies = [dense.norm(dense.deltas(path)) ** 2 for path in three]

    for path, one, energy in zip(three, found.adapters, energies, strict=True):
        own = dense.deltas(path)
        spectra = {name: dense.svd(T)[1] for name, T in own.items()}
        weight = {name: (S**2).sum() / energy for name, S in spectra.items()}
        assert one.layers == len(own)
        assert one.norm == near(energy**0.5)
        assert one.share == near(energy / sum(energies))
        assert one.stable_rank == near(
            sum(weight[n] * (S**2).sum() / S[0] ** 2 for n, S in spectra.items())
        )
        assert one.effective_rank == near(
            sum(weight[n] * dense.effective(S) for n, S in spectra.items())
        )
        longest = max(map(len, spectra.values()))
        rows = [np.pad(S / S[0], (0, longest - len(S))) for S in spectra.values()]
        assert one.spectrum == near(tuple(np.mean(rows, axis=0)))
        assert sum(one.by_module.values()) == near(1) and sum(one.by_block.values()) == near(1)
        places = {layer.layer: layer for layer in found.layers}
        for block, share in one.by_block.items():
            assert share == near(sum(weight[n] for n in own if places[n].block == block))
    for layer in found.layers:
        for path, part in zip(three, layer.adapters, strict=True):
            own = dense.deltas(path)
            if layer.layer not in own:
                assert part is None
                continue
            S = dense.svd(own[layer.layer])[1]
            assert part.sigma == near(tuple(S)) and part.norm == near(np.linalg.norm(S))


def test_pairs_are_those_of_the_dense_matrices(three):
    found = analysed(*three)

    for pair in found.pairs:
        one, other = (dense.deltas(three[i]) for i in (pair.one, pair.other))
        both = [name for name in one if name in other]
        sizes = [dense.norm(x, both) for x in (one, other)]
        assert pair.shared_layers == len(both)
        assert pair.cosine == near(dense.inner(one, other) / sizes[0] / sizes[1])
        assert pair.norm_ratio == near(sizes[0] / sizes[1])
        for side, column in (("input", 2), ("output", 0)):
            bases = [[dense.svd(x[name])[column] for x in (one, other)] for name in both]
            mine = getattr(pair, side)
            assert mine.mean == near(np.mean([dense.overlap(*b) for b in bases]))
            assert mine.shared == sum(dense.common(*b) for b in bases)
            assert mine.of == sum(min(b[0].shape[1], b[1].shape[1]) for b in bases)
        signs = [(one[n] * other[n]).flatten() for n in both]
        assert pair.sign_conflict == near((np.concatenate(signs) < 0).mean())
        ranks = [[dense.factors_of(three[i], n)[0] for i in (pair.one, pair.other)] for n in both]
        rows = [
            a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            for A, B in ranks
            if len(A) == len(B)
            for a, b in zip(A, B, strict=True)
        ]
        assert pair.cosine_A == (near(np.mean(rows)) if rows else None)


def test_all_together_is_that_of_the_dense_matrices(three):
    found = analysed(*three)
    own = [dense.deltas(path) for path in three]

    sums = {n: sum(x[n] for x in own if n in x) for n in LAYERS}
    spectra = [np.linalg.svd(T, compute_uv=False) for T in sums.values()]
    total = sum((S**2).sum() for S in spectra)
    gross = sum(np.abs(x[n]).sum() for x in own for n in x)
    assert found.together.norm_of_sum == near(total**0.5)
    assert found.together.cancelled == near(1 - sum(np.abs(T).sum() for T in sums.values()) / gross)
    assert found.together.entries == found.together.entries_looked_at
    for rank, share in found.together.energy.items():
        assert share == near(sum((S[:rank] ** 2).sum() for S in spectra) / total)
    rank = found.together.rank_99
    assert sum((S[:rank] ** 2).sum() for S in spectra) >= 0.99 * total
    assert sum((S[: rank - 1] ** 2).sum() for S in spectra) < 0.99 * total
    norms = [dense.norm(x) for x in own]
    assert found.together.imbalance == near(max(norms) / min(norms))


def test_merges_are_those_of_the_dense_matrices(three, tmp_path):
    merge([str(p) for p in three], method="copa").save_pretrained(tmp_path / "out")
    found = analysed(*three, merged=[tmp_path / "out"], methods=["task_arithmetic"], within=60.0)
    content = load_file(tmp_path / "out" / "adapter_model.safetensors")
    merged = {
        n: content[b_of(n)].double().numpy() @ content[a_of(n)].double().numpy() for n in LAYERS
    }

    mine = found.merges[0]
    assert (mine.source, mine.method["name"], mine.failed) == ("folder", "copa", None)
    assert mine.norm == near(dense.norm(merged))
    for i, (path, trace) in enumerate(zip(three, mine.traces, strict=True)):
        own = dense.deltas(path)
        assert trace.cosine == near(dense.inner(own, merged) / dense.norm(own) / dense.norm(merged))
        keeps = energy = strong = 0.0
        for name, T in own.items():
            U, S, V = dense.svd(T)
            image = merged[name] @ V
            cosines = (U * image).sum(0) / np.linalg.norm(image, axis=0)
            keeps += (S**2)[cosines >= np.cos(np.radians(60))].sum()
            strong += (S**2 * np.abs((U * image).sum(0)) / S).sum()
            energy += (S**2).sum()
            layer = next(x for x in found.layers if x.layer == name)
            part = layer.merges[0][i]
            assert part.angles == near(tuple(np.degrees(np.arccos(cosines))))
            assert part.gains == near(tuple(np.abs((U * image).sum(0)) / S))
        assert trace.preserved_energy == near(keeps / energy)
        assert trace.gain == near(strong / energy)
    assert found.merges[1].source == "method" and found.merges[1].energy_kept == near(1.0)


def test_directions_are_summed_up_by_quartiles_over_layers(three):
    found = analysed(*three, methods=["copa"])

    for i, directions in enumerate(found.merges[0].by_direction):
        parts = [x.merges[0][i] for x in found.layers if x.merges[0][i] is not None]
        for k, summary in enumerate(directions):
            angles = [part.angles[k] for part in parts if len(part.angles) > k]
            gains = [part.gains[k] for part in parts if len(part.gains) > k]
            for mine, values in ((summary.angle, angles), (summary.gain, gains)):
                low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
                assert (mine.low, mine.median, mine.high) == near((low, median, high))


def test_S_is_that_of_equation_3(three):
    found = analysed(*three)

    for i, path in enumerate(three):
        S = [dense.S_of(dense.factors_of(path, n)[0]) for n in dense.deltas(path)]
        assert found.copa.S_mean[i] == pytest.approx(np.concatenate(S).mean(), rel=1e-6)
        assert found.copa.S_max[i] == pytest.approx(np.concatenate(S).max(), rel=1e-6)


def test_what_S_changes_is_the_merge_with_S_beside_that_without(tmp_path):
    paths = [make_adapter(tmp_path / x, seed=i, r=3) for i, x in enumerate("ab")]
    found = analysed(*paths)

    apart = plain = 0.0
    for name in LAYERS:
        factors = [dense.factors_of(path, name) for path in paths]
        S = np.stack([dense.S_of(A) for A, _ in factors])
        S = S / S.sum(0)
        terms = [(dense.kept(A), dense.kept(B)) for A, B in factors]
        with_S = sum((B * s) @ A for (A, B), s in zip(terms, S, strict=True))
        without = sum(B @ A / 2 for A, B in terms)
        apart += ((with_S - without) ** 2).sum()
        plain += (without**2).sum()
        layer = next(x for x in found.layers if x.layer == name)
        wanted = np.linalg.norm(with_S - without) / np.linalg.norm(without)
        # S is of sums in float32.
        assert layer.copa_change == pytest.approx(wanted, rel=1e-5)
    assert found.copa.change == pytest.approx((apart / plain) ** 0.5, rel=1e-5)


# --- planted structure ---------------------------------------------------------------------------


def test_a_rotated_copy_is_the_same_adapter(tmp_path):
    one = make_adapter(tmp_path / "a", r=3)
    other = make_adapter(tmp_path / "b", r=3)
    R = torch.randn(3, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    change(
        other,
        lora_A=lambda A: torch.linalg.solve(R, A.double()),
        lora_B=lambda B: B.double() @ R,
    )
    found = analysed(one, other)

    pair = found.pairs[0]
    # The rotated factors were rounded to float32 on their way through the stack.
    assert pair.cosine == pytest.approx(1, abs=1e-6)
    assert pair.input.mean == pytest.approx(1, abs=1e-6) and pair.input.shared == pair.input.of
    assert pair.sign_conflict < 1e-3
    assert found.adapters[0].spectrum == pytest.approx(found.adapters[1].spectrum, rel=1e-5)
    assert any("again" in notice.text for notice in found.notices)


def test_a_scaled_copy_differs_in_size_alone(tmp_path):
    one, other = make_adapter(tmp_path / "a"), make_adapter(tmp_path / "b", alpha=4)
    change(other, lora_B=lambda B: 1000 * B)
    found = analysed(one, other)

    assert found.pairs[0].cosine == near(1) and found.pairs[0].norm_ratio == near(1 / 1000)
    assert found.together.imbalance == near(1000)
    warned = next(n for n in found.notices if "norms differ" in n.text)
    assert "1,000 x" in warned.text and "norm_match" in warned.do
    assert "by far" in found.answers.dominates


@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_exactly_k_shared_inputs_are_found(tmp_path, k):
    layers = {Q0: (12, 12)}
    Q = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(k)))[0]
    one, other = (make_adapter(tmp_path / x, layers, r=3, seed=i) for i, x in enumerate("ab"))
    change(one, lora_A=lambda _: Q[:3])
    change(other, lora_A=lambda _: torch.cat([Q[:k], Q[3 : 6 - k]]))
    pair = analysed(one, other).pairs[0]

    assert (pair.input.shared, pair.input.of) == (k, 3)
    assert pair.input.mean == pytest.approx(k / 3, abs=1e-6)  # factors in float32


def test_one_start_for_all_is_seen_and_said(tmp_path):
    layers = {Q0: (12, 200)}
    paths = [make_adapter(tmp_path / x, layers, seed=i) for i, x in enumerate("abc")]
    start = torch.rand(2, 200, generator=torch.Generator().manual_seed(9)) - 0.5
    for path in paths[:2]:
        change(path, lora_A=lambda A: start + 0.01 * A)
    found = analysed(*paths)

    assert found.pairs[0].cosine_A > 0.9 and abs(found.pairs[1].cosine_A) < 0.3
    assert "share their first A: a, b" in found.answers.related
    assert any("robustmerge" in notice.text for notice in found.notices)


def test_one_adapter_and_its_negative_cancel(tmp_path):
    one, other = make_adapter(tmp_path / "a"), make_adapter(tmp_path / "b")
    change(other, lora_B=lambda B: -B)
    found = analysed(one, other, methods=["task_arithmetic"])

    assert found.together.energy is None and found.together.why_null
    assert found.together.cancelled == near(1)
    assert found.pairs[0].cosine == near(-1) and found.pairs[0].sign_conflict == near(1)
    assert "opposed" in found.answers.related
    assert found.merges[0].traces[0].cosine is None


# --- what is not to be had -----------------------------------------------------------------------


def test_a_zero_adapter_has_nulls_with_reasons_and_never_a_zero(tmp_path):
    one, other = make_adapter(tmp_path / "a"), make_adapter(tmp_path / "b", seed=1)
    change(other, lora_B=torch.zeros_like)
    found = analysed(one, other, methods=METHODS)

    zero = found.adapters[1]
    assert zero.norm == 0.0 and zero.stable_rank is None and zero.effective_rank is None
    assert zero.B.shape is None and zero.B.kurtosis is None and zero.why_null
    pair = found.pairs[0]
    assert pair.cosine is None and pair.norm_ratio is None and pair.input.mean is None
    assert pair.sign_conflict is None and pair.why_null
    for merge_ in found.merges:
        assert merge_.traces[1].cosine is None and merge_.traces[1].gain is None
    for layer in found.layers:
        assert layer.adapters[1].why_null and layer.pairs[0].why_null
        assert layer.merges[0][1].why_null
    assert "alone" in found.answers.dominates
    assert any("lora_B never trained" in notice.text for notice in found.notices)
    _no_nan(found)


def test_one_adapter_alone_can_be_looked_at(tmp_path):
    found = analyze(recipe([make_adapter(tmp_path / "a")]))

    assert not found.pairs and not found.merges and found.together.imbalance is None
    assert found.answers.methods == () and "one adapter only" in found.answers.related
    _no_nan(found)


def _no_nan(found):
    text = json_text(found)
    assert "NaN" not in text and "Infinity" not in text
    json.loads(text)


def test_a_method_that_refuses_is_a_row_that_says_why(three):
    found = analysed(*three, methods=["factor_linear", "copa"])

    refused, copa = found.merges
    assert "rank" in refused.failed and refused.traces == () and refused.norm is None
    assert copa.failed is None
    assert all(layer.merges[0] is None for layer in found.layers)


def test_a_method_that_breaks_down_is_a_row_that_says_why(three, monkeypatch):
    from copamerge.methods.tsv_m import TsvM

    def breaks(*_):
        raise ZeroDivisionError("of its own")

    monkeypatch.setattr(TsvM, "merge", breaks)
    found = analysed(*three, methods=METHODS)

    assert found.merges[2].failed == "ZeroDivisionError: of its own"
    assert found.merges[1].failed is None


def test_broken_tensors_are_refused_as_by_merge(three):
    change(three[1], lora_A=lambda A: A.index_fill(1, torch.tensor([0]), float("nan")))

    with pytest.raises(AdapterError, match=r"NaN values of"):
        analysed(*three)


def test_all_that_does_not_fit_is_told_at_once(tmp_path):
    one = make_adapter(tmp_path / "a")
    (tmp_path / "empty").mkdir()

    with pytest.raises(PlanError) as caught:
        analysed(one, tmp_path / "nowhere", merged=[tmp_path / "empty"])

    assert len(caught.value.problems) == 2


def test_a_merge_of_others_is_refused_or_named(tmp_path):
    one, other = make_adapter(tmp_path / "a"), make_adapter(tmp_path / "b", seed=1)
    wide = {name: (d_out + 1, d_in) for name, (d_out, d_in) in LAYERS.items()}
    with pytest.raises(AdapterError, match="takes a merge of these"):
        analysed(one, other, merged=[make_adapter(tmp_path / "wide", wide)])
    strange = {"model.layers.9.mlp.up_proj": (4, 4)}
    with pytest.raises(AdapterError, match="has no layer of the adapters"):
        analysed(one, other, merged=[make_adapter(tmp_path / "strange", strange)])
    third = make_adapter(tmp_path / "c", seed=2)
    merge([str(one), str(third)], method="copa").save_pretrained(tmp_path / "out")
    found = analysed(one, other, merged=[tmp_path / "out"])
    assert any(f"not made of {other}" in notice.text for notice in found.merges[0].notices)


def test_unknown_methods_and_angles_are_refused(three):
    with pytest.raises(RecipeError, match="copaa"):
        analysed(*three, methods=["copaa"])
    with pytest.raises(RecipeError, match="within"):
        analysed(*three, within=0.0)


def test_full_tensors_are_named_not_measured(tmp_path):
    head = {"base_model.model.score.weight": torch.ones(2, 8)}
    paths = [
        make_adapter(tmp_path / x, seed=i, extra=head, modules_to_save=["score"])
        for i, x in enumerate("ab")
    ]
    found = analysed(*paths, modules_to_save="drop")

    assert found.adapters[0].not_measured == ("base_model.model.score.weight",)
    (notice,) = [n for n in found.notices if "full tensors" in n.text]
    assert "a 1, b 1" in notice.text
    for one in found.adapters:
        layers = 2 * one.layers
        assert one.tensors == layers + len(one.not_measured) + len(one.ignored)


# --- the record ----------------------------------------------------------------------------------


def test_the_same_command_gives_the_same_bytes(three):
    once, again = (json_text(analysed(*three, methods=METHODS)) for _ in range(2))

    assert once == again


def test_threads_change_no_bytes(three):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = json_text(analysed(*three, methods=METHODS))
        torch.set_num_threads(2)
        two = json_text(analysed(*three, methods=METHODS))
    finally:
        torch.set_num_threads(before)

    assert one == two


def test_threads_of_a_large_dense_method_change_nothing_of_the_adapters(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["copamerge.merging.walk"], "SMALL", 0)
    layers = {Q0: (2048, 1024)}
    paths = [make_adapter(tmp_path / x, layers, r=24, seed=i) for i, x in enumerate("ab")]
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(analysed(*paths, methods=["ties"], rank=2))
    finally:
        torch.set_num_threads(before)

    one, two = found
    assert (one.adapters, one.pairs, one.together) == (two.adapters, two.pairs, two.together)
    assert one.copa == two.copa and one.layers[0].adapters == two.layers[0].adapters


def test_the_order_of_adapters_orders_the_record_and_changes_nothing_else(three):
    there, back = analysed(*three), analysed(*reversed(three))

    assert [x.norm for x in there.adapters] == [x.norm for x in reversed(back.adapters)]
    assert there.pairs[0].cosine == near(back.pairs[2].cosine)
    assert there.together.energy == near(back.together.energy)


def test_the_record_survives_a_round_trip(three, tmp_path):
    found = analysed(*three, methods=METHODS)
    (tmp_path / "analysis.json").write_text(json_text(found))

    assert read_analysis(tmp_path) == found


def test_large_layers_are_sampled_and_say_so(tmp_path):
    layers = {Q0: (300, 400)}
    paths = [make_adapter(tmp_path / x, layers, seed=i) for i, x in enumerate("ab")]
    found = analysed(*paths)

    own = [dense.deltas(path, layers)[Q0] for path in paths]
    assert found.together.entries == 120_000 and found.together.entries_looked_at == 2**14
    # A share of 16,384 entries: four standard errors are 0.016.
    assert found.pairs[0].sign_conflict == pytest.approx((own[0] * own[1] < 0).mean(), abs=0.016)


def test_tables_hold_a_row_for_each_thing(three):
    found = analysed(*three, methods=METHODS)
    rows = {name: text.splitlines() for name, text in tables(found).items()}

    present = sum(one.layers for one in found.adapters)
    assert len(rows["adapters.csv"]) == 1 + 3 and len(rows["pairs.csv"]) == 1 + 3
    assert len(rows["layers.csv"]) == 1 + present
    assert len(rows["layer_merges.csv"]) == 1 + 3 * present
    assert "nan" not in "".join(tables(found).values()).lower().replace("dominan", "")


def test_a_name_cannot_become_a_formula_in_a_spreadsheet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_adapter(tmp_path / "=1+1")

    assert "'=1+1" in tables(analyze(recipe(["=1+1"])))["adapters.csv"]


def test_layers_are_those_of_the_dense_matrices(three):
    found = analysed(*three)
    own = [dense.deltas(path) for path in three]

    for layer in found.layers:
        there = [x[layer.layer] for x in own if layer.layer in x]
        signs = np.sign(there)
        assert layer.disagreement == near(((signs > 0).any(0) & (signs < 0).any(0)).mean())
        assert layer.cancelled == near(1 - np.abs(sum(there)).sum() / np.abs(there).sum())
        S = np.linalg.svd(sum(there), compute_uv=False)
        for rank, share in layer.energy.items():
            assert share == near((S[:rank] ** 2).sum() / (S**2).sum())
        for pair in layer.pairs:
            T, U = own[pair.one][layer.layer], own[pair.other][layer.layer]
            one, other = dense.svd(T), dense.svd(U)
            assert pair.cosine == near((T * U).sum() / np.linalg.norm(T) / np.linalg.norm(U))
            assert pair.input_overlap == near(dense.overlap(one[2], other[2]))
            assert pair.output_overlap == near(dense.overlap(one[0], other[0]))
            assert pair.output_shared == dense.common(one[0], other[0])
            assert pair.sign_conflict == near((T * U < 0).mean())


def test_multiples_are_those_of_the_pruned_and_scaled_terms(tmp_path):
    path = make_adapter(tmp_path / "a", r=3)
    found = analysed(path)

    with_S, without = [], []
    for name in LAYERS:
        A, B = dense.factors_of(path, name)
        S = dense.svd(B @ A)[1]
        terms = dense.kept(B) * dense.S_of(A) @ dense.kept(A), dense.kept(B) @ dense.kept(A)
        for rows, term in zip((with_S, without), terms, strict=True):
            rows.append(np.linalg.svd(term, compute_uv=False)[: len(S)] / S)
    assert found.copa.multiples[0] == pytest.approx(tuple(np.mean(with_S, 0)), rel=1e-5)
    assert found.copa.multiples_without[0] == pytest.approx(tuple(np.mean(without, 0)), rel=1e-5)


def test_norms_of_merges_are_over_the_mean_of_the_adapters(three):
    found = analysed(*three, methods=["task_arithmetic"])

    mean = np.mean([one.norm for one in found.adapters])
    assert found.merges[0].norm_ratio == near(found.together.norm_of_sum / mean)


def test_layers_that_are_sampled_count_by_their_size(tmp_path):
    small, large = "model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"
    layers = {small: (200, 200), large: (400, 400)}
    paths = [make_adapter(tmp_path / x, layers, seed=i) for i, x in enumerate("ab")]
    # Signs agree everywhere in the small layer and nowhere in the large one.
    content = load_file(paths[0] / "adapter_model.safetensors")
    content[b_of(large)] = -content[b_of(large)]
    save_file(content, paths[1] / "adapter_model.safetensors", metadata={"format": "pt"})
    found = analysed(*paths)

    assert found.pairs[0].sign_conflict == near(400**2 / (400**2 + 200**2))


# --- what is easily taken for a number -----------------------------------------------------------


def without(path, block):
    """Zero in one block: a layer that training did not reach."""
    return change(path, **{f"layers.{block}.": lambda x: torch.zeros_like(x) if len(x) > 2 else x})


def test_layers_of_zero_do_not_count_as_multiples_of_zero(tmp_path):
    whole = analysed(make_adapter(tmp_path / "a", dict(list(LAYERS.items())[:2])))
    partly = analysed(without(make_adapter(tmp_path / "b"), 1))

    assert partly.layers[2].adapters[0].norm == 0.0
    assert partly.copa.multiples == whole.copa.multiples
    assert partly.copa.multiples_without == whole.copa.multiples_without
    # Each of rank 3 where it has one: the third is that of the layer that has a third.
    one = make_adapter(tmp_path / "c", dict(list(LAYERS.items())[:1]), r=3)
    content = {**load_file(without(make_adapter(tmp_path / "d"), 1) / "adapter_model.safetensors")}
    content |= load_file(one / "adapter_model.safetensors")
    save_file(content, one / "adapter_model.safetensors", metadata={"format": "pt"})
    (one / "adapter_config.json").write_text((tmp_path / "d" / "adapter_config.json").read_text())
    config = json.loads((one / "adapter_config.json").read_text())
    config["rank_pattern"] = {Q0: 3}
    (one / "adapter_config.json").write_text(json.dumps(config))
    alone = analysed(make_adapter(tmp_path / "e", dict(list(LAYERS.items())[:1]), r=3))
    third = analysed(one).copa.multiples[0][2]
    assert third == near(alone.copa.multiples[0][2])


def test_two_that_never_move_a_layer_both_have_a_reason(tmp_path):
    one = without(make_adapter(tmp_path / "a"), 0)
    other = without(make_adapter(tmp_path / "b", seed=1), 1)
    found = analysed(one, other)

    (pair,) = found.pairs
    assert pair.cosine == 0.0 and pair.norm_ratio is not None
    assert pair.input.mean is None and pair.sign_conflict is None
    assert "in every layer" in pair.why_null
    assert found.together.disagreement is None and found.together.why_null
    for layer in found.layers:
        assert layer.imbalance is None and "fewer than two" in layer.why_null


def test_a_zero_adapter_takes_no_sentence_from_the_others(three, tmp_path):
    zero = change(make_adapter(tmp_path / "z", seed=7), lora_B=torch.zeros_like)

    assert "common directions" in analysed(*three, zero).answers.related


@pytest.mark.parametrize("size", [1, -1])
def test_the_sum_has_no_more_ranks_than_it_has(tmp_path, size):
    one, other = make_adapter(tmp_path / "a"), make_adapter(tmp_path / "b")
    change(other, lora_B=lambda B: 3.0 * size * B)
    found = analysed(one, other)

    assert max(found.together.energy) == 2
    assert "all of it rank 2." in found.answers.lost
    narrow = {Q0: (8, 3)}
    wide = analysed(*(make_adapter(tmp_path / f"n{i}", narrow, seed=i) for i in range(3)))
    assert max(wide.together.energy) == 3


def test_rows_of_zero_have_no_S(tmp_path):
    padded = change(
        make_adapter(tmp_path / "a", r=3), lora_A=lambda A: A * torch.tensor([[1.0], [1.0], [0.0]])
    )
    gone = change(make_adapter(tmp_path / "b", seed=1), lora_A=torch.zeros_like)
    found = analysed(padded, gone)

    own = [dense.S_of(dense.factors_of(padded, name)[0])[:2] for name in LAYERS]
    assert found.copa.S_mean[0] == pytest.approx(np.mean(own), rel=1e-6)
    assert found.copa.S_min[0] >= 1.0
    assert found.copa.S_mean[1] is None and found.copa.S_min[1] is None
    for layer in found.layers:
        assert layer.adapters[0].S_mean >= 1.0 and layer.adapters[1].S_mean is None
    _no_nan(found)


@pytest.mark.parametrize("size", [1e-42, 1e-30, 1e37])
def test_sizes_at_the_ends_of_float32_change_only_sizes(tmp_path, size):
    paths = [make_adapter(tmp_path / x, seed=i) for i, x in enumerate("ab")]
    sum_of = make_adapter(tmp_path / "m", r=4, alpha=8)
    factors = [load_file(path / "adapter_model.safetensors") for path in paths]
    for i, (path, dim) in enumerate(zip(paths, factors, strict=True)):
        factors[i] = {k: (size * x.double()).float() for k, x in dim.items()}
        save_file(factors[i], path / "adapter_model.safetensors", metadata={"format": "pt"})
    both = {k: torch.cat([f[k] for f in factors], dim=0 if "_A" in k else 1) for k in factors[0]}
    both = {k: x.contiguous() for k, x in both.items()}
    save_file(both, sum_of / "adapter_model.safetensors", metadata={"format": "pt"})
    found = analysed(*paths, merged=[sum_of])

    own = [dense.deltas(path) for path in paths]
    for i, trace in enumerate(found.merges[0].traces):
        # In units of the largest: squares of these leave float64.
        unit = max(np.abs(T).max() for x in own for T in x.values())
        T = {n: x / unit for n, x in own[i].items()}
        M = {n: (own[0][n] + own[1][n]) / unit for n in LAYERS}
        assert trace.cosine == pytest.approx(
            dense.inner(M, T) / dense.norm(M) / dense.norm(T), rel=1e-6
        )
        V = {n: dense.svd(T[n])[2] for n in LAYERS}
        image = sum(((M[n] @ V[n]) ** 2).sum() for n in LAYERS)
        c = dense.inner(M, T) / image
        left = sum((((c * M[n] - T[n]) @ V[n]) ** 2).sum() for n in LAYERS) ** 0.5
        assert trace.interference_rescaled == pytest.approx(left / dense.norm(T), rel=1e-6)


def test_a_merge_that_cancels_is_like_nothing(tmp_path):
    one, other = make_adapter(tmp_path / "a"), make_adapter(tmp_path / "b")
    change(other, lora_B=lambda B: -B)
    small = change(make_adapter(tmp_path / "c", seed=1), lora_B=lambda B: 1e-12 * B)
    found = analysed(one, other, small, methods=["task_arithmetic"])

    for trace in found.merges[0].traces[:2]:
        assert trace.cosine is None and trace.interference_rescaled == 1.0
    for layer in found.layers:
        # What the two leave of each other is more than the small one, and noise.
        assert layer.merges[0][2].trace.cosine is None and layer.merges[0][2].why_null


def test_what_a_folder_says_it_kept_is_told(three, tmp_path):
    merge([str(p) for p in three], method="task_arithmetic", rank=2).save_pretrained(tmp_path / "m")
    said = json.loads((tmp_path / "m" / "merge.json").read_text())["energy_kept"]
    found = analysed(*three, merged=[tmp_path / "m"])

    assert 0 < said < 1 and found.merges[0].energy_kept == said
    (tmp_path / "m" / "merge.json").write_text('{"energy_kept": NaN}')
    assert analysed(*three, merged=[tmp_path / "m"]).merges[0].energy_kept is None


def test_levels_by_chance_are_those_of_the_larger_space_and_the_right_side(tmp_path):
    layers = {Q0: (40, 10), "model.layers.1.self_attn.q_proj": (20, 16)}
    one, other = (make_adapter(tmp_path / x, layers, r=r) for x, r in (("a", 2), ("b", 4)))
    (pair,) = analysed(one, other).pairs

    assert pair.input.chance == near((4 / 10 + 4 / 16) / 2)
    assert pair.output.chance == near((4 / 40 + 4 / 20) / 2)


def test_the_spread_of_B_is_that_of_what_is_stored(tmp_path):
    path = make_adapter(tmp_path / "a", alpha=8)  # scaling 4
    stored = load_file(path / "adapter_model.safetensors")

    for layer in analysed(path).layers:
        wanted = stored[b_of(layer.layer)].double().numpy().std()
        assert layer.adapters[0].B.sd == pytest.approx(wanted, rel=1e-6)


def test_adapters_of_zero_are_not_in_the_mean_norm(tmp_path):
    one, zero = make_adapter(tmp_path / "a"), make_adapter(tmp_path / "b", seed=1)
    change(zero, lora_B=torch.zeros_like)

    assert analysed(one, zero, methods=["task_arithmetic"]).merges[0].norm_ratio == near(1)


def test_energy_kept_is_of_all_layers_as_one(three, tmp_path):
    found = analysed(*three, methods=["task_arithmetic"], rank=2).merges[0]
    merge([str(p) for p in three], method="task_arithmetic", rank=2).save_pretrained(tmp_path / "m")
    said = json.loads((tmp_path / "m" / "merge.json").read_text())["energy_kept"]

    assert 0 < found.energy_kept < 1 and found.energy_kept == pytest.approx(said, rel=1e-6)


def test_what_S_does_takes_no_weights(three):
    plain, weighted = (
        analyze(
            recipe_from(
                {
                    "adapters": [
                        {"adapter": str(p), "weight": w} for p, w in zip(three, ws, strict=True)
                    ]
                }
            ),
            methods=[],
        )
        for ws in ((1, 1, 1), (1, 5, -2))
    )

    assert weighted.copa == plain.copa


def test_layers_hold_sixteen_directions_at_most(tmp_path):
    paths = [make_adapter(tmp_path / x, {Q0: (30, 30)}, r=20, seed=i) for i, x in enumerate("ab")]
    found = analysed(*paths, methods=["task_arithmetic"])

    (layer,) = found.layers
    assert len(layer.adapters[0].sigma) == 16
    assert len(layer.merges[0][0].angles) == len(layer.merges[0][0].gains) == 16
    assert len(found.merges[0].by_direction[0]) == 20


def test_merges_of_more_or_of_other_layers_are_told(three, tmp_path):
    a, b, c = map(str, three)
    merge([a, b, c], method="copa").save_pretrained(tmp_path / "abc")
    (more,) = analysed(a, b, merged=[tmp_path / "abc"]).merges[0].notices
    assert "made of 3 adapters, of which 2 are looked at" in more.text
    few = dict(list(LAYERS.items())[:2])
    small, large = make_adapter(tmp_path / "few", few), make_adapter(tmp_path / "all")
    (lacks,) = analysed(large, merged=[small]).merges[0].notices
    assert "lacks 2 of 4 layers" in lacks.text
    (extra,) = analysed(small, merged=[large]).merges[0].notices
    assert "has 2 layers that no adapter has" in extra.text


def test_what_is_said_of_all_is_not_said_again_of_a_method(three):
    found = analysed(*three, methods=["task_arithmetic"])

    assert found.notices and not found.merges[0].notices
