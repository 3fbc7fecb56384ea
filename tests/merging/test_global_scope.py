"""Methods that look at the whole model first, from files to files."""

import json
import threading
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
import whole_model
from safetensors.torch import load_file

import copamerge
from copamerge.core.lora import FactorStack, LoraModule
from copamerge.errors import AdapterError, RecipeError
from copamerge.merging import merge_to_folder, plan
from copamerge.merging.walk import settled
from copamerge.recipe import recipe_from
from makers import LAYERS, Q0, a_of, b_of, factors, make_adapter
from strategies import assert_equal

CPU = torch.device("cpu")
WALK = import_module("copamerge.merging.walk")  # the package has a function of that name
GLOBAL = {"name": "ties", "scope": "global", "convention": "kth", "density": 0.3}
EXACT = 6
"""No layer's smaller side is larger, so nothing is lost to the rank."""


@pytest.fixture
def three(tmp_path):
    """Adapters of unlike rank and size; the last lacks two of the four layers."""
    some = dict(list(LAYERS.items())[1:3])
    return (
        make_adapter(tmp_path / "a", r=2, alpha=4),
        make_adapter(tmp_path / "b", r=3, alpha=1, seed=1),
        make_adapter(tmp_path / "c", some, r=2, alpha=8, seed=2),
    )


def model_of(folders, weights=None):
    """The folders as stacks of float32 factors, for the oracles; weights by layer if given."""
    opened = [
        (
            load_file(folder / "adapter_model.safetensors"),
            json.loads((folder / "adapter_config.json").read_text()),
        )
        for folder in folders
    ]
    model = []
    for layer in sorted(LAYERS):
        there, modules, found = [], [], []
        for i, (tensors, config) in enumerate(opened):
            weight = 1.0 if weights is None else weights(i, layer)
            if a_of(layer) in tensors and weight:
                scaling = config["lora_alpha"] / config["r"]
                modules.append(LoraModule(tensors[a_of(layer)], tensors[b_of(layer)], scaling))
                there.append(str(i))
                found.append(weight)
        if there:
            model.append(FactorStack.of(layer, modules, found, keys=there))
    return model


def thresholds(model, density=0.3, convention="kth"):
    whole = whole_model.as_vectors(
        {p: {k: x for k, (x, _) in each.items()} for p, each in whole_model.pieces(model).items()}
    )
    return {key: whole_model.threshold(x, density, convention) for key, x in whole.items()}


def assert_is_the_oracle(state, model, **options):
    wanted = whole_model.ties(model, density=0.3, **options)
    for i, stack in enumerate(model):
        got = state[b_of(stack.layer)].double() @ state[a_of(stack.layer)].double()
        assert_equal(got, wanted[i, "delta"], 2e-5)


@pytest.mark.parametrize("convention", ["kth", "quantile"])
def test_global_ties_on_files_is_ties_on_one_vector(three, convention):
    method = {**GLOBAL, "convention": convention}

    merged = copamerge.merge(three, method, rank=EXACT)

    model = model_of(three)
    assert_is_the_oracle(merged.state_dict(), model, convention=convention)
    found = [part.survey["threshold"] for part in merged.report.inputs]
    assert found == pytest.approx(list(thresholds(model, 0.3, convention).values()), rel=1e-6)


def test_the_scope_makes_a_difference(three):
    one, other = (
        copamerge.merge(three, {**GLOBAL, "scope": s}).state_dict() for s in ("global", "tensor")
    )

    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_layers_where_the_weight_is_zero_have_no_entries(three):
    weight = [{"filter": "layers.0", "value": 0}, {"value": 1}]

    merged = copamerge.merge(three, GLOBAL, weights=[1, weight, 1], rank=EXACT)

    model = model_of(three, lambda i, layer: float(i != 1 or "layers.0" not in layer))
    found = [part.survey["threshold"] for part in merged.report.inputs]
    assert found == pytest.approx(list(thresholds(model).values()), rel=1e-6)
    assert_is_the_oracle(merged.state_dict(), model, convention="kth")


def test_an_adapter_that_takes_no_part_has_no_numbers(three):
    report = copamerge.merge(three, GLOBAL, weights=[1, 0, 1]).report

    assert [set(part.survey) for part in report.inputs] == [{"threshold"}, set(), {"threshold"}]


def test_the_report_tells_of_the_survey(tmp_path, three):
    copamerge.merge(three, GLOBAL).save_pretrained(tmp_path / "out")
    pcb = copamerge.merge(three, "pcb", scope="global").report
    plain = copamerge.merge(three, "ties").report

    written = json.loads((tmp_path / "out" / "merge.json").read_text())
    assert written["survey_passes"] == 3 and set(written["survey"]) == {"majority"}
    assert all(part["survey"]["threshold"] > 0 for part in written["inputs"])
    assert any("3 survey passes over all 4 layers" in w for w in written["warnings"])
    assert pcb.survey_passes == 4 and pcb.survey == {"adapters": 3.0}
    assert list(pcb.inputs[0].survey) == ["least", "low", "high", "most", "score_low", "score_high"]
    assert plain.survey_passes == 0 and plain.survey == {} == plain.inputs[0].survey
    assert not any("survey" in warning for warning in plain.warnings)


@pytest.mark.parametrize("method", [GLOBAL, {"name": "pcb", "scope": "global"}])
@pytest.mark.parametrize("small", [True, False])
def test_threads_and_the_order_of_layers_change_no_bit(three, method, small, monkeypatch):
    monkeypatch.setattr(WALK, "SMALL", 2**28 if small else 0)
    job = plan(recipe_from({"adapters": [str(a) for a in three], "method": method}))
    turned = replace(job, layers=job.layers[::-1])
    before, alive = torch.get_num_threads(), threading.active_count()

    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found += [settled(x, device=CPU, keys=("0", "1", "2")).survey for x in (job, turned)]
    finally:
        torch.set_num_threads(before)

    assert all(survey == found[0] for survey in found[1:])
    assert set(found[0].adapters) == {"0", "1", "2"}
    assert threading.active_count() == alive


def test_energy_and_folders_see_the_same_survey(tmp_path, three):
    recipe = {"adapters": [str(a) for a in three], "method": GLOBAL, "rank": "energy=0.9"}

    memory = copamerge.merge_plan(plan(recipe_from(recipe)), device="cpu")
    report = merge_to_folder(plan(recipe_from(recipe)), tmp_path / "out", device=CPU)

    assert report.survey == memory.report.survey and report.survey_passes == 3
    assert [x.survey for x in report.inputs] == [x.survey for x in memory.report.inputs]
    saved = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert all(torch.equal(saved[name], x) for name, x in memory.state_dict().items())


def test_progress_covers_the_survey(three):
    seen = []
    recipe = recipe_from({"adapters": [str(a) for a in three], "method": GLOBAL})

    copamerge.merge_plan(plan(recipe), device="cpu", progress=lambda *step: seen.append(step))

    assert seen == [(done, 4) for _ in range(3 + 1) for done in (1, 2, 3, 4)]


def test_broken_tensors_are_named_before_the_survey_ends(tmp_path, three):
    broken = factors()
    broken[a_of(Q0)][0, 0] = float("nan")
    bad = make_adapter(tmp_path / "bad", extra=broken)

    with pytest.raises(AdapterError, match="1 NaN"):
        copamerge.merge([three[0], bad], GLOBAL)


# --- on the command line ------------------------------------------------------------------------

WORDS = ("-m", "ties", "--set", "scope=global", "--set", "convention=kth", "--set", "density=0.3")


def test_the_command_writes_what_the_library_merges(tmp_path, three, copamerge_cli):
    ran = copamerge_cli("merge", *three, "-o", tmp_path / "out", *WORDS, "--rank", EXACT)

    assert ran.code == 0, ran.err
    assert "3 survey passes" in ran.err
    saved = load_file(tmp_path / "out" / "adapter_model.safetensors")
    state = copamerge.merge(three, GLOBAL, rank=EXACT).state_dict()
    assert all(torch.equal(saved[name], x) for name, x in state.items())
    assert_is_the_oracle(saved, model_of(three), convention="kth")


def test_a_dry_run_tells_of_the_passes(tmp_path, three, copamerge_cli):
    ran = copamerge_cli("merge", *three, "--dry-run", *WORDS)
    as_json = copamerge_cli("merge", *three, "--dry-run", "--json", *WORDS)

    assert ran.code == 0
    assert "3 survey passes over all 4 layers come before the merge" in ran.err
    assert any("survey" in w for w in json.loads(as_json.out)["warnings"])


def test_a_scope_that_makes_no_sense_is_refused_in_a_sentence(tmp_path, three, copamerge_cli):
    ran = copamerge_cli("merge", *three, "-o", tmp_path / "out", *WORDS[:4])

    assert ran.code != 0 and not (tmp_path / "out").exists()
    assert "scope: global needs convention: kth (the notebook) or quantile" in ran.err


@pytest.mark.parametrize("method", ["ties", "copa"])
def test_argsort_that_keeps_nothing_names_layer_density_and_remedy(tmp_path, three, method):
    out = tmp_path / "out"
    recipe = {
        "adapters": [str(a) for a in three[:2]],
        "method": {"name": method, "convention": "argsort", "density": 0.01},
    }

    with pytest.raises(RecipeError) as caught:
        merge_to_folder(plan(recipe_from(recipe)), out, device=CPU)

    text = str(caught.value)
    assert Q0 in text and "density 0.01" in text and "convention: topk" in text
    assert not out.exists()


def test_argsort_is_topk_where_it_keeps_something(three):
    one, other = (
        copamerge.merge(three, "ties", density=0.5, convention=c).state_dict()
        for c in ("argsort", "topk")
    )

    assert all(torch.equal(one[name], other[name]) for name in one)
    assert np.any([x.any() for x in one.values()])
