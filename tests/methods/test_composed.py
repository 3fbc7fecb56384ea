"""Spaces, preparations and scale rules against plain NumPy on dense deltas."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from copamerge.core.delta import LowRank
from copamerge.core.draws import Draws
from copamerge.core.lowrank import core_of
from copamerge.errors import RecipeError
from copamerge.methods import METHODS, NAMED, Composed, method_from, method_names
from copamerge.methods._prepare import balanced, calibrated, canonical, leading, norms
from copamerge.methods._spaces import in_core, in_ctm, in_knots, tucker
from copamerge.methods.ties import Ties
from copamerge.testing import example_stacks
from strategies import CASES, as_array, random_stack

DRAWS = Draws(0, "layer")
RANKS = [(4, 4, 4), (1, 5, 2), (3,), (12, 12, 12)]


def stack_of(*ranks, weights=None, **more):
    return random_stack(ranks, d_in=30, d_out=24, weights=weights, **more)


def dense(stack):
    return (stack.B.double() @ stack.A.double()).numpy()


def truncated(X):
    U, S, Vt = np.linalg.svd(X, full_matrices=False)
    k = (S > 1e-10 * S[0]).sum()
    return U[:, :k], S[:k], Vt[:k]


def kth(x, density):
    """The TIES notebook's trimming."""
    flat = np.sort(np.abs(x), axis=None)
    place = x.size - int(x.size * density)
    return x if place == 0 else np.where(np.abs(x) >= flat[place - 1], x, 0.0)


def oracle_ties(xs, density):
    """Trim, elect by the sum, mean of those who agree; weights of 1, no exact ties."""
    kept = np.stack([kth(x, density) for x in xs])
    agrees = (np.sign(kept) == np.sign(kept.sum(0))) & (kept != 0)
    return (kept * agrees).sum(0) / np.maximum(agrees.sum(0), 1)


def ties(density):
    """The rule itself, in float64."""
    method = Ties(density=density, convention="kth")
    return lambda stack: method.merge(stack, DRAWS)


# --- spaces: the low-rank route is the dense one -------------------------------------------------


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("density", [0.3, 1.0])
def test_ties_in_core_space(ranks, density):
    stack = stack_of(*ranks)
    Bs = [B[:, :r] for B, r in zip(stack.B.double().numpy(), ranks, strict=True)]
    As = [A[:r].T for A, r in zip(stack.A.double().numpy(), ranks, strict=True)]
    U, V = truncated(np.concatenate(Bs, 1))[0], truncated(np.concatenate(As, 1))[0]
    # Signs of singular vectors are anybody's choice; TIES commutes with them.
    wanted = U @ oracle_ties(U.T @ dense(stack) @ V, density) @ V.T

    view, core = in_core(stack), core_of(stack)
    inside = ties(density)(view.stack).matrix
    merged = method_from({"rule": "ties", "space": "core", "density": density, "convention": "kth"})

    np.testing.assert_allclose(core.U @ inside @ core.V.mT, wanted, atol=1e-10)
    np.testing.assert_allclose(as_array(merged.merge(stack, DRAWS)), wanted, atol=1e-4)


@pytest.mark.parametrize("ranks", RANKS)
def test_core_space_loses_nothing(ranks):
    stack = stack_of(*ranks)

    view, core = in_core(stack), core_of(stack)

    inside = view.stack.B @ view.stack.A
    assert inside.dtype == torch.float64
    np.testing.assert_allclose(core.U @ inside @ core.V.mT, dense(stack), atol=1e-10)


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("weighted", [True, False])
def test_knots_is_the_joint_svd(ranks, weighted):
    stack = stack_of(*ranks)
    taus = dense(stack)
    U, S, Vt = truncated(np.concatenate(list(taus), axis=1))
    parts = np.split(Vt, len(ranks), axis=1)
    seen = [S[:, None] * part if weighted else part for part in parts]
    wanted_inside = oracle_ties(seen, 0.3)
    wanted = U @ (wanted_inside if weighted else S[:, None] * wanted_inside)

    view = in_knots(stack, weighted=weighted)
    signs = np.sign(((view.stack.B @ view.stack.A).numpy() * np.stack(seen)).sum((0, 2)))
    merged = view.lift(ties(0.3)(view.stack))

    inside = (view.stack.B @ view.stack.A).numpy() * signs[:, None]
    np.testing.assert_allclose(inside, np.stack(seen), atol=1e-10)
    np.testing.assert_allclose(as_array(merged), wanted, atol=1e-4)


def oracle_tucker(X, rank, steps):
    """Alternating SVDs of the unfoldings, on whatever matrices."""
    P = np.linalg.svd(np.concatenate(list(X), axis=1))[0][:, :rank]
    Q = np.linalg.svd(np.concatenate([x.T for x in X], axis=1))[0][:, :rank]
    for _ in range(steps):
        P = np.linalg.svd(np.concatenate([x @ Q for x in X], axis=1))[0][:, :rank]
        Q = np.linalg.svd(np.concatenate([x.T @ P for x in X], axis=1))[0][:, :rank]
    return P, Q


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0])
def test_ctm_finds_the_common_subspaces(beta):
    stack = stack_of(4, 4, 4, scalings=[1.0, 3.0, 0.5])
    taus = dense(stack)
    sizes = np.linalg.norm(taus, axis=(1, 2))
    proxies = (
        taus / sizes[:, None, None] * (beta * sizes + (1 - beta) * sizes.mean())[:, None, None]
    )
    P, Q = oracle_tucker(proxies, 4, 500)

    view = in_ctm(stack, rank=4, beta=beta)
    # With the identity between them: P Q^T says which subspaces they are, in which order.
    coordinates = (view.stack.B @ view.stack.A).numpy()
    whole = [
        as_array(view.lift(LowRank(A=c, B=torch.eye(4).double())))
        for c in torch.from_numpy(coordinates)
    ]

    # The search ends when a step gains less than 1e-6 of the energy.
    held = sum(np.linalg.norm(P.T @ x @ Q) ** 2 for x in proxies)
    scale = (beta * sizes + (1 - beta) * sizes.mean()) / sizes
    found = (np.linalg.norm(coordinates, axis=(1, 2)) ** 2 * scale**2).sum()
    assert found == pytest.approx(held, rel=1e-4)
    for tau, part in zip(taus, whole, strict=True):
        assert np.linalg.norm(part - P @ P.T @ tau @ Q @ Q.T) < 0.05 * np.linalg.norm(tau)


@pytest.mark.parametrize("ranks", RANKS)
def test_ctm_in_the_core_is_ctm_on_dense_deltas(ranks):
    stack = stack_of(*ranks)
    core, taus = core_of(stack), torch.from_numpy(dense(stack))

    left, right = tucker(core.M, 3)
    P, Q = tucker(taus, 3)

    small = core.U @ left @ left.mT @ core.U.mT @ taus @ core.V @ right @ right.mT @ core.V.mT
    np.testing.assert_allclose(small, P @ P.mT @ taus @ Q @ Q.mT, atol=1e-10)


def test_a_tucker_step_never_loses_energy():
    X = torch.randn(3, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    P, Q = tucker(X, 3)
    first = oracle_tucker(X.numpy(), 3, 0)

    assert (P.mT @ X @ Q).square().sum() >= np.square(first[0].T @ X.numpy() @ first[1]).sum()
    np.testing.assert_allclose(P.mT @ P, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(Q.mT @ Q, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("space", ["core", "knots", "ctm"])
def test_a_sum_is_a_sum_in_every_space(space):
    # ctm: with subspaces as large as all factors together, nothing is cut.
    stack = stack_of(4, 4, 4, weights=[1.0, 0.5, -0.3])
    options = {"bottleneck": 12, "beta": 0.5} if space == "ctm" else {}
    method = method_from({"rule": "task_arithmetic", "space": space, **options})

    merged = method.merge(stack, DRAWS)

    weights = stack.weights.double().numpy()[:, None, None]
    np.testing.assert_allclose(as_array(merged), (weights * dense(stack)).sum(0), atol=1e-5)


def test_ctm_has_the_rank_of_an_adapter():
    method = method_from("ctm")

    assert method.result_rank((4, 2, 3)) == 4
    assert method.merge(stack_of(4, 2, 3), DRAWS).rank == 4
    assert method_from({"name": "ctm", "bottleneck": 7}).merge(stack_of(4, 2), DRAWS).rank == 7


@pytest.mark.parametrize("space", ["core", "knots", "ctm"])
@pytest.mark.parametrize("rule", ["ties", "dare", "pcb", "sce", "della", "breadcrumbs", "copa"])
def test_every_rule_survives_every_case_in_every_space(space, rule):
    method = method_from({"rule": rule, "space": space})

    for name, stack in {**CASES, **example_stacks()}.items():
        merged = as_array(method.merge(stack, DRAWS))
        assert np.isfinite(merged).all(), name
        if stack.bias is not None:
            assert method.merge_bias(stack, DRAWS).isfinite().all(), name


# --- preparations --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_canonical_factors_are_the_svd_of_the_same_delta(name):
    stack = CASES[name]

    found = canonical(stack)

    np.testing.assert_allclose(dense(found), dense(stack), atol=1e-5)
    for A, B in zip(found.A.double().numpy(), found.B.double().numpy(), strict=True):
        sizes = np.square(A).sum(1)
        np.testing.assert_allclose(A @ A.T, np.diag(sizes), atol=1e-5)
        np.testing.assert_allclose(B.T @ B, np.diag(sizes), atol=1e-5)
        assert (np.diff(sizes) <= 1e-5).all()


@pytest.mark.parametrize("count", [1, 3, 9])
def test_only_leading_directions(count):
    stack = stack_of(4, 4, 2)
    U, S, Vt = np.linalg.svd(dense(stack), full_matrices=False)
    wanted = (U[:, :, :count] * S[:, None, :count]) @ Vt[:, :count]

    found = leading(stack, count)
    merged = method_from({"rule": "task_arithmetic", "directions": count}).merge(stack, DRAWS)

    np.testing.assert_allclose(dense(found), wanted, atol=1e-5)
    np.testing.assert_allclose(as_array(merged), wanted.sum(0), atol=1e-5)


def test_equal_norms_and_capped_norms():
    stack = stack_of(3, 3, 3, 3, scalings=[1.0, 1.1, 0.9, 40.0])
    before = norms(stack).numpy()
    middle = np.median(before)
    # torch takes the quantile of an even count between its neighbours, as NumPy does.
    cap = middle + 3 * np.median(np.abs(before - middle))

    equal, capped = balanced(stack, "equal"), balanced(stack, "cap")

    np.testing.assert_allclose(norms(equal), before.mean(), rtol=1e-6)
    np.testing.assert_allclose(norms(capped), np.minimum(before, cap), rtol=1e-6)
    np.testing.assert_allclose(equal.bias[3], stack.bias[3] * before.mean() / before[3], rtol=1e-5)
    assert torch.equal(capped.B[:3], stack.B[:3])


def oracle_pico(stack):
    side = np.concatenate(list(stack.B.double().numpy()), axis=1)
    U, S, _ = truncated(side)
    alpha = 1 / (1 + (stack.n - 1) * S**2 / (S**2).sum())
    return np.stack([B + U @ np.diag(alpha - 1) @ U.T @ B for B in stack.B.double().numpy()])


def test_pico_damps_what_is_shared():
    stack = stack_of(4, 4, 4)
    B, taus = oracle_pico(stack), dense(stack)
    damped = B @ stack.A.double().numpy()
    wanted = damped.mean(0)
    wanted *= np.linalg.norm(taus, axis=(1, 2)).mean() / np.linalg.norm(wanted)

    found = calibrated(stack, "pico")
    merged = as_array(method_from("pico").merge(stack, DRAWS))

    exact = calibrated(replace(stack, A=stack.A.double(), B=stack.B.double()), "pico")
    np.testing.assert_allclose(found.B, B, atol=1e-5)
    np.testing.assert_allclose(exact.B, B, atol=1e-10)
    np.testing.assert_allclose(merged, wanted, atol=1e-5)
    each = calibrated(stack, "pico_each")
    np.testing.assert_allclose(norms(each), norms(stack), rtol=1e-5)
    assert calibrated(stack_of(4), "pico").B.equal(stack_of(4).B)


# --- scale ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["ties", "task_arithmetic", "copa", "iso_c", "mean"])
def test_norm_match_gives_the_mean_norm_of_the_inputs(rule):
    stack = stack_of(4, 4, 4, weights=[1.0, 0.5, -0.3])
    weights = np.abs(stack.weights.double().numpy())
    wanted = (weights * norms(stack).numpy()).mean()

    one = method_from({"rule": rule, "scale": "norm_match"})
    two = method_from({"rule": rule, "scale": "norm_match", "times": 1.5})

    assert np.linalg.norm(as_array(one.merge(stack, DRAWS))) == pytest.approx(wanted, rel=1e-5)
    assert np.linalg.norm(as_array(two.merge(stack, DRAWS))) == pytest.approx(
        1.5 * wanted, rel=1e-5
    )
    bias = (weights * stack.bias.double().norm(dim=1).numpy()).mean()
    assert float(one.merge_bias(stack, DRAWS).norm()) == pytest.approx(bias, rel=1e-5)


@pytest.mark.parametrize("rule", ["ties", "task_arithmetic", "copa", "tsv_m", "mean"])
def test_gain_match_has_the_inputs_in_it_as_much_as_they_are(rule):
    stack = stack_of(4, 4, 4, weights=[1.0, 0.5, 2.0])
    weights, taus = stack.weights.double().numpy(), dense(stack)

    merged = as_array(method_from({"rule": rule, "scale": "gain_match"}).merge(stack, DRAWS))
    plain = as_array(method_from(rule).merge(stack, DRAWS))

    gains = (taus * merged).sum((1, 2)) / weights / (taus**2).sum((1, 2))
    assert gains.mean() == pytest.approx(1.0, rel=1e-5)
    np.testing.assert_allclose(
        merged / np.linalg.norm(merged), plain / np.linalg.norm(plain), atol=1e-6
    )


def test_gain_match_of_copies_and_of_one():
    stack = stack_of(4, 4)
    same = replace(stack, A=stack.A[[0, 0]], B=stack.B[[0, 0]])
    method = method_from({"rule": "task_arithmetic", "scale": "gain_match"})

    np.testing.assert_allclose(as_array(method.merge(same, DRAWS)), dense(stack)[0], atol=1e-5)


def test_adapters_of_zero_do_not_count_for_the_norm():
    stack = stack_of(4, 4)
    empty = replace(
        stack, B=stack.B * torch.tensor([1.0, 0.0])[:, None, None], bias=torch.zeros(2, 24)
    )
    method = method_from({"rule": "task_arithmetic", "scale": "norm_match"})

    np.testing.assert_allclose(as_array(method.merge(empty, DRAWS)), dense(stack)[0], atol=1e-5)


def test_the_scale_of_a_mean_is_one_over_the_weights():
    stack = replace(stack_of(4, 4), absent=(0.5,))
    method = method_from({"rule": "ties", "scale": "mean", "density": 1})

    wanted = as_array(method_from({"name": "ties", "density": 1}).merge(stack, DRAWS)) / 2.5

    np.testing.assert_allclose(as_array(method.merge(stack, DRAWS)), wanted, atol=1e-6)


# --- words ---------------------------------------------------------------------------------------


def test_a_composition_is_one_flat_mapping():
    said = {"rule": "ties", "space": "core", "density": 0.3, "calibrate": "pico"}
    method = method_from({**said, "scale": "norm_match"})

    assert isinstance(method, Composed)
    dump = method.model_dump(mode="json")
    assert said.items() <= dump.items() and dump["scale"] == "norm_match"
    assert method_from(dump) == method
    assert method_from({**dump, "space": "core"}) == method


def test_a_method_alone_stays_itself():
    for said in ({"rule": "ties"}, {"name": "ties", "space": "delta", "scale": 0.5}):
        assert isinstance(method_from(said), Ties)
    assert method_from({"name": "ties", "space": "factors"}).space == "factors"


def test_a_named_composition_can_be_changed_in_every_part():
    assert method_from("core").rule.density == 0.1
    assert method_from({"name": "core", "density": "0.4"}).rule.density == 0.4
    other = method_from({"name": "core", "rule": "dare"})
    assert other.called == "core" and other.rule.name == "dare" and other.space == "core"
    assert other.rule.density == method_from("dare").density


def test_names_are_told_apart():
    assert not set(NAMED) & set(METHODS)
    assert list(method_names())[-len(NAMED) :] == list(NAMED)
    for name in NAMED:
        assert method_from(name).called == name


@pytest.mark.parametrize(
    "said, complaint",
    [
        ({"rule": "tise"}, "unknown merge method 'tise'; did you mean 'ties'"),
        ({"name": "knotz"}, "did you mean 'knots'"),
        ({"name": "ties", "rule": "dare"}, "are two methods"),
        ({"name": "ties", "calibrat": "pico"}, "no option 'calibrat'; did you mean 'calibrate'"),
        ({"name": "ties", "calibrate": "pica"}, "calibrate.*'pico'"),
        ({"name": "ties", "beta": 0.5}, "beta: no effect with space: delta"),
        ({"name": "ties", "space": "core", "weighted": False}, "weighted: no effect"),
        ({"name": "ties", "times": 2}, "times: no effect with a fixed scale"),
        ({"name": "tsv_m", "space": "factors"}, "space"),
        ({"name": "ties", "space": "kore"}, "one of delta, factors, core, knots, ctm .got 'kore'"),
        ({"name": "copa", "space": "factors"}, "one of delta, core, knots, ctm"),
        ({"name": "ties", "scale": "nrm_match"}, "scale: expected a number"),
        ({"name": "ties", "density": 7, "calibrate": "x"}, "density(.|\n)*calibrate"),
        ({"rule": 3}, "write a method as"),
    ],
)
def test_mistakes_are_named(said, complaint):
    with pytest.raises(RecipeError, match=complaint):
        method_from(said)
