"""Methods side by side: rows against dense float64, refusals and failures in their place."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from copamerge import merge
from copamerge.comparison import compare_methods
from copamerge.errors import AdapterError, CopamergeError, PlanError, RecipeError
from copamerge.merging import memory
from copamerge.methods import method_names
from copamerge.recipe import recipe_from
from makers import LAYERS, Q0, a_of, b_of, make_adapter

SOME = ("copa", "mean", "ties", "iso_c")


@pytest.fixture
def pair(tmp_path):
    return make_adapter(tmp_path / "a"), make_adapter(tmp_path / "b", seed=1)


@pytest.fixture
def small(tmp_path):
    """One layer is enough where every method merges."""
    layers = {Q0: LAYERS[Q0]}
    return [make_adapter(tmp_path / x, layers, seed=i) for i, x in enumerate("cd")]


def compared(paths, methods=SOME, **more):
    options = {key: more.pop(key) for key in ("within_degrees", "then", "tell") if key in more}
    weights = more.pop("weights", [1.0] * len(paths))
    sources = [
        {"adapter": str(path), "weight": weight}
        for path, weight in zip(paths, weights, strict=True)
    ]
    return compare_methods(recipe_from({"adapters": sources, **more}), methods, **options)


def deltas(tensors, scaling=1.0, layers=LAYERS):
    """Layer by layer in float64."""
    return {
        name: scaling * tensors[b_of(name)].double().numpy() @ tensors[a_of(name)].double().numpy()
        for name in layers
    }


def of_folder(path, layers=LAYERS):
    return deltas(load_file(path / "adapter_model.safetensors"), 2.0, layers)


def norm(matrices):
    return float(np.sqrt(sum(np.sum(x * x) for x in matrices.values())))


def oracle(merged, own, within=45.0):
    """Every number of a trace, with dense matrices."""
    cosines, weights, gains, altered = [], [], [], 0.0
    for name, T in own.items():
        U, S, Vt = np.linalg.svd(T, full_matrices=False)
        k = int((S > 1e-10 * S[0]).sum())
        altered += np.sum(((merged[name] - T) @ Vt[:k].T) ** 2)
        for i in range(k):
            image = merged[name] @ Vt[i]
            cosines.append(U[:, i] @ image / np.linalg.norm(image))
            gains.append(abs(U[:, i] @ image) / S[i])
            weights.append(S[i] ** 2)
    kept = np.array(cosines) >= np.cos(np.radians(within))
    inner = sum(np.sum(merged[name] * T) for name, T in own.items())
    return {
        "cosine": inner / norm(merged) / norm(own),
        "directions": len(kept),
        "preserved": kept.mean(),
        "preserved_energy": np.average(kept, weights=weights),
        "gain": np.average(gains, weights=weights),
        "interference": np.sqrt(altered) / norm(own),
    }


@pytest.mark.parametrize("method", SOME)
def test_a_row_says_what_the_dense_matrices_say(pair, method):
    merged = merge([str(path) for path in pair], method, dtype="float32")
    made = deltas(merged.state_dict())  # written with a scaling of 1

    (row,) = compared(pair, [method]).rows

    sizes = [norm(of_folder(path)) for path in pair]
    assert row.norm == pytest.approx(norm(made), rel=1e-6)
    assert row.norm_ratio == pytest.approx(norm(made) / np.mean(sizes), rel=1e-6)
    assert row.rank == merged.report.rank and row.energy_kept == merged.report.energy_kept
    assert row.method == merged.report.method
    for path, trace in zip(pair, row.traces, strict=True):
        for key, wanted in oracle(made, of_folder(path)).items():
            assert getattr(trace, key) == pytest.approx(wanted, rel=1e-5, abs=1e-6), key


def test_the_angle_is_what_is_asked_for(pair):
    merged = merge([str(path) for path in pair], "mean", dtype="float32")
    made = deltas(merged.state_dict())

    for degrees in (20.0, 70.0):
        (row,) = compared(pair, ["mean"], within_degrees=degrees).rows
        wanted = oracle(made, of_folder(pair[0]), degrees)["preserved"]
        assert row.traces[0].preserved == pytest.approx(wanted)


def test_every_method_has_a_row_in_order(small):
    found = compared(small, None)

    assert tuple(row.name for row in found.rows) == method_names()
    assert not [row.failed for row in found.rows if row.failed]
    for row in found.rows:
        assert row.seconds >= 0 and row.norm > 0 and len(row.traces) == 2
        for trace in row.traces:
            assert all(np.isfinite(x) for x in trace.model_dump().values())
            assert 0 <= trace.preserved <= 1 and 0 <= trace.preserved_energy <= 1
            assert trace.interference_rescaled <= min(1, trace.interference) + 1e-7


def test_rows_repeat_themselves_but_for_time_and_memory(pair):
    named = [*SOME, "dare"]
    one, other = (
        [row.model_dump(exclude={"seconds", "memory_mb"}) for row in compared(pair, named).rows]
        for _ in range(2)
    )

    assert one == other


def test_random_methods_draw_what_merge_draws(pair):
    merged = merge([str(path) for path in pair], "dare", seed=3)

    (row,) = compared(pair, ["dare"], seed=3).rows

    assert row.norm == pytest.approx(merged.report.norm, rel=1e-5)


def test_methods_named_twice_are_one_row(pair):
    assert [row.name for row in compared(pair, ["ties", "copa", "ties"]).rows] == ["ties", "copa"]


def test_orthogonal_adapters_summed_are_all_preserved(tmp_path):
    paths = []
    for i in range(2):
        extra = {}
        for name, (d_out, d_in) in LAYERS.items():
            rows, columns = torch.eye(d_in), torch.eye(d_out)
            extra[a_of(name)] = rows[2 * i : 2 * i + 2].clone()
            extra[b_of(name)] = (columns[:, 2 * i : 2 * i + 2] * torch.tensor([3.0, 0.5])).clone()
        paths.append(make_adapter(tmp_path / str(i), extra=extra))

    (row,) = compared(paths, ["task_arithmetic"]).rows

    assert row.norm_ratio == pytest.approx(2**0.5)
    for trace in row.traces:
        assert trace.directions == 2 * len(LAYERS)
        assert trace.preserved == trace.preserved_energy == 1.0
        assert trace.gain == pytest.approx(1.0) and trace.interference == pytest.approx(
            0.0, abs=1e-8
        )
        assert trace.cosine == pytest.approx(0.5**0.5)


def test_an_adapter_and_its_negative_cancel(tmp_path, pair):
    tensors = load_file(pair[0] / "adapter_model.safetensors")
    minus = {name: -x if "lora_B" in name else x for name, x in tensors.items()}
    negative = make_adapter(tmp_path / "minus", extra=minus)

    (row,) = compared([pair[0], negative], ["task_arithmetic"]).rows

    assert row.norm == pytest.approx(0.0, abs=1e-6)
    for trace in row.traces:
        assert trace.cosine is None and trace.preserved == 0.0
        assert trace.interference == pytest.approx(1.0)


def test_copies_averaged_are_the_adapter(pair):
    (row,) = compared([pair[0]] * 3, ["mean"]).rows

    assert row.norm_ratio == pytest.approx(1.0)
    assert [x.cosine for x in row.traces] == pytest.approx([1.0] * 3)
    assert [x.preserved for x in row.traces] == [1.0] * 3
    assert [x.interference for x in row.traces] == pytest.approx([0.0] * 3, abs=1e-6)


@pytest.mark.slow
def test_adapters_of_zero_have_no_numbers(tmp_path):
    layers, zeros = {Q0: LAYERS[Q0]}, {b_of(Q0): torch.zeros(8, 2)}
    paths = [make_adapter(tmp_path / x, layers, extra=zeros, seed=i) for i, x in enumerate("ab")]

    found = compared(paths, None)

    for row in found.rows:
        assert row.failed is None, row.failed
        assert row.norm == pytest.approx(0.0, abs=1e-12) and row.norm_ratio is None
        assert row.energy_kept is None
        assert row.traces[0].directions == 0 and row.traces[0].interference is None
    assert any("delta is zero" in warning for warning in found.warnings)


def test_an_adapter_of_weight_zero_takes_no_part(pair):
    (row,) = compared(pair, ["mean"], weights=[1.0, 0.0]).rows

    assert row.traces[0].cosine == pytest.approx(1.0)
    assert row.traces[1].cosine is None and row.traces[1].interference is None
    assert row.norm_ratio == pytest.approx(1.0)


def test_layers_that_an_adapter_lacks_are_not_its_own(tmp_path):
    a = make_adapter(tmp_path / "a", {Q0: LAYERS[Q0]})
    b = make_adapter(tmp_path / "b", seed=1)

    found = compared([a, b], ["task_arithmetic"])

    made = of_folder(b)
    made[Q0] = made[Q0] + of_folder(a, [Q0])[Q0]
    for path, layers, trace in zip((a, b), ([Q0], LAYERS), found.rows[0].traces, strict=True):
        for key, wanted in oracle(made, of_folder(path, layers)).items():
            assert getattr(trace, key) == pytest.approx(wanted, rel=1e-5, abs=1e-6), key
    assert any("lacks 3 of 4 layers" in warning for warning in found.warnings)


def test_a_rank_costs_energy(pair):
    exact, cut = (compared(pair, ["task_arithmetic"], rank=rank).rows[0] for rank in ("full", 1))

    assert (exact.rank, exact.energy_kept) == (4, 1.0)
    assert cut.rank == 1 and 0 < cut.energy_kept < 1 and cut.norm < exact.norm


# --- what does not work --------------------------------------------------------------------------


def test_a_method_that_refuses_is_a_row_with_its_reason(tmp_path, pair):
    wide = make_adapter(tmp_path / "wide", r=3, seed=2)

    refused, ran = compared([pair[0], wide], ["factor_linear", "mean"]).rows

    assert "equal ranks" in refused.failed and refused.traces == ()
    assert refused.seconds is refused.rank is refused.norm is None
    assert ran.failed is None


@pytest.mark.parametrize("error", [CopamergeError("too large"), RuntimeError("out of memory")])
def test_a_method_that_fails_does_not_stop_the_others(pair, monkeypatch, error):
    from copamerge.methods import METHODS

    def fail(*_):
        raise error

    monkeypatch.setattr(METHODS["mean"], "merge", fail)

    broken, ran = compared(pair, ["mean", "ties"]).rows

    assert str(error) in broken.failed and ran.failed is None


def test_broken_tensors_are_the_adapters_fault(tmp_path, pair):
    bad = make_adapter(tmp_path / "bad", extra={a_of(Q0): torch.full((2, 6), torch.nan)})

    with pytest.raises(AdapterError, match=r"bad.*NaN"):
        compared([pair[0], bad])


def test_adapters_that_do_not_fit_are_nobodys_row(tmp_path, pair):
    other = make_adapter(tmp_path / "other", {Q0: (5, 5)})

    with pytest.raises(PlanError, match="of one base model"):
        compared([pair[0], other])


def test_every_unknown_method_is_named(pair):
    with pytest.raises(RecipeError) as error:
        compared(pair, ["tis", "copa", "meen"])

    assert len(error.value.problems) == 2
    assert "did you mean 'ties'" in str(error.value) and "'mean'" in str(error.value)


@pytest.mark.parametrize("degrees", [0.0, -1.0, 91.0, float("nan")])
def test_an_angle_out_of_range_is_a_sentence(pair, degrees):
    with pytest.raises(RecipeError, match="above 0 and up to 90"):
        compared(pair, within_degrees=degrees)


def test_no_method_is_nothing_to_compare(pair):
    with pytest.raises(RecipeError, match="none is named"):
        compared(pair, [])


# --- on the way ----------------------------------------------------------------------------------


def test_each_merge_is_handed_on_with_its_name(pair, tmp_path):
    seen = {}

    compared(pair, ["mean", "ties"], then=lambda name, merged: seen.update({name: merged}))

    assert list(seen) == ["mean", "ties"]
    seen["ties"].save_pretrained(tmp_path / "out")
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()


def test_progress_goes_through_all_methods(pair):
    told = []

    compared(pair, ["mean", "ties"], tell=lambda *said: told.append(said))

    assert told[0] == ("merging by mean", 1, 8) and told[-1] == ("merging by ties", 8, 8)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_a_failure_is_told_in_one_line(pair, monkeypatch):
    from copamerge.methods import METHODS

    def fail(*_):
        raise ValueError("first line\nsecond line")

    monkeypatch.setattr(METHODS["mean"], "merge", fail)

    assert compared(pair, ["mean"]).rows[0].failed == "ValueError: first line"


def test_memory_that_is_not_told_is_none(pair, monkeypatch):
    monkeypatch.setattr(memory, "begun_anew", lambda: None)

    assert compared(pair, ["mean"]).rows[0].memory_mb is None


def test_memory_counts_what_was_held_at_once():
    before = memory.begun_anew()
    if before is None:
        pytest.skip("this system does not tell it")
    held = torch.ones(16 * 2**20)  # 64 MB
    del held

    assert 60 < memory.added_since(before) < 80
