"""How the entries of a matrix are distributed: uniform, Gaussian, or neither."""

from collections.abc import Sequence
from functools import cache
from math import sqrt
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

SAMPLE = 4096
"""Entries that distances are measured on, at most: drawn from all of them."""
NEAR = 0.03
"""Half the distance between a uniform and a Gaussian distribution, which is 0.057."""

Shape = Literal["uniform", "Gaussian", "neither"]


class Entries(NamedTuple):
    """The distribution of one matrix's entries."""

    sd: float
    """Standard deviation of all entries."""
    kurtosis: float
    """Fourth central moment over the square of the second, of all entries: 1.8 if uniform, 3 if
    Gaussian (standard error `sqrt(24 / n)`), more with heavier tails."""
    to_uniform: float
    """Kolmogorov-Smirnov distance to the uniform distribution of this mean and deviation."""
    to_gaussian: float
    """The same to the Gaussian one."""
    looked_at: int
    """Entries that the distances were measured on."""


def entries(X: Float[Tensor, "p q"]) -> Entries | None:
    """Moments and distances of the entries of a matrix; None where all are the same.

    Distances are 0 to 1. Both distributions are fitted by mean and standard deviation, so the
    usual tables of the test do not hold. By chance 95 of 100 samples of size n from the
    distribution itself are nearer than `0.886 / sqrt(n)` if it is Gaussian, and than
    `0.92 / sqrt(n)` if it is uniform.

    Source: figure 2c of arXiv:2502.17159 (B looks Gaussian, A uniform), there by eye. The distance
    is Kolmogorov's, its level for a fitted Gaussian Lilliefors' (1967), for a fitted uniform
    distribution simulated (`tests/analysis/test_entries.py`).
    """
    x = X.flatten().double()
    mean = x.mean()
    centred = x - mean
    variance = float(centred.square().mean())
    # Below the rounding of float32 around the mean there is no spread, only noise.
    if variance <= (1e-7 * float(x.abs().max())) ** 2:
        return None
    kurtosis = float(centred.square().square().mean()) / variance**2
    sd = sqrt(variance)
    z = (centred[_places(len(x)).to(x.device)] / sd).sort().values
    half = sqrt(3.0)
    return Entries(
        sd=sd,
        kurtosis=kurtosis,
        to_uniform=_distance(((z + half) / (2 * half)).clamp(0, 1)),
        to_gaussian=_distance(torch.special.ndtr(z)),
        looked_at=len(z),
    )


@cache
def _places(size: int) -> Int64[Tensor, " n"]:
    """Drawn, and the same for every matrix of this size.

    Evenly spaced ones would not do: every 16th entry of a matrix with 16 columns is in the first.
    """
    if size <= SAMPLE:
        return torch.arange(size)
    return torch.randperm(size, generator=torch.Generator().manual_seed(0))[:SAMPLE]


def _distance(expected: Float64[Tensor, " n"]) -> float:
    """The largest gap between the empirical distribution and the expected one at its points."""
    n = len(expected)
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    above, below = steps[1:] - expected, expected - steps[:-1]
    return float(torch.maximum(above.max(), below.max()))


def shape(found: Entries) -> Shape:
    """The nearer of the two distributions, if it is near; see `NEAR`.

    Small samples are given what chance gives them besides.
    """
    level = max(NEAR, 0.92 / sqrt(found.looked_at))
    if min(found.to_uniform, found.to_gaussian) > level:
        return "neither"
    return "uniform" if found.to_uniform < found.to_gaussian else "Gaussian"


def common_shape(shapes: Sequence[Shape]) -> Shape | Literal["mixed"] | None:
    """What at least three quarters of the layers are; `mixed` without such; None without layers."""
    if not shapes:
        return None
    most = max(dict.fromkeys(shapes), key=shapes.count)
    return most if 4 * shapes.count(most) >= 3 * len(shapes) else "mixed"
