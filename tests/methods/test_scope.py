"""`scope: global`: one threshold over all layers, beside oracles that concatenate the model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import whole_model
from pydantic import ValidationError
from whole_model import CONVENTIONS, example

from copamerge.core.draws import Draws
from copamerge.methods import _steps, _survey
from copamerge.methods import pcb as pcb_module
from copamerge.methods import ties as ties_module
from copamerge.methods._select import Cut
from copamerge.methods.pcb import Pcb
from copamerge.methods.ties import Ties
from copamerge.testing import surveyed
from strategies import as_array, assert_equal, random_stack

DRAWS = Draws(0, "layer")


def merged(method, model):
    """{(layer, part): merged tensor}, as the oracles return it."""
    found = {}
    for i, stack in enumerate(surveyed(method, model)):
        result = method.merge(stack, DRAWS)
        if method.space == "factors":
            found |= {(i, "A"): result.A, (i, "B"): result.B}
        else:
            found[i, "delta"] = as_array(result)
        if stack.bias is not None:
            found[i, "bias"] = method.merge_bias(stack, DRAWS)
    return found


def assert_all_equal(got, wanted, tolerance=2e-6):
    assert got.keys() == wanted.keys()
    for place in wanted:
        assert_equal(got[place], wanted[place], tolerance)


def wide(**options):
    return Ties(**{"scope": "global", "convention": "kth", **options})


# --- ties ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("density", [0.0, 0.05, 0.2, 0.5, 0.99, 1.0])
def test_ties_equals_the_formula_on_the_whole_model(exact, convention, density):
    model, options = example(exact=exact), {"density": density, "convention": convention}

    got = merged(wide(**options), model)

    assert_all_equal(got, whole_model.ties(model, **options))


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("combine", ["mean", "sum", "max"])
@pytest.mark.parametrize("sign", ["reference", "nonnegative", "drop"])
@pytest.mark.parametrize("vote", ["unweighted", "weighted"])
def test_ties_options_equal_their_formula_on_the_whole_model(exact, combine, sign, vote):
    model = example(exact=exact)
    options = {"density": 0.6, "scale": 1.3, "combine": combine, "sign": sign, "vote": vote}

    got = merged(wide(**options), model)

    assert_all_equal(got, whole_model.ties(model, convention="kth", **options))


@pytest.mark.parametrize("exact", [False, True])
def test_ties_on_factors_has_one_threshold_for_both(exact):
    model = example(exact=exact, like_ranks=True)
    options = {"density": 0.4, "space": "factors"}

    got = merged(wide(**options), model)

    assert_all_equal(got, whole_model.ties(model, convention="kth", **options))


def test_the_kth_magnitude_counts_as_in_the_notebook():
    # methods.md 1.2: int(nK) + 1 entries over the whole model, however they are spread.
    model = [random_stack((2,), bias=False, seed=i) for i in range(3)]
    method = wide(density=0.25)

    kept = sum(int((as_array(method.merge(s, DRAWS)) != 0).sum()) for s in surveyed(method, model))

    assert kept == 3 * 72 // 4 + 1


def one_entry(key, value, layer):
    """An adapter whose delta is a number."""
    stack = random_stack((1,), d_in=1, d_out=1, bias=False)
    return replace(stack, layer=layer, A=torch.ones(1, 1, 1), B=torch.full((1, 1, 1), value))


def test_cancelled_votes_take_the_majority_of_the_model():
    def pair(first, second, layer):
        one, other = one_entry("a", first, layer), one_entry("b", second, layer)
        return replace(
            one,
            A=torch.cat([one.A, other.A]),
            B=torch.cat([one.B, other.B]),
            weights=torch.ones(2),
            ranks=(1, 1),
            scalings=(1.0, 1.0),
            keys=("a", "b"),
        )

    # In the first layer alone the votes tie, and a tie alone is minus.
    model = [pair(2.0, -2.0, "0"), pair(1.0, 1.0, "1")]
    method = wide(density=1)

    got = [as_array(method.merge(stack, DRAWS)).item() for stack in surveyed(method, model)]

    assert got == [2.0, 1.0]
    assert as_array(method.merge(surveyed(method, model[:1])[0], DRAWS)).item() == -2.0


# --- pcb ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("clamp", [1e-4, 0.1])
def test_pcb_equals_the_formula_on_the_whole_model(ratio, clamp):
    model, options = example(size=0.2), {"ratio": ratio, "clamp": clamp, "scale": 1.2}

    got = merged(Pcb(scope="global", **options), model)

    # 1e-4: scores near the threshold are differences of float32 exponentials.
    assert_all_equal(got, whole_model.pcb(model, **options)[0], 1e-4)


def test_pcb_on_factors_equals_the_formula_on_the_whole_model():
    model = example(like_ranks=True, size=0.2)
    options = {"ratio": 0.5, "space": "factors"}

    got = merged(Pcb(scope="global", **options), model)

    assert_all_equal(got, whole_model.pcb(model, **options)[0], 1e-4)


def test_pcb_leaves_out_and_does_not_count_an_adapter_that_is_zero_everywhere():
    model = example(missing=False)
    for stack in model:
        stack.B[1] = 0
        if stack.bias is not None:
            stack.bias[1] = 0
    without = [_without(stack, 1) for stack in model]
    method = Pcb(scope="global", ratio=0.5)

    got, wanted = merged(method, model), merged(method, without)

    assert all(torch.equal(torch.as_tensor(got[k]), torch.as_tensor(wanted[k])) for k in wanted)


def _without(stack, i):
    rest = [k for k in range(stack.n) if k != i]
    return replace(
        stack,
        A=stack.A[rest],
        B=stack.B[rest],
        weights=stack.weights[rest],
        ranks=tuple(stack.ranks[k] for k in rest),
        scalings=tuple(stack.scalings[k] for k in rest),
        keys=tuple(stack.keys[k] for k in rest),
        bias=None if stack.bias is None else stack.bias[rest],
    )


# --- what the oracles must reject ---------------------------------------------------------------


def threshold_moved(by):
    def moved(size, density, convention):
        low, high, share = right(size, density, convention)
        return Cut(low + by, high + by, share)

    right = _survey.cut_at
    return lambda monkeypatch: monkeypatch.setattr(_survey, "cut_at", moved)


def places_moved(name, by):
    def moved(self, size):
        return tuple(min(max(place + by, 0), size - 1) for place in right(self, size))

    right = getattr(Pcb, name)
    return lambda monkeypatch: monkeypatch.setattr(Pcb, name, moved)


def upper_halves_only(monkeypatch):
    right = _survey._float
    monkeypatch.setattr(_survey, "_float", lambda bits: right(bits >> 16 << 16))


def one_threshold_per_tensor(monkeypatch):
    def alone(method, model):
        return [right(method, [stack])[0] for stack in model]

    right = surveyed
    monkeypatch.setattr(f"{__name__}.surveyed", alone)


def signs_count(monkeypatch):
    right = _survey._bits
    monkeypatch.setattr(_survey, "_bits", lambda x, magnitudes: right(x, False))


def majority_of_the_tensor(monkeypatch):
    right = _steps.elect_sign
    monkeypatch.setattr(_steps, "elect_sign", lambda xs, rule, majority=None: right(xs, rule))


def majority_always_minus(monkeypatch):
    monkeypatch.setattr(ties_module, "balance", lambda signs: 0)


def adapters_counted_by_layer(monkeypatch):
    right = pcb_module.importance
    monkeypatch.setattr(pcb_module, "importance", lambda x, low, high, n: right(x, low, high, 2))


@pytest.mark.parametrize(
    "mutant",
    [
        threshold_moved(1),
        threshold_moved(-1),
        upper_halves_only,
        one_threshold_per_tensor,
        signs_count,
    ],
)
def test_the_oracle_of_ties_rejects_other_thresholds(mutant, monkeypatch):
    # Many entries, so that some differ in the lower half of their bits only.
    model = [random_stack((3, 3), d_in=40, d_out=30, bias=False, seed=i) for i in range(2)]
    model[1] = replace(model[1], B=2 * model[1].B)
    options = {"density": 0.3, "convention": "kth"}
    assert_all_equal(merged(wide(**options), model), whole_model.ties(model, **options))
    mutant(monkeypatch)

    with pytest.raises(AssertionError):
        assert_all_equal(merged(wide(**options), model), whole_model.ties(model, **options))


@pytest.mark.parametrize("mutant", [majority_of_the_tensor, majority_always_minus])
def test_the_oracle_of_ties_rejects_other_majorities(mutant, monkeypatch):
    plus = random_stack((1, 1), d_in=3, d_out=2, bias=False)
    plus.A[:], plus.B[:] = 1, 8
    against = replace(plus, layer="against", B=plus.B * torch.tensor([1, -1])[:, None, None])
    model, options = [plus, against], {"density": 1, "convention": "kth"}
    assert_all_equal(merged(wide(**options), model), whole_model.ties(model, **options))
    mutant(monkeypatch)

    with pytest.raises(AssertionError):
        assert_all_equal(merged(wide(**options), model), whole_model.ties(model, **options))


@pytest.mark.parametrize(
    "mutant",
    [
        places_moved("_size_places", 1),
        places_moved("_size_places", -1),
        places_moved("_score_places", 1),
        places_moved("_score_places", -1),
        upper_halves_only,
        one_threshold_per_tensor,
        adapters_counted_by_layer,
    ],
)
def test_the_oracle_of_pcb_rejects(mutant, monkeypatch):
    model, options = example(size=0.2), {"ratio": 0.4, "clamp": 0.1}
    got = merged(Pcb(scope="global", **options), model)
    assert_all_equal(got, whole_model.pcb(model, **options)[0], 1e-4)
    mutant(monkeypatch)

    with pytest.raises(AssertionError):
        got = merged(Pcb(scope="global", **options), model)
        assert_all_equal(got, whole_model.pcb(model, **options)[0], 1e-4)


# --- order, entries and errors ------------------------------------------------------------------


@pytest.mark.parametrize("method", [wide(), wide(convention="quantile"), Pcb(scope="global")])
def test_the_order_of_layers_changes_nothing(method):
    model = example()

    one, other = surveyed(method, model), surveyed(method, model[::-1])

    assert one[0].survey == other[0].survey


def test_a_layer_that_an_adapter_lacks_has_no_entries_of_it():
    model = example()
    padded = [*model[:2], _as_zero(model[2])]
    method = wide(density=0.5, sign="drop")

    lacking, zero = (surveyed(method, m)[0].survey.adapters["adapter 1"] for m in (model, padded))

    assert lacking["threshold"] > zero["threshold"]


def _as_zero(stack):
    """A stack of adapters 0 and 2 with adapter 1 there, and zero."""
    shape = replace(stack, keys=("adapter 1", "adapter 2"), B=stack.B * 0, bias=stack.bias * 0)
    return replace(
        shape,
        A=torch.cat([stack.A, shape.A[:1]]),
        B=torch.cat([stack.B, shape.B[:1]]),
        bias=torch.cat([stack.bias, shape.bias[:1]]),
        weights=torch.ones(3),
        ranks=(*stack.ranks, 2),
        scalings=(1.0,) * 3,
        keys=(*stack.keys, "adapter 1"),
    )


@pytest.mark.parametrize("method", [wide(), wide(space="factors"), Pcb(scope="global")])
def test_a_merge_without_its_survey_is_a_programmers_error(method):
    stack = random_stack((2, 2))

    for call in (method.merge, method.merge_bias):
        with pytest.raises(RuntimeError, match=r"scope: global needs a survey.*testing.surveyed"):
            call(stack, DRAWS)


@pytest.mark.parametrize("convention", ["topk", "argsort"])
def test_conventions_that_break_ties_by_index_have_no_global_scope(convention):
    with pytest.raises(ValidationError, match="scope: global needs convention: kth"):
        Ties(scope="global", convention=convention)


@pytest.mark.parametrize(
    "method, passes",
    [
        (Ties(), 0),
        (wide(), 3),
        (wide(sign="drop"), 2),
        (Pcb(), 0),
        (Pcb(scope="global"), 4),
        (Pcb(scope="global", ratio=0), 0),
    ],
)
def test_passes_are_announced(method, passes):
    assert method.passes() == passes
    surveyed(method, example())  # raises if it makes another number of them


def test_a_survey_has_the_numbers_of_the_concatenated_model():
    model = example()
    whole = whole_model.as_vectors(
        {p: {k: x for k, (x, _) in each.items()} for p, each in whole_model.pieces(model).items()}
    )

    ties, pcb = (
        surveyed(m, model)[0].survey for m in (wide(density=0.3), Pcb(scope="global", clamp=0.2))
    )

    for key, vector in whole.items():
        sizes, d = np.sort(np.abs(vector)), len(vector)
        assert ties.adapters[key] == {"threshold": sizes[d - int(0.3 * d) - 1]}
        found = pcb.adapters[key]
        assert [found[name] for name in ("least", "low", "high", "most")] == [
            sizes[0],
            sizes[int(d * 0.2)],
            sizes[int(d * 0.8 - 1)],
            sizes[-1],
        ]
    assert ties.model["majority"] in (-1.0, 1.0) and pcb.model == {"adapters": 3}
