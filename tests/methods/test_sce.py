from dataclasses import replace

import numpy as np
import pytest
import torch

from copamerge.core.draws import Draws
from copamerge.methods.sce import Sce
from copamerge.methods.ties import Ties
from copamerge.testing import check_method
from strategies import CASES, LIKE_RANKS, as_array, assert_equal, plain, random_stack

DRAWS = Draws(0, "layer")


def oracle(tensors, weights, absent=0, density=1.0, scale=1.0, sign="nonnegative"):
    """Select, calculate, erase, in float64, the weights in the tensors."""
    xs = [w * x for x, w in zip(tensors, weights, strict=True)]
    if density < 1:
        keep = chosen(np.var([*xs, *[np.zeros_like(xs[0])] * absent], axis=0), density)
        xs = [x * keep for x in xs]
    energies = [np.mean(x**2) for x in xs]
    elected = np.sign(sum(xs))
    if sign == "nonnegative":
        elected[elected == 0] = 1
    agree = [x * elected > 0 for x in xs]
    above = sum(e * x * a for x, e, a in zip(xs, energies, agree, strict=True))
    below = sum(e * a for e, a in zip(energies, agree, strict=True))
    return scale * above / np.where(below > 0, below, 1)


def chosen(variance, density):
    """The int(density m) largest of the m entries that vary at all."""
    flat = variance.flatten()
    flat[flat < 1e-28] = 0  # numpy's mean of three copies is not always the copy
    order = sorted(range(flat.size), key=lambda i: (-flat[i], i))
    keep = np.zeros(flat.size, dtype=bool)
    keep[order[: int(density * np.count_nonzero(flat))]] = True
    return keep.reshape(variance.shape)


def tensors_of(stack):
    """The float32 deltas: whether two of their entries tie is decided there."""
    cut = [(stack.A[i, :r], stack.B[i, :, :r]) for i, r in enumerate(stack.ranks)]
    return [(B @ A).double().numpy() for A, B in cut]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("sign", ["nonnegative", "drop"])
def test_equals_the_formula(name, density, sign):
    stack, options = CASES[name], {"density": density, "sign": sign, "scale": 0.8}

    merged = Sce(**options).merge(stack, DRAWS)

    weights = stack.weights.tolist()
    assert_equal(merged.matrix, oracle(tensors_of(stack), weights, len(stack.absent), **options))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("density", [0.5, 1.0])
def test_biases_follow_the_same_rule(name, density):
    stack, options = CASES[name], {"density": density, "scale": 1.5}

    merged = Sce(**options).merge_bias(stack, DRAWS)

    biases = [b for *_, b in plain(stack)]
    assert_equal(merged, oracle(biases, stack.weights.tolist(), len(stack.absent), **options))


def test_the_louder_adapter_counts_by_its_energy():
    stack = random_stack((1, 1), d_in=2, d_out=1, bias=False)
    stack.A[0, 0], stack.A[1, 0] = torch.tensor([3.0, 1.0]), torch.tensor([1.0, -2.0])
    stack.B[:] = 1.0

    merged = Sce().merge(stack, DRAWS)

    # Energies 10 and 5: (10 * 3 + 5 * 1) / 15 where both agree, -2 alone where it wins.
    torch.testing.assert_close(merged.matrix, torch.tensor([[35 / 15, -2.0]]))


def test_of_equal_energies_it_is_ties_with_nothing_trimmed():
    stack = random_stack((2, 2), bias=False)
    sizes = torch.linalg.matrix_norm(stack.deltas())
    stack = replace(stack, B=stack.B / sizes[:, None, None])

    merged = Sce().merge(stack, DRAWS)

    assert_equal(merged.matrix, as_array(Ties(density=1).merge(stack, DRAWS)), 1e-5)


def test_a_weight_is_as_good_as_a_louder_adapter():
    stack = random_stack((2, 2), weights=[1.0, -0.5])
    louder = replace(stack, B=stack.B * stack.weights[:, None, None], weights=torch.ones(2))

    for method in (Sce(), Sce(density=0.5)):
        merged = method.merge(stack, DRAWS)
        assert_equal(merged.matrix, as_array(method.merge(louder, DRAWS)))


@pytest.mark.parametrize("size", [1e-3, 1e-6, 1e-9])
def test_who_agrees_alone_is_not_divided_away_however_faint(size):
    stack = random_stack((1, 1), d_in=2, d_out=1, bias=False)
    stack.A[0, 0], stack.A[1, 0] = torch.tensor([1.0, 0.0]), torch.tensor([0.0, size])
    stack.B[:] = 1.0

    merged = Sce().merge(stack, DRAWS)

    torch.testing.assert_close(merged.matrix, torch.tensor([[1.0, size]]), atol=0, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_entries_on_which_all_agree_are_never_selected(dtype, n):
    one = random_stack((3,), bias=False)
    A, B = one.A.to(dtype).repeat(n, 1, 1), one.B.to(dtype).repeat(n, 1, 1)
    copies = replace(random_stack((3,) * n, bias=False), A=A, B=B)

    merged = Sce(density=0.9).merge(copies, DRAWS).matrix

    assert not merged.any()
    assert "becomes zero" in Sce(density=0.9).cautions()[0]


def test_selection_is_of_the_entries_that_vary_at_all():
    stack = random_stack((1, 1), d_in=4, d_out=1, bias=False)
    stack.A[0, 0], stack.A[1, 0] = torch.tensor([1.0, 5, 2, 7]), torch.tensor([3.0, 5, 1, 7])
    stack.B[:] = 1.0

    merged = Sce(density=0.5).merge(stack, DRAWS)

    # Half of the two entries that vary: the first.
    energies = torch.tensor([1.0, 9.0])
    wanted = float((energies * torch.tensor([1.0, 3.0])).sum() / 10)
    torch.testing.assert_close(merged.matrix, torch.tensor([[wanted, 0, 0, 0]]))


def test_adapters_without_the_layer_count_as_zeros_in_the_variance():
    alone = random_stack((3,), absent=[1.0], bias=False)
    empty = random_stack((3, 3), bias=False)
    empty.A[0], empty.B[0], empty.B[1] = alone.A[0], alone.B[0], 0

    merged = Sce(density=0.3).merge(alone, DRAWS).matrix

    assert_equal(merged, as_array(Sce(density=0.3).merge(empty, DRAWS)))
    # Of one adapter and zeros the largest entries vary most.
    kept = merged != 0
    assert int(kept.sum()) == int(0.3 * 72)
    delta = alone.deltas()[0].abs()
    assert delta[kept].min() > delta[~kept].max()


def test_only_zeros_give_zeros():
    stack = random_stack((2, 2))
    stack.B[:], stack.bias[:] = 0, 0

    for method in (Sce(), Sce(density=0.5), Sce(space="factors")):
        merged = method.merge(stack, DRAWS)
        assert not as_array(merged).any()
        assert not method.merge_bias(stack, DRAWS).any()


@pytest.mark.parametrize("name", LIKE_RANKS)
@pytest.mark.parametrize("density", [0.5, 1.0])
def test_on_factors_the_rule_runs_on_each(name, density):
    stack = LIKE_RANKS[name]
    roots = [abs(w * s) ** 0.5 for w, s in zip(stack.weights.tolist(), stack.scalings, strict=True)]
    signed = [c if w >= 0 else -c for c, w in zip(roots, stack.weights.tolist(), strict=True)]
    raw_B = [B / s for (_, B, _, _), s in zip(plain(stack), stack.scalings, strict=True)]

    merged = Sce(space="factors", density=density).merge(stack, DRAWS)

    absent = len(stack.absent)
    assert merged.rank == stack.ranks[0]
    assert_equal(merged.A, oracle([A for A, *_ in plain(stack)], signed, absent, density))
    assert_equal(merged.B, oracle(raw_B, roots, absent, density))


def test_on_factors_it_needs_equal_ranks_and_warns():
    method = Sce(space="factors")

    assert "3, 1, 2" in method.refusal((3, 1, 2))
    assert method.refusal((2, 2)) is None
    assert "cross terms" in method.cautions()[0]
    assert method.result_rank((2, 2)) == 2
    assert Sce().cautions() == () and Sce().result_rank((2, 2)) is None


@pytest.mark.parametrize("space", ["delta", "factors"])
@pytest.mark.parametrize("density", [0.5, 1.0])
def test_in_float64_it_stays_there(space, density):
    stack = random_stack((2, 2))
    method = Sce(density=density, space=space)

    merged = method.merge(replace(stack, A=stack.A.double(), B=stack.B.double()), DRAWS)

    found = merged.matrix if space == "delta" else merged.B @ merged.A
    assert found.dtype == torch.float64
    assert_equal(found, as_array(method.merge(stack, DRAWS)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"density": 0},
        {"density": 0.5},
        {"density": 0.5, "sign": "drop", "scale": 0.7},
        {"space": "factors", "sign": "reference"},
    ],
)
def test_it_is_a_good_citizen(options):
    check_method(Sce.model_validate(options))
