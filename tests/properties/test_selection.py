"""Which entries survive: every convention and scope beside oracles that sort one vector."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import whole_model
from hypothesis import assume, given
from hypothesis import strategies as st
from test_order_statistics import over
from test_scope import assert_all_equal, merged
from whole_model import CONVENTIONS, model_arguments, random_model

from copamerge.errors import RecipeError
from copamerge.methods._select import keep_largest
from copamerge.methods._survey import order_statistics_over
from copamerge.methods.pcb import Pcb
from copamerge.methods.ties import Ties
from copamerge.testing import surveyed

NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)
TYING = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.0000001, 2.0, 1e-45, -1e-45])
VECTORS = st.lists(NUMBERS | TYING, max_size=12)
DENSITIES = st.sampled_from([0.0, 0.05, 0.2, 0.5, 0.9, 1.0]) | st.floats(0, 1)


# --- argsort ------------------------------------------------------------------------------------


def argsort(x, density):
    """mergekit's `magnitude`: the first int(density n) of a descending argsort, taken as stable."""
    if density >= 1:
        return x
    kept = np.argsort(-np.abs(x), kind="stable")[: int(density * len(x))]
    assert len(kept), "not gonna zero out the whole tensor buddy"
    return np.where(np.isin(np.arange(len(x)), kept), x, 0)


@given(values=VECTORS.filter(bool), density=DENSITIES)
def test_argsort_keeps_the_first_of_a_stable_descending_argsort(values, density):
    x = np.array(values, dtype=np.float32)

    if int(density * len(x)) == 0:
        with pytest.raises(RecipeError, match=rf"q_proj: density .* none of {len(x)} entries"):
            keep_largest(torch.from_numpy(x), density, "argsort", place="q_proj")
        return
    kept = keep_largest(torch.from_numpy(x), density, "argsort", place="q_proj")

    assert kept.tolist() == argsort(x, density).tolist()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x, density: argsort(x[::-1], density)[::-1],  # ties to the highest index
        lambda x, density: argsort(x, density + 1 / len(x)),  # one too many
        lambda x, density: argsort(np.maximum(x, 0), density),  # by value
    ],
)
def test_the_oracle_of_argsort_rejects(wrong):
    x = np.array([1, -2, 2, 2, -2, 0.5], dtype=np.float32)
    assert keep_largest(torch.from_numpy(x), 0.5, "argsort").tolist() == argsort(x, 0.5).tolist()

    assert keep_largest(torch.from_numpy(x), 0.5, "argsort").tolist() != wrong(x, 0.5).tolist()


# --- over the whole model -----------------------------------------------------------------------


@pytest.mark.parametrize("magnitudes", [True, False])
@given(layers=st.lists(VECTORS, min_size=1, max_size=5).filter(any))
def test_every_order_statistic_is_that_of_the_sorted_vector(magnitudes, layers):
    vector = np.concatenate([np.array(x, dtype=np.float32) for x in layers])
    wanted = np.sort(np.abs(vector) if magnitudes else vector)

    found = order_statistics_over(*over(layers), range, magnitudes=magnitudes)

    size, values = found["a"]
    assert size == vector.size
    assert values == wanted.tolist()


@pytest.mark.parametrize("space", ["delta", "factors"])
@given(
    arguments=model_arguments(like_ranks=True),
    density=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.8, 1.0]),
    convention=st.sampled_from(CONVENTIONS),
    sign=st.sampled_from(["reference", "nonnegative", "drop"]),
    vote=st.sampled_from(["unweighted", "weighted"]),
)
def test_ties_equals_the_formula_on_any_model(space, arguments, **options):
    model, options = random_model(**arguments), {**options, "space": space}
    # Roots of weights are no powers of two: votes may cancel in float64 and not in float32.
    assume(space == "delta" or options["vote"] == "unweighted" or not arguments["exact"])

    got = merged(Ties(scope="global", **options), model)

    assert_all_equal(got, whole_model.ties(model, **options))


@given(
    arguments=model_arguments(exact=False),
    ratio=st.sampled_from([0.1, 0.5, 1.0]),
    clamp=st.sampled_from([1e-4, 0.1, 0.3]),
)
def test_pcb_equals_the_formula_on_any_model(arguments, **options):
    model = [replace(stack, B=0.2 * stack.B) for stack in random_model(**arguments)]
    wanted, gap = whole_model.pcb(model, **options)
    assume(gap > 1e-5)

    got = merged(Pcb(scope="global", **options), model)

    assert_all_equal(got, wanted, 1e-3)


@given(arguments=model_arguments(), order=st.randoms(use_true_random=False))
def test_the_order_of_layers_changes_no_bit(arguments, order):
    model = random_model(**arguments)
    other = order.sample(model, len(model))

    method = Ties(scope="global", convention="kth")
    assert surveyed(method, model)[0].survey == surveyed(method, other)[0].survey
