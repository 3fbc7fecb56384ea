"""Shapes of distributions: against SciPy-free oracles, planted samples, and chance."""

from math import erf, sqrt

import numpy as np
import pytest
import torch

from copamerge.analysis.entries import NEAR, SAMPLE, common_shape, entries, shape


def random(kind, rows, columns, seed=0):
    rng = torch.Generator().manual_seed(seed)
    if kind == "uniform":
        return 0.02 * (2 * torch.rand(rows, columns, generator=rng) - 1)
    if kind == "Gaussian":
        return 0.3 + 0.01 * torch.randn(rows, columns, generator=rng)
    tails = torch.randn(rows, columns, generator=rng)
    return tails.sign() * tails.abs() ** 3  # kurtosis far above 3


@pytest.mark.parametrize("kind", ["uniform", "Gaussian", "neither"])
def test_numbers_are_those_of_numpy(kind):
    X = random(kind, 16, 64)
    x = X.double().numpy().flatten()

    found = entries(X)

    z = np.sort((x - x.mean()) / x.std())
    n = len(z)
    for wanted, cdf in (
        (found.to_gaussian, np.array([(1 + erf(v / sqrt(2))) / 2 for v in z])),
        (found.to_uniform, np.clip((z + sqrt(3)) / (2 * sqrt(3)), 0, 1)),
    ):
        gap = max((np.arange(1, n + 1) / n - cdf).max(), (cdf - np.arange(n) / n).max())
        assert wanted == pytest.approx(gap, abs=1e-8)
    assert found.sd == pytest.approx(x.std(), rel=1e-8)
    assert found.kurtosis == pytest.approx(((x - x.mean()) ** 4).mean() / x.std() ** 4, rel=1e-8)
    assert found.looked_at == n


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["uniform", "Gaussian", "neither"])
def test_planted_distributions_are_named(kind, seed):
    assert shape(entries(random(kind, 16, 1024, seed))) == kind


def test_moments_of_the_two_distributions():
    assert entries(random("uniform", 64, 4096)).kurtosis == pytest.approx(1.8, abs=0.02)
    assert entries(random("Gaussian", 64, 4096)).kurtosis == pytest.approx(3.0, abs=0.05)


@pytest.mark.parametrize("kind, level", [("uniform", 0.92), ("Gaussian", 0.886)])
def test_by_chance_a_sample_is_nearer_than_the_level_95_times_of_100(kind, level):
    n = 1024
    found = [entries(random(kind, 1, n, seed)) for seed in range(1000)]
    own = [x.to_uniform if kind == "uniform" else x.to_gaussian for x in found]

    # 1000 samples: the share's standard error is 0.007; 2.5 % at both ends of three of them.
    assert 0.93 < np.mean([gap < level / sqrt(n) for gap in own]) < 0.975


def test_near_is_half_of_what_lies_between_the_two():
    z = np.arange(-1.74, 1.74, 0.001)
    gap = max(abs((v / sqrt(3) + 1) / 2 - (1 + erf(v / sqrt(2))) / 2) for v in z)

    assert gap == pytest.approx(0.0572, abs=1e-4) and NEAR == pytest.approx(gap / 2, abs=0.002)


@pytest.mark.parametrize("value", [0.0, 1.0, -3e-5])
def test_a_constant_has_no_distribution(value):
    assert entries(torch.full((4, 8), value)) is None


def test_scale_and_sign_do_not_matter():
    X = random("Gaussian", 16, 64)

    assert entries(-7 * X).kurtosis == pytest.approx(entries(X).kurtosis, rel=1e-6)
    assert entries(1e-20 * X).to_uniform == pytest.approx(entries(X).to_uniform, abs=1e-6)


def test_distances_look_at_a_spread_of_the_entries():
    assert entries(random("uniform", 100, 1000)).looked_at <= SAMPLE


def test_three_quarters_of_the_layers_decide():
    assert common_shape(["uniform"] * 3 + ["neither"]) == "uniform"
    assert common_shape(["uniform", "uniform", "neither"]) == "mixed"
    assert common_shape([]) is None


@pytest.mark.parametrize("shape_", [(4096, 16), (16, 4096), (4096, 64), (1, 4097), (5000, 1)])
def test_every_column_is_looked_at_as_often_as_the_others(shape_):
    rows, columns = shape_
    # What lies in column k is k: the sample has the columns' own distribution.
    X = torch.arange(columns, dtype=torch.float64).repeat(rows, 1)
    X += 1e-3 * torch.rand(X.shape, generator=torch.Generator().manual_seed(0))

    found = entries(X)

    z = ((X - X.mean()) / X.std(correction=0)).flatten().sort().values
    n = len(z)
    expected = torch.special.ndtr(z)
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    whole = max(float((steps[1:] - expected).max()), float((expected - steps[:-1]).max()))
    assert found.looked_at == min(SAMPLE, rows * columns)
    # Of a sample of 4096: 1.36 / 64, once in twenty.
    assert found.to_gaussian == pytest.approx(whole, abs=0.025)


def test_small_samples_are_given_what_chance_gives_them():
    found = [shape(entries(random("Gaussian", 8, 16, seed))) for seed in range(200)]

    # 0.92 / sqrt(128) is 0.08; by 0.03 alone almost all were called neither.
    assert found.count("neither") < 20
