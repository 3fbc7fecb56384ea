import numpy as np
import pytest
import torch

from copamerge.core import delta as delta_module
from copamerge.core.delta import Dense, Energy, LowRank, cosines, factorize, squared_norm
from copamerge.core.draws import Draws

DRAWS = Draws(0, "layer")


def low_rank(k, d_out=11, d_in=9, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return LowRank(A=torch.randn(k, d_in, generator=rng), B=torch.randn(d_out, k, generator=rng))


def best_share(matrix, rank):
    """Eckart-Young, by NumPy: the largest share of energy that any matrix of this rank keeps."""
    energy = np.linalg.svd(matrix.double().numpy(), compute_uv=False) ** 2
    return energy[:rank].sum() / energy.sum()


def share_of(got, matrix):
    rest = (matrix.double() - got.B.double() @ got.A.double()).square().sum()
    return 1 - float(rest / matrix.double().square().sum())


def test_factors_that_fit_come_back_untouched():
    x = low_rank(4)

    for rank in (None, 4, 9):
        got = factorize(x, rank, DRAWS)
        assert got.A is x.A and got.B is x.B and got.kept == 1.0 and got.exact


@pytest.mark.parametrize("k, rank", [(6, 1), (6, 3), (6, 5), (20, 4), (20, 9)])
def test_truncation_is_the_best_of_its_rank_and_says_what_it_kept(k, rank):
    x = low_rank(k)
    matrix = x.B @ x.A

    got = factorize(x, rank, DRAWS)

    assert got.rank == rank
    assert got.kept == pytest.approx(best_share(matrix, rank), abs=1e-6)
    assert got.kept == pytest.approx(share_of(got, matrix), abs=1e-6)


@pytest.mark.parametrize("make", [lambda x: x, lambda x: Dense(x.B @ x.A)], ids=["low", "dense"])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_energy_takes_the_smallest_rank_that_keeps_the_share(make, share):
    x = low_rank(6)
    matrix = x.B @ x.A

    got = factorize(make(x), Energy(share), DRAWS)

    assert got.kept >= share
    assert best_share(matrix, got.rank - 1) < share


def test_energy_one_is_the_numerical_rank():
    x = low_rank(3)
    doubled = LowRank(A=torch.cat([x.A, x.A]), B=torch.cat([x.B, x.B], dim=1))

    got = factorize(doubled, Energy(1.0), DRAWS)

    assert got.rank == 3
    torch.testing.assert_close(got.B @ got.A, 2 * x.B @ x.A, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rank", [2, Energy(0.9)])
@pytest.mark.parametrize(
    "zero", [LowRank(torch.zeros(4, 6), torch.randn(5, 4)), Dense(torch.zeros(5, 6))]
)
def test_a_zero_delta_has_no_share_to_keep(zero, rank):
    got = factorize(zero, rank, DRAWS)

    assert got.kept is None
    assert not got.A.any() and not got.B.any()


def test_a_large_dense_delta_is_near_its_best_and_reports_exactly_what_it_kept(monkeypatch):
    monkeypatch.setattr(delta_module, "EXACT_SVD_UP_TO", 32)
    rng = torch.Generator().manual_seed(0)
    decay = 0.97 ** torch.arange(300)
    matrix = torch.randn(400, 300, generator=rng) * decay @ torch.randn(300, 350, generator=rng)

    got = factorize(Dense(matrix), 20, DRAWS)

    assert got.kept == pytest.approx(share_of(got, matrix), abs=1e-5)
    assert got.kept == pytest.approx(best_share(matrix, 20), rel=1e-4)


def test_a_randomised_svd_finds_the_energy_asked_for(monkeypatch):
    monkeypatch.setattr(delta_module, "EXACT_SVD_UP_TO", 32)
    rng = torch.Generator().manual_seed(0)
    decay = 0.9 ** torch.arange(600)
    matrix = torch.randn(600, 600, generator=rng) * decay @ torch.randn(600, 600, generator=rng)

    got = factorize(Dense(matrix), Energy(0.95), DRAWS)

    assert got.kept >= 0.95
    assert best_share(matrix, got.rank - 2) < 0.95


def test_the_same_draws_give_the_same_bits(monkeypatch):
    monkeypatch.setattr(delta_module, "EXACT_SVD_UP_TO", 32)
    matrix = torch.randn(200, 180, generator=torch.Generator().manual_seed(0))

    one, other = (factorize(Dense(matrix), 5, DRAWS) for _ in range(2))

    assert torch.equal(one.A, other.A) and torch.equal(one.B, other.B)


def test_a_dense_delta_needs_a_rank():
    with pytest.raises(ValueError, match="rank"):
        factorize(Dense(torch.eye(3)), None, DRAWS)


def test_squared_norm_never_needs_the_matrix():
    x = low_rank(5)
    matrix = x.B @ x.A

    assert squared_norm(x) == pytest.approx(float(matrix.square().sum()), rel=1e-5)
    assert squared_norm(Dense(matrix)) == pytest.approx(float(matrix.square().sum()), rel=1e-6)


def test_cosines_are_those_of_the_dense_deltas():
    merged, inputs = low_rank(5), [low_rank(3, seed=i) for i in (1, 2)]
    A, B = torch.stack([x.A for x in inputs]), torch.stack([x.B for x in inputs])
    dense = (merged.B @ merged.A).flatten()

    got = cosines(merged, A, B)

    for i, x in enumerate(inputs):
        other = (x.B @ x.A).flatten()
        assert got.input_norms[i] == pytest.approx(float(other.norm()), rel=1e-5)
        want = float(torch.dot(dense, other) / dense.norm() / other.norm())
        assert got.cosines[i] == pytest.approx(want, abs=1e-6)
    assert got.norm == pytest.approx(float(dense.norm()), rel=1e-5)


def test_a_cosine_with_a_zero_delta_is_missing_not_zero():
    x = low_rank(3)
    A = torch.stack([x.A, x.A])
    B = torch.stack([x.B, torch.zeros_like(x.B)])

    got = cosines(x, A, B)

    assert got.cosines[0] == pytest.approx(1.0)
    assert got.cosines[1] is None
