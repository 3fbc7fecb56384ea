"""What is measured of one input beside a merge, against dense float64 and planted structure."""

import numpy as np
import pytest
import torch

from copamerge.analysis.directions import directions, preserved
from copamerge.analysis.image import image_of, norm_of, svd_of
from copamerge.analysis.interference import change, interference, interference_rescaled
from copamerge.analysis.relations import cosine
from copamerge.core.delta import LowRank
from strategies import CASES, plain, random_stack

EXACT = 1e-8


def total(stack):
    """The weighted sum of the deltas as factors, in float64."""
    terms = plain(stack)
    A = np.concatenate([A for A, _, _, _ in terms])
    B = np.concatenate([w * B for _, B, w, _ in terms], axis=1)
    return LowRank(torch.tensor(A), torch.tensor(B))


def dense(delta):
    return (delta.B @ delta.A).numpy()


def inputs(stack):
    return [(torch.tensor(A), torch.tensor(B)) for A, B, _, _ in plain(stack)]


def svd_of_dense(T):
    """Of the matrix itself, without what is noise."""
    U, S, Vt = np.linalg.svd(T, full_matrices=False)
    k = int((S > 1e-10 * S[0]).sum()) if S[0] > 0 else 0
    return U[:, :k], S[:k], Vt[:k].T


@pytest.fixture(params=CASES.values(), ids=CASES)
def stack(request):
    return request.param


# --- against matrices that are formed ------------------------------------------------------------


def test_angles_and_gains_are_those_of_the_dense_matrices(stack):
    M = dense(total(stack))
    for A, B in inputs(stack):
        U, S, V = svd_of_dense((B @ A).numpy())

        found = directions(image_of(total(stack), svd_of(A, B)))

        assert len(found.sigma) == len(S)
        for k in range(len(S)):
            image = M @ V[:, k]
            length = np.linalg.norm(image)
            angle_cosine = U[:, k] @ image / length if length > 1e-6 * S[0] else 0.0
            assert float(found.sigma[k]) == pytest.approx(S[k], rel=EXACT, abs=EXACT)
            # A faint direction's vector is as exact as its gap to the noise of the strong ones.
            assert float(found.cosine[k]) == pytest.approx(angle_cosine, abs=EXACT)
            assert float(found.gain[k]) == pytest.approx(abs(U[:, k] @ image) / S[k], abs=EXACT)


def test_interference_is_that_of_the_dense_matrices(stack):
    M = dense(total(stack))
    for A, B in inputs(stack):
        T = (B @ A).numpy()
        _, S, V = svd_of_dense(T)

        found = [change(image_of(total(stack), svd_of(A, B)))]

        if not len(S):
            assert interference(found) is None and interference_rescaled(found) is None
            continue
        wanted = np.linalg.norm((M - T) @ V) / np.linalg.norm(T)
        assert interference(found) == pytest.approx(wanted, abs=EXACT)
        grid = np.linspace(0, 5, 2001)
        least = min(np.linalg.norm((c * M - T) @ V) / np.linalg.norm(T) for c in grid)
        best = interference_rescaled(found)
        assert 0 <= best <= min(1.0, interference(found)) + 1e-7
        assert best <= least + 1e-7


def test_the_best_multiple_is_the_one_of_least_squares():
    stack = random_stack((3, 3, 3), d_in=12, d_out=11, seed=31)
    M = dense(total(stack))
    for A, B in inputs(stack):
        T = (B @ A).numpy()
        _, _, V = svd_of_dense(T)
        x, y = (M @ V).ravel(), (T @ V).ravel()
        c = max(0.0, x @ y / (x @ x))

        found = interference_rescaled([change(image_of(total(stack), svd_of(A, B)))])

        assert found == pytest.approx(np.linalg.norm(c * x - y) / np.linalg.norm(T), abs=EXACT)


def test_norms_and_inner_products_are_those_of_the_dense_matrices(stack):
    M = dense(total(stack))
    size = np.linalg.norm(M)
    assert norm_of(total(stack)) == pytest.approx(size, rel=EXACT, abs=1e-12)
    for A, B in inputs(stack):
        T = (B @ A).numpy()

        found = change(image_of(total(stack), svd_of(A, B)))

        assert found.inner == pytest.approx(np.sum(M * T), rel=EXACT, abs=EXACT)
        assert found.own == pytest.approx(np.sum(T * T), rel=EXACT)


def test_a_norm_survives_terms_that_cancel():
    stack = random_stack((3,), d_in=30, d_out=20, seed=5)
    (A, B), *_ = inputs(stack)
    near = LowRank(torch.cat([A, A]), torch.cat([B, -(1 - 1e-9) * B], dim=1))

    found = norm_of(near)

    # 1e-9 of the terms is left: Gram matrices of float64 would see 1e-8 of noise.
    assert found == pytest.approx(1e-9 * norm_of(LowRank(A, B)), rel=1e-5)


def test_how_either_delta_is_factored_changes_nothing():
    stack = random_stack((4, 2), d_in=15, d_out=13, seed=6)
    merged = total(stack)
    (A, B), *_ = inputs(stack)
    rng = torch.Generator().manual_seed(0)
    R = torch.randn(4, 4, generator=rng, dtype=torch.float64) + 3 * torch.eye(4)
    Q = torch.randn(6, 6, generator=rng, dtype=torch.float64) + 3 * torch.eye(6)
    turned = LowRank(torch.linalg.solve(Q, merged.A), merged.B @ Q)

    one = image_of(merged, svd_of(A, B))
    other = image_of(turned, svd_of(torch.linalg.solve(R, A), B @ R))

    for x, y in zip(directions(one), directions(other), strict=True):
        torch.testing.assert_close(x, y, rtol=EXACT, atol=EXACT)
    assert change(one) == pytest.approx(change(other), rel=EXACT, abs=EXACT)


# --- planted structure ---------------------------------------------------------------------------


def orthonormal(d, *ks, seed=0):
    """Blocks of columns, all orthogonal to each other."""
    rng = torch.Generator().manual_seed(seed)
    Q, _ = torch.linalg.qr(torch.randn(d, sum(ks), generator=rng, dtype=torch.float64))
    return Q.split(ks, dim=1)


def planted(U, S, V):
    """Factors of `U diag(S) V^T` that are not its singular vectors."""
    rng = torch.Generator().manual_seed(9)
    R = torch.randn(len(S), len(S), generator=rng, dtype=torch.float64) + 3 * torch.eye(len(S))
    return torch.linalg.solve(R, V.mT), (U * S) @ R


def measured(merged, A, B, within=45.0):
    image = image_of(merged, svd_of(A, B))
    found = [change(image)]
    return (
        directions(image),
        preserved([directions(image)], within),
        interference(found),
        interference_rescaled(found),
    )


def values(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


S3 = values(5.0, 2.0, 0.1)


def test_orthogonal_adapters_summed_stay_as_they_are():
    (U1, U2), (V1, V2) = orthonormal(12, 3, 3), orthonormal(14, 3, 3, seed=1)
    A1, B1 = planted(U1, S3, V1)
    A2, B2 = planted(U2, 7 * S3, V2)
    both = LowRank(torch.cat([A1, A2]), torch.cat([B1, B2], dim=1))

    for A, B in ((A1, B1), (A2, B2)):
        found, kept, altered, fitted = measured(both, A, B)

        torch.testing.assert_close(found.cosine, torch.ones(3).double(), rtol=0, atol=EXACT)
        torch.testing.assert_close(found.gain, torch.ones(3).double(), rtol=0, atol=EXACT)
        assert kept == pytest.approx((3, 1.0, 1.0, 1.0), abs=EXACT)
        assert altered == pytest.approx(0.0, abs=EXACT)
        assert fitted == pytest.approx(0.0, abs=1e-7)  # a root of the rounding of float64


def test_an_adapter_and_its_negative_leave_nothing():
    (U,), (V,) = orthonormal(12, 3), orthonormal(14, 3, seed=1)
    A, B = planted(U, S3, V)

    found, kept, altered, fitted = measured(LowRank(torch.cat([A, A]), torch.cat([B, -B], 1)), A, B)

    assert found.cosine.tolist() == [0.0, 0.0, 0.0]
    assert kept[:3] == (3, 0.0, 0.0) and kept.gain == pytest.approx(0.0, abs=EXACT)
    assert altered == pytest.approx(1.0, abs=EXACT) and fitted == pytest.approx(1.0, abs=1e-7)


@pytest.mark.parametrize("multiple", [3.0, 0.25, 1e-3])
def test_a_multiple_of_an_adapter_keeps_its_directions(multiple):
    (U,), (V,) = orthonormal(12, 3), orthonormal(14, 3, seed=1)
    A, B = planted(U, S3, V)

    found, kept, altered, fitted = measured(LowRank(A, multiple * B), A, B)

    torch.testing.assert_close(found.gain, multiple * torch.ones(3).double(), rtol=EXACT, atol=0)
    assert kept == pytest.approx((3, 1.0, 1.0, multiple), rel=EXACT)
    assert altered == pytest.approx(abs(multiple - 1), abs=EXACT)
    assert fitted == pytest.approx(0.0, abs=1e-7)


def test_an_adapter_turned_round_keeps_its_strength_and_no_direction():
    (U,), (V,) = orthonormal(12, 3), orthonormal(14, 3, seed=1)
    A, B = planted(U, S3, V)

    found, kept, altered, fitted = measured(LowRank(A, -B), A, B, within=90.0)

    torch.testing.assert_close(found.cosine, -torch.ones(3).double(), rtol=0, atol=EXACT)
    assert kept == pytest.approx((3, 0.0, 0.0, 1.0), abs=EXACT)
    assert altered == pytest.approx(2.0, rel=EXACT) and fitted == 1.0


@pytest.mark.parametrize("degrees", [10.0, 44.0, 46.0, 80.0])
def test_a_rotated_copy_is_off_by_its_angle(degrees):
    (U, W), (V,) = orthonormal(12, 3, 3), orthonormal(14, 3, seed=1)
    A, B = planted(U, S3, V)
    angle = np.radians(degrees)
    turned = planted(np.cos(angle) * U + np.sin(angle) * W, S3, V)

    found, kept, altered, fitted = measured(LowRank(*turned), A, B)

    wanted = np.cos(angle) * torch.ones(3).double()
    torch.testing.assert_close(found.cosine, wanted, rtol=0, atol=EXACT)
    torch.testing.assert_close(found.gain, wanted, rtol=0, atol=EXACT)
    assert kept.share == kept.energy == (1.0 if degrees < 45 else 0.0)
    assert altered == pytest.approx(2 * np.sin(angle / 2), abs=EXACT)
    assert fitted == pytest.approx(np.sin(angle), abs=1e-7)


def test_a_direction_at_exactly_the_angle_is_kept():
    (U, W), (V,) = orthonormal(12, 3, 3), orthonormal(14, 3, seed=1)
    A, B = planted(U, S3, V)
    turned = planted((U + W) / 2**0.5, S3, V)

    assert measured(LowRank(*turned), A, B)[1].share == 1.0


def test_weak_directions_count_as_one_each_and_little_by_energy():
    (U, W), (V,) = orthonormal(12, 3, 3), orthonormal(14, 3, seed=1)
    A, B = planted(U, S3, V)
    strong_kept = planted(torch.cat([U[:, :1], W[:, 1:]], dim=1), S3, V)

    kept = measured(LowRank(*strong_kept), A, B)[1]

    energy = 25 / (25 + 4 + 0.01)
    assert kept == pytest.approx((3, 1 / 3, energy, energy), abs=EXACT)


def test_layers_count_by_their_directions_and_by_their_energy():
    (U,), (V,) = orthonormal(12, 3), orthonormal(14, 3, seed=1)
    A, B = planted(U, S3, V)
    kept = image_of(LowRank(A, B), svd_of(A, B))
    lost = image_of(LowRank(A[:1], 0 * B[:, :1]), svd_of(A, 2 * B))

    both = preserved([directions(kept), directions(lost)])
    altered = interference([change(kept), change(lost)])
    fitted = interference_rescaled([change(kept), change(lost)])

    assert both == pytest.approx((6, 0.5, 0.2, 0.2), abs=EXACT)  # 1 + 4 parts of energy
    assert altered == pytest.approx(0.8**0.5, abs=EXACT)
    assert fitted == pytest.approx(0.8**0.5, abs=EXACT)


def test_copies_averaged_are_the_adapter():
    (U,), (V,) = orthonormal(12, 3), orthonormal(14, 3, seed=1)
    A, B = planted(U, S3, V)
    mean = LowRank(torch.cat([A, A, A]), torch.cat([B, B, B], dim=1) / 3)

    _, kept, altered, _ = measured(mean, A, B)

    assert kept == pytest.approx((3, 1.0, 1.0, 1.0), abs=EXACT)
    assert altered == pytest.approx(0.0, abs=EXACT)


# --- edges ---------------------------------------------------------------------------------------


def test_a_zero_adapter_has_no_directions():
    A, B = torch.randn(2, 5, dtype=torch.float64), torch.zeros(4, 2, dtype=torch.float64)

    found, kept, altered, fitted = measured(LowRank(A, B + 1), A, B)

    assert len(found.sigma) == 0
    assert kept == (0, None, None, None) and altered is None and fitted is None


def test_no_layer_is_nothing_to_measure():
    assert preserved([]) == (0, None, None, None)
    assert interference([]) is None and interference_rescaled([]) is None


def test_a_merge_of_zero_loses_every_direction():
    A, B = torch.randn(2, 5, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)

    found, kept, altered, fitted = measured(LowRank(A, 0 * B), A, B)

    assert found.cosine.tolist() == [0.0, 0.0] and kept == (2, 0.0, 0.0, 0.0)
    assert altered == pytest.approx(1.0, abs=EXACT) and fitted == 1.0


def test_ranks_may_exceed_the_sides():
    rng = torch.Generator().manual_seed(3)
    A = torch.randn(7, 3, generator=rng, dtype=torch.float64)
    B = torch.randn(2, 7, generator=rng, dtype=torch.float64)

    found, kept, altered, _ = measured(LowRank(A, B), A, B)

    assert len(found.sigma) == 2 and kept == pytest.approx((2, 1.0, 1.0, 1.0), abs=EXACT)
    assert altered == pytest.approx(0.0, abs=EXACT)


def test_a_cosine_with_nothing_is_none():
    assert cosine(0.0, 0.0, 1.0) is None and cosine(0.0, 1.0, 0.0) is None
    assert cosine(2.0, 1.0, 2.0) == 1.0 and cosine(-2.0 - 1e-9, 1.0, 2.0) == -1.0


# --- what is said about chance -------------------------------------------------------------------


def test_unrelated_adapters_are_as_far_apart_as_is_said():
    n, r, d_in, d_out = 4, 4, 160, 120
    stack = random_stack((r,) * n, d_in=d_in, d_out=d_out, seed=21)
    merged = total(stack)
    mean = LowRank(merged.A, merged.B / n)

    images = [image_of(merged, svd_of(A, B)) for A, B in inputs(stack)]
    summed = np.mean([interference([change(x)]) for x in images])
    averaged = np.mean(
        [interference([change(image_of(mean, svd_of(A, B)))]) for A, B in inputs(stack)]
    )
    cosines = [cosine(change(x).inner, norm_of(merged), change(x).own ** 0.5) for x in images]

    assert summed == pytest.approx(((n - 1) * r / d_in) ** 0.5, rel=0.2)
    assert averaged == pytest.approx(1 - 1 / n, rel=0.05)
    assert np.mean(cosines) == pytest.approx(n**-0.5, rel=0.1)


def test_directions_of_a_stranger_point_anywhere():
    stack = random_stack((30, 30), d_in=90, d_out=80, seed=22)
    (_, (A, B)) = inputs(stack)
    stranger = LowRank(*inputs(stack)[0])

    found = directions(image_of(stranger, svd_of(A, B)))

    assert float(found.cosine.square().mean() ** 0.5) == pytest.approx(80**-0.5, rel=0.3)
    assert preserved([found]).share == 0.0
